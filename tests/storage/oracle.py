"""A log, every way to damage it, and what must be said of it: an oracle that shares no code with the reader.

The oracle knows the undamaged log as a table of frames, read with a `struct` format of its own. For a damaged log
it asks which frames of the table are still where they were, byte for byte, and goes by these rules:

* what is recovered is the longest run of untouched frames from the beginning;
* in a complete segment, and after a clean stop, the run must be the whole log;
* else it is damage if the run ends before the fact up to which a mark that still reads says the log to be synced, or if
  neither mark reads;
* it is damage if a frame, or a part of one, stands where the file ends too early for it: files are long enough, by
  whole units, before a frame is written;
* else the first touched frame is damage if a frame that still reads was written after it had been synced: one that
  says so (its durable number is above the first fact of the touched frame), or one that begins with the same fact
  (then the touched frame was a seal, and nothing is written behind a seal before it is synced);
* else it is a torn tail.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from presenced.core.records import ClaimSet, DeviceForgotten, DeviceSet, Fact, RecordSet, TextSet
from presenced.storage.files import OsDirectory
from presenced.storage.frames import array_of
from presenced.storage.journal import Journal
from presenced.storage.manifest import ManifestError
from presenced.storage.recovery import DamageError, recover
from presenced.storage.store import open_store
from presenced.wire.codec import encode
from tests.storage.machine import small_units

HEADER_BYTES = 4096
MARKS_AT = (4096, 8192)
FRAMES_AT = 12_288
UNIT_BYTES = 1536
"""What files are made longer by; the real ones are much longer, and hold more zeros."""

SECTOR_BYTES = 512
BYTES = {"unclean": 64 << 10, "clean": 16 << 10, "sealed": 16 << 10, "behind": 16 << 10}
"""The kinds of log that are damaged, and about how long they are."""

_FRAME = struct.Struct("<IIQIBBHIIQQ")
_MARK = struct.Struct("<8sQQII")
_KINDS = {1: ClaimSet, 2: TextSet, 3: DeviceSet, 4: DeviceForgotten, 5: RecordSet}


class Row(NamedTuple):
    """A frame of the undamaged log."""

    start: int
    end: int
    first_seq: int
    facts: int
    durable_seq: int


class Verdict(NamedTuple):
    """What is said of a log."""

    kind: str
    """`ok`, `torn` or `damage`."""
    facts: int
    """How many are recovered, all from the beginning; 0 for damage, where nothing counts."""
    at: int
    """Where a torn tail begins."""


class Log(NamedTuple):
    """A store of one or two segments; the damage is done to the segment `name`."""

    name: str
    files: dict[str, bytes]
    table: tuple[Row, ...]
    """The frames of `name`."""
    facts: list[Fact]
    before: int
    """Facts in the segments before it."""
    end: int
    """Where the frames of `name` end."""
    is_whole: bool
    """Whether nothing may be missing: a complete segment, or a clean stop."""
    is_sealed: bool

    @property
    def data(self) -> bytes:
        return self.files[self.name]


# --- making logs -------------------------------------------------------------------------------------------------


def facts_like(number: int) -> list[Fact]:
    """Facts of every kind and of different sizes."""
    user = f"user{number % 7}"
    wide = "x" * (number * 37 % 600)
    return [
        DeviceSet(user, f"device{number % 3}", "phone", "N\u00e4me", number % 256 - 128, "online", True, number, 5, 0),
        TextSet(user, wide, "\U0001f600", number * 1_000_003),
        ClaimSet(user, "dnd", number, 0),
        RecordSet(user, "away", number, 0, "device1", number),
        DeviceForgotten(user, "device2"),
    ][number % 4 : number % 4 + 1 + number % 3]


def _batch(facts: Sequence[Fact]) -> tuple[bytes, int]:
    return array_of([encode(fact) for fact in facts], len(facts)), len(facts)


def _write(journal: Journal, size: int, numbers: Iterator[int], facts: list[Fact]) -> None:
    """Commits of one to three frames, some synced, some sealed, up to about `size` bytes."""
    while journal.sealed_entry().bytes < FRAMES_AT - HEADER_BYTES + size:
        number = next(numbers)
        batches = [facts_like(number + index) for index in range(1 + number % 3)]
        journal.commit([_batch(batch) for batch in batches])
        facts.extend(fact for batch in batches for fact in batch)
        if number % 3 == 0:
            journal.sync()
        if number % 11 == 0:
            journal.seal()


def make_log(kind: str, size: int) -> Log:
    """`unclean`, `clean`, `sealed` or `behind` (an unclean active segment behind a complete one)."""
    with small_units():
        return _make_log(kind, size)


def _make_log(kind: str, size: int) -> Log:
    place = Path(tempfile.mkdtemp(prefix="presenced-log-"))
    walls = count(1_700_000_000_000, 9)
    try:
        salts = count(0x9E3779B9)
        directory = OsDirectory(place)
        journal, _ = open_store(
            directory,
            lambda facts: None,
            sync_each=False,
            new_id=lambda: ("ab" * 16, 77),
            salts=lambda: next(salts),
            wall_ms=lambda: next(walls),
        )
        facts: list[Fact] = []
        before = 0
        numbers = count(1)
        if kind in ("sealed", "behind"):
            _write(journal, size if kind == "sealed" else HEADER_BYTES + 1000, numbers, facts)
            before = len(facts)
            journal.rotate()
        _write(journal, size if kind != "sealed" else HEADER_BYTES + 1000, numbers, facts)
        entry = journal.sealed_entry()
        if kind == "clean":
            journal.close(version=5)
            entry = journal.sealed_entry()
        else:
            journal.commit([_batch(facts_like(3))])
            facts.extend(facts_like(3))
            entry = journal.sealed_entry()
            journal.abandon()
        name = "wal-0000000001.log" if kind in ("sealed", "unclean", "clean") else "wal-0000000002.log"
        files = {path.name: path.read_bytes() for path in place.iterdir()}
        directory.close()
    finally:
        shutil.rmtree(place)
    if kind == "sealed":
        end, before = journal.manifest.segments[0].bytes, 0
    else:
        end = entry.bytes
    table = tuple(_rows(files[name], end))
    return Log(name, files, table, facts, before, end, kind in ("sealed", "clean"), kind == "sealed")


def _rows(data: bytes, end: int) -> Iterator[Row]:
    position = FRAMES_AT
    while position < end:
        _crc, payload, first_seq, facts, *_rest, durable_seq, _wall = _FRAME.unpack_from(data, position)
        after = position + 48 + (payload + 7) // 8 * 8
        yield Row(position, after, first_seq, facts, durable_seq)
        position = after
    assert position == end


def read_independently(log: Log) -> list[Fact]:
    """The facts of `name`, by another codec and without our frame reader."""
    facts = []
    for row in log.table:
        if not row.facts:
            continue
        (size,) = struct.unpack_from("<I", log.data, row.start + 4)
        payload = log.data[row.start + 48 : row.start + 48 + size]
        facts += [_KINDS[values[0]](*values[1:]) for values in msgpack.unpackb(payload)]
    return facts


# --- the oracle --------------------------------------------------------------------------------------------------


class Oracle:
    """Says what must be said of a damaged `log`."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._starts = [row.start for row in log.table]
        self._marks = {at: _MARK.unpack_from(log.data, at)[2] for at in MARKS_AT}
        self._by_head = {log.data[row.start : row.start + 48]: row for row in log.table}
        self._flip = [self._touched(index, [*log.table[:index], *log.table[index + 1 :]]) for index in self._indexes()]

    def flipped(self, byte: int) -> Verdict:
        """Some bits of this one byte are others. O(1)."""
        log = self.log
        if byte < HEADER_BYTES:
            return Verdict("damage", 0, 0)
        if byte < FRAMES_AT:
            # One of the marks at most, and it is only a witness.
            return self._ok()
        if byte >= log.end:
            # Nothing was written there: after a clean stop that is damage, else it may have been being written.
            return self._ok() if log.is_sealed else self._end_not_zero()
        return self._flip[bisect_right(self._starts, byte) - 1]

    def cut(self, size: int) -> Verdict:
        """The file is only this long. O(bytes)."""
        return self.changed(self.log.data[:size])

    def changed(self, data: bytes) -> Verdict:
        """Any change that makes no new valid frame, but may move those that there were. O(bytes)."""
        log = self.log
        if data[:HEADER_BYTES] != log.data[:HEADER_BYTES]:
            return Verdict("damage", 0, 0)
        if log.is_sealed:
            return self._ok() if data[FRAMES_AT : log.end] == log.data[FRAMES_AT : log.end] else Verdict("damage", 0, 0)
        index = 0
        while index < len(log.table) and self._is_whole(data, log.table[index].start, log.table[index]):
            index += 1
        marks = [self._marks[at] for at in MARKS_AT if data[at : at + _MARK.size] == log.data[at : at + _MARK.size]]
        start, seq = (log.table[index].start, log.table[index].first_seq) if index < len(log.table) else (log.end, 0)
        if not marks or (seq and max(marks) > seq) or self._is_cut(data, start):
            return Verdict("damage", 0, 0)
        if index == len(log.table):
            return self._end_not_zero() if any(data[log.end :]) else self._ok()
        if not any(data[start:]):
            facts = log.before + sum(row.facts for row in log.table[:index])
            if log.is_whole and facts < len(log.facts):
                return Verdict("damage", 0, 0)
            return Verdict("ok", facts, 0)
        readable = list(log.table[:index])
        position, follows = start, False
        while position < len(data):
            row = self._by_head.get(data[position : position + 48])
            if row is None or not self._is_whole(data, position, row):
                position += 8
                continue
            readable.append(row)
            follows = follows or row.first_seq == log.table[index].first_seq
            position += row.end - row.start
        verdict = self._touched(index, readable)
        return Verdict("damage", 0, 0) if follows else verdict

    def _is_cut(self, data: bytes, start: int) -> bool:
        """Whether the frame at `start`, where the untouched ones end, reaches the end of the last whole unit, or there
        is too little room for its head."""
        whole = len(data) // UNIT_BYTES * UNIT_BYTES
        row = self._by_head.get(data[start : start + 48])
        if row is not None:
            return start + row.end - row.start >= whole
        return start >= whole or any(any(data[start:end]) for end in (whole, len(data)) if 0 <= end - start < 48)

    def _is_whole(self, data: bytes, position: int, row: Row) -> bool:
        return data[position : position + row.end - row.start] == self.log.data[row.start : row.end]

    def _indexes(self) -> range:
        return range(len(self.log.table))

    def _touched(self, index: int, readable: Sequence[Row]) -> Verdict:
        log = self.log
        touched = log.table[index]
        if log.is_whole or max(self._marks.values()) > touched.first_seq:
            return Verdict("damage", 0, 0)
        for row in readable:
            was_seal = row.start > touched.start and row.first_seq == touched.first_seq
            if row.durable_seq > touched.first_seq or was_seal:
                return Verdict("damage", 0, 0)
        return Verdict("torn", log.before + sum(row.facts for row in log.table[:index]), touched.start)

    def _ok(self) -> Verdict:
        return Verdict("ok", len(self.log.facts), 0)

    def _end_not_zero(self) -> Verdict:
        return Verdict("damage", 0, 0) if self.log.is_whole else Verdict("torn", len(self.log.facts), self.log.end)


# --- asking the reader -------------------------------------------------------------------------------------------


class Memory:
    """A directory in memory, for reading."""

    path = "memory"

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = dict(files)

    def names(self) -> list[str]:
        return sorted(self.files)

    def open(self, name: str, **_: Any) -> MemoryFile:
        return MemoryFile(self.files[name])


class MemoryFile:
    """A file in memory, for reading."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_at(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    def size(self) -> int:
        return len(self._data)

    def close(self) -> None:
        return


def verdict_of(log: Log, data: bytes) -> Verdict:
    """What recovery says if the segment holds `data`. Other exceptions than its own come through."""
    directory = Memory({**log.files, log.name: data})
    facts: list[Fact] = []
    try:
        report = recover(directory, facts.extend).report  # type: ignore[arg-type]  # all that is needed for reading
    except (DamageError, ManifestError):
        return Verdict("damage", 0, 0)
    assert facts == log.facts[: len(facts)], "facts that were never written, or not in this order"
    assert report.next_seq == len(facts) + 1
    if not report.torn_bytes:
        return Verdict("ok", len(facts), 0)
    at = int(report.torn_at.split(" at ")[1].split(":")[0])
    assert report.torn_bytes == len(data[at:].rstrip(b"\0"))
    return Verdict("torn", len(facts), at)


def check_flip(log: Log, oracle: Oracle, bit: int) -> str:
    """The kind of verdict; asserts that it is the right one."""
    data = bytearray(log.data)
    data[bit >> 3] ^= 1 << (bit & 7)
    got, expected = verdict_of(log, bytes(data)), oracle.flipped(bit >> 3)
    assert got == expected, f"bit {bit & 7} of byte {bit >> 3} flipped: {got}, and should be {expected}"
    return got.kind


def check_cut(log: Log, oracle: Oracle, size: int) -> str:
    """The kind of verdict; asserts that it is the right one."""
    got, expected = verdict_of(log, log.data[:size]), oracle.cut(size)
    assert got == expected, f"cut to {size} bytes: {got}, and should be {expected}"
    return got.kind


def rearranged(log: Log) -> Iterator[tuple[str, bytes]]:
    """Every sector and every frame zeroed, written over its neighbour, and exchanged with it."""
    data = log.data
    sectors = [(start, start + SECTOR_BYTES) for start in range(0, len(data) - SECTOR_BYTES, SECTOR_BYTES)]
    frames = [(row.start, row.end) for row in log.table]
    for what, places in (("sector", sectors), ("frame", frames)):
        for index, (start, end) in enumerate(places):
            yield f"{what} {index} zeroed", data[:start] + bytes(end - start) + data[end:]
            yield f"{what} {index} repeated", data[:end] + data[start:end] + data[end:]
            yield f"{what} {index} left out", data[:start] + data[end:]
            if index:
                before = places[index - 1][0]
                yield (
                    f"{what} {index} exchanged with the one before",
                    data[:before] + data[start:end] + data[before:start] + data[end:],
                )
                yield f"{what} {index} written over by the one before", _over(data, before, start, end)


def _over(data: bytes, before: int, start: int, end: int) -> bytes:
    size = end - start
    return data[:start] + data[before:start][:size].ljust(size, b"\0") + data[end:]
