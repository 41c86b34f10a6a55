"""The kinds of WebSocket: one for each subprotocol, with messages of its own form (protocol.md, section 24.1)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import ClassVar, Final

import msgspec
from websockets.frames import Close, Opcode

from presenced.server.conversation import Conversation
from presenced.server.transports.close_codes import CLOSE_CODES
from presenced.server.transports.tcp import TcpTransport
from presenced.server.transports.websocket import WebSocketTransport
from presenced.server.transports.websocket_frames import framed
from presenced.wire.messages import Goodbye
from presenced.wire.odd_json import odd_payload

JSON_SUBPROTOCOL: Final = "presence.v1.json"
MSGPACK_SUBPROTOCOL: Final = "presence.v1.msgpack"

_from_json = msgspec.json.Decoder().decode
_to_json = msgspec.json.Encoder().encode
_from_msgpack = msgspec.msgpack.Decoder().decode
_to_msgpack = msgspec.msgpack.Encoder().encode


class JsonWebSocket(WebSocketTransport):
    """Each message is a JSON array in a text frame."""

    __slots__ = ()

    subprotocol = JSON_SUBPROTOCOL
    opcode = Opcode.TEXT
    shared: ClassVar[dict[bytes, bytes]] = {}

    @staticmethod
    def payload_of(message: bytes) -> bytes:
        """See `WebSocketTransport.payload_of`."""
        try:
            return _to_msgpack(_from_json(message))
        except (msgspec.ValidationError, OverflowError, RecursionError) as error:
            return odd_payload(message, error)

    @staticmethod
    def message_of(payload: bytes) -> bytes:
        """See `WebSocketTransport.message_of`."""
        return _to_json(_from_msgpack(payload))

    @staticmethod
    def send_all(sinks: Collection[TcpTransport], data: bytes) -> None:
        """`send` to each."""
        JsonWebSocket._send_all(sinks, data)


class MsgpackWebSocket(WebSocketTransport):
    """Each message is a msgpack array in a binary frame."""

    __slots__ = ()

    subprotocol = MSGPACK_SUBPROTOCOL
    opcode = Opcode.BINARY
    shared: ClassVar[dict[bytes, bytes]] = {}

    @staticmethod
    def payload_of(message: bytes) -> bytes:
        """See `WebSocketTransport.payload_of`."""
        return message

    @staticmethod
    def message_of(payload: bytes) -> bytes:
        """See `WebSocketTransport.message_of`."""
        return payload

    @staticmethod
    def send_all(sinks: Collection[TcpTransport], data: bytes) -> None:
        """`send` to each."""
        MsgpackWebSocket._send_all(sinks, data)


KINDS: Final[dict[str, Callable[[Conversation, str], WebSocketTransport]]] = {
    JSON_SUBPROTOCOL: JsonWebSocket,
    MSGPACK_SUBPROTOCOL: MsgpackWebSocket,
}
"""What carries the messages of each subprotocol."""


def refusal_messages(subprotocol: str, goodbye: Goodbye) -> bytes:
    """What a client is sent that was let in by HTTP and finds no room: the goodbye, and the close frame."""
    kind = JsonWebSocket if subprotocol == JSON_SUBPROTOCOL else MsgpackWebSocket
    message = framed(kind.opcode, kind.message_of(_to_msgpack(goodbye)))
    return message + framed(Opcode.CLOSE, Close(CLOSE_CODES[goodbye.code], goodbye.code).serialize())
