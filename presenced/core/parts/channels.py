"""Channels: which users are in them through which devices, who of them is online, and who is told.

A user is in a channel while at least one live device of theirs is. What watchers and lists see are the members who
are online by their records, so that somebody who hides is in no list, no count and no event. Small channels tell each
watcher each change, spaced as the member's record is (`channel_news`). Above a number of watchers that would be the
square of the room, so large ones tell at most one batch each interval: exact counts, and the members that changed.
What is told is made in `channel_reports`, by what each watcher sees (`channel_views`).

The file is long because members, watchers and counts of a channel change together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from presenced.core.ledger import Ledger
from presenced.core.model import GONE, Device, Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.part import Part, Restoring, Start, TakeUp
from presenced.core.parts.channel import Channel
from presenced.core.parts.channel_reports import ChannelReports
from presenced.core.parts.channel_views import NO_MEMBERS, ChannelViews, Members
from presenced.core.parts.leases import Leases
from presenced.core.parts.watches import Watches
from presenced.core.publisher import Change, Publisher
from presenced.core.record_pushes import RecordPushes
from presenced.core.records import Fact, MembershipSet
from presenced.errors import RequestError
from presenced.limits import (
    CHANNEL_FULL_MAX,
    CHANNELS_PER_DEVICE_MAX,
    MEMBERSHIPS_PER_USER_MAX,
    SERVICE_CHANNELS_PER_DEVICE_MAX,
    SERVICE_WATCH_CHANNELS_MAX,
)
from presenced.wire.messages import Record, Role


class Channels(Part):
    """Owns all channels."""

    def __init__(
        self,
        leases: Leases,
        watches: Watches,
        views: ChannelViews,
        ledger: Ledger,
        publisher: Publisher,
        pushes: RecordPushes,
        outboxes: Outboxes,
    ) -> None:
        self.by_name: dict[str, Channel] = {}
        self.views = views
        self.deadline_source = self.reports = ChannelReports(views, ledger, publisher, pushes, outboxes)
        self._watches = watches
        self._leases = leases
        self._ledger = ledger
        self._publisher = publisher
        publisher.follow(self.follow_record)
        self._seq = 0
        """The number of questions about channels since the start."""

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
        self._enter(device, name, now_ms)

    def _enter(self, device: Device, name: str, now_ms: int) -> None:
        self.add(device, name)
        user = device.user
        if user.channels is not None and user.channels[name] == 1:
            if user.record.status != "offline":
                self._note(self.by_name[name], user, user.record, was_in=False, is_in=True)
            self._membership_changed(now_ms, user, self.by_name[name])

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
            self._note(channel, user, user.record, was_in=True, is_in=False)
        self._membership_changed(now_ms, user, channel)
        self._drop_if_empty(channel)

    def _membership_changed(self, now_ms: int, user: User, channel: Channel) -> None:
        """The user is in the channel from now on, or is not any longer. If that is a ground, others see the user, and
        the user sees others. O(watchers of the user, and what the user's links watch) then."""
        if not self.views.needs_membership:
            return
        self._watches.subject_changed(now_ms, user)
        self._watches.viewer_changed(now_ms, user)
        for session in self._watches.sessions_of(user):
            if session in channel.watchers:
                self.reports.note_lost(session, channel)

    def erase(self, user: User, now_ms: int) -> None:
        """The memberships ended with the devices; that is told with this turn. O(channels)."""
        self.reports.news.hasten(user)

    def follow_record(self, change: Change, now_ms: int) -> None:
        """The user's record has changed: bring the channels they are in up to date. O(channels of the user), and only
        who comes or goes online costs each the log of its members."""
        user, old, new = change
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
                self._note(channel, user, old, was_in=was_online, is_in=is_online)

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

    def appliers(self) -> Mapping[type, TakeUp]:
        """Memberships, which watchers are told of."""
        return {MembershipSet: self._apply}

    def _apply(self, source: Restoring, fact: MembershipSet) -> None:
        device = source.user(fact.user).devices.get(fact.device)
        if device is None or device.state == GONE or fact.joined == (fact.channel in (device.channels or ())):
            return
        self._publisher.tell_changes(source.now_ms)
        if fact.joined:
            self._enter(device, source.shared(fact.channel), source.now_ms)
        else:
            self._remove(device, fact.channel, source.now_ms)

    def resume(self, users: Sequence[User], start: Start) -> None:
        """Enter the memberships that were noted. O(users and devices)."""
        for user in users:
            for device in user.devices.values():
                names, device.channels = device.channels, None
                if device.state != GONE:
                    for name in names or ():
                        self.add(device, name)

    # --- asking -----------------------------------------------------------------------------------------------

    def page(self, session: Session, name: str, after: str, limit: int) -> Members:
        """The members behind the name `after` whom the session's link sees online, and how many there are in all.

        O(limit + log online), and as `ChannelViews.counts` says. A channel that does not exist is one that nobody is
        in.
        """
        channel = self.by_name.get(name)
        if channel is None:
            return NO_MEMBERS
        if limit:
            self._seq += 1
            channel.paged_seq = self._seq
        return self.views.page(session, channel, after, limit)

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
        self.reports.forgive(session, name)
        channel = self.by_name[name]
        channel.watchers.pop(session, None)
        # Eight tenths, so that a room of just that size does not change its ways with each visitor.
        if len(channel.watchers) < CHANNEL_FULL_MAX * 8 // 10:
            channel.is_large = False
        if not channel.watchers:
            # Nothing is kept while nobody watches: the next watcher must not be told of a member who hid before.
            self.reports.forget(channel)
        self._drop_if_empty(channel)

    def let_go(self, session: Session, lost_ms: int, most: int) -> int:
        """Take channels off its watch, some at a time."""
        names = list(islice(reversed(session.channels or {}), most))
        if session.parked is not None:
            session.parked.keep(channels=names)
        for name in names:
            self.unwatch(session, name)
        return len(names)

    def resume_session(self, session: Session) -> None:
        """A slow watcher reads again: tell it the counts of what it missed something of. O(channels missed)."""
        self.reports.resume(session, self.by_name)

    def settle(self, now_ms: int) -> None:
        """Tell the watchers of small channels what has happened of members, as much as a turn may."""
        self.reports.settle(now_ms)

    def tick(self, now_ms: int) -> None:
        """Make the batches that are due, and send the next slice of what is being sent."""
        for channel in self.reports.tick(now_ms):
            self._drop_if_empty(channel)

    # --- who may see whom -------------------------------------------------------------------------------------

    def tells_of(self, subject: User) -> bool:
        """Whether watchers of channels may be told of the user, who is in one or has just left it. O(these)."""
        reports = self.reports
        return subject.channels is not None or reports.has_batches or bool(reports.news.channels_of(subject))

    def note_pair(self, viewer_sessions: Iterable[Session], subject: User) -> None:
        """How these links see the subject is about to change: note in what channels they watch, and how they see the
        subject there now. O(links * channels of one of the two)."""
        for session in viewer_sessions:
            for channel in self._shared(session, subject):
                self.reports.note_face(session, channel, subject, self.views.face(session, channel, subject))

    def note_subject(self, subject: User) -> None:
        """How links see the subject is about to change: note it for all watchers of channels that the subject is in, or
        has just left. O(watchers of these)."""
        for channel in self._told_in(subject).values():
            for session in channel.watchers:
                if session.viewer is not None:
                    self.reports.note_face(session, channel, subject, self.views.face(session, channel, subject))

    def rights_changed(self, session: Session, now_ms: int) -> None:
        """The link has another token."""
        self.lose_track(session)

    def lose_track(self, session: Session) -> None:
        """The session's link sees others otherwise from now on, by what its own user has done. O(channels watched)."""
        for name in session.channels or ():
            self.reports.note_lost(session, self.by_name[name])

    def _shared(self, session: Session, subject: User) -> list[Channel]:
        """The channels that the session watches and the subject is in, or has just left."""
        if session.channels is None:
            return []
        told_in = self._told_in(subject)
        shared = {name: told_in[name] for name in session.channels.keys() & told_in.keys()}
        if self.reports.has_batches:
            watched = (self.by_name[name] for name in session.channels)
            shared |= {one.name: one for one in watched if self.reports.is_leaving(one, subject)}
        return list(shared.values())

    def _told_in(self, subject: User) -> dict[str, Channel]:
        """The channels whose watchers may be told of the user, by name. O(these)."""
        left = {channel.name: channel for channel in self.reports.news.channels_of(subject)}
        return left | {name: self.by_name[name] for name in subject.channels or ()}

    # --- within -----------------------------------------------------------------------------------------------

    def _note(self, channel: Channel, user: User, before: Record, *, was_in: bool, is_in: bool) -> None:
        self.reports.note(channel, user, self._seq, before, was_in=was_in, is_in=is_in)

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
