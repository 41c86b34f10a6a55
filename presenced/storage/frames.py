"""What a frame carries, and reading frames one after the other, as the log and the snapshots have them. Pure: bytes in,
frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from presenced.core.records import Fact
from presenced.storage.layout import (
    FRAME_HEADER_BYTES,
    FrameHeader,
    LayoutError,
    frame_payload,
    padded,
    unpack_frame_header,
)

Read = Callable[[int, int], bytes]
"""Bytes at an offset, that many or up to the end."""

decode_facts = msgspec.msgpack.Decoder(list[Fact]).decode
"""The facts of a payload; raises `msgspec.MsgspecError`."""


def array_of(parts: list[bytes], count: int) -> bytes:
    """Encoded facts as one msgpack array of `count` elements (always with the 32-bit header)."""
    return b"\xdd" + count.to_bytes(4, "big") + b"".join(parts)


class Frame(NamedTuple):
    """A whole frame and where it is."""

    position: int
    header: FrameHeader
    payload: bytes
    end: int
    """Where the next one begins."""


def reader_of(data: bytes) -> Read:
    """For bytes that are in memory."""
    return lambda offset, size: data[offset : offset + size]


def read_frame(read: Read, position: int, salt: int) -> Frame:
    """The frame at `position`, by itself; raises `LayoutError` if it does not read."""
    header = unpack_frame_header(read(position, FRAME_HEADER_BYTES), salt)
    size = FRAME_HEADER_BYTES + padded(header.payload_bytes)
    return Frame(position, header, frame_payload(header, read(position, size), salt), position + size)


def read_frames(read: Read, position: int, end: int, *, salt: int, crc: int, seq: int) -> Iterator[Frame]:
    """The frames from `position` to `end`, each after the one before it and the first after `crc` and `seq`.

    Raises `LayoutError` at the first that does not read or does not follow; whether that is the end is for others to
    judge. O(bytes).
    """
    while position < end:
        frame = read_frame(read, position, salt)
        header = frame.header
        if header.previous_crc != crc or header.first_seq != seq:
            must_follow(header, crc, seq)
        yield frame
        position, crc, seq = frame.end, header.crc, header.first_seq + header.facts


def must_follow(header: FrameHeader, crc: int, seq: int) -> None:
    """Raise `LayoutError` unless the frame follows one that ends in `crc`, before fact `seq`."""
    if header.previous_crc != crc:
        raise LayoutError("the frame does not chain to the one before it")
    if header.first_seq != seq:
        raise LayoutError(f"the frame begins at fact {header.first_seq} instead of {seq}")


def find_frame(read: Read, position: int, end: int, salt: int) -> Frame | None:
    """The first frame that reads by itself and begins in `position` to `end`; they begin on multiples of 8.
    O(bytes passed over)."""
    while position < end:
        try:
            return read_frame(read, position, salt)
        except LayoutError:
            position += 8
    return None
