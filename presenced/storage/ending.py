"""Where the active segment ends: in order, in a torn write, or in damage. Pure: bytes in, verdict out.

The question behind the last frame that reads is whether anything at or after it was ever acknowledged:

1. After a clean stop every byte was synced: damage. Refuse.
2. A mark says how far the segment was synced, and the frames end before it: damage, also if there are only zeros or
   the end of the file. Refuse.
3. A file is made longer by whole units, each synced before anything is written into it, and is always longer than what
   is written. Frames that reach the end of its last whole unit are what is left of a longer file: damage. Refuse.
4. Look at the frames before the bad one and at those that still read after it. Each carries the sequence number up to
   which the writer knew the log to be synced. If one of them reaches the bad frame, it was synced, perhaps
   acknowledged, and has rotted since: damage. Refuse. So it is if one that reads after it begins with the very fact
   that is expected at the bad frame: then that one was a seal, and nothing is written behind a seal before it is
   synced.
5. Otherwise its sync had not returned when the machine stopped. Nothing from here on was acknowledged: a torn tail,
   to be dropped. That frames after it read well proves nothing; writes before one sync reach the disk in any order.

What stays undecidable is rot, or zeros, in the batches since the last mark before a crash (`journal.MARK_EVERY_BATCHES`
at most, and those of a quarter of a second), if nothing was written after them: they look like torn ones. When the log
falls idle, a seal and both marks are witnesses for them. With the policies `interval` and `os` a batch has its
witnesses once it is synced: after the interval, or not before the segment is complete.
"""

from __future__ import annotations

from typing import NamedTuple

from presenced.storage.frames import find_frame, reader_of
from presenced.storage.layout import FRAME_HEADER_BYTES, LayoutError, Mark, SegmentHeader, unpack_frame_header


class Ending(NamedTuple):
    """The verdict."""

    torn_bytes: int = 0
    """Bytes behind the last frame that hold something and are dropped."""
    damage: str = ""
    """Why something that was acknowledged is damaged or missing; empty if nothing is."""


def judge(
    data: bytes,
    header: SegmentHeader,
    position: int,
    seq: int,
    *,
    durable_seq: int,
    mark: Mark | None,
    is_clean: bool,
) -> Ending:
    """The ending of a segment whose file is `data` and whose frames read up to `position`, where fact `seq` is
    expected. `durable_seq`: what the frames before know to be synced. O(bytes behind `position`)."""
    if mark is not None and mark.seq > seq:
        return Ending(damage=f"facts up to {mark.seq - 1} were synced, so this is damage and not a torn write")
    if header.unit_bytes and _is_cut(data, header, position):
        return Ending(damage="nothing is written beyond what the file was made long for, so it was cut: this is damage")
    rest = data[position:].rstrip(b"\0")
    if not rest:
        return Ending()
    if is_clean:
        return Ending(damage="the daemon had stopped cleanly, so this is damage")
    behind, follows = _frames_behind(data, position, position + len(rest), header.salt, seq)
    if follows:
        return Ending(
            damage="only a seal can have stood before the fact that reads behind it, and a seal is synced before "
            "anything is written behind it, so this is damage"
        )
    known = max(durable_seq, behind)
    if known > seq:
        return Ending(damage=f"facts up to {known - 1} were known to be synced, so this is damage and not a torn write")
    return Ending(len(rest))


def _is_cut(data: bytes, header: SegmentHeader, position: int) -> bool:
    """Whether a frame reaches, or reached, to the end of the last whole unit of the file: the file was longer when it
    was written. What is behind the last whole unit is zeros that were being added when the machine stopped."""
    whole = len(data) - len(data) % header.unit_bytes
    if position >= whole:
        return True
    try:
        frame = unpack_frame_header(data[position : position + FRAME_HEADER_BYTES], header.salt)
    except LayoutError:
        # Too near to the end for any frame, and not zeros.
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
