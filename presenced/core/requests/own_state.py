"""Requests about the user's own state on the user's own devices (protocol.md, section 18)."""

from __future__ import annotations

from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import done, reply
from presenced.core.requests.handler import FROM_RECORDS, Handler
from presenced.core.targets import known_user, name_of
from presenced.wire.messages import Applied, GetSync, Sync, SyncState


def _applied(engine: Engine, session: Session, now_ms: int, message: Applied) -> None:
    if session.device is not None:
        wall_ms = engine.clock.wall_ms(now_ms)
        engine.own_states.applied(session, session.device.user, message.version, wall_ms)


def _sync(engine: Engine, session: Session, now_ms: int, message: Sync) -> None:
    user = known_user(engine, session, message.user)
    if user is not None:
        engine.own_states.push_again(user)
    done(engine, session, message.id)


def _get_sync(engine: Engine, session: Session, now_ms: int, message: GetSync) -> None:
    user = known_user(engine, session, message.user)
    if user is None:
        state = SyncState(message.id, name_of(engine, session, message.user), 0, 0, 0, 0, [])
    else:
        state = engine.own_states.state(message.id, user)
    reply(engine, session, state)


HANDLERS: dict[type, Handler] = {
    Applied: Handler(_applied),
    Sync: Handler(_sync, changes=True),
    GetSync: Handler(_get_sync, timing=FROM_RECORDS, has_long_answer=True),
}
