"""The question which devices of users to notify (protocol.md, section 23.4)."""

from __future__ import annotations

from presenced.address import check_focus
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import quoted, reply
from presenced.core.requests import costs
from presenced.core.requests.handler import FROM_RECORDS, Handler
from presenced.core.routes import route, unknown_route
from presenced.core.targets import check_names, require_acting
from presenced.errors import RequestError
from presenced.limits import ROUTED_DEVICES_MAX
from presenced.wire.messages import Route, RouteInfo, Routes


def _route(engine: Engine, session: Session, now_ms: int, message: Route) -> None:
    for name in message.users:
        _require_telling(session, name)
    check_names(engine, message.users)
    check_focus(message.about)
    offset_ms, policy, opening_at = engine.clock.offset_ms, engine.policy, engine.schedules.opening_at
    routes: list[RouteInfo] = []
    devices = 0
    for name in message.users:
        user = engine.users.get(name)
        if user is None:
            routes.append(unknown_route(name))
            continue
        found = route(user, message.urgency, message.about, now_ms, offset_ms, policy, opening_at)
        devices += len(found.devices)
        if devices > ROUTED_DEVICES_MAX:
            # The rest is for another request: a frame is never longer than the largest.
            break
        routes.append(found)
    reply(engine, session, Routes(message.id, routes))


def _require_telling(session: Session, name: str) -> None:
    """Raise `RequestError` (`forbidden`) unless the link may know where a notification for this user goes: it tells of
    devices, of input and of claims. O(patterns)."""
    if session.role == "user":
        if name != session.user_name:
            raise RequestError(
                "forbidden", f"a user's link cannot ask how to notify {quoted(name)}; that needs the role of a service"
            )
        return
    require_acting(session, name)
    if session.rights is not None and not session.rights.sees(name):
        raise RequestError("forbidden", f"the token of this link does not let it see {quoted(name)}")


HANDLERS: dict[type, Handler] = {Route: Handler(_route, costs.routes, FROM_RECORDS, has_long_answer=True)}
