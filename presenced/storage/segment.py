"""The active segment of the log: its file, the space in it, the end of its frames, and its marks.

Which segments there are, and when one is marked, sealed or synced, is for `journal` to say. After any `OSError` out
of here other than a full disk nothing more may be written (see `files` on failed syncs).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from presenced.storage.files import Directory, DiskFull, File, discard, telling_full, write_all
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
from presenced.storage.manifest import Manifest, SegmentEntry

ALLOCATE_BYTES = 1 << 20
"""A segment grows by so many bytes of zeros at a time, a multiple of 512. A sync after a write into existing space
costs half of a sync after a write that makes the file longer; and the reader takes zeros for the end of the log."""


class Segment:
    """A segment that is written to. Made by `make_segment`; `close` it once."""

    def __init__(self, file: File, number: int, first_seq: int, salt: int, end: Mark) -> None:
        """`end` is where its frames end; all of them are synced, and both marks say so."""
        self.number = number
        self.first_seq = first_seq
        self.position, self.next_seq, self.crc = end
        """Where the next frame goes, the number of its first fact, and what it chains to."""
        self.durable_seq = end.seq
        """All facts before this are on stable storage."""
        self.is_sealed = end.position == FRAMES_AT
        """The last frame is a seal whose watermark covers everything before it, and both marks say so."""
        self.is_spoiled = False
        """Part of a batch stands behind the end of the frames, so nothing may be written there again."""
        self._file = file
        self._salt = salt
        self._allocated = file.size()
        """The length of the file: a multiple of `ALLOCATE_BYTES`, and synced."""
        self._wanted = 0
        """The length for which the disk had no room; 0 = there was room."""
        self._durable: tuple[int, int, int] = end
        """The fields of a mark that says how far the segment is synced."""
        self._marked: tuple[int, int, int] = end
        """The fields of the mark that was written last."""
        self._slot = 0
        """The mark that is written next: the other one is synced."""
        self._is_mark_pending = False
        """Whether that mark was written since the last sync."""

    @property
    def unsynced(self) -> bool:
        """Whether anything is written and not synced."""
        return self.durable_seq < self.next_seq

    def entry(self) -> SegmentEntry:
        """The segment as the manifest lists it once it is complete."""
        return SegmentEntry(self.number, self.first_seq, self.next_seq, self.position, self.crc)

    def write(self, batches: Sequence[tuple[bytes, int]], wall_ms: int, *, with_mark: bool) -> int:
        """Write encoded fact lists (payload, count) as one frame each, and a mark; return the bytes of the frames.

        Raises `DiskFull` with none of them written; if it leaves the segment spoiled, that is final for the segment.
        """
        crc, seq = self.crc, self.next_seq
        frames = []
        for payload, count in batches:
            frame, crc = self._frame(payload, seq, count, DATA, crc, wall_ms)
            frames.append(frame)
            seq += count
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        self._make_room(self.position + len(data))
        if with_mark:
            self._mark()
        self._append(data)
        self.crc, self.next_seq = crc, seq
        self.is_sealed = False
        return len(data)

    def seal(self, wall_ms: int) -> int:
        """Write a witness that everything before it was synced, and return its bytes. Raises `DiskFull`, which does no
        harm."""
        if self.unsynced:
            self.sync()
        data, crc = self._frame(b"", self.next_seq, 0, SEAL, self.crc, wall_ms)
        self._make_room(max(self._wanted, self.position + len(data)))
        self._mark()
        self._append(data)
        self.crc = crc
        self.sync()
        # Both marks, and the seal: a range of the file that holds all three holds every frame between them, and the
        # header or the end of the log.
        self._mark()
        self.sync()
        self.is_sealed = True
        return len(data)

    def sync(self) -> None:
        """Sync everything that is written. An error here is final."""
        self._file.sync()
        self.durable_seq = self.next_seq
        self._durable = (self.position, self.next_seq, self.crc)
        if self._is_mark_pending:
            self._slot ^= 1
            self._is_mark_pending = False

    def close(self) -> None:
        """Close the descriptor; the file stays as it is."""
        self._file.close()

    def _frame(
        self, payload: bytes, seq: int, count: int, frame_type: int, crc: int, wall_ms: int
    ) -> tuple[bytes, int]:
        return pack_frame(
            payload,
            salt=self._salt,
            first_seq=seq,
            count=count,
            frame_type=frame_type,
            previous_crc=crc,
            durable_seq=self.durable_seq,
            wall_ms=wall_ms,
        )

    def _make_room(self, end: int) -> None:
        """Make the file longer than `end`, and sync that: the reader takes a frame that reaches the end of the last
        whole unit for the rest of a file that was cut. Raises `DiskFull` and leaves the file as it was."""
        if end < self._allocated:
            self._wanted = 0
            return
        grown = (end // ALLOCATE_BYTES + 1) * ALLOCATE_BYTES
        try:
            with telling_full:
                write_all(self._file, self._allocated, bytes(grown - self._allocated))
        except DiskFull:
            self._wanted = end
            self._file.truncate(self._allocated)
            raise
        self.sync()
        self._allocated, self._wanted = grown, 0

    def _append(self, data: bytes) -> None:
        """Write into existing space."""
        try:
            with telling_full:
                write_all(self._file, self.position, data)
        except DiskFull:
            # The file system does not write in place, or there is a quota. The written part cannot be removed for
            # certain, and after a crash it would stand behind whatever is written over its beginning.
            self.is_spoiled = True
            raise
        self.position += len(data)

    def _mark(self) -> None:
        """Write a mark that says how far the segment is synced; it counts from the next sync on. A mark for which there
        is no room is left out."""
        if self._marked == self._durable:
            return
        with contextlib.suppress(DiskFull), telling_full:
            write_all(self._file, mark_at(self._slot), pack_mark(Mark(*self._durable), self._salt))
            self._marked, self._is_mark_pending = self._durable, True


def make_segment(
    directory: Directory,
    manifest: Manifest,
    number: int,
    first_seq: int,
    frames: Sequence[tuple[bytes, int]],
    *,
    salt: int,
    wall_ms: Callable[[], int],
) -> Segment:
    """Make the file of a segment after those of `manifest`, with `frames` in it; whole and durable once this returns.

    Raises `DiskFull` with no such file left behind.
    """
    previous = manifest.segments[-1] if manifest.segments else SegmentEntry(0, 0)
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
            created_ms=wall_ms(),
            unit_bytes=ALLOCATE_BYTES,
        )
    )
    crc, seq = header_crc(block), first_seq
    packed = []
    for payload, count in frames:
        # Their header claims no sync: the segment counts as a whole, once the manifest lists it.
        data, crc = pack_frame(
            payload,
            salt=salt,
            first_seq=seq,
            count=count,
            frame_type=DATA,
            previous_crc=crc,
            durable_seq=1,
            wall_ms=wall_ms(),
        )
        packed.append(data)
        seq += count
    end = Mark(FRAMES_AT + sum(map(len, packed)), seq, crc)
    mark = pack_mark(end, salt).ljust(MARK_BYTES, b"\0")
    with telling_full:
        file = _make_file(directory, segment_name(number), b"".join((block, mark, mark, *packed)))
    return Segment(file, number, first_seq, salt, end)


def _make_file(directory: Directory, name: str, data: bytes) -> File:
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
