"""How the active segment ends: in order, in a torn write, or in damage. Pure: bytes in, verdict out.

The question behind the last frame that reads is whether anything at or after it was ever acknowledged:

1. After a clean stop every byte was synced: damage. Refuse.
2. A mark says how far the segment was synced, and the frames end before that place: damage, even if only zeros or the
   end of the file follow. Refuse.
3. A file grows by whole units. Each unit is synced before anything is written into it, and the file is always longer
   than its contents. Frames that reach the end of the last whole unit are the rest of a longer file: damage. Refuse.
4. Look at the frames before the bad one and at those that still read after it. Each carries the sequence number up to
   which the writer knew the log to be synced. If one of them reaches the bad frame, it was synced, perhaps
   acknowledged, and has rotted since: damage. Refuse. The same holds if a frame after the bad one begins with the
   very fact that is expected at the bad frame: then the bad frame was a seal, and nothing is written behind a seal
   before the seal is synced.
5. Otherwise the sync of the bad frame had not returned when the machine stopped. Nothing from there on was
   acknowledged: it is a torn tail, to be dropped. Whole frames after it prove nothing, because the writes before one
   sync reach the disk in any order.

One case stays undecidable: rot, or zeros, in the batches between the last mark and a crash (at most
`journal.MARK_EVERY_BATCHES`, and those of a quarter of a second), if nothing was written after them. They look like
torn batches. When the log falls idle, a seal and both marks are witnesses for them. With the policies `interval` and
`os`, a batch has its witnesses once it is synced: after the interval, or when the segment is complete.
"""

from __future__ import annotations

from typing import NamedTuple

from presenced.storage.frames import find_frame, reader_of
from presenced.storage.layout import FRAME_HEADER_BYTES, LayoutError, Mark, SegmentHeader, unpack_frame_header


class SegmentEnd(NamedTuple):
    """The verdict on the end of a segment."""

    torn_bytes: int = 0
    """Bytes behind the last frame that are not zeros and are dropped."""
    damage: str = ""
    """Why something acknowledged is damaged or missing; empty if nothing is."""


def judge(
    data: bytes,
    header: SegmentHeader,
    position: int,
    seq: int,
    *,
    durable_seq: int,
    mark: Mark | None,
    is_clean: bool,
) -> SegmentEnd:
    """The ending of a segment whose file is `data` and whose frames read up to `position`, where fact `seq` is
    expected. `durable_seq`: what the frames before know to be synced. O(bytes behind `position`)."""
    if mark is not None and mark.seq > seq:
        return SegmentEnd(damage=f"facts up to {mark.seq - 1} were synced, so this is damage and not a torn write")
    if header.unit_bytes and _is_cut(data, header, position):
        return SegmentEnd(
            damage="nothing is written beyond what the file was made long for, so it was cut: this is damage"
        )
    rest = data[position:].rstrip(b"\0")
    if not rest:
        return SegmentEnd()
    if is_clean:
        return SegmentEnd(damage="the daemon had stopped cleanly, so this is damage")
    behind, follows = _frames_behind(data, position, position + len(rest), header.salt, seq)
    if follows:
        return SegmentEnd(
            damage="only a seal can have stood before the fact that reads behind it, and a seal is synced before "
            "anything is written behind it, so this is damage"
        )
    known = max(durable_seq, behind)
    if known > seq:
        return SegmentEnd(
            damage=f"facts up to {known - 1} were known to be synced, so this is damage and not a torn write"
        )
    return SegmentEnd(len(rest))


def _is_cut(data: bytes, header: SegmentHeader, position: int) -> bool:
    """Whether a frame reaches, or reached, to the end of the last whole unit of the file: the file was longer when it
    was written. What is behind the last whole unit is zeros that were being added when the machine stopped."""
    whole = len(data) - len(data) % header.unit_bytes
    if position >= whole:
        return True
    try:
        frame = unpack_frame_header(data[position : position + FRAME_HEADER_BYTES], header.salt)
    except LayoutError:
        # No frame fits so near to the end, and zeros would not be there.
        return any(0 <= end - position < FRAME_HEADER_BYTES and any(data[position:end]) for end in (whole, len(data)))
    return position + frame.frame_bytes >= whole


def _frames_behind(data: bytes, start: int, end: int, salt: int, next_seq: int) -> tuple[int, bool]:
    """Of the frames that still read in `data[start:end]`: the highest `durable_seq` (0 if there is none), and
    whether one of them begins at `next_seq`: then what should stand before it holds no facts.

    O(bytes looked at): as a rule one batch, at most the written part of a segment.
    """
    highest = 0
    follows = False
    read = reader_of(data)
    while (frame := find_frame(read, start, end, salt)) is not None:
        highest = max(highest, frame.header.durable_seq)
        follows = follows or frame.header.first_seq == next_seq
        start = frame.end
    return highest, follows
