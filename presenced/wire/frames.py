"""Framing: a 4-byte big-endian length, then that many bytes of payload (protocol.md, section 2).

Rules of this file: the length is checked before anything is buffered for it, a payload is handed out only when
it is whole, and after an error the reader yields nothing more.
"""

from __future__ import annotations

from presenced.errors import ProtocolError

LENGTH_BYTES = 4

_NO_LENGTH = 1 << 24
"""No frame of either side is so long: bytes that begin so, as those of TLS and HTTP do, are of another protocol."""


def frame(payload: bytes) -> bytes:
    """The frame that carries `payload` (1 byte or more)."""
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


class FrameReader:
    """Cuts a byte stream into payloads.

    `feed` takes what arrived; `take` returns up to `count` whole payloads and keeps the rest. They are two methods,
    so that a server can handle a bounded number of frames and come back for the others. The cost is O(bytes),
    however the stream is chopped up and however few frames are taken between two pieces.
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
    def has_frame(self) -> bool:
        """Whether the next `take` returns a payload, or refuses a length."""
        if self.pending_bytes < LENGTH_BYTES:
            return False
        length = int.from_bytes(self._buffer[self._next : self._next + LENGTH_BYTES], "big")
        return not 0 < length <= self.frame_bytes_max or self.pending_bytes >= LENGTH_BYTES + length

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
