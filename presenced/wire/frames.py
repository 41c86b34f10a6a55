"""Framing: a 4-byte big-endian length, then that many bytes of payload (protocol.md, section 2).

Rules of this file: the length is checked before anything is buffered for it, a payload is handed out only when
it is whole, and after an error the reader yields nothing more.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from presenced.errors import ProtocolError

LENGTH_BYTES = 4

_NO_LENGTH = 1 << 24
"""No frame of either side is so long: bytes that begin so, as those of TLS and HTTP do, are of another protocol."""


_SHORT: Final = tuple(length.to_bytes(LENGTH_BYTES, "big") for length in range(512))
"""The lengths of most frames, as they stand in front. To look one up takes a third of what it takes to make one."""

_length_at: Final = Struct(">I").unpack_from


def frame(payload: bytes) -> bytes:
    """The frame that carries `payload` (1 byte or more)."""
    length = len(payload)
    return (_SHORT[length] if length < len(_SHORT) else length.to_bytes(LENGTH_BYTES, "big")) + payload


class FrameReader:
    """Cuts a byte stream into payloads.

    `feed` takes what arrived; `take` returns up to `count` whole payloads and keeps the rest, and `take_one` the next.
    They are two methods, so that a server can handle a bounded number of frames and come back for the others. The cost
    is O(bytes), however the stream is chopped up and however few frames are taken between two pieces.
    """

    __slots__ = ("_broken", "_buffer", "_next", "frame_bytes_max")

    def __init__(self, frame_bytes_max: int) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._buffer: bytes | bytearray = b""
        self._next = 0
        self._broken = False

    def set_frame_bytes_max(self, frame_bytes_max: int) -> None:
        """Refuse frames above another cap from now on."""
        self.frame_bytes_max = frame_bytes_max

    @property
    def pending_bytes(self) -> int:
        """Bytes that were fed and not taken: part of a frame, or whole frames."""
        return len(self._buffer) - self._next

    @property
    def is_empty(self) -> bool:
        """Whether all that was fed is taken."""
        # Whatever is taken last leaves nothing behind.
        return not self._buffer

    @property
    def has_frame(self) -> bool:
        """Whether the next `take` returns a payload, or refuses a length."""
        if self.pending_bytes < LENGTH_BYTES:
            return False
        length = int.from_bytes(self._buffer[self._next : self._next + LENGTH_BYTES], "big")
        return not 0 < length <= self.frame_bytes_max or self.pending_bytes >= LENGTH_BYTES + length

    def lone(self, data: bytes) -> bytes | None:
        """The payload of `data` if they are one whole frame, and all that was fed is taken; else None. Nothing of it is
        kept."""
        length = len(data) - LENGTH_BYTES
        if 0 < length <= self.frame_bytes_max and not (self._buffer or self._broken):
            return data[LENGTH_BYTES:] if _length_at(data)[0] == length else None
        return None

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the peer; after an error they are dropped. O(bytes)."""
        if self._broken:
            return
        if self._next == len(self._buffer):
            self._buffer = data
            self._next = 0
            return
        if not isinstance(self._buffer, bytearray):
            self._buffer = bytearray(memoryview(self._buffer)[self._next :])
            self._next = 0
        elif self._next:
            # Moves the bytearray's start. A new copy of the rest each time is quadratic if a peer sends little
            # pieces while thousands of tiny frames wait.
            del self._buffer[: self._next]
            self._next = 0
        self._buffer += data

    def take(self, count: int) -> list[bytes]:
        """Up to `count` whole payloads, in order; an empty list when none is whole.

        Raises `ProtocolError` (`bad_frame`, `frame_too_large`) once at a length that is 0 or over the cap, after
        the payloads before it have been taken.
        """
        buffer = self._buffer
        at = self._next
        size = len(buffer)
        payloads: list[bytes] = []
        while len(payloads) < count and size - at >= LENGTH_BYTES:
            length = int.from_bytes(buffer[at : at + LENGTH_BYTES], "big")
            if not 0 < length <= self.frame_bytes_max:
                if payloads:
                    break
                self._refuse(length)
            end = at + LENGTH_BYTES + length
            if end > size:
                break
            payloads.append(bytes(buffer[at + LENGTH_BYTES : end]))
            at = end
        if at == size:
            self._buffer = b""
            self._next = 0
        else:
            self._next = at
        return payloads

    def take_one(self) -> bytes | None:
        """The next payload; None when none is whole. Raises as `take`. It is for a server, whose clients nearly always
        send one frame at a time, and takes a third of the time of `take` then."""
        buffer, at = self._buffer, self._next
        rest = len(buffer) - at - LENGTH_BYTES
        if rest < 0:
            return None
        (length,) = _length_at(buffer, at)
        if not 0 < length <= self.frame_bytes_max:
            self._refuse(length)
        if length > rest:
            return None
        at += LENGTH_BYTES
        if length == rest:
            payload = buffer[at:]
            self._buffer, self._next = b"", 0
        else:
            payload = buffer[at : at + length]
            self._next = at + length
        return payload if type(payload) is bytes else bytes(payload)

    def _refuse(self, length: int) -> None:
        self._broken = True
        self._buffer = b""
        self._next = 0
        if length == 0:
            raise ProtocolError("bad_frame", "a frame has length 0; every frame carries one message")
        advice = "split the request" if length < _NO_LENGTH else "it looks like TLS or HTTP"
        raise ProtocolError(
            "frame_too_large", f"a frame of {length} bytes is over the limit of {self.frame_bytes_max}; {advice}"
        )
