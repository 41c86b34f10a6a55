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
    FRAMES_AT,
    MARK_BYTES,
    SEAL,
    Mark,
    SegmentHeader,
    header_crc,
    mark_at,
    pack_frame,
    pack_mark,
    pack_segment_header,
    segment_name,
)
from presenced.storage.manifest import MANIFEST, Manifest, SegmentEntry, write_manifest
from presenced.storage.snapshot import SnapshotWriter

SEGMENT_BYTES = 64 << 20
ALLOCATE_BYTES = 1 << 20
"""A segment grows by this much zero-written space at a time: syncing a write into space that exists costs half of
one that makes the file longer, and zeros are what the reader takes for the end. A multiple of 512."""

MARK_EVERY_BATCHES = 16
MARK_EVERY_MS = 250
"""Under load a mark is written this often, whichever is first, along with a batch and its sync, for which it is a
second block. With each batch the disk would have twice as many to write."""


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
        """What the file's length is: a multiple of `ALLOCATE_BYTES`, and synced."""
        self._wanted = 0
        """The length for which there was no room; 0 = there was."""
        self._is_spoiled = False
        """A batch is in the file in part, behind its end: nothing more may be written there."""
        self._sealed = True
        """The last frame is a seal whose watermark covers everything before it, and both marks say so."""
        self._durable = self._marked = Mark(0, 1, 0)
        """How far the segment is synced, and what the mark that was written last says of it."""
        self._marked_ms = 0
        self._unmarked = 0
        """Batches since then."""
        self._slot = 0
        """The mark that is written next: the other one is synced."""
        self._is_mark_pending = False
        """Whether it has been written since the last sync."""

    # --- batches ----------------------------------------------------------------------------------------------

    def commit(self, batches: Sequence[tuple[bytes, int]]) -> None:
        """Write encoded fact lists (payload, count) as one frame each and, if so promised, sync once.

        Raises `DiskFull` with none of them written.
        """
        if self._is_spoiled or self._position >= self._segment_bytes:
            self.rotate()
        position, crc, seq = self._position, self._crc, self.next_seq
        frames = []
        for payload, count in batches:
            data, crc = self._frame(payload, seq, count, DATA, crc)
            frames.append(data)
            seq += count
        data = b"".join(frames)
        self._make_room(position + len(data))
        now_ms = self._wall_ms()
        self._unmarked += 1
        if self._unmarked >= MARK_EVERY_BATCHES or abs(now_ms - self._marked_ms) >= MARK_EVERY_MS:
            self._marked_ms, self._unmarked = now_ms, 0
            self._mark()
        self._append(data, position)
        self._crc, self.next_seq = crc, seq
        self._sealed = False
        if self._sync_each:
            self.sync()

    def sync(self) -> None:
        """Make everything written durable. An error here is final."""
        assert self._file is not None
        self._file.sync()
        self.durable_seq = self.next_seq
        self._durable = Mark(self._position, self.next_seq, self._crc)
        if self._is_mark_pending:
            self._slot ^= 1
            self._is_mark_pending = False

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
            self._witness()

    def witness(self) -> None:
        """As `seal`, also if there is one: what still succeeds on a disk that is no longer full."""
        if self._is_spoiled or self._position >= self._segment_bytes:
            # The next batch needs a new segment, and a complete one needs no witness but the manifest.
            self.rotate()
        else:
            self._witness()

    def _witness(self) -> None:
        if self.unsynced:
            self.sync()
        data, crc = self._frame(b"", self.next_seq, 0, SEAL, self._crc)
        self._make_room(max(self._wanted, self._position + len(data)))
        self._mark()
        self._append(data, self._position)
        self._crc = crc
        self.sync()
        # Both marks, and the seal: a range of the file that holds all three holds every frame between them, and the
        # header or the end of the log.
        self._mark()
        self.sync()
        self._sealed = True

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

    def _make_room(self, end: int) -> None:
        """Have the file reach beyond `end`, synced: the reader takes a frame that fills the last whole unit, or more,
        for the rest of a file that was cut. Raises `DiskFull` with the file as it was."""
        assert self._file is not None
        if end < self._allocated:
            self._wanted = 0
            return
        grown = (end // ALLOCATE_BYTES + 1) * ALLOCATE_BYTES
        try:
            with telling_full():
                write_all(self._file, self._allocated, bytes(grown - self._allocated))
        except DiskFull:
            self._wanted = end
            self._file.truncate(self._allocated)
            raise
        self.sync()
        self._allocated, self._wanted = grown, 0

    def _append(self, data: bytes, position: int) -> None:
        """Write into space that is there."""
        assert self._file is not None
        try:
            with telling_full():
                write_all(self._file, position, data)
        except DiskFull:
            # A file system that writes nothing in place, or a quota. What is there of it cannot be taken back for
            # sure, and after a crash it would stand behind what is written over its beginning.
            self._is_spoiled = True
            raise
        self._position = position + len(data)
        self.bytes_since_snapshot += len(data)

    def _mark(self) -> None:
        """Say how far the segment is synced, from the next sync on. A mark for which there is no room is left out."""
        assert self._file is not None
        if self._marked == self._durable:
            return
        with contextlib.suppress(DiskFull), telling_full():
            write_all(self._file, mark_at(self._slot), pack_mark(self._durable, self._salt))
            self._marked, self._is_mark_pending = self._durable, True

    def lost(self) -> str:
        """What the log is written to and nobody finds any more, in words; "" for nothing. Two or three stat(2)."""
        return self.directory.lost((MANIFEST, segment_name(self._number)))

    # --- segments ---------------------------------------------------------------------------------------------

    def rotate(self) -> None:
        """Seal the active segment and go on in a new one. Raises `DiskFull` with nothing changed."""
        assert self._file is not None
        if not self._is_spoiled:
            self.seal()
        elif self.unsynced:
            self.sync()
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
                unit_bytes=ALLOCATE_BYTES,
            )
        )
        before = (self._salt, self._crc, self.next_seq)
        self._salt, self._crc, self.next_seq = salt, header_crc(block), first_seq
        parts = [block, b"", b""]
        for payload, count in frames:
            data, self._crc = self._frame(payload, self.next_seq, count, DATA, self._crc)
            parts.append(data)
            self.next_seq += count
        end = FRAMES_AT + sum(map(len, parts[3:]))
        mark = Mark(end, self.next_seq, self._crc)
        parts[1] = parts[2] = pack_mark(mark, salt).ljust(MARK_BYTES, b"\0")
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
        self._allocated, self._wanted, self._is_spoiled = file.size(), 0, False
        self.durable_seq = self.next_seq
        self._durable = self._marked = mark
        self._slot, self._is_mark_pending = 0, False
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
