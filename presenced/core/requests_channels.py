"""Requests about channels, events, the user's own state, and what people type into a chat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from presenced.address import check_name
from presenced.core import commands
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replying import acknowledge, done
from presenced.core.subjects import (
    check_channel,
    device_of,
    known_user,
    live_device_of,
    name_of,
    require_durability,
    require_service,
    user_of,
)
from presenced.errors import RequestError
from presenced.limits import COMMAND_BYTES_MAX
from presenced.wire.messages import (
    Applied,
    Command,
    Follow,
    GetMembers,
    GetSync,
    Join,
    Leave,
    MembersPage,
    Sync,
    SyncState,
    UnwatchChannel,
    WatchAll,
    WatchChannel,
    encode,
)


def _join(engine: Engine, session: Session, now_ms: int, message: Join) -> None:
    require_durability(engine)
    check_channel(message.channel)
    device = live_device_of(engine, session, message.user, message.device)
    engine.join(now_ms, device, message.channel, session.role)
    acknowledge(engine, session, message.id)


def _leave(engine: Engine, session: Session, now_ms: int, message: Leave) -> None:
    require_durability(engine)
    device = device_of(engine, session, message.user, message.device)
    if device is None:
        raise RequestError("no_device", "name a device; this link has none of its own for that user")
    engine.leave(now_ms, device, message.channel)
    acknowledge(engine, session, message.id)


def _get_members(engine: Engine, session: Session, now_ms: int, message: GetMembers) -> None:
    check_channel(message.channel)
    if message.after:
        check_name(message.after, "user")
    engine.settle(now_ms)
    _reply_members(engine, session, message.id, message.channel, message.after, message.limit)


def _watch_channel(engine: Engine, session: Session, now_ms: int, message: WatchChannel) -> None:
    check_channel(message.channel)
    engine.channels.check_watch(session, message.channel)
    engine.settle(now_ms)
    _reply_members(engine, session, message.id, message.channel, "", message.limit)
    engine.channels.watch(session, message.channel)


def _reply_members(engine: Engine, session: Session, request_id: int, channel: str, after: str, limit: int) -> None:
    publisher = engine.publisher
    names, following, total, counts = engine.channels.page(channel, after, limit)
    records = [publisher.record_of(engine.users[name]) for name in names]
    page = MembersPage(request_id, channel, publisher.version, total, counts, following, records)
    publisher.reply(session, encode(page))


def _unwatch_channel(engine: Engine, session: Session, now_ms: int, message: UnwatchChannel) -> None:
    engine.channels.unwatch(session, message.channel)
    done(engine, session, message.id)


def _applied(engine: Engine, session: Session, now_ms: int, message: Applied) -> None:
    if session.device is not None:
        wall_ms = now_ms + engine.publisher.wall_offset_ms
        engine.own_states.applied(session, session.device.user, message.version, wall_ms)


def _sync(engine: Engine, session: Session, now_ms: int, message: Sync) -> None:
    user = known_user(engine, session, message.user)
    if user is not None:
        engine.own_states.push_again(user)
    done(engine, session, message.id)


def _get_sync(engine: Engine, session: Session, now_ms: int, message: GetSync) -> None:
    user = known_user(engine, session, message.user)
    if user is None:
        state = SyncState(message.id, name_of(session, message.user), 0, 0, 0, 0, [])
    else:
        engine.settle(now_ms)
        state = engine.own_states.state(message.id, user)
    engine.publisher.reply(session, encode(state))


def _follow(engine: Engine, session: Session, now_ms: int, message: Follow) -> None:
    require_service(session)
    engine.settle(now_ms)
    engine.events.follow(session, message.id, message.epoch, message.seq)


def _watch_all(engine: Engine, session: Session, now_ms: int, message: WatchAll) -> None:
    require_service(session)
    engine.settle(now_ms)
    if message.on:
        engine.publisher.everyone[session] = None
    else:
        engine.publisher.everyone.pop(session, None)
    done(engine, session, message.id)


def _command(engine: Engine, session: Session, now_ms: int, message: Command) -> None:
    if len(message.text.encode()) > COMMAND_BYTES_MAX:
        raise RequestError("bad_text", f"the command is longer than {COMMAND_BYTES_MAX} bytes")
    user = user_of(engine, session, message.user)
    device = device_of(engine, session, message.user, message.device)
    reply = commands.run(engine, user, device, now_ms, message.id, message.text)
    acknowledge(engine, session, message.id, encode(reply))


HANDLERS: dict[type, Callable[[Engine, Session, int, Any], None]] = {
    Join: _join,
    Leave: _leave,
    GetMembers: _get_members,
    WatchChannel: _watch_channel,
    UnwatchChannel: _unwatch_channel,
    Applied: _applied,
    Sync: _sync,
    GetSync: _get_sync,
    Follow: _follow,
    WatchAll: _watch_all,
    Command: _command,
}
