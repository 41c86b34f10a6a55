"""Requests about other users: for their records, for their changes, and for events (protocol.md, sections 6 and 19)."""

from __future__ import annotations

from presenced.address import check_cursor
from presenced.core.engine import Engine
from presenced.core.faces import FULL
from presenced.core.model import Session
from presenced.core.projection import Readings
from presenced.core.replies import NOTHING_VALID, done, reply, reply_records
from presenced.core.requests import costs
from presenced.core.requests.handler import FROM_RECORDS, IN_ORDER, Handler
from presenced.core.requests.views import require_parallel
from presenced.core.targets import check_asked, check_names, require_memory, require_service
from presenced.wire.messages import Get, Unwatch, Watch, WatchAll, Who, WhoPage


def _get(engine: Engine, session: Session, now_ms: int, message: Get) -> None:
    sight = engine.sight
    hidden = sight.hidden_answers
    records = []
    for name in message.users:
        user = engine.users.get(name)
        if user is None:
            check_asked(name, message.users)
            records.append(sight.unknown(name))
        else:
            records.append(sight.answer(session, user))
    engine.curiosity.note(session, now_ms, sight.hidden_answers - hidden)
    valid = _valid_until(engine, session, now_ms, message.users) if message.valid else NOTHING_VALID
    reply_records(engine, session, message.id, records, valid)


def _valid_until(engine: Engine, session: Session, now_ms: int, names: list[str]) -> list[int]:
    """Until when the records of these users hold if nothing happens, for those whom the link sees wholly; else 0."""
    users, face, readings = engine.users, engine.sight.face, Readings()
    return [
        engine.forecasts.valid_until_ms(user, now_ms, readings)
        if (user := users.get(name)) is not None and face(session, user) == FULL
        else 0
        for name in names
    ]


def _who(engine: Engine, session: Session, now_ms: int, message: Who) -> None:
    check_cursor(message.after)
    page = engine.company.page(session, message.after, message.limit)
    record = engine.sight.record
    records = [record(user, kind) for user, kind in page.users]
    ledger = engine.ledger
    reply(engine, session, WhoPage(message.id, ledger.epoch, ledger.version, page.total, page.next, records))


def _watch(engine: Engine, session: Session, now_ms: int, message: Watch) -> None:
    check_names(engine, message.users)
    if engine.memory_level and any(name not in (session.watching or ()) for name in message.users):
        require_memory(engine)
    if message.have is not None:
        require_parallel(message.users, message.have)
    sight = engine.sight
    hidden = sight.hidden_answers
    users = engine.watches.add(now_ms, session, message.users)
    if message.have is None:
        records = sight.answers(session, users)
    else:
        records = engine.views.watched(session, users, message.have)
    engine.curiosity.note(session, now_ms, sight.hidden_answers - hidden)
    reply_records(engine, session, message.id, records)


def _unwatch(engine: Engine, session: Session, now_ms: int, message: Unwatch) -> None:
    engine.watches.remove(session, message.users)
    done(engine, session, message.id)


def _watch_all(engine: Engine, session: Session, now_ms: int, message: WatchAll) -> None:
    require_service(session)
    if message.on and not engine.outboxes.is_told_all(session):
        require_memory(engine)
    positions = engine.positions
    if message.on and message.epoch:
        positions.resume_from(session, message.id, message.epoch, message.version)
        return
    if message.on:
        positions.tell_all(session)
    else:
        positions.stop(session)
    done(engine, session, message.id)


HANDLERS: dict[type, Handler] = {
    Get: Handler(_get, costs.questions, FROM_RECORDS, has_long_answer=True),
    Who: Handler(_who, costs.online, FROM_RECORDS, has_long_answer=True),
    Watch: Handler(_watch, costs.questions, FROM_RECORDS, has_long_answer=True),
    Unwatch: Handler(_unwatch, costs.names, IN_ORDER),
    WatchAll: Handler(_watch_all, costs.everybody, FROM_RECORDS),
}
