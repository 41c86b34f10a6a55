"""What the watchers of channels are told: each change of a small one, and batches of a large one, each by the watcher's
own eyes.

Nearly all watchers of a channel see the same, and are sent one frame. Whoever sees less, or another face of the member
who changed, is sent a frame made for what they see (`channel_views`); those who see the same share that, too.
"""

from __future__ import annotations

from collections.abc import Iterator

from presenced.core.delays import DelayQueue
from presenced.core.faces import FULL, HIDDEN, hidden_record, is_same, reduced
from presenced.core.ledger import Ledger
from presenced.core.model import Session, User
from presenced.core.outboxes import Outboxes
from presenced.core.parts.channel import Channel
from presenced.core.parts.channel_news import ChannelNews, News
from presenced.core.parts.channel_views import ChannelViews
from presenced.core.publisher import Publisher
from presenced.core.record_pushes import RecordPushes
from presenced.limits import CHANNEL_BATCH_MAX, CHANNEL_INTERVAL_MS
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import ChannelCounts, ChannelEvent, MemberKind, Record

SLICE_WATCHERS = 500
"""Watchers of a batch that are served in one turn: about 2 ms of writes."""

OWN_BATCH = 10
"""How many of these one counts besides who is sent a batch of their own."""


class Batch:
    """What has happened in a large channel since the last one, on its way to the watchers."""

    __slots__ = ("changed", "channel", "complete", "data", "left", "watchers")

    def __init__(self, channel: Channel) -> None:
        """Take what was gathered in the channel."""
        self.channel = channel
        self.changed, channel.changed = list(channel.changed.values()), {}
        self.left, channel.left = list(channel.left.values()), {}
        self.complete = len(self.changed) <= CHANNEL_BATCH_MAX and len(self.left) <= CHANNEL_BATCH_MAX
        self.watchers: Iterator[Session] = iter(list(channel.watchers))
        self.data = b""


class ChannelReports:
    """Owns what is still to be told."""

    def __init__(
        self, views: ChannelViews, ledger: Ledger, publisher: Publisher, pushes: RecordPushes, outboxes: Outboxes
    ) -> None:
        self._views = views
        self._ledger = ledger
        self._publisher = publisher
        self._pushes = pushes
        self._outboxes = outboxes
        self.news = ChannelNews(pushes.spacing, self._tell)
        self._batches: DelayQueue[Channel] = DelayQueue(CHANNEL_INTERVAL_MS)
        self._sending: list[Batch] = []
        self._moved: dict[tuple[Session, Channel, User], int] = {}
        """Who was given another face of a member in this turn, and which it was before."""
        self._lost: dict[tuple[Session, Channel], None] = {}
        """Watchers who cannot know any longer who is in the channel, by what they have done themselves."""

    # --- what happens -----------------------------------------------------------------------------------------

    def note(self, channel: Channel, user: User, seq: int, before: Record, *, was_in: bool, is_in: bool) -> None:
        """A member has come, gone, or changed from this record. O(1)."""
        # Nothing is kept while nobody watches: the next watcher must not be told of a member who hid before.
        if channel.watchers:
            self.news.note(channel, user, seq, before, was_in=was_in, is_in=is_in)

    def note_face(self, session: Session, channel: Channel, user: User, before: int) -> None:
        """The session's link may see the member by another face than this from now on. It is told with the turn."""
        self._moved.setdefault((session, channel, user), before)

    def note_lost(self, session: Session, channel: Channel) -> None:
        """The session's link may see others in the channel from now on, and is told with the turn to ask anew."""
        self._lost[session, channel] = None

    @property
    def has_batches(self) -> bool:
        """Whether something of a large channel is still to be told. O(1)."""
        return bool(self._sending or len(self._batches))

    def is_leaving(self, channel: Channel, user: User) -> bool:
        """Whether it is still to be told that the user has left this large channel. O(what is on its way)."""
        return user.name in channel.left or any(
            batch.channel is channel and user in batch.left for batch in self._sending
        )

    def forget(self, channel: Channel) -> None:
        """Nobody watches the channel any longer. O(batches on their way)."""
        channel.changed, channel.left = {}, {}
        self._sending = [batch for batch in self._sending if batch.channel is not channel]

    def forgive(self, session: Session, name: str) -> None:
        """The session does not watch this channel any longer, so it is owed nothing of it. O(1)."""
        if session.stale_channels is not None:
            session.stale_channels.pop(name, None)

    # --- time -------------------------------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next, if at all; 0 = at once."""
        return 0 if self._sending or self.news.has_work else self._batches.next_ms

    def settle(self, now_ms: int) -> None:
        """Tell the watchers of small channels what has happened of members, as much as a turn may."""
        for user in self._pushes.take_released():
            self.news.release(user)
        if self._moved or self._lost:
            self._tell_moved()
        if self.news.has_work:
            self.news.send(now_ms)
        self._pushes.spacing.end_turn()

    def tick(self, now_ms: int) -> list[Channel]:
        """Make the batches that are due, and send the next slice of what is being sent. Returns the channels whose
        batch was due."""
        due = list(self._batches.take_due(now_ms))
        for channel in due:
            channel.queued = False
            if channel.changed or channel.left:
                batch = Batch(channel)
                batch.data = self._batch_for(batch, None)
                self._sending.append(batch)
        left = SLICE_WATCHERS
        while self._sending and left > 0:
            batch = self._sending[0]
            channel = batch.channel
            is_for_all = self._is_for_all(batch)
            for session in batch.watchers:
                left -= 1
                if session in channel.watchers:
                    is_plain = is_for_all and self._views.sees_all(session, channel)
                    self._send(session, batch.data if is_plain else self._batch_for(batch, session), channel.name)
                    left -= 0 if is_plain else OWN_BATCH
                if left <= 0:
                    break
            else:
                self._sending.pop(0)
        return due

    def resume(self, session: Session, channels: dict[str, Channel]) -> None:
        """A slow watcher reads again: tell it the counts of what it missed something of. O(channels missed)."""
        stale, session.stale_channels = session.stale_channels, None
        for name in stale or ():
            channel = channels.get(name)
            if channel is not None:
                self._outboxes.reply(session, encode(self._nothing_known(session, channel)))

    # --- within -----------------------------------------------------------------------------------------------

    def _tell(self, channel: Channel, user: User, news: News, now_ms: int) -> int:
        """Tell the watchers what has happened of a member, with the present record."""
        if not channel.watchers:
            return 0
        if not news.was_in and not news.is_in and channel.paged_seq <= news.began:
            # Come and gone, and in no list that anybody was given.
            return 0
        if channel.is_large or channel.queued or any(batch.channel is channel for batch in self._sending):
            # Also while the last batch of one that was large is not out: it would overtake what is told now.
            self._gather(channel, user, now_ms, is_in=news.is_in)
            return 0
        kind: MemberKind = "leave" if not news.is_in else "change" if news.was_in else "join"
        data = self._event(channel, kind, len(channel.online), self._publisher.record_of(user))
        knows_all = channel.watched_seq > news.latest
        # Who has left is seen by others than the ground that they were in the channel, or not at all.
        has_left = self._views.needs_membership and user.name not in channel.members
        is_for_all = user.privacy is None and not has_left
        sees_all = self._views.sees_all
        others: dict[tuple[int, int], bytes] = {}
        for session, since in channel.watchers.items():
            # Who began to watch after the last of it has it from the page.
            if knows_all and since > news.latest:
                continue
            if is_for_all and sees_all(session, channel):
                self._send(session, data, channel.name)
            else:
                self._tell_by_face(session, channel, user, kind, news.before, others)
        return len(channel.watchers)

    def _tell_by_face(
        self,
        session: Session,
        channel: Channel,
        user: User,
        kind: MemberKind,
        before: Record,
        made: dict[tuple[int, int], bytes],
    ) -> None:
        """Tell one watcher what it sees of the change. `made`: the frames of this change by face and count."""
        seen = self._views.face(session, channel, user)
        if seen == HIDDEN:
            return
        if kind == "change" and seen != FULL and is_same(reduced(before, seen, 1), reduced(user.record, seen, 1)):
            return
        total = self._views.counts(session, channel)[0]
        if self._views.needs_membership and user.name not in channel.members:
            seen = self._views.face_apart(session, user)
        data = made.get((seen, total))
        if data is None:
            data = made[seen, total] = self._event(channel, kind, total, self._record(user, seen))
        self._send(session, data, channel.name)

    def _record(self, user: User, seen: int) -> Record:
        """The present record of a face, to be pushed: above what was answered in this moment."""
        if seen == HIDDEN:
            return hidden_record(user)
        return user.record if seen == FULL else reduced(user.record, seen, self._ledger.version + 1)

    def _event(self, channel: Channel, kind: MemberKind, total: int, record: Record) -> bytes:
        return frame(encode(ChannelEvent(channel.name, kind, total, record)))

    def _tell_moved(self) -> None:
        """Tell those who were given another face of a member that the member has come, gone, or changed for them."""
        moved, self._moved = self._moved, {}
        for (session, channel, user), before in moved.items():
            if session.ended or session not in channel.watchers or (session, channel) in self._lost:
                continue
            seen = self._views.face(session, channel, user)
            is_in = user.name in channel.online
            was_in = self.news.is_told_of(channel, user, channel.watchers[session]) or self.is_leaving(channel, user)
            was_listed, is_listed = before != HIDDEN and was_in, seen != HIDDEN and is_in
            if not was_listed and not is_listed:
                continue
            if was_in != is_in and seen != HIDDEN:
                # That the member has come or left is told to all who see them.
                continue
            if was_listed and is_listed and is_same(reduced(user.record, before, 1), reduced(user.record, seen, 1)):
                continue
            kind: MemberKind = "leave" if not is_listed else "change" if was_listed else "join"
            total = self._views.counts(session, channel)[0]
            record = self._record(user, seen)
            if before not in (FULL, HIDDEN) and seen == FULL:
                record = self._publisher.face_records.raised(user, seen, record, self._ledger.version)
            self._send(session, self._event(channel, kind, total, record), channel.name)
        lost, self._lost = self._lost, {}
        for session, channel in lost:
            if not session.ended and session in channel.watchers:
                self._send(session, frame(encode(self._nothing_known(session, channel))), channel.name)

    def _nothing_known(self, session: Session, channel: Channel) -> ChannelCounts:
        """The counts alone: the watcher is to ask for the members anew."""
        return ChannelCounts(channel.name, *self._views.counts(session, channel), [], [], False)

    def _is_for_all(self, batch: Batch) -> bool:
        """Whether the batch is the same for all who see everybody in the channel. It may be no longer in a later slice.
        O(what is in it)."""
        members = batch.channel.members
        return all(user.privacy is None for user in (*batch.changed, *batch.left)) and (
            not self._views.needs_membership or all(user.name in members for user in batch.changed)
        )

    def _batch_for(self, batch: Batch, session: Session | None) -> bytes:
        """The batch as this session's link sees it; None = as those who see all. O(what is in it)."""
        channel, changed, left, complete = batch.channel, batch.changed, batch.left, batch.complete
        if session is None:
            records = [self._publisher.record_of(user) for user in changed[:CHANNEL_BATCH_MAX]]
            total, counts = len(channel.online), channel.count_list()
        else:
            # Who has left since is told with the next batch.
            members = channel.members
            faces = [(user, self._views.face(session, channel, user)) for user in changed if user.name in members]
            records = [self._record(user, seen) for user, seen in faces if seen != HIDDEN]
            left = [user for user in left if self._views.face(session, channel, user) != HIDDEN]
            complete = len(records) <= CHANNEL_BATCH_MAX and len(left) <= CHANNEL_BATCH_MAX
            records = records[:CHANNEL_BATCH_MAX]
            total, counts = self._views.counts(session, channel)
        gone = [user.name for user in left[:CHANNEL_BATCH_MAX]]
        return frame(encode(ChannelCounts(channel.name, total, counts, records, gone, complete)))

    def _gather(self, channel: Channel, user: User, now_ms: int, *, is_in: bool) -> None:
        if is_in:
            channel.left.pop(user.name, None)
            channel.changed[user.name] = user
        else:
            channel.changed.pop(user.name, None)
            channel.left[user.name] = user
        if not channel.queued:
            channel.queued = True
            self._batches.add(now_ms, channel)

    def _send(self, session: Session, data: bytes, name: str) -> None:
        if not self._outboxes.push(session, data):
            if session.stale_channels is None:
                session.stale_channels = {}
            session.stale_channels[name] = None
