"""Requests about other users: for their records, for their changes, and for events (protocol.md, sections 6 and 19)."""

from __future__ import annotations

from presenced.address import check_cursor, check_name
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import done, reply, reply_records
from presenced.core.requests import costs
from presenced.core.requests.handler import FROM_RECORDS, IN_ORDER, Handler
from presenced.core.targets import require_memory, require_service
from presenced.errors import AddressError
from presenced.wire.messages import Follow, Get, Unwatch, Watch, WatchAll, Who, WhoPage


def _check_name(name: str, asked: list[str]) -> None:
    """Check a name as `check_name` does. If several are asked for, the error tells the place of the wrong one."""
    try:
        check_name(name, "user")
    except AddressError as error:
        if len(asked) == 1:
            raise
        raise AddressError(f"name {asked.index(name) + 1} of {len(asked)}: {error.message}", error.code) from None


def _get(engine: Engine, session: Session, now_ms: int, message: Get) -> None:
    sight = engine.sight
    hidden = sight.hidden_answers
    records = []
    for name in message.users:
        user = engine.users.get(name)
        if user is None:
            _check_name(name, message.users)
            records.append(sight.unknown(name))
        else:
            records.append(sight.answer(session, user))
    engine.curiosity.note(session, now_ms, sight.hidden_answers - hidden)
    reply_records(engine, session, message.id, records)


def _who(engine: Engine, session: Session, now_ms: int, message: Who) -> None:
    check_cursor(message.after)
    page = engine.company.page(session, message.after, message.limit)
    record = engine.sight.record
    records = [record(user, kind) for user, kind in page.users]
    ledger = engine.ledger
    reply(engine, session, WhoPage(message.id, ledger.epoch, ledger.version, page.total, page.next, records))


def _watch(engine: Engine, session: Session, now_ms: int, message: Watch) -> None:
    for name in message.users:
        if name not in engine.users:
            _check_name(name, message.users)
    if engine.memory_level and any(name not in (session.watching or ()) for name in message.users):
        require_memory(engine)
    sight = engine.sight
    answer, hidden = sight.answer, sight.hidden_answers
    records = [answer(session, user) for user in engine.watches.add(now_ms, session, message.users)]
    engine.curiosity.note(session, now_ms, sight.hidden_answers - hidden)
    reply_records(engine, session, message.id, records)


def _unwatch(engine: Engine, session: Session, now_ms: int, message: Unwatch) -> None:
    engine.watches.remove(session, message.users)
    done(engine, session, message.id)


def _watch_all(engine: Engine, session: Session, now_ms: int, message: WatchAll) -> None:
    require_service(session)
    if message.on and not engine.outboxes.is_told_all(session):
        require_memory(engine)
    engine.watches.set_all(session, message.on)
    done(engine, session, message.id)


def _follow(engine: Engine, session: Session, now_ms: int, message: Follow) -> None:
    require_service(session)
    if session.follow_seq < 0:
        require_memory(engine)
    engine.events.follow(session, now_ms, message.id, message.epoch, message.seq)


HANDLERS: dict[type, Handler] = {
    Get: Handler(_get, costs.questions, FROM_RECORDS, has_long_answer=True),
    Who: Handler(_who, costs.online, FROM_RECORDS, has_long_answer=True),
    Watch: Handler(_watch, costs.questions, FROM_RECORDS, has_long_answer=True),
    Unwatch: Handler(_unwatch, costs.names, IN_ORDER),
    WatchAll: Handler(_watch_all, timing=FROM_RECORDS),
    Follow: Handler(_follow, timing=FROM_RECORDS, has_long_answer=True),
}
