"""WebSockets from the client's side, as much of them as a load needs: the handshake, and messages of one frame each
(RFC 6455). What a client sends is masked with zeros, which costs the server as much as any other mask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from bench.errors import BenchError
from bench.load.framing import decoded
from bench.load.links import READ_BYTES, Link
from presenced.wire.codec import encode
from presenced.wire.messages import ClientMessage, Error, Goodbye, ServerMessage

JSON: Final = "presence.v1.json"
MSGPACK: Final = "presence.v1.msgpack"

TEXT: Final = 1
BINARY: Final = 2
LAST: Final = 0x80
MASKED: Final = 0x80
MASK: Final = bytes(4)
SHORT_MAX: Final = 125
"""The longest payload whose length is one byte."""

HEAD_END = b"\r\n\r\n"
KEY = "cHJlc2VuY2VkIGJlbmNoIQ=="

_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder().decode
_to_msgpack = msgspec.msgpack.Encoder().encode
_from_msgpack = msgspec.msgpack.Decoder().decode


def handshake(port: int, path: str, subprotocol: str = "") -> bytes:
    """What opens a WebSocket."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *([f"Sec-WebSocket-Protocol: {subprotocol}"] if subprotocol else []),
    ]
    return "\r\n".join(lines).encode() + HEAD_END


def accepted(came: bytes) -> bytes:
    """What stands behind the answer to the handshake; `BenchError` if that is not a yes."""
    head, _, rest = came.partition(HEAD_END)
    if not head.startswith(b"HTTP/1.1 101 "):
        raise BenchError(f"the server answered the WebSocket handshake with {came[:200]!r}")
    return rest


def client_message(opcode: int, payload: bytes) -> bytes:
    """One message to a server."""
    if len(payload) <= SHORT_MAX:
        size = bytes((MASKED | len(payload),))
    else:
        size = bytes((MASKED | 126,)) + len(payload).to_bytes(2, "big")
    return bytes((LAST | opcode,)) + size + MASK + payload


def whole_messages(data: bytes) -> tuple[int, int]:
    """How many whole frames from a server `data` begins with, and how many bytes they take."""
    count = at = 0
    while (place := _place(data, at)) is not None:
        at = place[1]
        count += 1
    return count, at


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The frames in `data`, each with its opcode; it must end at the end of one."""
    at = 0
    while at < len(data):
        place = _place(data, at)
        if place is None:
            raise BenchError("a stream ends in the middle of a WebSocket frame")
        if not data[at] & LAST:
            raise BenchError("a message comes in several WebSocket frames")
        yield data[at] & 0x0F, data[place[0] : place[1]]
        at = place[1]


def _place(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the payload of the frame at `at` begins and ends; None if it is not whole."""
    if len(data) - at < 2:
        return None
    size, start = data[at + 1], at + 2
    if size > SHORT_MAX:
        start += 2 if size == 126 else 8
        size = int.from_bytes(data[at + 2 : start], "big")
    end = start + size
    return (start, end) if end <= len(data) else None


def said_as(subprotocol: str, message: ClientMessage) -> bytes:
    """A message of ours to the server."""
    payload = encode(message)
    if subprotocol == MSGPACK:
        return client_message(BINARY, payload)
    return client_message(TEXT, _to_json(_from_msgpack(payload)))


def payload_of(subprotocol: str, opcode: int, payload: bytes) -> bytes:
    """The msgpack array that a message from the server carries; `BenchError` if it is of another kind."""
    if opcode != (BINARY if subprotocol == MSGPACK else TEXT):
        raise BenchError(f"the server sent a WebSocket frame of kind {opcode}: {payload[:100]!r}")
    return payload if subprotocol == MSGPACK else _to_msgpack(_from_json(payload))


class WebSocketLink(Link):
    """A `Link` whose messages come and go as JSON over a WebSocket, as a browser's do. `port` is that of HTTP."""

    __slots__ = ()

    def __init__(self, port: int, user: str) -> None:
        super().__init__(port, user)
        self.socket.sendall(handshake(port, "/ws", JSON))
        came = b""
        while HEAD_END not in came:
            came += self._more()
        self._rest = accepted(came)

    def send(self, message: ClientMessage) -> None:
        """Send one."""
        self.socket.sendall(said_as(JSON, message))

    def receive(self) -> ServerMessage:
        """The next message, waited for."""
        while (place := _place(self._rest, 0)) is None:
            self._rest += self._more()
        (opcode, payload), self._rest = next(messages(self._rest[: place[1]])), self._rest[place[1] :]
        message = decoded(payload_of(JSON, opcode, payload))
        if isinstance(message, Goodbye | Error):
            raise BenchError(f"the server said {message.code} to {self.user}: {message.message}")
        return message

    def _more(self) -> bytes:
        data = self.socket.recv(READ_BYTES)
        if not data:
            raise BenchError(f"the server closed the link of {self.user}")
        return data
