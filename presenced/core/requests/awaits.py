"""Requests to be told once when somebody's status is as it is wanted (protocol.md, section 23.3)."""

from __future__ import annotations

from presenced.address import check_label, check_name
from presenced.core.engine import Engine
from presenced.core.faces import HIDDEN
from presenced.core.model import Session
from presenced.core.replies import done, quoted
from presenced.core.requests import costs
from presenced.core.requests.handler import FROM_RECORDS, IN_ORDER, Handler
from presenced.core.targets import require_acting, require_memory
from presenced.errors import RequestError
from presenced.wire.messages import Await, CancelAwait


def _await(engine: Engine, session: Session, now_ms: int, message: Await) -> None:
    name = message.user
    if message.kinds:
        _require_devices(session, name)
    for kind in message.kinds:
        check_label(kind, "kind")
    if name not in engine.users:
        check_name(name, "user")
    require_memory(engine)
    user = engine.awaits.add(now_ms, session, message)
    engine.curiosity.note(session, now_ms, engine.sight.face(session, user) == HIDDEN)


def _require_devices(session: Session, name: str) -> None:
    """Raise `RequestError` (`forbidden`) if the link may not know the devices of this user."""
    if session.role != "user":
        require_acting(session, name)
    elif name != session.user_name:
        sentence = f"a user's link cannot ask for kinds of devices of {quoted(name)}; leave kinds empty"
        raise RequestError("forbidden", sentence)


def _cancel_await(engine: Engine, session: Session, now_ms: int, message: CancelAwait) -> None:
    engine.awaits.cancel(session, message.request)
    done(engine, session, message.id)


HANDLERS: dict[type, Handler] = {
    Await: Handler(_await, costs.one_question, FROM_RECORDS),
    CancelAwait: Handler(_cancel_await, timing=IN_ORDER),
}
