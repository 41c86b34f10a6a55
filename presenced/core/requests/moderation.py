"""Requests that take something away from a user, which services and admins alone may send (protocol.md, 13.39 to
13.41)."""

from __future__ import annotations

from presenced.address import check_name
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import acknowledge, done
from presenced.core.requests import costs
from presenced.core.requests.handler import Handler
from presenced.core.targets import require_acting, require_durability, require_service
from presenced.errors import RequestError
from presenced.limits import REVOCATION_AHEAD_MS_MAX
from presenced.wire.messages import Erase, Kick, Revoke


def _check(engine: Engine, session: Session, user: str) -> None:
    """Raise `RequestError` (`forbidden`) or `AddressError`. An empty name is refused, though elsewhere it means the
    link's own user: nobody takes so much away by leaving something out."""
    require_service(session)
    require_acting(session, user)
    if user not in engine.users:
        check_name(user, "user")


def _revoke(engine: Engine, session: Session, now_ms: int, message: Revoke) -> None:
    _check(engine, session, message.user)
    wall_ms = engine.clock.wall_ms(now_ms)
    if message.before_ms > wall_ms + REVOCATION_AHEAD_MS_MAX:
        raise RequestError(
            "bad_time",
            f"{message.before_ms} is more than {REVOCATION_AHEAD_MS_MAX // 1000} s ahead of the server's clock "
            f"({wall_ms}); send 0 to have the server's time",
        )
    require_durability(engine)
    # Also while memory is short: to keep somebody out must not depend on that.
    engine.moderation.revoke(now_ms, engine.users.for_request(message.user), message.before_ms or wall_ms)
    acknowledge(engine, session, message.id)


def _kick(engine: Engine, session: Session, now_ms: int, message: Kick) -> None:
    _check(engine, session, message.user)
    engine.moderation.kick(now_ms, message.user, engine.users.get(message.user))
    done(engine, session, message.id)


def _erase(engine: Engine, session: Session, now_ms: int, message: Erase) -> None:
    _check(engine, session, message.user)
    require_durability(engine)
    # Also of somebody of whom nothing is known in memory: the disk may hold what was known once.
    engine.moderation.erase(now_ms, engine.users.for_request(message.user))
    acknowledge(engine, session, message.id)


HANDLERS: dict[type, Handler] = {
    Revoke: Handler(_revoke, changes=True),
    Kick: Handler(_kick, costs.change, changes=True),
    Erase: Handler(_erase, costs.erasure, changes=True),
}
