"""The changes of members that the watchers of their channels have not been told yet.

A change of a member is noted as a net effect: whether the watchers know the member to be in the channel, and whether
the member is in it now. It is told at the end of the turn if the member's spacing admits it. Otherwise it is told as
soon as the spacing does, and all that happened in between is one change. A change of a member of
very many channels is told in slices of a few thousand deliveries each turn, with changes of others in between. What is
noted may change until then, so that each slice tells the latest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from presenced.core.model import User
from presenced.core.parts.channel import Channel
from presenced.core.spacing import Spacing
from presenced.wire.messages import Record

SLICE_DELIVERIES = 4_000
"""Deliveries of channel events in one turn, and those of one channel more: about 3 ms."""

SHARE_DELIVERIES = 1_000
"""How many of these one member may take before it is another's turn."""


class News:
    """What happened of one member in one channel since it was last told."""

    __slots__ = ("before", "began", "is_in", "latest", "was_in")

    def __init__(self, seq: int, before: Record, *, was_in: bool) -> None:
        self.before = before
        """The member's record before all of it."""
        self.was_in = was_in
        """Whether watchers believe that the member is in."""
        self.is_in = was_in
        self.began = self.latest = seq
        """The number of questions about channels by the first and by the last of it: who watches since, knows it."""


class ChannelNews:
    """The changes in channels that were not told yet."""

    def __init__(self, spacing: Spacing, tell: Callable[[Channel, User, News, int], int]) -> None:
        """`tell` tells one change (its last argument is the time), and returns how many deliveries that made."""
        self._spacing = spacing
        self._tell = tell
        self._noted: dict[User, dict[Channel, News]] = {}
        self._ready: dict[User, None] = {}
        """Those of `_noted` to whom it may be their turn."""
        self._outgoing: dict[User, dict[Channel, News]] = {}
        """What was admitted, and goes out now, the last of each first."""
        self._line: deque[User] = deque()
        """Whose turn it is: the users of `_outgoing`."""

    @property
    def is_pending(self) -> bool:
        """Whether somebody is still to be told of something."""
        return bool(self._noted or self._outgoing)

    @property
    def has_work(self) -> bool:
        """Whether `send` has more to do, now."""
        return bool(self._ready or self._outgoing)

    def channels_of(self, user: User) -> list[Channel]:
        """The channels in which something of this member is still to be told. O(these)."""
        return list({**self._noted.get(user, {}), **self._outgoing.get(user, {})})

    def is_told_of(self, channel: Channel, user: User, since: int) -> bool:
        """Whether who began to watch the channel with the question `since` believes that the user is in it, or may have
        been given a list that says so. O(1)."""
        for told in (self._outgoing, self._noted):
            news = told[user].get(channel) if user in told else None
            if news is not None and since <= news.latest:
                return news.was_in or channel.paged_seq > news.began
        return user.name in channel.online

    def note(self, channel: Channel, user: User, seq: int, before: Record, *, was_in: bool, is_in: bool) -> None:
        """A member has come, gone, or changed from this record. O(1)."""
        noted = self._noted.get(user)
        if noted is None:
            noted = self._noted[user] = {}
        news = noted.get(channel)
        if news is None:
            news = noted[channel] = News(seq, before, was_in=was_in)
        news.is_in, news.latest = is_in, seq
        if not user.push_waits:
            self._ready[user] = None

    def release(self, user: User) -> None:
        """The user's spacing is over."""
        if user in self._noted:
            self._ready[user] = None

    def hasten(self, user: User) -> None:
        """Tell with this turn what is noted of the user, however much was told before. O(channels)."""
        noted = self._noted.pop(user, None)
        self._ready.pop(user, None)
        if noted is None:
            return
        if user in self._outgoing:
            for channel, news in self._outgoing[user].items():
                _put_before(noted, channel, news)
        else:
            self._line.append(user)
        self._outgoing[user] = dict(reversed(noted.items()))

    def send(self, now_ms: int) -> None:
        """Tell what may be told, as much as a turn may. O(what is told)."""
        if self._ready:
            self._admit(now_ms)
        left = SLICE_DELIVERIES
        while self._line and left > 0:
            user = self._line.popleft()
            share = self._send_some(now_ms, user, self._outgoing[user])
            left -= share
            if self._outgoing[user]:
                self._line.append(user)
            else:
                del self._outgoing[user]

    def _admit(self, now_ms: int) -> None:
        ready, self._ready = self._ready, {}
        for user in ready:
            if not self._spacing.admit(user, now_ms):
                continue
            noted = self._noted.pop(user)
            self._spacing.pay(user, sum(len(channel.watchers) for channel in noted))
            outgoing = self._outgoing.get(user)
            if outgoing is None:
                self._line.append(user)
            else:
                # The last of it has not gone out: it goes out with this.
                for channel, news in outgoing.items():
                    _put_before(noted, channel, news)
            self._outgoing[user] = dict(reversed(noted.items()))

    def _send_some(self, now_ms: int, user: User, outgoing: dict[Channel, News]) -> int:
        sent = 0
        later = self._noted.get(user)
        while outgoing and sent < SHARE_DELIVERIES:
            channel, news = outgoing.popitem()
            if later is not None and channel in later:
                # More has happened, and waits: it is told then, and only then.
                _put_before(later, channel, news)
            else:
                sent += 1 + self._tell(channel, user, news, now_ms)
        return sent


def _put_before(noted: dict[Channel, News], channel: Channel, earlier: News) -> None:
    """Merge the earlier change, which was not told yet, into what happened since."""
    news = noted.get(channel)
    if news is None:
        noted[channel] = earlier
    else:
        news.before, news.was_in, news.began = earlier.before, earlier.was_in, earlier.began
