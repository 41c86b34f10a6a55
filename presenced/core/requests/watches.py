"""Requests about other users: for their records, for their changes, and for events (protocol.md, sections 6 and 19)."""

from __future__ import annotations

from presenced.address import check_cursor, check_name
from presenced.core.engine import Engine
from presenced.core.model import Session, unknown_record
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
    publisher, rights = engine.publisher, session.rights
    records = []
    for name in message.users:
        user = engine.users.get(name)
        if user is None or (rights is not None and rights.hides(name)):
            _check_name(name, message.users)
            records.append(unknown_record(name))
        else:
            records.append(publisher.record_of(user))
    reply_records(engine, session, message.id, records)


def _who(engine: Engine, session: Session, now_ms: int, message: Who) -> None:
    publisher = engine.publisher
    check_cursor(message.after)
    online, rights = publisher.online, session.rights
    if rights is not None and rights.is_narrow:
        names, following = online.page_of(rights.see, message.after, message.limit)
        total = online.count_of(rights.see)
    else:
        names, following = online.page(message.after, message.limit)
        total = len(online)
    records = [publisher.record_of(engine.users[name]) for name in names]
    ledger = engine.ledger
    reply(engine, session, WhoPage(message.id, ledger.epoch, ledger.version, total, following, records))


def _watch(engine: Engine, session: Session, now_ms: int, message: Watch) -> None:
    publisher = engine.publisher
    rights = session.rights
    for name in message.users:
        if name not in engine.users or (rights is not None and rights.hides(name)):
            _check_name(name, message.users)
    if engine.memory_level and any(name not in (session.watching or ()) for name in message.users):
        require_memory(engine)
    record_of = publisher.record_of
    users = engine.watches.add(session, message.users)
    if rights is not None and rights.is_narrow:
        seen = zip(message.users, users, strict=True)
        records = [record_of(user) if user.name else unknown_record(name) for name, user in seen]
    else:
        records = [record_of(user) for user in users]
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
    Get: Handler(_get, costs.names, FROM_RECORDS, has_long_answer=True),
    Who: Handler(_who, costs.online, FROM_RECORDS, has_long_answer=True),
    Watch: Handler(_watch, costs.names, FROM_RECORDS, has_long_answer=True),
    Unwatch: Handler(_unwatch, costs.names, IN_ORDER),
    WatchAll: Handler(_watch_all, timing=FROM_RECORDS),
    Follow: Handler(_follow, timing=FROM_RECORDS, has_long_answer=True),
}
