"""The frames of WebSocket as bytes, and the frames of ours that they carry. No connection and no state in here."""

from __future__ import annotations

from websockets.frames import Frame, Opcode

from presenced.wire.codec import BadMessage, decode_server
from presenced.wire.frames import LENGTH_BYTES
from presenced.wire.messages import Goodbye


def frame_length(data: bytes, at: int) -> int:
    """The length of the frame that begins at `at`, by its head (RFC 6455, 5.2): the head's own bytes, four of the mask
    and those of the payload; 0 if not all of that is here. A frame without a mask is read to its end by nobody."""
    if len(data) - at < 2:
        return 0
    size = data[at + 1] & 0x7F
    head_bytes = 6 if size < 126 else 8 if size == 126 else 14
    if len(data) - at < head_bytes - 4:
        return 0
    if size > 125:
        size = int.from_bytes(data[at + 2 : at + head_bytes - 4], "big")
    return head_bytes + size


def payloads(data: bytes) -> list[bytes]:
    """The payloads of these whole frames. O(bytes)."""
    found: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + LENGTH_BYTES + int.from_bytes(data[at : at + LENGTH_BYTES], "big")
        found.append(data[at + LENGTH_BYTES : end])
        at = end
    return found


def framed(opcode: Opcode, data: bytes) -> bytes:
    """A frame of the server's."""
    return Frame(opcode, data).serialize(mask=False)


def goodbye_in(payload: bytes) -> Goodbye | None:
    """The goodbye that a payload is, if it is one."""
    try:
        message = decode_server(payload)
    except BadMessage:
        return None
    return message if isinstance(message, Goodbye) else None
