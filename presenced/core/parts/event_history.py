"""The newest events, bounded in number, age and bytes: compressed chunks, and the facts since the last chunk.

Numbers rise by one, except after a kill: the numbers of events that may have been told and were not saved are left out,
so that no number stands for two events. A cursor is known if it is at an event that is kept, or just before the oldest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from presenced.core.event_chunks import (
    CHUNK_BYTES,
    CHUNK_FACTS,
    Chunk,
    Rows,
    chunk_of,
    emptied,
    has_any,
    names,
    pack,
)
from presenced.core.event_facts import EventAdded, EventsChunk
from presenced.limits import EVENT_BYTES, EVENTS_SHORT_BYTES_MAX

FACT_BYTES = 300
"""What a fact takes that is in no chunk yet, about."""

AGE_PARTS = 16
"""A chunk is complete once its oldest event has a sixteenth of the age at which events are dropped, since a chunk is
dropped as a whole."""


class EventHistory:
    """Owns what is kept, and the number of the newest event."""

    def __init__(self, keep: int, keep_for_ms: int) -> None:
        """Keep so many events, and for so long, if that is fewer."""
        self.seq = 0
        """The number of the newest event."""
        self.tail: list[EventAdded] = []
        """The facts that are in no chunk yet."""
        self.tail_after = 0
        """The number before that of the first of them."""
        self.tail_follows = 0
        """The number of the event before the first of them; -1 = it is not known."""
        self.chunks: deque[Chunk] = deque()
        """The oldest first."""
        self.kept = 0
        """Events that are kept."""
        self.bytes = 0
        """What they take, about."""
        self.dropped_ms = 0
        """The latest wall time of an event that was dropped; 0 = none was."""
        self._keep = keep
        self._keep_for_ms = keep_for_ms
        self._bytes_max = self._bytes_normally = max(EVENTS_SHORT_BYTES_MAX, keep * EVENT_BYTES)
        self._tail_bytes = 0
        self._tail_ms = 0
        """The wall time of the tail's first event that has one; 0 = there is none."""
        self._sealed: Callable[[bool], dict[int, tuple[int, int]]] = lambda with_empty: {}
        self._off_disk: dict[int, None] = {}
        """The numbers of facts that are saved as empty ones."""
        self._rewriting: deque[Chunk] = deque()
        """Chunks that name somebody who was erased, and are not rewritten yet."""
        self._streams_of: Callable[[EventAdded], list[int]] = lambda fact: []

    def serve(
        self, sealed: Callable[[bool], dict[int, tuple[int, int]]], streams_of: Callable[[EventAdded], list[int]]
    ) -> None:
        """Ask these of the narrowed streams: which numbers each has in the tail, which is about to be a chunk, also of
        those that have none there if that is wanted; and which of them count a fact."""
        self._sealed, self._streams_of = sealed, streams_of

    # --- adding -----------------------------------------------------------------------------------------------

    def add(self, fact: EventAdded) -> bool:
        """Keep a fact whose events follow the newest. Returns whether the tail is long enough for `seal`. O(1)."""
        tail = self.tail
        if not self._tail_ms:
            self._tail_ms = fact.at_ms
        tail.append(fact)
        self.seq = fact.seq
        self.kept += fact.count
        self._tail_bytes += FACT_BYTES + 4 * (len(fact.old_text) + len(fact.new_text))
        return len(tail) >= CHUNK_FACTS or self._tail_bytes >= CHUNK_BYTES + CHUNK_FACTS * FACT_BYTES

    def seal(self) -> None:
        """Make a chunk of the tail, if there is anything in it, and drop what is too much. 0.6 ms for 512 facts."""
        if self.tail:
            self._make_chunk(self._sealed(False), self.chunks[-1].last_ms if self.chunks else 0)
        self._drop()

    def leap(self, seq: int, wall_ms: int) -> None:
        """After a kill: the next event follows on this number, which is higher than the newest. A cursor at the newest
        is as good as one behind the leap, also if no event was added since the last leap: an empty chunk says so."""
        self._make_chunk(self._sealed(True), wall_ms)
        self.skip(seq)

    def skip(self, seq: int) -> None:
        """The next event follows on this number, and no cursor holds over that but for one at a chunk's end. There is
        nothing in the tail."""
        self.seq = self.tail_after = seq
        self._drop()

    def _make_chunk(self, streams: dict[int, tuple[int, int]], wall_ms: int) -> None:
        """Make a chunk of the tail. Events of an erased user have no time: if there are no others, its time is
        `wall_ms`."""
        times = [fact.at_ms for fact in self.tail if fact.at_ms] or [wall_ms]
        span_ms = min(times), max(times)
        place = self.tail_after, self.seq, len(self.tail)
        self._append(Chunk(*place, span_ms, pack(self.tail), streams, self.tail_follows))
        if self.tail:
            self.tail_follows = self.seq
        self.tail = []
        self._tail_bytes = self._tail_ms = 0
        self.tail_after = self.seq

    def forget(self) -> None:
        """Keep nothing of what has been."""
        self.chunks.clear()
        self._rewriting.clear()
        self._off_disk.clear()
        self.tail = []
        self.kept = self.bytes = self._tail_bytes = self._tail_ms = self.dropped_ms = 0
        self.tail_after = self.seq
        self.tail_follows = -1

    def restore(self, fact: EventsChunk) -> None:
        """Take up a chunk of a snapshot. Chunks that were dropped while the snapshot was taken are missing before it:
        then what there is from before these is forgotten, since no cursor holds over that."""
        if not self.is_newest(fact.follows):
            self.forget()
        self._append(chunk_of(fact))
        self.kept += fact.last - fact.after
        self.seq = self.tail_after = fact.last
        if fact.count:
            self.tail_follows = fact.last
        self._drop()

    def is_newest(self, seq: int) -> bool:
        """Whether nothing is missing before what follows on this event. O(1)."""
        return not self.kept or seq == (self.seq if self.tail else self.tail_follows)

    def _append(self, chunk: Chunk) -> None:
        self.chunks.append(chunk)
        self.bytes += chunk.bytes

    def keep_off_disk(self, seq: int) -> None:
        """The fact with this number, which is about to be added, names somebody who was erased: it is saved as an empty
        one."""
        self._off_disk[seq] = None

    # --- bounds -----------------------------------------------------------------------------------------------

    def set_short(self, short: bool) -> None:
        """Keep few bytes, or as many as usual."""
        self._bytes_max = EVENTS_SHORT_BYTES_MAX if short else self._bytes_normally
        self._drop()

    def _drop(self) -> None:
        """Drop the oldest chunks that are too many. What is kept is never less than asked for, for that reason."""
        chunks = self.chunks
        while chunks and (self.bytes > self._bytes_max or self.kept - (chunks[0].last - chunks[0].after) >= self._keep):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        chunk = self.chunks.popleft()
        self.kept -= chunk.last - chunk.after
        self.bytes -= chunk.bytes
        while self._off_disk and next(iter(self._off_disk)) <= chunk.last:
            del self._off_disk[next(iter(self._off_disk))]
        self.dropped_ms = max(self.dropped_ms, chunk.last_ms)

    def age_ms(self) -> int | None:
        """The wall time at which `grow_old` has something to do next; None = it has not. O(1)."""
        # Twice in each turn: without a list.
        drop_ms = self.chunks[0].last_ms + self._keep_for_ms if self.chunks else None
        if self._tail_ms:
            seal_ms = self._tail_ms + self._keep_for_ms // AGE_PARTS
            return seal_ms if drop_ms is None or seal_ms < drop_ms else drop_ms
        return drop_ms

    def grow_old(self, wall_ms: int) -> None:
        """Drop what is too old by this time. O(what is dropped)."""
        if self._tail_ms and wall_ms >= self._tail_ms + self._keep_for_ms // AGE_PARTS:
            self.seal()
        while self.chunks and wall_ms >= self.chunks[0].last_ms + self._keep_for_ms:
            self._drop_oldest()

    # --- reading ----------------------------------------------------------------------------------------------

    def knows(self, seq: int) -> bool:
        """Whether a cursor at this number misses nothing that was kept. O(log chunks)."""
        if self.tail_after <= seq <= self.seq:
            return True
        chunk = self.chunk_at(seq)
        return chunk is not None and chunk.after <= seq

    def chunk_at(self, seq: int) -> Chunk | None:
        """The first chunk whose last event is at this number or behind it. O(log chunks)."""
        place = bisect_left(self.chunks, seq, key=lambda chunk: chunk.last)
        return self.chunks[place] if place < len(self.chunks) else None

    def chunk_behind(self, seq: int) -> Chunk | None:
        """The first chunk that has an event behind this number. O(log chunks), and empty chunks behind it."""
        place = bisect_left(self.chunks, seq + 1, key=lambda chunk: chunk.last)
        return next((chunk for chunk in islice(self.chunks, place, None) if chunk.count), None)

    def facts(self, chunk: Chunk) -> list[EventAdded]:
        """What a chunk holds. Nobody is in it who was erased since. O(facts)."""
        self.clean(chunk)
        return Rows(chunk.data).all()

    def count_behind(self, seq: int) -> int:
        """How many events that are kept are behind this number. O(chunks)."""
        count = sum(chunk.last - max(seq, chunk.after) for chunk in self.chunks if chunk.last > seq)
        return count + self.seq - max(seq, self.tail_after)

    # --- erasing ----------------------------------------------------------------------------------------------

    def erase(self, user: str, seq: int) -> None:
        """Empty the events up to this number that name the user: in the tail at once, and in a chunk before anybody
        reads it, at the latest by `rewrite_some`. O(chunks, and the tail)."""
        self.tail = [self._emptied(fact, user, seq) for fact in self.tail]
        for chunk in self.chunks:
            if chunk.after < seq and has_any(chunk.index, user):
                if not chunk.erased:
                    self._rewriting.append(chunk)
                chunk.empty(user, seq)

    def _emptied(self, fact: EventAdded, user: str, seq: int) -> EventAdded:
        if fact.seq > seq or fact.kind == "erased" or not names(fact, user):
            return fact
        return emptied(fact, self._streams_of(fact))

    @property
    def is_rewriting(self) -> bool:
        """Whether a chunk waits for `rewrite_some`."""
        return bool(self._rewriting)

    def rewrite_some(self, most: int) -> None:
        """Rewrite up to so many chunks that name somebody who was erased. O(these): a millisecond each."""
        for _ in range(min(most, len(self._rewriting))):
            self.clean(self._rewriting.popleft())

    def clean(self, chunk: Chunk) -> None:
        """Rewrite the chunk if it names somebody who was erased."""
        if not chunk.erased:
            return
        facts = Rows(chunk.data).all()
        for user, seq in chunk.erased.items():
            facts = [self._emptied(fact, user, seq) for fact in facts]
        before = chunk.bytes
        chunk.rewrite(facts)
        # One that was dropped meanwhile is still in the queue.
        if self.chunks and chunk.last >= self.chunks[0].last:
            self.bytes += chunk.bytes - before

    # --- the disk ---------------------------------------------------------------------------------------------

    def chunk_facts(self) -> Iterator[EventsChunk]:
        """The chunks for a snapshot, one after the other; those that are made meanwhile, too."""
        last = -1
        while (chunk := self.chunk_at(last + 1)) is not None:
            last = chunk.last
            self.clean(chunk)
            if any(chunk.after < seq <= chunk.last for seq in self._off_disk):
                yield chunk.fact(pack(self.saved(Rows(chunk.data).all())))
            else:
                yield chunk.fact()

    def saved(self, facts: Sequence[EventAdded]) -> list[EventAdded]:
        """The facts as they are saved. O(facts)."""
        return [emptied(fact, self._streams_of(fact)) if fact.seq in self._off_disk else fact for fact in facts]

    def check(self) -> None:
        """Raise `AssertionError` if the numbers do not add up. O(chunks and tail)."""
        kept = sum(chunk.last - chunk.after for chunk in self.chunks) + self.seq - self.tail_after
        assert kept == self.kept, f"{kept} events are counted as {self.kept}"
        assert self.bytes == sum(chunk.bytes for chunk in self.chunks), "the bytes of events are miscounted"
        assert self.seq - self.tail_after == sum(fact.count for fact in self.tail), "the tail has other numbers"
        for before, after in zip(self.chunks, islice(self.chunks, 1, None), strict=False):
            assert before.last <= after.after <= after.last, "chunks are out of order"
        assert not self.chunks or self.chunks[-1].last <= self.tail_after, "the tail is out of order"
