"""Requests about channels: to join and leave one, to list its members, to watch it (protocol.md, section 17)."""

from __future__ import annotations

from presenced.address import check_channel, check_cursor
from presenced.core.channel_rules import may_join, may_watch
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.policy import ChannelRule
from presenced.core.replies import acknowledge, done, reply
from presenced.core.requests import costs
from presenced.core.requests.handler import FROM_RECORDS, IN_ORDER, Handler
from presenced.core.requests.views import require_parallel
from presenced.core.targets import check_names, live_device_of, require_durability, require_memory, some_device_of
from presenced.errors import RequestError
from presenced.wire.messages import GetMembers, Join, Leave, MembersPage, UnwatchChannel, WatchChannel


def _join(engine: Engine, session: Session, now_ms: int, message: Join) -> None:
    require_durability(engine)
    check_channel(message.channel)
    device = live_device_of(engine, session, message.user, message.device)
    if not may_join(engine.policy, session, message.channel):
        raise RequestError("forbidden", f"this server lets {_WHO[engine.policy.channels_join]} join this channel")
    if message.channel not in (device.channels or ()):
        require_memory(engine)
    if not (message.as_was and device.is_taken_out):
        engine.channels.join(device, message.channel, now_ms, session.role)
    acknowledge(engine, session, message.id)


def _leave(engine: Engine, session: Session, now_ms: int, message: Leave) -> None:
    require_durability(engine)
    device = some_device_of(engine, session, message.user, message.device)
    engine.channels.leave(device, message.channel, now_ms, session)
    acknowledge(engine, session, message.id)


def _get_members(engine: Engine, session: Session, now_ms: int, message: GetMembers) -> None:
    check_channel(message.channel)
    _require_watching(engine, session, message)
    check_cursor(message.after)
    _reply_members(engine, session, message.id, message.channel, message.after, message.limit)


def _watch_channel(engine: Engine, session: Session, now_ms: int, message: WatchChannel) -> None:
    check_channel(message.channel)
    _require_watching(engine, session, message)
    if message.have is not None:
        require_parallel(message.users, message.have)
        check_names(engine, message.users)
    engine.channels.check_watch(session, message.channel)
    if message.channel not in (session.channels or ()):
        require_memory(engine)
    if message.have is None:
        _reply_members(engine, session, message.id, message.channel, "", message.limit)
    else:
        _reply_changes(engine, session, message, dict(zip(message.users, message.have, strict=True)))
    engine.channels.watch(session, message.channel)


_WHO: dict[ChannelRule, str] = {
    "anyone": "everybody",
    "token": "only services, and users whose token names it,",
    "service": "only services",
}


def _require_watching(engine: Engine, session: Session, message: GetMembers | WatchChannel) -> None:
    """Raise `RequestError` (`forbidden`) unless the link may watch the channel (section 17)."""
    if not may_watch(engine.policy, session, message.channel):
        who = _WHO[engine.policy.channels_watch]
        raise RequestError("forbidden", f"this server lets {who} watch this channel and list its members")


def _reply_members(engine: Engine, session: Session, request_id: int, channel: str, after: str, limit: int) -> None:
    record = engine.sight.record
    page = engine.channels.page(session, channel, after, limit)
    records = [record(user, seen) for user, seen in page.users]
    ledger = engine.ledger
    told = MembersPage(request_id, channel, ledger.version, page.total, page.counts, page.next, records)
    reply(engine, session, told)


def _reply_changes(engine: Engine, session: Session, message: WatchChannel, have: dict[str, int]) -> None:
    """Answer with what differs between the first page and what the client has of it. O(page and what it has)."""
    sight, ledger = engine.sight, engine.ledger
    page = engine.channels.page(session, message.channel, "", message.limit)
    on_page = {user.name for user, _ in page.users}
    told = MembersPage(
        message.id,
        message.channel,
        ledger.version,
        page.total,
        page.counts,
        page.next,
        [sight.record(user, kind) for user, kind in page.users if sight.digest(user, kind) != have.get(user.name)],
        left=[name for name in have if name not in on_page],
        is_partial=True,
    )
    reply(engine, session, told)


def _unwatch_channel(engine: Engine, session: Session, now_ms: int, message: UnwatchChannel) -> None:
    engine.channels.unwatch(session, message.channel)
    done(engine, session, message.id)


HANDLERS: dict[type, Handler] = {
    Join: Handler(_join, changes=True),
    Leave: Handler(_leave, changes=True),
    GetMembers: Handler(_get_members, costs.members, FROM_RECORDS, has_long_answer=True),
    WatchChannel: Handler(_watch_channel, costs.members, FROM_RECORDS, has_long_answer=True),
    UnwatchChannel: Handler(_unwatch_channel, timing=IN_ORDER),
}
