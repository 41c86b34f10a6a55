"""Our own server behind the door for browsers: the same messages as over TCP, each in a WebSocket message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from bench.load import websocket
from bench.machine.kernel import free_port
from bench.peers.base import Contacts, Conversation, Known
from bench.peers.presenced import Presenced
from presenced.wire.messages import ClientMessage


class PresencedWebSocket(Presenced):
    """presenced, to which everybody comes by `/ws`."""

    subprotocol: ClassVar[str]

    def __init__(self, payload_bytes: int = 57) -> None:
        self._http_port = free_port()
        super().__init__(payload_bytes, options=("--http", f"127.0.0.1:{self._http_port}"))

    def start(self, core: int, workdir: Path, users: Sequence[str], contacts: Contacts) -> None:
        """Start it; its port is that of HTTP."""
        super().start(core, workdir, users, contacts)
        self.port = self._http_port

    def login(self, user: str, contacts: Sequence[str], *, records: bool) -> Conversation:
        """The handshake, then what is said over TCP."""
        came = yield websocket.handshake(self.port, "/ws", self.subprotocol)
        while websocket.HEAD_END not in came:
            came += yield b""
        websocket.accepted(came)
        told: Known = yield from super().login(user, contacts, records=records)
        return told

    def said(self, message: ClientMessage) -> bytes:
        """See `Presenced.said`."""
        return websocket.said_as(self.subprotocol, message)

    def whole(self, data: bytes) -> tuple[int, int]:
        """See `Presenced.whole`."""
        return websocket.whole_messages(data)

    def payloads(self, data: bytes) -> Iterator[bytes]:
        """See `Presenced.payloads`."""
        for opcode, payload in websocket.messages(data):
            yield websocket.payload_of(self.subprotocol, opcode, payload)


class PresencedJson(PresencedWebSocket):
    """In JSON, as browsers speak it."""

    name = "presenced, json"
    about = "presenced, json: the same over WebSockets, each message as a JSON array (presence.v1.json)"
    subprotocol = websocket.JSON

    def answer(self, user: str, number: int) -> bytes:
        """Done, up to the version."""
        values = msgspec.msgpack.decode(super().answer(user, number) + b"\0")
        return msgspec.json.encode(values)[:-2]


class PresencedMsgpack(PresencedWebSocket):
    """In msgpack."""

    name = "presenced, msgpack"
    about = "presenced, msgpack: the same over WebSockets, each message as a msgpack array (presence.v1.msgpack)"
    subprotocol = websocket.MSGPACK
