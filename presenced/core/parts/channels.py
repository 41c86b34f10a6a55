"""Channels: which users are in them through which devices, who of them is online, and who is told.

A user is in a channel while at least one live device of theirs is. What watchers and lists see are the members who
are online by their records, so that somebody who hides is in no list, no count and no event.

Small channels tell each watcher each change, spaced as the member's record is (`channel_news`). Above a number of
watchers that would be the square of the room, so large ones tell at most one batch each interval: exact counts, and
the members that changed. The batch goes out in slices of watchers, so that no turn is long.

The module is long because membership, presence in a room and its watchers change together, in one step each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from presenced.core.delays import DelayQueue
from presenced.core.ledger import Ledger
from presenced.core.model import GONE, Device, Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.part import Part, Restoring, Start, TakeUp
from presenced.core.parts.channel import Channel
from presenced.core.parts.channel_news import ChannelNews, News
from presenced.core.parts.leases import Leases
from presenced.core.publisher import Change, Publisher
from presenced.core.records import Fact, MembershipSet
from presenced.errors import RequestError
from presenced.limits import (
    CHANNEL_BATCH_MAX,
    CHANNEL_FULL_MAX,
    CHANNEL_INTERVAL_MS,
    CHANNELS_PER_DEVICE_MAX,
    MEMBERSHIPS_PER_USER_MAX,
    SERVICE_CHANNELS_PER_DEVICE_MAX,
    SERVICE_WATCH_CHANNELS_MAX,
)
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import ONLINE_STATUSES, ChannelCounts, ChannelEvent, MemberKind, Role

SLICE_WATCHERS = 500
"""Watchers of a batch that are served in one turn: about 2 ms of writes."""


class Channels(Part):
    """Owns all channels."""

    def __init__(self, leases: Leases, ledger: Ledger, publisher: Publisher, outboxes: Outboxes) -> None:
        self.by_name: dict[str, Channel] = {}
        self._leases = leases
        self._ledger = ledger
        self._publisher = publisher
        publisher.follow(self.follow_record)
        self._outboxes = outboxes
        self._batches: DelayQueue[Channel] = DelayQueue(CHANNEL_INTERVAL_MS)
        self.news = ChannelNews(publisher.spacing, self._tell)
        self._seq = 0
        """The number of questions about channels since the start."""
        self._sending: list[tuple[bytes, Channel, Iterator[Session]]] = []

    # --- membership -------------------------------------------------------------------------------------------

    def join(self, device: Device, name: str, now_ms: int, role: Role) -> None:
        """The device is in the channel from now on: so says a link of this role. Idempotent.

        Raises `RequestError` (`channel_limit`). O(devices of the user).
        """
        self._publisher.tell_changes(now_ms)
        own = device.channels
        if own is None:
            own = device.channels = {}
        if name in own:
            return
        _check_room(device, CHANNELS_PER_DEVICE_MAX if role == "user" else SERVICE_CHANNELS_PER_DEVICE_MAX)
        self._ledger.add(MembershipSet(device.user.name, device.id, name, True))
        self.add(device, name)
        user = device.user
        if user.channels is not None and user.channels[name] == 1 and user.record.status != "offline":
            self._note(self.by_name[name], user, was_in=False, is_in=True)

    def add(self, device: Device, name: str) -> None:
        """Enter a membership without telling anybody (also used when restoring)."""
        if device.channels is None:
            device.channels = {}
        if name in device.channels:
            return
        device.channels[name] = None
        user = device.user
        if user.channels is None:
            user.channels = {}
        user.channels[name] = user.channels.get(name, 0) + 1
        channel = self._channel(name)
        if user.name not in channel.members:
            channel.members[user.name] = user
            if user.record.status != "offline":
                self._count_in(channel, user.name, user.record.status)

    def leave(self, device: Device, name: str, now_ms: int, session: Session) -> None:
        """The device is in the channel no longer: so says this session. Idempotent."""
        self._publisher.tell_changes(now_ms)
        if device.channels is None or name not in device.channels:
            return
        if device.session is not session:
            self._leases.take_out(device)
        self._ledger.add(MembershipSet(device.user.name, device.id, name, False))
        self._remove(device, name, now_ms)

    def end_device(self, device: Device, now_ms: int) -> None:
        """Its memberships end with it. O(its channels)."""
        if not device.channels:
            return
        self._publisher.tell_changes(now_ms)
        for name in list(device.channels or ()):
            self._remove(device, name, now_ms)
        device.channels = None

    def _remove(self, device: Device, name: str, now_ms: int) -> None:
        user = device.user
        assert device.channels is not None and user.channels is not None
        del device.channels[name]
        user.channels[name] -= 1
        if user.channels[name]:
            return
        del user.channels[name]
        if not user.channels:
            user.channels = None
        channel = self.by_name[name]
        del channel.members[user.name]
        if user.name in channel.online:
            self._count_out(channel, user.name, user.record.status)
            self._note(channel, user, was_in=True, is_in=False)
        self._drop_if_empty(channel)

    def follow_record(self, change: Change, now_ms: int) -> None:
        """The user's record has changed: bring the channels they are in up to date. O(channels of the user), and only
        who comes or goes online costs each the log of its members."""
        user, old, new, _ = change
        if user.channels is None:
            return
        was_online, is_online = old.status != "offline", new.status != "offline"
        if not was_online and not is_online:
            return
        for name in user.channels:
            channel = self.by_name[name]
            if not was_online:
                self._count_in(channel, user.name, new.status)
            elif not is_online:
                self._count_out(channel, user.name, old.status)
            elif old.status != new.status:
                channel.counts[old.status] -= 1
                channel.counts[new.status] += 1
            if channel.watchers:
                self._note(channel, user, was_in=was_online, is_in=is_online)

    def _count_in(self, channel: Channel, name: str, status: str) -> None:
        channel.online.add(name)
        channel.counts[status] += 1

    def _count_out(self, channel: Channel, name: str, status: str) -> None:
        channel.online.remove(name)
        channel.counts[status] -= 1

    # --- the disk ---------------------------------------------------------------------------------------------

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """The memberships. O(these)."""
        return [
            MembershipSet(user.name, device.id, channel, True)
            for device in user.devices.values()
            for channel in device.channels or ()
        ]

    def restorers(self) -> Mapping[type, TakeUp]:
        """Memberships: only noted on the device until `resume`, because the device may turn out to be gone."""
        return {MembershipSet: self._restore}

    def _restore(self, source: Restoring, fact: MembershipSet) -> None:
        device = source.user(fact.user).devices.get(fact.device)
        if device is None:
            return
        if fact.joined:
            device.channels = device.channels or {}
            device.channels[source.shared(fact.channel)] = None
        elif device.channels is not None:
            device.channels.pop(fact.channel, None)

    def resume(self, users: Sequence[User], start: Start) -> None:
        """Enter the memberships that were noted. O(users and devices)."""
        for user in users:
            for device in user.devices.values():
                names, device.channels = device.channels, None
                if device.state != GONE:
                    for name in names or ():
                        self.add(device, name)

    # --- asking -----------------------------------------------------------------------------------------------

    def page(self, name: str, after: str, limit: int) -> tuple[list[str], str, int, list[int]]:
        """Names of online members after `after`, where the next page starts, the total and the counts.

        O(limit + log online). A channel that does not exist is one that nobody is in.
        """
        channel = self.by_name.get(name)
        if channel is None:
            return [], "", 0, [0] * len(ONLINE_STATUSES)
        total, counts = len(channel.online), channel.count_list()
        if limit == 0:
            return [], "", total, counts
        self._seq += 1
        channel.paged_seq = self._seq
        names = list(channel.online[(start := channel.online.bisect_right(after)) : start + limit + 1])
        if len(names) > limit:
            return names[:limit], names[limit - 1], total, counts
        return names, "", total, counts

    # --- watching ---------------------------------------------------------------------------------------------

    def watch(self, session: Session, name: str) -> None:
        """Tell the session of the channel from now on. Idempotent. Raises `RequestError` (`channel_limit`)."""
        self.check_watch(session, name)
        if session.channels is None:
            session.channels = {}
        session.channels[name] = None
        channel = self._channel(name)
        self._seq += 1
        channel.watchers[session] = channel.watched_seq = self._seq
        if len(channel.watchers) > CHANNEL_FULL_MAX:
            channel.is_large = True

    def check_watch(self, session: Session, name: str) -> None:
        """Raise `RequestError` (`channel_limit`) if the session may not watch this channel as well."""
        watched = session.channels or {}
        most = CHANNELS_PER_DEVICE_MAX if session.role == "user" else SERVICE_WATCH_CHANNELS_MAX
        if len(watched) >= most and name not in watched:
            raise RequestError("channel_limit", f"this link watches {most} channels; unwatch one")

    def unwatch(self, session: Session, name: str) -> None:
        """Stop telling the session of the channel. Idempotent. O(batches on their way) for the last watcher."""
        if session.channels is None or name not in session.channels:
            return
        del session.channels[name]
        if session.stale_channels is not None:
            session.stale_channels.pop(name, None)
        channel = self.by_name[name]
        channel.watchers.pop(session, None)
        # Eight tenths, so that a room of just that size does not change its ways with each visitor.
        if len(channel.watchers) < CHANNEL_FULL_MAX * 8 // 10:
            channel.is_large = False
        if not channel.watchers:
            # Nothing is kept while nobody watches: the next watcher must not be told of a member who hid before.
            channel.changed, channel.left = {}, {}
            self._sending = [sending for sending in self._sending if sending[1] is not channel]
        self._drop_if_empty(channel)

    def let_go(self, session: Session, lost_ms: int, most: int) -> int:
        """Take channels off its watch, some at a time."""
        names = list(islice(reversed(session.channels or {}), most))
        for name in names:
            self.unwatch(session, name)
        return len(names)

    def resume_session(self, session: Session) -> None:
        """A slow watcher reads again: tell it the counts of what it missed something of. O(channels missed)."""
        stale, session.stale_channels = session.stale_channels, None
        for name in stale or ():
            channel = self.by_name.get(name)
            if channel is not None:
                counts = ChannelCounts(name, len(channel.online), channel.count_list(), [], [], False)
                self._outboxes.reply(session, encode(counts))

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next, if at all; 0 = at once."""
        return 0 if self._sending or self.news.has_work else self._batches.next_ms

    def settle(self, now_ms: int) -> None:
        """Tell the watchers of small channels what has happened of members, as much as a turn may."""
        for user in self._publisher.take_released():
            self.news.release(user)
        if self.news.has_work:
            self.news.send(now_ms)
        self._publisher.spacing.end_turn()

    def tick(self, now_ms: int) -> None:
        """Make the batches that are due, and send the next slice of what is being sent."""
        for channel in self._batches.take_due(now_ms):
            channel.queued = False
            if channel.changed or channel.left:
                data = frame(encode(self._batch(channel)))
                self._sending.append((data, channel, iter(list(channel.watchers))))
            self._drop_if_empty(channel)
        left = SLICE_WATCHERS
        while self._sending and left > 0:
            data, channel, watchers = self._sending[0]
            for session in watchers:
                left -= 1
                if session in channel.watchers:
                    self._send(session, data, channel.name)
                if left <= 0:
                    break
            else:
                self._sending.pop(0)

    def _batch(self, channel: Channel) -> ChannelCounts:
        changed, left = channel.changed, channel.left
        channel.changed, channel.left = {}, {}
        records = [self._publisher.record_of(user) for user in list(changed.values())[:CHANNEL_BATCH_MAX]]
        gone = list(left)[:CHANNEL_BATCH_MAX]
        complete = len(changed) <= CHANNEL_BATCH_MAX and len(left) <= CHANNEL_BATCH_MAX
        return ChannelCounts(channel.name, len(channel.online), channel.count_list(), records, gone, complete)

    def _note(self, channel: Channel, user: User, *, was_in: bool, is_in: bool) -> None:
        # Nothing is kept while nobody watches: the next watcher must not be told of a member who hid before.
        if channel.watchers:
            self.news.note(channel, user, self._seq, was_in=was_in, is_in=is_in)

    def _tell(self, channel: Channel, user: User, news: News, now_ms: int) -> int:
        """Tell the watchers what has happened of a member, with the present record."""
        if not channel.watchers:
            return 0
        if not news.was_in and not news.is_in and channel.paged_seq <= news.began:
            # Come and gone, and in no list that anybody was given.
            return 0
        if channel.is_large or channel.queued or any(sending is channel for _, sending, _ in self._sending):
            # Also while the last batch of one that was large is not out: it would overtake what is told now.
            self._gather(channel, user, now_ms, is_in=news.is_in)
            return 0
        kind: MemberKind = "leave" if not news.is_in else "change" if news.was_in else "join"
        event = ChannelEvent(channel.name, kind, len(channel.online), self._publisher.record_of(user))
        data = frame(encode(event))
        knows_all = channel.watched_seq > news.latest
        for session, since in channel.watchers.items():
            # Who began to watch after the last of it has it from the page.
            if not knows_all or since <= news.latest:
                self._send(session, data, channel.name)
        return len(channel.watchers)

    def _gather(self, channel: Channel, user: User, now_ms: int, *, is_in: bool) -> None:
        if is_in:
            channel.left.pop(user.name, None)
            channel.changed[user.name] = user
        else:
            channel.changed.pop(user.name, None)
            channel.left[user.name] = None
        if not channel.queued:
            channel.queued = True
            self._batches.add(now_ms, channel)

    def _send(self, session: Session, data: bytes, name: str) -> None:
        if not self._outboxes.push(session, data):
            if session.stale_channels is None:
                session.stale_channels = {}
            session.stale_channels[name] = None

    def _channel(self, name: str) -> Channel:
        channel = self.by_name.get(name)
        if channel is None:
            channel = self.by_name[name] = Channel(name)
        return channel

    def _drop_if_empty(self, channel: Channel) -> None:
        if not channel.members and not channel.watchers and not channel.queued:
            self.by_name.pop(channel.name, None)


def _check_room(device: Device, channels_max: int) -> None:
    """Raise `RequestError` (`channel_limit`) if the device, or all devices of its user together, may not join another
    channel."""
    where, count = f"{device.user.name}/{device.id}", len(device.channels or ())
    if count >= channels_max:
        raise RequestError("channel_limit", f"{where} is in {count} channels; leave one first")
    count = sum(len(other.channels or ()) for other in device.user.devices.values())
    if count >= MEMBERSHIPS_PER_USER_MAX:
        raise RequestError(
            "channel_limit", f"the devices of {device.user.name} are in {count} channels; leave one first"
        )
