"""What a follower reads: the stream of all events, and one for each set of users that some follower sees.

A narrowed stream has numbers of its own, because numbers that everybody shared would tell how much happens to users
whom the follower does not see. It holds no events: it knows which numbers of its own each chunk has, and finds its
events there by the names. So it costs a few integers, and its numbers go on over a restart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

from presenced.core.event_chunks import events_of, other_named
from presenced.core.event_facts import EventAdded, EventStreamSet
from presenced.core.parts.event_history import EventHistory
from presenced.core.pattern_index import PatternIndex
from presenced.core.rights import EVERYBODY, Patterns
from presenced.limits import EVENT_STREAMS_MAX, VERSION_GAP
from presenced.wire.codec import encode
from presenced.wire.frames import frame


class NextEvents(NamedTuple):
    """Events for a follower, as frames."""

    frames: list[bytes]
    seq: int
    """The cursor behind them."""
    is_from_chunk: bool
    """It was decompressed for this, which costs a millisecond."""


def leapt(seq: int, above: int) -> int:
    """The number on which the next event follows after a kill: higher by 2^32 at least, and above all that was told,
    since `above` is another each time and higher by more than there are events between two kills."""
    return above if above >= seq + VERSION_GAP else seq + above


class EventStream:
    """The stream of all events."""

    see = EVERYBODY

    def __init__(self, history: EventHistory, epoch: int) -> None:
        self.epoch = epoch
        self.followers = 0
        self.released = 0
        """The newest event that may be told: its fact is as durable as promised."""
        self._history = history

    @property
    def seq(self) -> int:
        """The number of the newest event."""
        return self._history.seq

    def go_on_in(self, epoch: int) -> None:
        """What was read belongs to this epoch of the server's history."""
        self.epoch = epoch

    def leave(self, now_ms: int) -> None:
        """A follower has gone, or follows another stream."""
        self.followers -= 1

    def join(self) -> None:
        """There is one more follower."""
        self.followers += 1

    def release(self, seq: int) -> None:
        """The events up to this one of the stream of all may be told."""
        self.released = seq

    def knows(self, seq: int) -> bool:
        """Whether a cursor at this number misses nothing."""
        return self._history.knows(seq)

    def known_of(self, seqs: set[int]) -> set[int]:
        """Those of the cursors that miss nothing. O(cursors * log chunks)."""
        return {seq for seq in seqs if self._history.knows(seq)}

    def count_behind(self, seq: int) -> int:
        """How many events are behind this number. O(chunks)."""
        return self._history.count_behind(seq)

    def at_hand(self, seq: int) -> int:
        """The cursor that is as good as this one, and behind a leap of the numbers if there is no event before it."""
        history = self._history
        return seq if history.chunk_behind(seq) is not None else max(seq, history.tail_after)

    def read(self, seq: int) -> NextEvents | None:
        """The next events behind a cursor that may be told, at most those of a chunk; None = it is not known any
        longer. O(events read)."""
        history = self._history
        if not history.knows(seq):
            return None
        chunk = history.chunk_behind(seq)
        if chunk is None:
            return _batch([(fact, fact.seq) for fact in history.tail], self.at_hand(seq), self.released)
        facts = history.facts(chunk)
        if chunk is history.chunks[-1]:
            facts += history.tail
        return _batch([(fact, fact.seq) for fact in facts], seq, self.released, is_from_chunk=True)


class NarrowedStream(EventStream):
    """The events of some users."""

    def __init__(self, history: EventHistory, see: Patterns, epoch: int, since: int, of: int) -> None:
        super().__init__(history, epoch)
        self.see = see
        self.of = of
        """The epoch of the stream of all when it was begun."""
        self.since = since
        """It counts what happens behind this number of the stream of all."""
        self.unfollowed_ms = 0
        """When the last follower went, if there is none."""
        self.tail: list[tuple[EventAdded, int]] = []
        """Its events that are in no chunk, with the number of the last of each fact."""
        self.tail_after = 0
        self._seq = 0
        self._waiting: deque[tuple[int, int]] = deque()
        """What may not be told yet: numbers in the stream of all, and in this."""

    @property
    def seq(self) -> int:
        """The number of the newest event."""
        return self._seq

    def counts(self, fact: EventAdded) -> bool:
        """Whether the event is one of this stream. O(patterns)."""
        if fact.kind:
            if not fact.user:
                return self.epoch in fact.streams
            other = other_named(fact)
            if other and not self.see.match(other):
                return False
        return fact.seq > self.since and self.see.match(fact.user)

    def add(self, fact: EventAdded) -> None:
        """One more event, which the stream counts. O(1)."""
        self._seq += fact.count
        self.tail.append((fact, self._seq))
        self._waiting.append((fact.seq, self._seq))

    def sealed(self) -> tuple[int, int]:
        """The tail has become part of a chunk; returns which numbers it had."""
        after, self.tail_after = self.tail_after, self._seq
        self.tail = []
        return after, self._seq

    def leave(self, now_ms: int) -> None:
        """See `EventStream`."""
        super().leave(now_ms)
        self.unfollowed_ms = now_ms

    def start(self, now_ms: int) -> None:
        """The server has started: nobody follows since this moment."""
        self.unfollowed_ms = now_ms

    def go_on_from(self, seq: int) -> None:
        """What was read of it ends in this number."""
        self._seq = self.tail_after = self.released = seq

    def leap(self, above: int, whole_seq: int) -> None:
        """After a kill, when the stream of all goes on behind `whole_seq`: see `leapt`."""
        self._seq = self.tail_after = leapt(self._seq, above)
        self._waiting.append((whole_seq, self._seq))

    def release(self, seq: int) -> None:
        """See `EventStream`. O(events released)."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= seq:
            self.released = waiting.popleft()[1]

    def knows(self, seq: int) -> bool:
        """See `EventStream`. O(chunks)."""
        return bool(self.known_of({seq}))

    def known_of(self, seqs: set[int]) -> set[int]:
        """See `EventStream`. O(chunks) if some are not in the tail, and O(cursors * log chunks)."""
        known = {seq for seq in seqs if self.tail_after <= seq <= self._seq}
        if len(known) == len(seqs):
            return known
        parts = self._parts()
        for seq in seqs - known:
            place = bisect_left(parts, seq, key=itemgetter(1))
            if place < len(parts) and parts[place][0] <= seq:
                known.add(seq)
        return known

    def at_hand(self, seq: int) -> int:
        """See `EventStream`. O(chunks)."""
        is_behind = any(last > seq and last > after for after, last in self._parts())
        return seq if is_behind else max(seq, self.tail_after)

    def count_behind(self, seq: int) -> int:
        """See `EventStream`."""
        count = sum(last - max(seq, after) for after, last in self._parts() if last > seq)
        return count + self._seq - max(seq, self.tail_after)

    def _parts(self) -> list[tuple[int, int]]:
        epoch = self.epoch
        return [chunk.streams[epoch] for chunk in self._history.chunks if epoch in chunk.streams]

    def read(self, seq: int) -> NextEvents | None:
        """See `EventStream`. O(chunks, and events of the chunk)."""
        if not self.knows(seq):
            return None
        for chunk in self._history.chunks:
            after, last = chunk.streams.get(self.epoch, (0, -1))
            if last <= seq or last == after:
                continue
            numbered: list[tuple[EventAdded, int]] = []
            for fact in self._history.facts(chunk):
                if self.counts(fact):
                    after += fact.count
                    numbered.append((fact, after))
            if last == self.tail_after:
                numbered += self.tail
            return _batch(numbered, seq, self.released, is_from_chunk=True)
        return _batch(self.tail, self.at_hand(seq), self.released)

    def emptied(self, tail: Sequence[EventAdded]) -> None:
        """Facts of the tail were emptied: these stand there now, with the same numbers. O(tail)."""
        by_seq = {fact.seq: fact for fact in tail}
        self.tail = [(by_seq[fact.seq], seq) for fact, seq in self.tail]

    def fact(self) -> EventStreamSet:
        """For the log and for snapshots: as the stream was behind the last chunk. O(patterns)."""
        see = self.see
        return EventStreamSet(
            "",
            self.epoch,
            self.of,
            sorted(see.names),
            list(see.prefixes),
            list(see.endings),
            self.since,
            self.tail_after,
        )


def _batch(
    numbered: Sequence[tuple[EventAdded, int]], seq: int, released: int, *, is_from_chunk: bool = False
) -> NextEvents:
    frames: list[bytes] = []
    for fact, last in numbered:
        if last > released:
            break
        if last > seq:
            frames += [frame(encode(event)) for event in events_of(fact, last) if event.seq > seq]
            seq = last
    return NextEvents(frames, seq, is_from_chunk)


class EventStreams:
    """Owns the streams of those who see some users. There is one for each list of patterns."""

    def __init__(self, history: EventHistory) -> None:
        self.by_epoch: dict[int, NarrowedStream] = {}
        self._history = history
        self._by_sight: dict[Patterns, NarrowedStream] = {}
        self._index: PatternIndex[NarrowedStream] = PatternIndex()

    def __bool__(self) -> bool:
        return bool(self.by_epoch)

    def of(self, see: Patterns) -> NarrowedStream | None:
        """The stream of these users, if there is one. O(1)."""
        return self._by_sight.get(see)

    def add(self, stream: NarrowedStream) -> None:
        """One more stream, of users of whom there is none. O(patterns)."""
        self.by_epoch[stream.epoch] = self._by_sight[stream.see] = stream
        self._index.add(stream, stream.see)

    def remove(self, stream: NarrowedStream) -> None:
        """Forget the stream. O(patterns)."""
        del self.by_epoch[stream.epoch]
        del self._by_sight[stream.see]
        self._index.remove(stream)

    def count(self, fact: EventAdded) -> None:
        """The fact is one more event of the streams that tell of it. O(those, and streams with prefixes)."""
        for stream in self._index.of(fact.user):
            if stream.counts(fact):
                stream.add(fact)

    def that_count(self, fact: EventAdded) -> list[int]:
        """The epochs of the streams that count the fact. As `PatternIndex.of`."""
        return [stream.epoch for stream in self._index.of(fact.user) if stream.counts(fact)]

    def sealed(self, with_empty: bool) -> dict[int, tuple[int, int]]:
        """The tail is about to be a chunk; returns the numbers that it has in each stream, also in those that have no
        event there if that is wanted. O(streams)."""
        numbers = {}
        for stream in self.by_epoch.values():
            after, last = stream.sealed()
            if last > after or with_empty:
                numbers[stream.epoch] = (after, last)
        return numbers

    def emptied(self) -> None:
        """Facts of the tail were emptied. O(streams * tail)."""
        for stream in self.by_epoch.values():
            stream.emptied(self._history.tail)

    def leap(self, above: int, whole_seq: int) -> None:
        """As `NarrowedStream.leap`. O(streams)."""
        for stream in self.by_epoch.values():
            stream.leap(above, whole_seq)

    def release(self, seq: int) -> None:
        """The events up to this one of the stream of all may be told. O(streams, and what is released)."""
        for stream in self.by_epoch.values():
            stream.release(seq)

    @property
    def is_full(self) -> bool:
        """Whether a stream has to be given up for the next one."""
        return len(self.by_epoch) >= EVENT_STREAMS_MAX

    def unfollowed(self, is_kept: Callable[[int], bool]) -> list[NarrowedStream]:
        """Those that nobody follows, and that need not be kept by their epochs; the one that has been without a
        follower the longest first. O(streams)."""
        free = [one for one in self.by_epoch.values() if not one.followers and not is_kept(one.epoch)]
        return sorted(free, key=lambda stream: stream.unfollowed_ms)
