"""Events that are complete, many in one compressed piece: what is kept of them in memory and in snapshots. Pure.

A chunk holds the facts of some hundred changes. A million events take 20 to 30 MB in this form, and 150 MB as frames.
An index of a few bytes for each name tells of nearly all chunks that a user is not in them, without a look inside.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, TypeAlias
from zlib import compress, crc32, decompress

import msgspec

from presenced.core.event_facts import FAREWELL, EventAdded, EventsChunk
from presenced.wire.codec import encode
from presenced.wire.messages import Event, EventKind

CHUNK_FACTS: Final = 512
CHUNK_BYTES: Final = 131_072
"""A chunk is complete with so many facts, or about so many bytes before they are compressed."""

OVERHEAD_BYTES: Final = 400
"""What a chunk takes besides its two byte strings, about."""

_LEVEL = 1
"""Higher levels save a seventh, and cost three times the time."""

_IN_STATUS = 0xA5A5A5A5
_IN_NOTE = 0x5A5A5A5A
"""Names stand in the index by a checksum, which this changes for a change of status, and for one of the two whom an
event of contacts names."""

_decode = msgspec.msgpack.Decoder(EventAdded).decode


Marks: TypeAlias = "array[int]"
"""The names in a chunk, as sorted checksums."""


class Packed(NamedTuple):
    """Facts as a chunk keeps them."""

    data: bytes
    names: Marks


def pack(facts: Sequence[EventAdded]) -> Packed:
    """Compress the facts and make their index. O(facts): 0.6 ms for 512."""
    rows = [encode(fact) for fact in facts]
    head = struct.pack(f"<I{len(rows)}I", len(rows), *map(len, rows))
    return Packed(compress(head + b"".join(rows), _LEVEL), _index(facts))


class Rows:
    """The facts of a chunk, decompressed. O(bytes) to make; each is decoded only when it is wanted."""

    def __init__(self, data: bytes) -> None:
        self._blob = blob = decompress(data)
        (count,) = struct.unpack_from("<I", blob)
        lengths = struct.unpack_from(f"<{count}I", blob, 4)
        self._ends = list(accumulate(lengths, initial=4 + 4 * count))

    def all(self) -> list[EventAdded]:
        """Every fact, in order. O(facts)."""
        blob, ends = memoryview(self._blob), self._ends
        return [_decode(blob[start:end]) for start, end in zip(ends, ends[1:], strict=False)]

    def holding(self, text: str) -> list[EventAdded]:
        """The facts in which this text stands as a value, in order. O(bytes), with a small factor, and O(those)."""
        blob, ends, part = self._blob, self._ends, encode(text)
        found: list[EventAdded] = []
        place = 0
        at = blob.find(part, ends[0])
        while at >= 0:
            while ends[place + 1] <= at:
                place += 1
            found.append(_decode(blob[ends[place] : ends[place + 1]]))
            at = blob.find(part, ends[place + 1])
        return found


# --- whom a chunk names ---------------------------------------------------------------------------------------


def other_named(fact: EventAdded) -> str:
    """The second user whom a fact names, if it does: of a contact. O(1)."""
    if fact.kind == "contact_request":
        return fact.new
    return fact.reason if fact.kind == "contact_change" else ""


def names(fact: EventAdded, user: str) -> bool:
    """Whether the fact is about this user, or a contact of this name. O(1)."""
    return fact.user == user or (bool(fact.kind) and other_named(fact) == user)


def is_of_record(fact: EventAdded) -> bool:
    """Whether the fact belongs to the user's history: a change of the record, but for the farewell of an erasure."""
    return not fact.kind and fact.reason != FAREWELL


def is_status(fact: EventAdded) -> bool:
    """Whether the fact belongs to the user's history, and the status changed."""
    return is_of_record(fact) and fact.old != fact.new


def has_any(index: Marks, user: str) -> bool:
    """Whether the chunk may name this user; False is certain. O(log names)."""
    mark = crc32(user.encode())
    return _has(index, mark) or _has(index, mark ^ _IN_NOTE)


def has_record(index: Marks, user: str) -> bool:
    """Whether the chunk may hold a change of this user's record; False is certain. O(log names)."""
    return _has(index, crc32(user.encode()))


def has_status(index: Marks, user: str) -> bool:
    """Whether the chunk may hold a change of this user's status; False is certain. O(log names)."""
    return _has(index, crc32(user.encode()) ^ _IN_STATUS)


def _index(facts: Iterable[EventAdded]) -> Marks:
    marks: dict[int, None] = {}
    for fact in facts:
        if fact.kind:
            for name in (fact.user, other_named(fact)):
                if name:
                    marks[crc32(name.encode()) ^ _IN_NOTE] = None
            continue
        mark = crc32(fact.user.encode())
        marks[mark] = None
        if fact.old != fact.new:
            marks[mark ^ _IN_STATUS] = None
    return array("I", sorted(marks))


def _has(index: Marks, mark: int) -> bool:
    place = bisect_left(index, mark)
    return place < len(index) and index[place] == mark


def marks_of(data: bytes) -> Marks:
    """An index as it is in memory. O(names)."""
    marks = array("I", data)
    if sys.byteorder == "big":
        marks.byteswap()
    return marks


def bytes_of(marks: Marks) -> bytes:
    """An index as it is in a fact: numbers of four bytes, the low one first. O(names)."""
    if sys.byteorder == "big":
        marks = array("I", marks)
        marks.byteswap()
    return marks.tobytes()


# --- from facts to events -------------------------------------------------------------------------------------

_DEVICE: Final[EventKind] = "device_change"


def events_of(fact: EventAdded, seq: int) -> list[Event]:
    """The events of a fact, of which the last has this number. O(1)."""
    kind, user, at_ms, reason = fact.kind, fact.user, fact.at_ms, fact.reason
    if not kind and reason == FAREWELL:
        reason = "kicked"
    seq -= fact.count
    if kind:
        return [
            Event(seq + place, at_ms, kind, user, fact.old, fact.new, reason)  # type: ignore[arg-type]
            for place in range(1, fact.count + 1)
        ]
    events = []
    if fact.old != fact.new:
        if fact.old == "offline":
            events.append(Event(seq + 1, at_ms, "online", user, fact.old, fact.new, ""))
        elif fact.new == "offline":
            events.append(Event(seq + 1, at_ms, "offline", user, fact.old, fact.new, reason))
        seq += len(events) + 1
        events.append(Event(seq, at_ms, "status_change", user, fact.old, fact.new, reason))
    if fact.old_text != fact.new_text or fact.old_emoji != fact.new_emoji:
        seq += 1
        old_emoji, new_emoji = fact.old_emoji, fact.new_emoji
        events.append(Event(seq, at_ms, "text_change", user, fact.old_text, fact.new_text, "", old_emoji, new_emoji))
    if fact.new_device:
        events.append(Event(seq + 1, at_ms, _DEVICE, user, fact.old_device, fact.new_device, ""))
    return events


def emptied(fact: EventAdded, streams: list[int]) -> EventAdded:
    """What stays of a fact about somebody who was erased: its numbers, and which narrowed streams count it. O(1)."""
    return EventAdded("", fact.seq, 0, fact.count, "erased", "", "", "", streams=streams)


# --- a chunk in memory ----------------------------------------------------------------------------------------


class Chunk:
    """Facts in a row that are complete."""

    __slots__ = ("after", "count", "data", "erased", "first_ms", "follows", "index", "last", "last_ms", "streams")

    def __init__(
        self,
        after: int,
        last: int,
        count: int,
        times_ms: tuple[int, int],
        packed: Packed,
        streams: dict[int, tuple[int, int]],
        follows: int,
    ) -> None:
        self.after = after
        """The number before that of its first event."""
        self.follows = follows
        """The number of the event before its first one; -1 = it is not known."""
        self.last = last
        self.count = count
        self.first_ms, self.last_ms = times_ms
        self.data, self.index = packed
        self.streams = streams
        """By the epoch of a narrowed stream that has events here: the number before its first, and that of its last."""
        self.erased: dict[str, int] = {}
        """Users who were erased since, with the newest event that is to be emptied: it is not rewritten yet."""

    @property
    def bytes(self) -> int:
        """What it takes, about."""
        return len(self.data) + 4 * len(self.index) + OVERHEAD_BYTES

    def empty(self, user: str, seq: int) -> None:
        """The events up to this number that name the user are to be emptied, by the next `rewrite`."""
        self.erased[user] = seq

    def rewrite(self, facts: Sequence[EventAdded]) -> None:
        """Hold these in the place of what it holds. O(facts)."""
        self.data, self.index = pack(facts)
        self.erased = {}

    def fact(self, packed: Packed | None = None) -> EventsChunk:
        """For a snapshot, with something else in the place of what it holds if that is given. O(1)."""
        data, index = packed or (self.data, self.index)
        streams = [(epoch, after, last) for epoch, (after, last) in self.streams.items()]
        place, times_ms = (self.after, self.last, self.count), (self.first_ms, self.last_ms)
        return EventsChunk("", *place, *times_ms, data, bytes_of(index), streams, self.follows)


def chunk_of(fact: EventsChunk) -> Chunk:
    """From a snapshot. O(1)."""
    packed = Packed(fact.data, marks_of(fact.index))
    streams = {epoch: (after, last) for epoch, after, last in fact.streams}
    return Chunk(fact.after, fact.last, fact.count, (fact.first_ms, fact.last_ms), packed, streams, fact.follows)
