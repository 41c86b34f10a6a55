"""The bytes of a log segment: a header block, two marks, then frames, then zeros. Pure: bytes in, values out.

A frame is one commit batch, the unit of atomicity and of sync. What each field is for:

* `header_check` covers the header alone, so that a length is believed only after it: damage costs at most one
  bounded read.
* `crc` covers header and payload and starts from the segment's random salt, so that a frame can be checked without
  those before it, and bytes of an earlier life of the file never pass.
* `prev_crc` chains each frame to the one before (the first to the segment's header): a frame that was dropped,
  repeated or moved shows.
* `durable_seq`: the writer knew all facts before this sequence number to be synced when it built the frame. It is
  what tells a torn tail from damage to something that was acknowledged (see `recovery`).

The header is written once. The two marks say how far the segment is known to be synced. They are written over in turn,
never both in one sync, so that one of them reads after every power cut. Frames and marks are each other's witnesses:
a cut or zeroed end takes frames and leaves marks. Each mark has a block of its own, so that the disk touches neither
the header nor a frame when it writes one.

A segment is made longer by whole units, what is added is synced before anything is written into it, and the file is
always longer than what is written. So no frame ever reaches the end of the last whole unit but in a file that was cut.

Little-endian; frames are padded with zeros to 8 bytes, so that no length straddles a 512-byte sector.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

FORMAT_MAJOR = 2
FORMAT_MINOR = 0
UNMARKED_MAJOR = 1
"""Without marks and units: snapshots, and segments of a store that was last opened by an older version."""

SEGMENT_MAGIC = b"PRSDLOG\n"
SEGMENT_HEADER_BYTES = 4096
"""A block of its own, so that no frame shares a sector with it."""

MARK_BYTES = 4096
"""A block each, for disks whose sectors are that long."""

FRAMES_AT = SEGMENT_HEADER_BYTES + 2 * MARK_BYTES
"""Where the frames of a marked segment begin."""

FRAME_HEADER_BYTES = 48
PAYLOAD_BYTES_MAX = 16 << 20
"""No turn produces as much; a usual frame has a few hundred bytes."""

DATA = 1
"""The payload is an array of facts."""
SEAL = 2
"""A witness without facts: its `durable_seq` says that everything before it was synced. Written when the log falls
idle, at a rotation and at a clean stop."""
SKIPPABLE = 0x80
"""Frame types with this bit may be passed over by a reader that does not know them."""

_SEGMENT = struct.Struct("<8sHHI16sQQQQQIIQI")
_MARK_MAGIC = b"PRSDMARK"
_MARK = struct.Struct("<8sQQI")
_FRAME = struct.Struct("<IIQIBBHIIQQ")
_CRC = struct.Struct("<I")


class SegmentHeader(NamedTuple):
    """What a segment says of itself and of its predecessor; for the first segment, the latter are zeros."""

    store_id: bytes
    number: int
    first_seq: int
    previous_number: int
    previous_last_seq: int
    previous_bytes: int
    previous_crc: int
    salt: int
    created_ms: int
    unit_bytes: int = 0
    """What the file's length is a multiple of; 0 for one without marks."""

    @property
    def frames_at(self) -> int:
        """Where the first frame begins."""
        return FRAMES_AT if self.unit_bytes else SEGMENT_HEADER_BYTES


class Mark(NamedTuple):
    """A moment of a segment: everything in it before `position` was synced."""

    position: int
    seq: int
    """The sequence number of the next fact."""
    crc: int
    """That of the last frame before `position`, or of the header block."""


class FrameHeader(NamedTuple):
    """A frame without its payload."""

    crc: int
    payload_bytes: int
    first_seq: int
    facts: int
    type: int
    flags: int
    schema: int
    previous_crc: int
    header_check: int
    durable_seq: int
    wall_ms: int

    @property
    def end_seq(self) -> int:
        """The sequence number of the next frame's first fact."""
        return self.first_seq + self.facts

    @property
    def frame_bytes(self) -> int:
        """Header, payload and padding."""
        return FRAME_HEADER_BYTES + padded(self.payload_bytes)


class LayoutError(Exception):
    """Bytes that do not read; the text says which field is wrong."""


def segment_name(number: int) -> str:
    """The file name of a segment; sorts by number."""
    return f"wal-{number:010d}.log"


def padded(size: int) -> int:
    """`size` rounded up to 8."""
    return (size + 7) & ~7


def pack_segment_header(header: SegmentHeader) -> bytes:
    """The header block, ending in its checksum."""
    fields = _SEGMENT.pack(
        SEGMENT_MAGIC,
        FORMAT_MAJOR if header.unit_bytes else UNMARKED_MAJOR,
        FORMAT_MINOR,
        header.frames_at,
        header.store_id,
        header.number,
        header.first_seq,
        header.previous_number,
        header.previous_last_seq,
        header.previous_bytes,
        header.previous_crc,
        header.salt,
        header.created_ms,
        header.unit_bytes,
    )
    block = fields.ljust(SEGMENT_HEADER_BYTES - _CRC.size, b"\0")
    return block + _CRC.pack(zlib.crc32(block))


def unpack_segment_header(block: bytes) -> SegmentHeader:
    """The header of a segment; raises `LayoutError`."""
    if len(block) < SEGMENT_HEADER_BYTES:
        raise LayoutError(f"the header has {len(block)} of {SEGMENT_HEADER_BYTES} bytes")
    (expected,) = _CRC.unpack_from(block, SEGMENT_HEADER_BYTES - _CRC.size)
    if zlib.crc32(block[: SEGMENT_HEADER_BYTES - _CRC.size]) != expected:
        raise LayoutError("the header's checksum does not match")
    magic, major, _minor, _size, *fields = _SEGMENT.unpack_from(block)
    if magic != SEGMENT_MAGIC:
        raise LayoutError("the header's magic is not that of a log segment")
    if not UNMARKED_MAJOR <= major <= FORMAT_MAJOR:
        raise LayoutError(f"the segment has format {major}, and this version reads up to {FORMAT_MAJOR}")
    return SegmentHeader(*fields)


def header_crc(block: bytes) -> int:
    """What the first frame of a segment chains to."""
    return int(_CRC.unpack_from(block, SEGMENT_HEADER_BYTES - _CRC.size)[0])


def pack_mark(mark: Mark, salt: int) -> bytes:
    """A mark and its checksum, which only this segment's salt makes good."""
    fields = _MARK.pack(_MARK_MAGIC, *mark)
    return fields + _CRC.pack(zlib.crc32(fields, salt))


def mark_at(slot: int) -> int:
    """Where mark 0 or 1 stands in the segment."""
    return SEGMENT_HEADER_BYTES + slot * MARK_BYTES


def newest_mark(data: bytes, header: SegmentHeader) -> Mark | None:
    """The newer of the two marks, among those that read; None if neither does. `data` begins where the segment does."""
    newest: Mark | None = None
    for slot in (0, 1):
        block = data[mark_at(slot) : mark_at(slot) + _MARK.size + _CRC.size]
        if len(block) == _MARK.size + _CRC.size and _CRC.unpack_from(block, _MARK.size)[0] == zlib.crc32(
            block[: _MARK.size], header.salt
        ):
            magic, *fields = _MARK.unpack_from(block)
            mark = Mark(*fields)
            if magic == _MARK_MAGIC and (newest is None or mark.position > newest.position):
                newest = mark
    return newest


def pack_frame(
    payload: bytes,
    *,
    salt: int,
    first_seq: int,
    count: int,
    frame_type: int,
    previous_crc: int,
    durable_seq: int,
    wall_ms: int,
) -> tuple[bytes, int]:
    """A whole frame and its crc. O(payload). Raises `LayoutError` for one that no reader would take."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise LayoutError(f"a payload of {len(payload)} bytes is over the cap of {PAYLOAD_BYTES_MAX}")
    body = payload.ljust(padded(len(payload)), b"\0")
    fields = (len(payload), first_seq, count, frame_type, 0, 1, previous_crc)
    check = zlib.crc32(_FRAME.pack(0, *fields, 0, durable_seq, wall_ms), salt)
    header = _FRAME.pack(0, *fields, check, durable_seq, wall_ms)
    crc = zlib.crc32(body, zlib.crc32(header[4:], salt))
    return _CRC.pack(crc) + header[4:] + body, crc


def unpack_frame_header(block: bytes, salt: int) -> FrameHeader:
    """The header at the start of `block`, if it is whole and its own check holds; raises `LayoutError`."""
    if len(block) < FRAME_HEADER_BYTES:
        raise LayoutError("the frame header is cut off")
    header = FrameHeader(*_FRAME.unpack_from(block))
    cleared = header._replace(crc=0, header_check=0)
    if zlib.crc32(_FRAME.pack(*cleared), salt) != header.header_check:
        raise LayoutError("the frame header's check does not match")
    if not 0 <= header.payload_bytes <= PAYLOAD_BYTES_MAX:
        raise LayoutError("the frame is longer than any that is written")
    return header


def frame_payload(header: FrameHeader, block: bytes, salt: int) -> bytes:
    """The payload of the frame at the start of `block`; raises `LayoutError` if it is cut off or damaged."""
    if len(block) < header.frame_bytes:
        raise LayoutError("the frame is cut off")
    body = block[FRAME_HEADER_BYTES : header.frame_bytes]
    if zlib.crc32(body, zlib.crc32(block[4:FRAME_HEADER_BYTES], salt)) != header.crc:
        raise LayoutError("the frame's checksum does not match")
    return body[: header.payload_bytes]
