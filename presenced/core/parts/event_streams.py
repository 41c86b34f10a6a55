"""Events for services that do not see everybody: a stream for each set of users that some follower sees.

A stream has a history and numbers of its own, because numbers that everybody shared would tell how much happens to
users whom the follower does not see. It begins with its first follower, and is given up when nobody has followed it
for a while. The next one of the same users has another epoch, so that an old cursor is never taken for one of its own.
All streams together keep as many bytes as the history of all events does.
"""

from __future__ import annotations

from collections.abc import Iterable

from presenced.core.parts.event_history import EventHistory
from presenced.core.pattern_index import PatternIndex
from presenced.core.rights import Patterns
from presenced.limits import EVENT_STREAMS_MAX, EVENTS_BYTES_MAX, EVENTS_SHORT_BYTES_MAX, EVENTS_UNFOLLOWED_MS


class EventStream:
    """What happens to some users, or to all, as its followers are told."""

    __slots__ = ("epoch", "followers", "history", "see", "unfollowed_ms")

    def __init__(self, see: Patterns, epoch: int) -> None:
        self.see = see
        """The users whom it is about."""
        self.epoch = epoch
        self.history = EventHistory()
        self.followers = 0
        self.unfollowed_ms = 0
        """When the last follower went, if there is none."""


class EventStreams:
    """Owns the streams of those who see some users. There is one for each list of patterns."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        """That of the newest stream. Each has another, which is above that of all events."""
        self._by_sight: dict[Patterns, EventStream] = {}
        self._index: PatternIndex[EventStream] = PatternIndex()
        self._is_short = False

    def __bool__(self) -> bool:
        return bool(self._by_sight)

    def join(self, see: Patterns) -> EventStream:
        """One more follower sees these users. O(1), and O(streams) for one that is new."""
        stream = self._by_sight.get(see)
        if stream is None:
            self._make_room()
            self._epoch += 1
            stream = self._by_sight[see] = EventStream(see, self._epoch)
            self._index.add(stream, see)
            self._share()
        stream.followers += 1
        return stream

    def leave(self, stream: EventStream, now_ms: int) -> None:
        """A follower has gone, or follows another stream."""
        stream.followers -= 1
        if not stream.followers:
            stream.unfollowed_ms = now_ms
            if self._is_short:
                self._drop([stream])

    def of(self, user: str) -> list[EventStream]:
        """The streams that tell of this user. As `PatternIndex.of`."""
        return self._index.of(user)

    @property
    def next_ms(self) -> int | None:
        """When `give_up` should be called next; None = not at all. O(streams)."""
        return min((stream.unfollowed_ms + EVENTS_UNFOLLOWED_MS for stream in self._unfollowed()), default=None)

    def give_up(self, now_ms: int) -> None:
        """Drop those that nobody has followed for long. O(streams)."""
        if self._by_sight:
            late_ms = now_ms - EVENTS_UNFOLLOWED_MS
            self._drop([stream for stream in self._unfollowed() if stream.unfollowed_ms <= late_ms])

    def clear(self) -> None:
        """Drop all: nobody follows anything."""
        self._drop(list(self._by_sight.values()))

    def set_short(self, short: bool) -> None:
        """Memory is short, or is enough again. While it is short, only what a follower is about to read stays."""
        self._is_short = short
        if short:
            self._drop(self._unfollowed())
        self._share()

    def _unfollowed(self) -> list[EventStream]:
        return [stream for stream in self._by_sight.values() if not stream.followers]

    def _make_room(self) -> None:
        """Drop the stream that has been without a follower the longest, if there are many."""
        if len(self._by_sight) >= EVENT_STREAMS_MAX:
            self._drop(sorted(self._unfollowed(), key=lambda stream: stream.unfollowed_ms)[:1])

    def _drop(self, streams: Iterable[EventStream]) -> None:
        for stream in streams:
            del self._by_sight[stream.see]
            self._index.remove(stream)

    def _share(self) -> None:
        """Divide the bytes among the streams."""
        bytes_max = EVENTS_SHORT_BYTES_MAX if self._is_short else EVENTS_BYTES_MAX
        for stream in self._by_sight.values():
            stream.history.bound(bytes_max // len(self._by_sight))
