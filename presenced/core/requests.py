"""From a client's message to calls of the engine, and from their results to the reply.

One function per message type, found by one dict lookup. Each checks everything before it applies anything. What is
wrong with a request is raised as `RequestError` or `AddressError` and becomes an error frame in `handle`; it never
touches the requests beside it. Anything else that is raised is a bug of ours and is left to the edge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from presenced.address import check_emoji, check_name, check_text
from presenced.core.engine import Engine
from presenced.core.model import Device, Session, unknown_record
from presenced.errors import CODES, AddressError, RequestError
from presenced.limits import READ_ONLY_RETRY_MS
from presenced.wire.messages import (
    Bye,
    ClientMessage,
    Done,
    Error,
    Get,
    Heartbeat,
    Hello,
    Ping,
    Pong,
    Record,
    Records,
    SetDevice,
    SetStatus,
    Unwatch,
    Watch,
    Who,
    WhoPage,
    encode,
)


def handle(engine: Engine, session: Session, now_ms: int, message: ClientMessage) -> None:
    """Apply one message of a link that has said hello; replies and errors go to its session."""
    engine.heard(session, now_ms)
    try:
        _HANDLERS[type(message)](engine, session, now_ms, message)
    except (RequestError, AddressError) as error:
        refuse(engine, session, getattr(message, "id", 0), error.code, error.message, error.retry_ms)


def refuse(engine: Engine, session: Session, request_id: int, code: str, text: str, retry_ms: int = 0) -> None:
    """Answer a request (0 = unknown which) with an error frame."""
    engine.publisher.reply(session, encode(Error(request_id, code, text, retry_ms)))


def _hello(engine: Engine, session: Session, now_ms: int, message: Hello) -> None:
    raise RequestError("hello_repeated", "this link has already said hello; open another link for another device")


def _heartbeat(engine: Engine, session: Session, now_ms: int, message: Heartbeat) -> None:
    engine.heartbeat(session, now_ms, message.idle_ms)


def _bye(engine: Engine, session: Session, now_ms: int, message: Bye) -> None:
    engine.bye(now_ms, session)


def _ping(engine: Engine, session: Session, now_ms: int, message: Ping) -> None:
    engine.publisher.reply(session, encode(Pong(message.id, now_ms + engine.publisher.wall_offset_ms)))


def _set_status(engine: Engine, session: Session, now_ms: int, message: SetStatus) -> None:
    _require_durability(engine)
    device = _own_device(session)
    if message.text is not None:
        check_text(message.text)
    if message.emoji is not None:
        check_emoji(message.emoji)
    engine.set_status(
        now_ms,
        device.user,
        device,
        status=message.status,
        text=message.text,
        emoji=message.emoji,
        for_ms=message.for_ms,
    )
    engine.acks.append((session, message.id))


def _set_device(engine: Engine, session: Session, now_ms: int, message: SetDevice) -> None:
    _require_durability(engine)
    engine.set_device(now_ms, _own_device(session), message.status, message.priority)
    engine.acks.append((session, message.id))


def _require_durability(engine: Engine) -> None:
    if engine.read_only:
        raise RequestError(engine.read_only, CODES[engine.read_only].meaning, retry_ms=READ_ONLY_RETRY_MS)


def _own_device(session: Session) -> Device:
    if session.device is None:
        raise RequestError("no_device", "this link speaks for no device; say hello with a user and a device")
    return session.device


def _get(engine: Engine, session: Session, now_ms: int, message: Get) -> None:
    publisher = engine.publisher
    records = []
    for name in message.users:
        user = engine.users.get(name)
        if user is None:
            check_name(name, "user")
            records.append(unknown_record(name))
        else:
            publisher.settle(user, now_ms)
            records.append(publisher.record_of(user))
    _reply_records(engine, session, message.id, records)


def _watch(engine: Engine, session: Session, now_ms: int, message: Watch) -> None:
    for name in message.users:
        if name not in engine.users:
            check_name(name, "user")
    publisher = engine.publisher
    # Settled before they are watched: what changed earlier in this turn is in the reply and not pushed as well.
    for name in message.users:
        known = engine.users.get(name)
        if known is not None:
            publisher.settle(known, now_ms)
    records = [publisher.record_of(user) for user in engine.watch(session, message.users)]
    _reply_records(engine, session, message.id, records)


def _reply_records(engine: Engine, session: Session, request_id: int, records: list[Record]) -> None:
    publisher = engine.publisher
    publisher.reply(session, encode(Records(request_id, publisher.epoch, publisher.version, records)))


def _unwatch(engine: Engine, session: Session, now_ms: int, message: Unwatch) -> None:
    engine.unwatch(session, message.users)
    engine.publisher.reply(session, encode(Done(message.id, engine.publisher.version)))


def _who(engine: Engine, session: Session, now_ms: int, message: Who) -> None:
    publisher = engine.publisher
    if message.after:
        check_name(message.after, "user")
    publisher.settle_all(now_ms)
    names, following = publisher.page(message.after, message.limit)
    records = [publisher.record_of(engine.users[name]) for name in names]
    total = len(publisher.online)
    publisher.reply(session, encode(WhoPage(message.id, publisher.epoch, publisher.version, total, following, records)))


_HANDLERS: dict[type, Callable[[Engine, Session, int, Any], None]] = {
    Heartbeat: _heartbeat,
    SetStatus: _set_status,
    SetDevice: _set_device,
    Get: _get,
    Watch: _watch,
    Unwatch: _unwatch,
    Who: _who,
    Ping: _ping,
    Bye: _bye,
    Hello: _hello,
}
"""Each takes its own member of the union; the key says which."""
