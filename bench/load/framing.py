"""Cutting what arrives into frames and messages."""

from __future__ import annotations

from collections.abc import Iterator

from bench.errors import BenchError
from presenced.wire.codec import BadMessage, decode_server
from presenced.wire.frames import LENGTH_BYTES
from presenced.wire.messages import Done, Presence, ServerMessage

FIRST_ID = 1 << 24
"""Request ids from here on take five bytes on the wire: all requests have the same size, and an answer can be found in
a stream without parsing it."""


class Rests:
    """Keeps, for each link, the frame of which only the beginning has come."""

    def __init__(self) -> None:
        self._rests: dict[int, bytes] = {}

    def whole(self, fd: int, data: bytes) -> bytes:
        """The whole frames in what was kept and `data`; the rest waits for the next read."""
        data = self._rests.pop(fd, b"") + data
        end = whole_frames(data)[1]
        if end < len(data):
            self._rests[fd] = data[end:]
        return data[:end]


def frames(data: bytes) -> Iterator[bytes]:
    """The payloads in `data`, which must end at the end of one."""
    at = 0
    while at < len(data):
        start = at + LENGTH_BYTES
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data):
            raise BenchError("a stream ends in the middle of a frame")
        yield data[start:at]


def whole_frames(data: bytes) -> tuple[int, int]:
    """How many whole frames `data` begins with, and how many bytes they take."""
    count = at = 0
    size = len(data)
    while size - at >= LENGTH_BYTES:
        end = at + LENGTH_BYTES + int.from_bytes(data[at : at + LENGTH_BYTES], "big")
        if end > size:
            break
        at = end
        count += 1
    return count, at


def first_frame(data: bytes) -> tuple[bytes | None, bytes]:
    """The payload of the first frame, None if it is not whole yet, and what comes behind it."""
    end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big")
    if len(data) < end or len(data) < LENGTH_BYTES:
        return None, data
    return data[LENGTH_BYTES:end], data[end:]


def decoded(payload: bytes) -> ServerMessage:
    """The message in a frame; `BenchError` if the server sent what is none."""
    try:
        return decode_server(payload)
    except BadMessage as error:
        raise BenchError(f"the server sent what is no message: {error}: {payload[:100]!r}") from error


def presences(data: bytes) -> list[Presence]:
    """The presence pushes in `data`, in order; replies to requests are passed over."""
    found = []
    for payload in frames(data):
        message = decoded(payload)
        if isinstance(message, Presence):
            found.append(message)
        elif not isinstance(message, Done):
            raise BenchError(f"the server sent {message}")
    return found
