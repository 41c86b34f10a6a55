"""The writing side of the log: batches into the active segment, syncs, rotation, snapshots into the manifest.

Synchronous and single-threaded; `committer` runs it on its thread. What is promised when `commit` returns depends on
the sync policy; `durable_seq` always tells what is truly on stable storage. Any `OSError` out of here other than a
full disk leaves the journal unusable for good (see `files` on failed syncs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from presenced.storage.files import FULL, Directory, DiskFull, discard, telling_full
from presenced.storage.layout import segment_name
from presenced.storage.manifest import MANIFEST, Manifest, SegmentEntry, write_manifest
from presenced.storage.port import FactHost
from presenced.storage.segment import Segment, make_segment
from presenced.storage.snapshot import SnapshotWriter

SEGMENT_BYTES = 64 << 20

MARK_EVERY_BATCHES = 16
MARK_EVERY_MS = 250
"""Under load a mark is written after so many batches or so much time, whichever is first. The mark goes out with a
batch and its sync, and costs one more block; with each batch, the disk would write twice as many blocks."""


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
        self.bytes_since_snapshot = 0
        self.has_leftovers = False
        """Files that the newest snapshot has made superfluous could not be removed for want of room."""
        self._sync_each = sync_each
        self._salts = salts
        self._wall_ms = wall_ms
        self._segment_bytes = segment_bytes
        self._segment: Segment | None = None
        self._is_open = False
        self.is_late = False
        self.trouble = ""
        self.trouble_ms = 0
        """See `port.FactPlace`: the committer finds by itself what is wrong with a disk."""
        self._marked_ms = 0
        """When the segment was last marked."""
        self._unmarked = 0
        """Batches since the last mark."""

    @property
    def _active(self) -> Segment:
        assert self._segment is not None
        return self._segment

    @property
    def next_seq(self) -> int:
        """The number of the next fact."""
        return self._active.next_seq

    @property
    def durable_seq(self) -> int:
        """All facts before this are on stable storage."""
        return self._active.durable_seq

    @property
    def snapshot_bytes(self) -> int:
        """Of the newest snapshot; 0 = there is none."""
        return self.manifest.snapshots[0].bytes if self.manifest.snapshots else 0

    def attach(self, host: FactHost) -> None:
        """See `port.FactPlace`: a disk asks nothing."""

    # --- batches ----------------------------------------------------------------------------------------------

    def commit(self, batches: Sequence[tuple[bytes, int]]) -> None:
        """Write encoded lists of facts (payload, count) as one frame each, and sync once if the policy promises that.

        Raises `DiskFull` with none of them written.
        """
        active = self._active
        if self._is_over(active):
            self.rotate()
            active = self._active
        now_ms = self._wall_ms()
        is_due = self._unmarked + 1 >= MARK_EVERY_BATCHES or abs(now_ms - self._marked_ms) >= MARK_EVERY_MS
        self.bytes_since_snapshot += active.write(batches, now_ms, with_mark=is_due)
        if is_due:
            self._marked_ms, self._unmarked = now_ms, 0
        else:
            self._unmarked += 1
        if self._sync_each:
            active.sync()

    def sync(self) -> None:
        """Sync everything that is written. An error here is final."""
        self._active.sync()

    @property
    def unsynced(self) -> bool:
        """Whether anything is written and not synced."""
        return self._active.unsynced

    @property
    def unsealed(self) -> bool:
        """Whether the last batch has no witness yet."""
        return not self._active.is_sealed

    def seal(self) -> None:
        """Write a witness that everything before it was synced, unless there is one: later damage to those frames
        cannot pass for a torn write then. Raises `DiskFull`, which does no harm."""
        if self.unsealed:
            self.bytes_since_snapshot += self._active.seal(self._wall_ms())

    def witness(self) -> None:
        """As `seal`, even if there is a witness: the write shows whether a full disk has room again."""
        if self._is_over(self._active):
            # The next batch needs a new segment, and a complete one needs no witness but the manifest.
            self.rotate()
        else:
            self.bytes_since_snapshot += self._active.seal(self._wall_ms())

    def lost(self) -> str:
        """Which files of the log are missing from their place, in words; "" if none is. Costs two or three stat(2)."""
        return self.directory.lost((MANIFEST, segment_name(self._active.number)))

    # --- segments ---------------------------------------------------------------------------------------------

    def _is_over(self, active: Segment) -> bool:
        return active.is_spoiled or active.position >= self._segment_bytes

    def rotate(self) -> None:
        """Seal the active segment and go on in a new one. Raises `DiskFull` with nothing changed."""
        active = self._active
        if not active.is_spoiled:
            self.seal()
        elif active.unsynced:
            active.sync()
        listed = (*self.manifest.segments[:-1], active.entry())
        self.open_segment(msgspec.structs.replace(self.manifest, segments=listed), active.number + 1)
        active.close()

    def sealed_entry(self) -> SegmentEntry:
        """The active segment as the manifest lists it once it is complete."""
        return self._active.entry()

    def open_segment(
        self, manifest: Manifest, number: int, frames: Sequence[tuple[bytes, int]] = (), *, first_seq: int = 1
    ) -> None:
        """Make segment `number` after those of `manifest`, with `frames` already in it, and list it.

        `first_seq` counts only if there are no segments before it.

        It is whole and durable before the manifest tells of it, so that a crash anywhere in here leaves the store
        as it was. Raises `DiskFull` likewise.
        """
        if manifest.segments:
            first_seq = manifest.segments[-1].end_seq or first_seq
        segment = make_segment(
            self.directory, manifest, number, first_seq, frames, salt=self._salts(), wall_ms=self._wall_ms
        )
        after = manifest.changed(segments=(*manifest.segments, SegmentEntry(number, first_seq)))
        try:
            with telling_full:
                write_manifest(self.directory, after)
        except DiskFull:
            segment.close()
            discard(self.directory, segment_name(number))
            raise
        self.manifest = after
        self._segment, self._is_open = segment, True

    # --- snapshots --------------------------------------------------------------------------------------------

    def begin_snapshot(self) -> SnapshotWriter:
        """Start a snapshot of the state as of now or later: all facts handed in before must be committed.

        The log goes on in a new segment, so that the ones before can be dropped one snapshot later. Raises `DiskFull`,
        and then the log goes on as it was, or in the new segment.
        """
        self.rotate()
        self.bytes_since_snapshot = 0
        return SnapshotWriter(
            self.directory,
            store_id=bytes.fromhex(self.manifest.store_id),
            number=self._active.number,
            start_seq=self.next_seq,
            salt=self._salts(),
            wall_ms=self._wall_ms(),
        )

    def finish_snapshot(self, writer: SnapshotWriter, version: int, *, alone: bool = False) -> Iterator[None]:
        """Verify the snapshot, list it, and remove what only the generation before the previous one needed; `alone`:
        also the previous one and all from before this snapshot, since they hold what is to be forgotten. Each step of
        the iterator is short enough to run between two commits. Raises `DiskFull` or `SnapshotError`, and then the
        snapshot does not count and must be abandoned."""
        yield from writer.finish(self.next_seq)
        if self.unsynced:
            self.sync()
        previous = () if alone else self.manifest.snapshots[:1]
        snapshots = (writer.entry(), *previous)
        needed_from = snapshots[-1].start_seq if previous or alone else 1
        manifest = self.manifest
        kept = tuple(entry for entry in manifest.segments if not entry.sealed or entry.end_seq > needed_from)
        after = manifest.changed(segments=kept, snapshots=snapshots, version=max(version, manifest.version))
        with telling_full:
            write_manifest(self.directory, after)
        self.manifest = after
        yield
        self.has_leftovers = False
        try:
            self.remove_unlisted()
            if alone:
                # Or a power cut could bring the names of the files back, and with them what they hold.
                self.directory.sync()
        except OSError as error:
            # The snapshot already counts, and must not be given up for this. The next one removes what is left over.
            if error.errno not in FULL:
                raise
            self.has_leftovers = True

    def remove_unlisted(self) -> None:
        """Remove segments, snapshots and temporary files that the manifest does not list."""
        listed = {segment_name(entry.number): None for entry in self.manifest.segments}
        listed.update({entry.name: None for entry in self.manifest.snapshots})
        for name in self.directory.names():
            if name.startswith(("wal-", "snap-")) and name not in listed:
                self.directory.unlink(name)

    def abandon(self) -> None:
        """Close the active segment as it is. The store stays as after a crash."""
        if self._is_open:
            self._active.close()
            self._is_open = False

    def close(self, *, version: int) -> None:
        """Stop in order: everything synced and sealed, and the manifest says so. After `DiskFull` or another error
        the store stays as after a crash."""
        if not self._is_open:
            return
        try:
            if self.unsynced:
                self.sync()
            self.seal()
            self.manifest = self.manifest.changed(clean=True, clean_seq=self.next_seq, version=version)
            write_manifest(self.directory, self.manifest)
        finally:
            self.abandon()
