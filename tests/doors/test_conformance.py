"""Clients that others wrote talk with the server, in their own libraries' strictness, and find nothing wrong.

`websockets` and `wsproto` are two readings of RFC 6455, and aiohttp has a third. The cases are those that a suite for
servers tries which answer and do not echo: lengths, pieces, pings, UTF-8, and how a connection closes.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any, Protocol

import aiohttp
import msgpack
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from tests.support.doors import serving
from tests.support.raw_websocket import CLOSE, JSON, MSGPACK, PONG, TEXT, RawWebSocket, Received, client_frame, encoded
from tests.support.until import PATIENCE_S

BOTH = pytest.mark.parametrize("kind", [JSON, MSGPACK])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving() as (_, port):
        yield port


class Client(Protocol):
    """One connection by one of the libraries."""

    def say(self, data: str | bytes) -> None:
        """A message in one frame."""

    def say_in_pieces(self, pieces: list[str | bytes]) -> None:
        """A message in several, with a ping behind each but the last."""

    def hear(self) -> str | bytes:
        """The next message."""

    def ping(self, payload: bytes) -> bytes:
        """The payload of the pong."""

    def ended(self) -> tuple[int, str]:
        """What the server closes with, once everything before is read."""

    def leave(self, code: int, reason: str) -> tuple[int, str]:
        """Close; returns what the server answers."""

    def close(self) -> None:
        """Let go of the connection."""


class ByWebsockets:
    """The client of `websockets`."""

    def __init__(self, port: int, kind: str) -> None:
        self._connecting = connect(f"ws://localhost:{port}/ws", subprotocols=[Subprotocol(kind)])
        self.socket: ClientConnection = self._connecting.__enter__()
        assert self.socket.subprotocol == kind
        assert self.socket.response is not None and "Sec-WebSocket-Extensions" not in self.socket.response.headers

    def say(self, data: str | bytes) -> None:
        self.socket.send(data)

    def say_in_pieces(self, pieces: list[str | bytes]) -> None:
        def sent() -> Iterator[Any]:
            for number, piece in enumerate(pieces):
                yield piece
                if number < len(pieces) - 1:
                    self.socket.ping()

        self.socket.send(sent())

    def hear(self) -> str | bytes:
        return self.socket.recv(timeout=PATIENCE_S)

    def ping(self, payload: bytes) -> bytes:
        assert self.socket.ping(payload).wait(PATIENCE_S)
        return payload

    def ended(self) -> tuple[int, str]:
        try:
            while True:
                self.hear()
        except ConnectionClosed as error:
            assert error.rcvd is not None
            return error.rcvd.code, error.rcvd.reason

    def close(self) -> None:
        self._connecting.__exit__(None, None, None)

    def leave(self, code: int, reason: str) -> tuple[int, str]:
        self.socket.close(code, reason)
        assert self.socket.close_code is not None and self.socket.protocol.close_rcvd is not None
        return self.socket.protocol.close_rcvd.code, self.socket.protocol.close_rcvd.reason


class ByWsproto:
    """`wsproto`, over a socket."""

    def __init__(self, port: int, kind: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self._waiting: list[Event] = []
        self._send(Request(host=f"localhost:{port}", target="/ws", subprotocols=[kind]))
        accepted = self._next(AcceptConnection)
        assert isinstance(accepted, AcceptConnection)
        assert accepted.subprotocol == kind and not accepted.extensions

    def _send(self, event: Event) -> None:
        self.socket.sendall(self.protocol.send(event))

    def _next(self, *kinds: type[Event]) -> Event:
        """The next event of these kinds; pongs and pings on the way are taken care of."""
        while True:
            while self._waiting:
                event = self._waiting.pop(0)
                if isinstance(event, kinds):
                    return event
                assert isinstance(event, Pong), event
            data = self.socket.recv(65536)
            self.protocol.receive_data(data or None)
            self._waiting += list(self.protocol.events())

    def say(self, data: str | bytes) -> None:
        self._send(TextMessage(data) if isinstance(data, str) else BytesMessage(data))

    def say_in_pieces(self, pieces: list[str | bytes]) -> None:
        for number, piece in enumerate(pieces):
            is_last = number == len(pieces) - 1
            self._send(
                TextMessage(piece, message_finished=is_last)
                if isinstance(piece, str)
                else BytesMessage(piece, message_finished=is_last)
            )
            if not is_last:
                self._send(Ping(b"between"))

    def hear(self) -> str | bytes:
        whole: str | bytes | None = None
        while True:
            event = self._next(Message)
            assert isinstance(event, Message)
            whole = event.data if whole is None else whole + event.data  # wsproto may hand over a frame in parts
            if event.message_finished:
                return bytes(whole) if isinstance(whole, bytearray) else whole

    def ping(self, payload: bytes) -> bytes:
        self._send(Ping(payload))
        pong = self._next(Pong)
        assert isinstance(pong, Pong)
        return bytes(pong.payload)

    def ended(self) -> tuple[int, str]:
        event = self._next(CloseConnection, Message)
        while not isinstance(event, CloseConnection):
            event = self._next(CloseConnection, Message)
        self._send(event.response())
        assert self.socket.recv(1) == b"", "the server closes first"
        return event.code, event.reason or ""

    def close(self) -> None:
        self.socket.close()

    def leave(self, code: int, reason: str) -> tuple[int, str]:
        self._send(CloseConnection(code, reason))
        event = self._next(CloseConnection)
        assert isinstance(event, CloseConnection) and self.socket.recv(1) == b""
        return event.code, event.reason or ""


class ByAiohttp:
    """The client of aiohttp, on a loop of its own."""

    def __init__(self, port: int, kind: str) -> None:
        self.runner = asyncio.Runner()
        self.runner.run(self._open(port, kind))

    async def _open(self, port: int, kind: str) -> None:
        self.session = aiohttp.ClientSession()
        url = f"ws://localhost:{port}/ws"
        self.socket = await self.session.ws_connect(url, protocols=[kind], autoping=False, autoclose=False, compress=15)
        assert self.socket.protocol == kind and not self.socket.compress

    def _run(self, work: Any) -> Any:
        return self.runner.run(asyncio.wait_for(work, PATIENCE_S))

    def say(self, data: str | bytes) -> None:
        self._run(self.socket.send_str(data) if isinstance(data, str) else self.socket.send_bytes(data))

    def say_in_pieces(self, pieces: list[str | bytes]) -> None:
        text = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
        opcode = aiohttp.WSMsgType.TEXT if isinstance(pieces[0], str) else aiohttp.WSMsgType.BINARY
        self._run(self.socket.send_frame(b"".join(text), opcode))  # It has no pieces of its own.

    def hear(self) -> str | bytes:
        while (message := self._run(self.socket.receive())).type is aiohttp.WSMsgType.PONG:
            pass
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        data: str | bytes = message.data
        return data

    def ping(self, payload: bytes) -> bytes:
        self._run(self.socket.ping(payload))
        message = self._run(self.socket.receive())
        assert message.type is aiohttp.WSMsgType.PONG
        return bytes(message.data)

    def ended(self) -> tuple[int, str]:
        while (message := self._run(self.socket.receive())).type is not aiohttp.WSMsgType.CLOSE:
            assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        return message.data, message.extra

    def leave(self, code: int, reason: str) -> tuple[int, str]:
        self._run(self.socket.close(code=code, message=reason.encode()))
        assert self.socket.exception() is None and self.socket.close_code is not None
        return self.socket.close_code, reason

    def close(self) -> None:
        self.runner.run(self.session.close())
        self.runner.close()


LIBRARIES = {"websockets": ByWebsockets, "wsproto": ByWsproto, "aiohttp": ByAiohttp}


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def client(port: int, library: str, kind: str) -> Iterator[Client]:
    made = LIBRARIES[library](port, kind)
    yield made
    made.close()


def written(kind: str, *message: Any) -> str | bytes:
    return json.dumps(list(message), ensure_ascii=False) if kind == JSON else msgpack.packb(list(message))


def read(data: str | bytes) -> list[Any]:
    found: list[Any] = json.loads(data) if isinstance(data, str) else msgpack.unpackb(data)
    return found


def greeted(client: Client, kind: str, user: str) -> None:
    client.say(written(kind, 1, [1], "", user, "tab"))
    assert read(client.hear())[:4] == [64, 1, user, "tab"]


@BOTH
class TestEachLibrary:
    def test_requests_are_answered_in_their_order(self, client: Client, kind: str) -> None:
        greeted(client, kind, "anna")
        for number in range(1, 41):
            client.say(written(kind, 4, number))
        assert [read(client.hear())[:2] for _ in range(40)] == [[68, number] for number in range(1, 41)]

    def test_text_comes_back_as_it_was_said(self, client: Client, kind: str) -> None:
        text = "Gr\u00fc\u00dfe \u4f60\u597d \U0001f642"
        greeted(client, kind, "berta")
        client.say(written(kind, 5, 1, "dnd", text))
        while read(client.hear())[0] != 67:
            pass
        client.say(written(kind, 7, 2, ["berta"]))
        assert read(client.hear())[4][0][1:3] == ["dnd", text]

    def test_a_message_in_pieces(self, client: Client, kind: str) -> None:
        greeted(client, kind, "carl")
        message = written(kind, 7, 1, ["carl"])
        client.say_in_pieces([message[:1], message[1:1], message[1:5], message[5:]])
        assert read(client.hear())[4][0][0] == "carl"

    @pytest.mark.parametrize("payload", [b"", b"x", bytes(range(125))])
    def test_a_ping_is_answered_with_what_it_says(self, client: Client, kind: str, payload: bytes) -> None:
        greeted(client, kind, "dora")
        assert client.ping(payload) == payload

    def test_bye(self, client: Client, kind: str) -> None:
        greeted(client, kind, "emil")
        client.say(written(kind, 3))
        assert client.ended() == (1000, "")

    def test_what_cannot_be_read(self, client: Client, kind: str) -> None:
        greeted(client, kind, "frida")
        client.say("{" if kind == JSON else b"\xc1")
        assert client.ended() == (4000, "bad_frame")

    @pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going"), (3000, ""), (4999, "M\u00fcsli")])
    def test_the_client_closes(self, client: Client, kind: str, code: int, reason: str) -> None:
        greeted(client, kind, "gustav")
        assert client.leave(code, reason) == (code, reason)


# --- lengths and close codes, at every edge -------------------------------------------------------------------------


@BOTH
def test_messages_of_every_length_at_which_the_head_changes(port: int, kind: str) -> None:
    with RawWebSocket(port, kind) as link:
        link.greet("long")
        for size in (125, 126, 127, 128, 65_534, 65_535, 65_536):
            if kind == JSON:
                data = b"[4,1]" + b" " * (size - 5)
            else:
                head = b"\x93\x04\x01" + (b"\xc4" if size < 260 else b"\xc5")
                rest = size - len(head) - (1 if size < 260 else 2)
                data = head + rest.to_bytes(1 if size < 260 else 2, "big") + bytes(rest)
            assert len(data) == size
            link.send(client_frame(TEXT if kind == JSON else 2, data))
            assert link.hear()[:2] == [68, 1]


@BOTH
def test_answers_of_every_length_at_which_the_head_changes(port: int, kind: str) -> None:
    """`RawWebSocket` holds the head of each frame to the shortest form."""
    with RawWebSocket(port, kind) as link:
        link.greet("asking")
        sizes = set()
        for length in range(1, 129):
            link.say(7, length, ["n" * length])
            received = link.frame()
            assert received is not None and link.decoded(received)[4][0][0] == "n" * length
            sizes.add(len(received.data))
        assert {125, 126, 127} <= sizes


VALID = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
INVALID = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


def test_every_close_code_that_may_be_sent_is_echoed(port: int) -> None:
    for code in VALID:
        with RawWebSocket(port) as link:
            link.send(client_frame(CLOSE, code.to_bytes(2, "big")))
            assert link.drain() == [Received(CLOSE, code.to_bytes(2, "big"))]


def test_every_close_code_that_may_not_is_a_breach(port: int) -> None:
    for code in INVALID:
        with RawWebSocket(port) as link:
            link.send(client_frame(CLOSE, code.to_bytes(2, "big")))
            assert link.ended()[1:] == (4000, "bad_frame")


def test_pings_before_and_after_and_a_pong_that_nobody_asked_for(port: int) -> None:
    with RawWebSocket(port) as link:
        link.send(client_frame(9, b"first") + client_frame(PONG, b"unasked"))
        assert link.frame() == Received(PONG, b"first")
        link.greet("pinging")
        link.send(b"".join(client_frame(9, bytes([number])) for number in range(10)))
        assert [link.frame() for _ in range(10)] == [Received(PONG, bytes([number])) for number in range(10)]
        link.send(client_frame(TEXT, encoded(JSON, 4, 1)))
        assert link.hear()[:2] == [68, 1]
