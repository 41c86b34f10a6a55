"""Snapshots: the facts that describe the whole state, in a file of the log's own frames.

A snapshot is written piece by piece while the server goes on ("fuzzy"): it may hold some facts that are newer than
its start. Replaying the log from the start over it is harmless, because facts are absolute, and brings everything to
the same moment once the log reaches its end. Hence `start_seq` and `end_seq`. The last frame is a seal that repeats the
end, so that a snapshot can be told from a part of one, and used, without the manifest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import msgspec

from presenced.core.records import Fact
from presenced.storage.files import Directory, DiskFull, telling_full, write_all
from presenced.storage.frames import decode_facts, read_frames
from presenced.storage.layout import (
    DATA,
    SEAL,
    SEGMENT_HEADER_BYTES,
    LayoutError,
    SegmentHeader,
    header_crc,
    pack_frame,
    pack_segment_header,
    unpack_segment_header,
)
from presenced.storage.manifest import SnapshotEntry

SYNC_BYTES = 1 << 20
"""The snapshot is synced after so many bytes: one large flush at the end would delay the log on the same disk."""

VERIFY_BYTES = 1 << 18
"""The snapshot is read back in pieces of this size, with commits between them."""


class SnapshotError(Exception):
    """A snapshot that cannot be used; the text says where and why."""


def snapshot_name(number: int) -> str:
    """The file name of a snapshot."""
    return f"snap-{number:010d}.prs"


class SnapshotWriter:
    """Writes one snapshot under a temporary name. `add` pieces, then `finish`, or `abandon`.

    The constructor, `add` and `finish` raise `DiskFull` if there is no room, also if a sync finds none: nothing needs
    a file that is abandoned. Any other `OSError` may come from the disk itself.
    """

    def __init__(
        self, directory: Directory, *, store_id: bytes, number: int, start_seq: int, salt: int, wall_ms: int
    ) -> None:
        self.name = snapshot_name(number)
        self._directory = directory
        self._temporary = f"{self.name}.tmp"
        with telling_full:
            if self._temporary in directory.names():
                directory.unlink(self._temporary)
            self._file = directory.open(self._temporary, create=True)
        self._start_seq = self._end_seq = start_seq
        self._salt = salt
        self._wall_ms = wall_ms
        self._facts = 0
        self._unsynced = 0
        self._digest = hashlib.blake2b(digest_size=32)
        block = pack_segment_header(SegmentHeader(store_id, number, start_seq, 0, 0, 0, 0, salt, wall_ms))
        self._crc = header_crc(block)
        self._position = 0
        try:
            self._write(block)
        except (DiskFull, OSError):
            self.abandon()
            raise

    def add(self, payload: bytes, count: int) -> None:
        """Append an encoded list of `count` facts."""
        if count:
            self._frame(payload, count, DATA, 0)

    def finish(self, end_seq: int) -> Iterator[None]:
        """Make the snapshot durable under its name and read it back, in steps, with commits between them.

        `end_seq`: no fact from here on can be in it. Raises `SnapshotError` if it does not read back as it was
        written. `entry` is the result then.
        """
        self._end_seq = end_seq
        self._frame(b"", 0, SEAL, end_seq)
        with telling_full:
            self._file.sync()
        again = hashlib.blake2b(digest_size=32)
        for offset in range(0, self._position, VERIFY_BYTES):
            again.update(self._file.read_at(offset, VERIFY_BYTES))
            yield
        size = self._file.size()
        self._file.close()
        if again.digest() != self._digest.digest() or size != self._position:
            raise SnapshotError(f"{self.name} does not read back as it was written")
        with telling_full:
            self._directory.rename(self._temporary, self.name)
            self._directory.sync()

    def entry(self) -> SnapshotEntry:
        """The entry of the finished snapshot in the manifest."""
        return SnapshotEntry(
            self.name, self._start_seq, self._end_seq, self._position, self._digest.hexdigest(), self._facts
        )

    def abandon(self) -> None:
        """Remove the unfinished file, under either name."""
        self._file.close()
        names = self._directory.names()
        for name in (self._temporary, self.name):
            if name in names:
                self._directory.unlink(name)

    def _frame(self, payload: bytes, count: int, frame_type: int, durable_seq: int) -> None:
        data, self._crc = pack_frame(
            payload,
            salt=self._salt,
            first_seq=self._facts,
            count=count,
            frame_type=frame_type,
            previous_crc=self._crc,
            durable_seq=durable_seq,
            wall_ms=self._wall_ms,
        )
        self._facts += count
        self._write(data)

    def _write(self, data: bytes) -> None:
        with telling_full:
            write_all(self._file, self._position, data)
        self._digest.update(data)
        self._position += len(data)
        self._unsynced += len(data)
        if self._unsynced >= SYNC_BYTES:
            with telling_full:
                self._file.sync()
            self._unsynced = 0


def verify_snapshot(directory: Directory, entry: SnapshotEntry) -> None:
    """Raise `SnapshotError` unless the file is the one that the manifest lists. Reads it once, O(bytes)."""
    try:
        file = directory.open(entry.name)
    except FileNotFoundError:
        raise SnapshotError(f"{entry.name} is missing") from None
    try:
        size = file.size()
        if size != entry.bytes:
            raise SnapshotError(f"{entry.name} has {size} bytes and should have {entry.bytes}")
        digest = hashlib.blake2b(digest_size=32)
        for offset in range(0, size, SYNC_BYTES):
            digest.update(file.read_at(offset, SYNC_BYTES))
        if digest.hexdigest() != entry.digest:
            raise SnapshotError(f"{entry.name}: its contents do not match the digest in the manifest")
    finally:
        file.close()


def taken_wall_ms(directory: Directory, entry: SnapshotEntry) -> int:
    """Wall time in milliseconds at which the snapshot was begun; raises `SnapshotError`."""
    file = directory.open(entry.name)
    try:
        return unpack_segment_header(file.read_at(0, SEGMENT_HEADER_BYTES)).created_ms
    except LayoutError as error:
        raise SnapshotError(f"{entry.name}: {error}") from None
    finally:
        file.close()


def read_snapshot(
    directory: Directory,
    entry: SnapshotEntry,
    apply: Callable[[Sequence[Fact]], None],
    at: Callable[[int], object] = lambda position: None,
) -> None:
    """Hand the facts of a verified snapshot to `apply`, a batch at a time; after each batch, call `at` with the bytes
    that were read. Raises `SnapshotError`. O(bytes)."""
    file = directory.open(entry.name)
    try:
        block = file.read_at(0, SEGMENT_HEADER_BYTES)
        salt, crc = unpack_segment_header(block).salt, header_crc(block)
        facts = 0
        for frame in read_frames(file.read_at, SEGMENT_HEADER_BYTES, entry.bytes, salt=salt, crc=crc, seq=0):
            if frame.header.type == DATA:
                apply(decode_facts(frame.payload))
            facts = frame.header.end_seq
            at(frame.end)
        if facts != entry.facts:
            raise LayoutError(f"it holds {facts} facts and should hold {entry.facts}")
    except (LayoutError, msgspec.MsgspecError) as error:
        raise SnapshotError(f"{entry.name}: {error}") from None
    finally:
        file.close()
