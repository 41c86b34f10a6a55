"""From a client's message to calls of the engine, and from their results to the reply.

One function per message type, found by one dict lookup; those for applications are in `requests_service` and
`requests_channels`. Each checks everything before it applies anything. What is wrong with a request is raised as
`RequestError` or `AddressError` and becomes an error frame in `handle`; it never touches the requests beside it.
Anything else that is raised is a bug of ours and is left to the edge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from presenced.address import check_emoji, check_label, check_name, check_text
from presenced.core import requests_channels, requests_service
from presenced.core.engine import Engine
from presenced.core.model import Session, unknown_record
from presenced.core.replying import acknowledge, refuse, reply_records
from presenced.core.subjects import device_of, live_device_of, require_durability, require_memory, user_of
from presenced.errors import AddressError, RequestError
from presenced.wire.messages import (
    Bye,
    ClientMessage,
    Command,
    Done,
    Follow,
    Get,
    GetActivity,
    GetClaims,
    GetDevices,
    GetMembers,
    GetSync,
    Heartbeat,
    Hello,
    Ping,
    Pong,
    SetDevice,
    SetStatus,
    Unwatch,
    Watch,
    WatchChannel,
    Who,
    WhoPage,
    encode,
)


def handle(engine: Engine, session: Session, now_ms: int, message: ClientMessage) -> None:
    """Apply one message of a link that has said hello; replies and errors go to its session."""
    engine.heard(session, now_ms)
    try:
        if engine.memory_level > 1 and type(message) in _LONG_ANSWERS:
            require_memory(engine, 2)
        _HANDLERS[type(message)](engine, session, now_ms, message)
    except (RequestError, AddressError) as error:
        refuse(engine, session, getattr(message, "id", 0), error.code, error.message, error.retry_ms)


def _hello(engine: Engine, session: Session, now_ms: int, message: Hello) -> None:
    raise RequestError("hello_repeated", "this link has already said hello; open another link for another device")


def _heartbeat(engine: Engine, session: Session, now_ms: int, message: Heartbeat) -> None:
    engine.heartbeat(session, now_ms, message.idle_ms)


def _bye(engine: Engine, session: Session, now_ms: int, message: Bye) -> None:
    engine.bye(now_ms, session)


def _ping(engine: Engine, session: Session, now_ms: int, message: Ping) -> None:
    engine.publisher.reply(session, encode(Pong(message.id, now_ms + engine.publisher.wall_offset_ms)))


def _set_status(engine: Engine, session: Session, now_ms: int, message: SetStatus) -> None:
    require_durability(engine)
    if message.text is not None:
        check_text(message.text)
    if message.emoji is not None:
        check_emoji(message.emoji)
    device = device_of(engine, session, message.user, message.device)
    engine.set_status(
        now_ms,
        device.user if device is not None else user_of(engine, session, message.user),
        device,
        status=message.status,
        text=message.text,
        emoji=message.emoji,
        for_ms=message.for_ms,
    )
    acknowledge(engine, session, message.id)


def _set_device(engine: Engine, session: Session, now_ms: int, message: SetDevice) -> None:
    require_durability(engine)
    if message.name is not None:
        check_label(message.name, "device label")
    renames_only = message.name is not None and message.status is None and message.priority is None
    device = device_of(engine, session, message.user, message.device) if renames_only else None
    if device is None:
        device = live_device_of(engine, session, message.user, message.device)
    engine.set_device(now_ms, device, status=message.status, priority=message.priority, name=message.name)
    acknowledge(engine, session, message.id)


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
    reply_records(engine, session, message.id, records)


def _watch(engine: Engine, session: Session, now_ms: int, message: Watch) -> None:
    publisher = engine.publisher
    find = engine.users.get
    for name in message.users:
        known = find(name)
        if known is None:
            check_name(name, "user")
        elif known.dirty:
            # Before it is watched: what changed earlier in this turn is in the reply and not pushed as well.
            publisher.settle(known, now_ms)
    if engine.memory_level and any(name not in (session.watching or ()) for name in message.users):
        require_memory(engine)
    record_of = publisher.record_of
    records = [record_of(user) for user in engine.watching.add(session, message.users)]
    reply_records(engine, session, message.id, records)


def _unwatch(engine: Engine, session: Session, now_ms: int, message: Unwatch) -> None:
    engine.watching.remove(session, message.users)
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
    **requests_service.HANDLERS,
    **requests_channels.HANDLERS,
}
"""Each takes its own member of the union; the key says which."""

_LONG_ANSWERS = frozenset(
    (Get, Watch, Who, GetDevices, GetClaims, GetActivity, GetMembers, WatchChannel, GetSync, Follow, Command)
)
"""What asks for more than it takes to ask: thousands of links that do so and do not read would fill any memory."""
