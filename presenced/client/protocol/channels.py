"""The channels that a client watches: who is in each, how many, and what a watcher has not seen yet.

Everything that the server says about a channel on one link is applied in the order in which it came, pages of the
listing included: a page is the truth for the names it spans, at the moment when the server made it. A push that has an
older record of a member than the one that is held changes the counts alone (protocol.md, section 17).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from presenced.client.protocol.changes import kind_of
from presenced.client.protocol.pending_requests import Make, OnReply, Reply, Send, error_of
from presenced.digests import digest
from presenced.errors import PresenceError
from presenced.limits import USERS_PER_REQUEST_MAX
from presenced.wire.messages import (
    ONLINE_STATUSES,
    ChannelCounts,
    ChannelEvent,
    Error,
    GetMembers,
    MembersPage,
    Record,
    UnwatchChannel,
    WatchChannel,
)

MEMBERS_LISTED_MAX = 1_000
"""Up to this many members a channel is listed as a whole. Of a larger one the total is exact, and the known members are
those whom the server has told of."""

COUNTED = ONLINE_STATUSES

MemberChangeKind = Literal["snapshot", "join", "leave", "change", "counts"]


class MemberChange(NamedTuple):
    """One step of a watched channel.

    `snapshot` (each member at first), `join`, `leave` and `change` tell of one member; `counts` of a large channel,
    or of one whose changes were missed: look at `ChannelWatch.total` and `counts`.
    """

    kind: MemberChangeKind
    channel: str
    record: Record | None
    """The member; of `leave` as last seen. None for `counts`."""
    total: int
    """How many members are online now, exactly."""

    @property
    def user(self) -> str:
        return self.record.user if self.record is not None else ""


class ChannelFeed:
    """What one watcher of a channel has not seen yet. Only the record that was last yielded is kept of each member."""

    __slots__ = ("_bases", "_counts_changed", "_order", "_snapshots", "error", "is_over", "channel", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.channel: WatchedChannel | None = None
        self.error: PresenceError | None = None
        self.is_over = False
        self._order: deque[str] = deque()
        self._bases: dict[str, Record | None] = {}
        self._snapshots: dict[str, None] = {}
        self._counts_changed = False

    @property
    def is_ready(self) -> bool:
        return self.channel is not None and self.channel.is_known

    def moved(self, user: str, before: Record | None, *, snapshot: bool) -> None:
        """A member came, went or changed; `before` is None for one who was not there."""
        if user in self._bases:
            return
        self._bases[user] = before
        if snapshot and before is None:
            self._snapshots[user] = None
        self._order.append(user)
        self.wake()

    def counted(self) -> None:
        """Only the counts have changed; which members did is not known."""
        self._counts_changed = True
        self.wake()

    def take(self) -> MemberChange | None:
        """The next change, or None if the watcher has seen everything."""
        channel = self.channel
        if channel is None:
            return None
        while self._order:
            user = self._order.popleft()
            before, now = self._bases.pop(user), channel.members.get(user)
            is_snapshot = user in self._snapshots
            self._snapshots.pop(user, None)
            if now is None:
                if before is not None:
                    return MemberChange("leave", channel.name, before, channel.total)
            elif before is None:
                return MemberChange("snapshot" if is_snapshot else "join", channel.name, now, channel.total)
            elif kind_of(before, now) is not None:
                return MemberChange("change", channel.name, now, channel.total)
        if self._counts_changed:
            self._counts_changed = False
            return MemberChange("counts", channel.name, None, channel.total)
        return None

    def end(self, error: PresenceError | None) -> None:
        """Nothing more comes; `error` says why, None if the owner closed it."""
        if not self.is_over:
            self.is_over, self.error = True, error
            self.wake()


class WatchedChannel:
    """One watched channel."""

    def __init__(self, name: str, send: Send) -> None:
        self.name = name
        self.members: dict[str, Record] = {}
        self.total = 0
        self.counts: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self.is_known = False
        """The first page has come."""
        self.is_refused = False
        """The server does not let this client watch it."""
        self.is_complete = False
        """All members online are in `members`."""
        self.feeds: dict[ChannelFeed, None] = {}
        self._send = send
        self._earlier: set[str] = set()
        """Members of whom this link has told nothing yet: the versions of what is held of them mean nothing on it."""
        self._was_listed = False
        self._is_listing = False
        self._list_again = False

    def join(self, feed: ChannelFeed) -> None:
        """A watcher comes, and gets the members that are known at once."""
        feed.channel = self
        self.feeds[feed] = None
        for user in self.members:
            feed.moved(user, None, snapshot=True)

    def listing(self) -> tuple[Make, OnReply]:
        """The request that watches the channel and begins its list: with the members who are held, whose names are as
        many as go onto a page, so that the page tells what differs."""
        self._is_listing, self._list_again = True, False
        self._earlier = set(self.members)
        limit = USERS_PER_REQUEST_MAX
        users = sorted(self.members)[:limit]
        if not users:
            return lambda request_id: WatchChannel(request_id, self.name, limit), self._page_after("")
        have = [digest(self.members[user]) for user in users]
        return lambda request_id: WatchChannel(request_id, self.name, limit, users, have), self._page_after("", users)

    def event(self, message: ChannelEvent) -> None:
        """A member came, went or changed."""
        self.total = message.total
        record = message.record
        if message.kind == "leave":
            self._unset(record.user)
        else:
            self._put(record)
        self._complete()

    def counted(self, message: ChannelCounts) -> None:
        """A batch of changes, or (not complete) only the numbers. O(changed)."""
        for record in message.records:
            self._put(record)
        for user in message.left:
            self._unset(user)
        self._count(message.total, message.counts)
        if not message.complete:
            self.is_complete = False
            self._list_again = self._is_listing
        self._complete()
        if not message.complete or not (message.records or message.left):
            for feed in self.feeds:
                feed.counted()

    # --- within -----------------------------------------------------------------------------------------------

    def _complete(self) -> None:
        """List the members if some are not known and there are few enough to list."""
        if self.is_known and not self.is_complete and not self._is_listing and self.total <= MEMBERS_LISTED_MAX:
            self._list("")

    def _list(self, after: str) -> None:
        self._is_listing = True
        self._send(
            lambda request_id: GetMembers(request_id, self.name, after, USERS_PER_REQUEST_MAX), self._page_after(after)
        )

    def _page_after(self, after: str, named: Sequence[str] = ()) -> OnReply:
        """What to do with the page behind `after`; `named`: the members whom the server was told to be held."""

        def paged(reply: Reply) -> None:
            if isinstance(reply, MembersPage):
                self._paged(reply, after, named)
            elif isinstance(reply, Error):
                self.is_refused = True
                for feed in self.feeds:
                    feed.end(error_of(reply))

        return paged

    def _paged(self, page: MembersPage, after: str, named: Sequence[str]) -> None:
        listed = {record.user: None for record in page.records}
        if page.is_partial:
            left = set(page.left)
            listed.update((user, None) for user in named if user not in left)
        for record in page.records:
            self._set(record)
        for user in [user for user in self.members if user > after and (not page.next or user <= page.next)]:
            if user not in listed:
                self._unset(user)
        self._count(page.total, page.counts)
        self.is_known = True
        if page.next > after and len(self.members) < MEMBERS_LISTED_MAX:
            self._list(page.next)
        else:
            self._is_listing = False
            self._was_listed = True
            self.is_complete = not page.next and not self._list_again
            if self._list_again:
                self._list_again = False
                self._complete()
        for feed in self.feeds:
            feed.wake()

    def _count(self, total: int, counts: list[int]) -> None:
        self.total = total
        self.counts.update(zip(COUNTED, counts, strict=False))

    def _put(self, record: Record) -> None:
        """Take what a push tells of a member, unless a page has told something newer."""
        held = self.members.get(record.user)
        is_older = held is not None and 0 < record.version < held.version
        if not is_older or record.user in self._earlier:
            self._set(record)

    def _set(self, record: Record) -> None:
        self._earlier.discard(record.user)
        before = self.members.get(record.user)
        self.members[record.user] = record
        self._recount(before, record)
        for feed in self.feeds:
            feed.moved(record.user, before, snapshot=not self._was_listed)

    def _unset(self, user: str) -> None:
        self._earlier.discard(user)
        before = self.members.pop(user, None)
        if before is not None:
            self._recount(before, None)
            for feed in self.feeds:
                feed.moved(user, before, snapshot=False)

    def _recount(self, before: Record | None, now: Record | None) -> None:
        for record, step in ((before, -1), (now, 1)):
            if record is not None and record.status in self.counts:
                self.counts[record.status] = max(0, self.counts[record.status] + step)


class WatchedChannels:
    """All channels that a client watches."""

    def __init__(self, send: Send, is_resumed: Callable[[], bool]) -> None:
        self._send = send
        self._is_resumed = is_resumed
        self._channels: dict[str, WatchedChannel] = {}
        self._leaving: dict[str, None] = {}
        """Channels that nobody here watches any longer, and the server may."""

    def attach(self, feed: ChannelFeed, name: str) -> None:
        """`feed` watches the channel; the server is asked if this is the first such feed."""
        channel = self._channels.get(name)
        is_new = channel is None or channel.is_refused
        if channel is None or channel.is_refused:
            channel = self._channels[name] = WatchedChannel(name, self._send)
        channel.join(feed)
        if is_new:
            self._send(*channel.listing())

    def release(self, feed: ChannelFeed) -> None:
        """`feed` is closed; with the last one of a channel the server is told. Idempotent."""
        feed.end(None)
        channel = feed.channel
        if channel is None or feed not in channel.feeds:
            return
        del channel.feeds[feed]
        if not channel.feeds and self._channels.get(channel.name) is channel:
            del self._channels[channel.name]
            self._leaving[channel.name] = None
            self._send(*self._unwatching(channel.name))

    def event(self, message: ChannelEvent) -> None:
        """A push arrived."""
        channel = self._channels.get(message.channel)
        if channel is not None:
            channel.event(message)

    def counted(self, message: ChannelCounts) -> None:
        """A push arrived."""
        channel = self._channels.get(message.channel)
        if channel is not None:
            channel.counted(message)

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`."""
        if self._is_resumed():
            for name in self._leaving:
                if name not in self._channels:
                    yield self._unwatching(name)
        else:
            self._leaving.clear()
        for channel in self._channels.values():
            yield channel.listing()

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        for channel in self._channels.values():
            for feed in channel.feeds:
                feed.end(error)
        self._channels.clear()

    def _unwatching(self, name: str) -> tuple[Make, OnReply]:
        def answered(reply: Reply) -> None:
            self._leaving.pop(name, None)

        return lambda request_id: UnwatchChannel(request_id, name), answered
