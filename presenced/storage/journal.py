"""The writing side of the log: batches into the active segment, syncs, rotation, snapshots into the manifest.

Synchronous and single-threaded; `committer` runs it on its thread. What is promised when `commit` returns depends on
the sync policy; `durable_seq` always tells what is truly on stable storage. Any `OSError` out of here other than a
full disk leaves the journal unusable for good (see `files` on failed syncs).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import msgspec

from presenced.storage.files import FULL, Directory, File, discard, write_all
from presenced.storage.layout import (
    DATA,
    SEAL,
    SegmentHeader,
    header_crc,
    pack_frame,
    pack_segment_header,
    segment_name,
)
from presenced.storage.manifest import Manifest, SegmentEntry, write_manifest
from presenced.storage.snapshot import SnapshotWriter

SEGMENT_BYTES = 64 << 20
ALLOCATE_BYTES = 1 << 20
"""A segment grows by this much zero-written space at a time: syncing a write into space that exists costs half of
one that makes the file longer, and zeros are what the reader takes for the end."""


class DiskFull(Exception):
    """There is no room. The batch was not written and may be tried again."""


@contextlib.contextmanager
def telling_full() -> Iterator[None]:
    """Raise `DiskFull` for an error that means it; other errors go through. Not for what must be undone then: that a
    truncation or a sync finds no room is final."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(str(error)) from None


class Journal:
    """An open store. Made by `store.open_store`; `close` it once."""

    def __init__(
        self,
        directory: Directory,
        manifest: Manifest,
        *,
        sync_each: bool,
        salts: Callable[[], int],
        wall_ms: Callable[[], int],
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.directory = directory
        self.manifest = manifest
        self.next_seq = 1
        self.durable_seq = 1
        """All facts before this are on stable storage."""
        self.bytes_since_snapshot = 0
        self._sync_each = sync_each
        self._salts = salts
        self._wall_ms = wall_ms
        self._segment_bytes = segment_bytes
        self._file: File | None = None
        self._number = 0
        self._first_seq = 1
        self._salt = 0
        self._crc = 0
        self._position = 0
        self._allocated = 0
        self._sealed = True
        """The last frame is a seal whose watermark covers everything before it."""

    # --- batches ----------------------------------------------------------------------------------------------

    def commit(self, batches: Sequence[tuple[bytes, int]]) -> None:
        """Write encoded fact lists (payload, count) as one frame each and, if so promised, sync once.

        Raises `DiskFull` with none of them written.
        """
        if self._position >= self._segment_bytes:
            self.rotate()
        position, crc, seq = self._position, self._crc, self.next_seq
        frames = []
        for payload, count in batches:
            data, crc = self._frame(payload, seq, count, DATA, crc)
            frames.append(data)
            seq += count
        self._append(b"".join(frames), position)
        self._crc, self.next_seq = crc, seq
        self._sealed = False
        if self._sync_each:
            self.sync()

    def sync(self) -> None:
        """Make everything written durable. An error here is final."""
        assert self._file is not None
        self._file.sync()
        self.durable_seq = self.next_seq

    @property
    def unsynced(self) -> bool:
        """Whether something was written and not synced."""
        return self.durable_seq < self.next_seq

    @property
    def unsealed(self) -> bool:
        """Whether the last batch has no witness yet."""
        return not self._sealed

    def seal(self) -> None:
        """If there is none yet, write a witness that everything before it was synced, so that later damage to it
        cannot pass for a torn write. Raises `DiskFull`, which does no harm."""
        if not self._sealed:
            self.witness()

    def witness(self) -> None:
        """As `seal`, also if there is one: what still succeeds on a disk that is no longer full."""
        if self.unsynced:
            self.sync()
        data, crc = self._frame(b"", self.next_seq, 0, SEAL, self._crc)
        self._append(data, self._position)
        self._crc = crc
        self._sealed = True
        self.sync()

    def _frame(self, payload: bytes, seq: int, count: int, frame_type: int, crc: int) -> tuple[bytes, int]:
        return pack_frame(
            payload,
            salt=self._salt,
            first_seq=seq,
            count=count,
            frame_type=frame_type,
            previous_crc=crc,
            durable_seq=self.durable_seq,
            wall_ms=self._wall_ms(),
        )

    def _append(self, data: bytes, position: int) -> None:
        assert self._file is not None
        end = position + len(data)
        try:
            with telling_full():
                if end > self._allocated:
                    grown = (end // ALLOCATE_BYTES + 1) * ALLOCATE_BYTES
                    write_all(self._file, self._allocated, bytes(grown - self._allocated))
                    self._allocated = grown
                write_all(self._file, position, data)
        except DiskFull:
            # What was written of it must not stay behind the end: cut it off, and grow anew when there is room. Synced,
            # or a crash could bring it back behind the first frame of what is written in its place.
            self._file.truncate(position)
            self._allocated = position
            self.sync()
            raise
        self._position = end
        self.bytes_since_snapshot += len(data)

    # --- segments ---------------------------------------------------------------------------------------------

    def rotate(self) -> None:
        """Seal the active segment and go on in a new one. Raises `DiskFull` with nothing changed."""
        assert self._file is not None
        self.seal()
        sealed = self.sealed_entry()
        old = self._file
        listed = (*self.manifest.segments[:-1], sealed)
        self.open_segment(msgspec.structs.replace(self.manifest, segments=listed), self._number + 1)
        old.close()

    def sealed_entry(self) -> SegmentEntry:
        """The active segment as the manifest lists it once it is complete."""
        return SegmentEntry(self._number, self._first_seq, self.next_seq, self._position, self._crc)

    def open_segment(
        self, manifest: Manifest, number: int, frames: Sequence[tuple[bytes, int]] = (), *, first_seq: int = 1
    ) -> None:
        """Make segment `number` after those of `manifest`, with `frames` already in it, and list it.

        `first_seq` counts only if there are no segments before it.

        It is whole and durable before the manifest tells of it, so that a crash anywhere in here leaves the store
        as it was. Raises `DiskFull` likewise.
        """
        previous = manifest.segments[-1] if manifest.segments else SegmentEntry(0, 0)
        first_seq = previous.end_seq or first_seq
        salt = self._salts()
        block = pack_segment_header(
            SegmentHeader(
                store_id=bytes.fromhex(manifest.store_id),
                number=number,
                first_seq=first_seq,
                previous_number=previous.number,
                previous_last_seq=max(0, previous.end_seq - 1),
                previous_bytes=previous.bytes,
                previous_crc=previous.last_crc,
                salt=salt,
                created_ms=self._wall_ms(),
            )
        )
        before = (self._salt, self._crc, self.next_seq)
        self._salt, self._crc, self.next_seq = salt, header_crc(block), first_seq
        parts = [block]
        for payload, count in frames:
            data, self._crc = self._frame(payload, self.next_seq, count, DATA, self._crc)
            parts.append(data)
            self.next_seq += count
        data = b"".join(parts)
        after = manifest.changed(segments=(*manifest.segments, SegmentEntry(number, first_seq)))
        file: File | None = None
        try:
            with telling_full():
                file = self._make_segment(segment_name(number), data)
                write_manifest(self.directory, after)
        except (DiskFull, OSError) as error:
            self._salt, self._crc, self.next_seq = before
            if isinstance(error, DiskFull) and file is not None:
                file.close()
                discard(self.directory, segment_name(number))
            raise
        self.manifest = after
        self._file = file
        self._number, self._first_seq = number, first_seq
        self._position = len(data)
        self._allocated = file.size()
        self.durable_seq = self.next_seq
        self._sealed = not frames

    def _make_segment(self, name: str, data: bytes) -> File:
        directory = self.directory
        temporary = f"{name}.tmp"
        for leftover in {name: None, temporary: None}:
            if leftover in directory.names():
                directory.unlink(leftover)
        file = directory.open(temporary, create=True)
        try:
            size = (len(data) // ALLOCATE_BYTES + 1) * ALLOCATE_BYTES
            write_all(file, 0, data.ljust(size, b"\0"))
            file.sync()
            directory.rename(temporary, name)
            directory.sync()
        except OSError:
            file.close()
            discard(directory, temporary)
            raise
        return file

    # --- snapshots --------------------------------------------------------------------------------------------

    def begin_snapshot(self) -> SnapshotWriter:
        """Start a snapshot of the state as of now or later: all facts handed in so far must have been committed.

        The log goes on in a new segment, so that the ones before can be dropped one snapshot later.
        """
        self.rotate()
        self.bytes_since_snapshot = 0
        return SnapshotWriter(
            self.directory,
            store_id=bytes.fromhex(self.manifest.store_id),
            number=self._number,
            start_seq=self.next_seq,
            salt=self._salts(),
            wall_ms=self._wall_ms(),
        )

    def finish_snapshot(self, writer: SnapshotWriter, version: int) -> Iterator[None]:
        """Verify it, list it, and drop what only the generation before the previous needed; in steps."""
        end_seq = self.next_seq
        with telling_full():
            yield from writer.finish(end_seq)
        if self.unsynced:
            self.sync()
        previous = self.manifest.snapshots[:1]
        snapshots = (writer.entry(), *previous)
        needed_from = snapshots[-1].start_seq if previous else 1
        manifest = self.manifest
        kept = tuple(entry for entry in manifest.segments if not entry.sealed or entry.end_seq > needed_from)
        after = manifest.changed(segments=kept, snapshots=snapshots, version=max(version, manifest.version))
        with telling_full():
            write_manifest(self.directory, after)
        self.manifest = after
        yield
        try:
            self.remove_unlisted()
        except OSError as error:
            # The snapshot counts by now and must not be given up for it; what is left over goes with the next one.
            if error.errno not in FULL:
                raise

    def remove_unlisted(self) -> None:
        """Remove segments, snapshots and temporary files that the manifest does not list."""
        listed = {segment_name(entry.number): None for entry in self.manifest.segments}
        listed.update({entry.name: None for entry in self.manifest.snapshots})
        for name in self.directory.names():
            if name.startswith(("wal-", "snap-")) and name not in listed:
                self.directory.unlink(name)

    def abandon(self) -> None:
        """Let go of the active segment as it is: the store is left as after a crash."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self, *, version: int) -> None:
        """Stop in order: everything synced and sealed, and the manifest says so. After `DiskFull` or another error
        the store is simply left as after a crash."""
        if self._file is None:
            return
        try:
            if self.unsynced:
                self.sync()
            self.seal()
            self.manifest = self.manifest.changed(clean=True, clean_seq=self.next_seq, version=version)
            write_manifest(self.directory, self.manifest)
        finally:
            self.abandon()
