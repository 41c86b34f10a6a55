"""One end of a link, over TCP or WebSocket: whole messages go in and come out. It serves the runner, on either side."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any, Final

import msgspec

from presenced.conformance import web_socket

GARBAGE: Final = b"}{ no message of anybody"
PIECE_S: Final = 0.01
PONG_S: Final = 20.0
_LONGEST: Final = 1 << 20

TransportName = str
"""`tcp`, `websocket` (JSON), or `websocket-msgpack`."""

TRANSPORTS: Final = ("tcp", "websocket", "websocket-msgpack")


class BadBytes(Exception):
    """What came is no message; the text says why."""


class LinkEnd(ABC):
    """See the module's docstring. `receive` is for one reader at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.close_code: int | None = None
        """Of a WebSocket that the other end has closed with a frame."""

    @abstractmethod
    def send(self, message: Any) -> None:
        """Put one message on its way."""

    @abstractmethod
    async def send_in_pieces(self, message: Any, count: int) -> None:
        """Put one message on its way in so many pieces, each a moment after the one before. Raises `BadBytes` if pings
        between them are not answered."""

    @abstractmethod
    def send_payload(self, payload: bytes) -> None:
        """Put a payload on its way as it is."""

    @abstractmethod
    async def _payload(self) -> Any: ...

    async def receive(self) -> Any:
        """The next message; None once the other end has closed. Raises `BadBytes`."""
        try:
            return await self._payload()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if isinstance(error, asyncio.IncompleteReadError) and error.partial and self.close_code is None:
                raise BadBytes(f"the connection ended within a frame: {error.partial[:20].hex(' ')}") from error
            return None

    def send_garbage(self) -> None:
        """Put something on its way that is no message."""
        self.send_payload(GARBAGE)

    def lose(self) -> None:
        """End the connection as a broken network does."""
        self._writer.transport.abort()
        self._writer.close()

    def hang_up(self) -> None:
        """End the connection in order, once all is sent."""
        if not self._writer.is_closing():
            self._writer.close()


class TcpEnd(LinkEnd):
    """Frames of protocol.md, section 2."""

    def send(self, message: Any) -> None:
        self.send_payload(msgspec.msgpack.encode(message))

    async def send_in_pieces(self, message: Any, count: int) -> None:
        payload = msgspec.msgpack.encode(message)
        for piece in _pieces(len(payload).to_bytes(4, "big") + payload, count):
            self._writer.write(piece)
            await asyncio.sleep(PIECE_S)

    def send_payload(self, payload: bytes) -> None:
        self._writer.write(len(payload).to_bytes(4, "big") + payload)

    def send_bytes(self, data: bytes) -> None:
        """Put bytes on their way that are no frame."""
        self._writer.write(data)

    def send_garbage(self) -> None:
        self._writer.write(b"\0\0\0\0" + GARBAGE)

    async def _payload(self) -> Any:
        length = int.from_bytes(await self._reader.readexactly(4), "big")
        if not 0 < length <= _LONGEST:
            raise BadBytes(f"a frame has the length {length}")
        return _decoded(msgspec.msgpack.decode, await self._reader.readexactly(length))


class WebSocketEnd(LinkEnd):
    """Messages of protocol.md, chapter 24."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_text: bool, is_client: bool
    ) -> None:
        super().__init__(reader, writer)
        self._is_text = is_text
        self._is_client = is_client
        self._owed_pongs = 0
        """Less than 0 while pongs come before the pings are counted."""
        self._answered = asyncio.Event()

    def send(self, message: Any) -> None:
        self.send_payload((msgspec.json if self._is_text else msgspec.msgpack).encode(message))

    async def send_in_pieces(self, message: Any, count: int) -> None:
        pieces = _pieces((msgspec.json if self._is_text else msgspec.msgpack).encode(message), count)
        for number, piece in enumerate(pieces, 1):
            first = web_socket.TEXT if self._is_text else web_socket.BINARY
            opcode = first if number == 1 else web_socket.CONTINUATION
            is_last = number == len(pieces)
            self._writer.write(web_socket.frame(opcode, piece, is_masked=self._is_client, is_last=is_last))
            self._write(web_socket.PING, b"between")
            await asyncio.sleep(PIECE_S)
        self._owed_pongs += len(pieces)
        try:
            async with asyncio.timeout(PONG_S):
                while self._owed_pongs > 0:
                    self._answered.clear()
                    await self._answered.wait()
        except TimeoutError as error:
            raise BadBytes(f"{self._owed_pongs} pings between the frames of a message were not answered") from error

    def send_payload(self, payload: bytes) -> None:
        self._write(web_socket.TEXT if self._is_text else web_socket.BINARY, payload)

    def hang_up(self) -> None:
        if not self._writer.is_closing():
            self._write(web_socket.CLOSE, (1000).to_bytes(2, "big"))
        super().hang_up()

    def _write(self, opcode: int, data: bytes) -> None:
        self._writer.write(web_socket.frame(opcode, data, is_masked=self._is_client))

    async def _payload(self) -> Any:
        wanted = web_socket.TEXT if self._is_text else web_socket.BINARY
        while True:
            try:
                opcode, data = await web_socket.read_message(self._reader, is_from_client=not self._is_client)
            except web_socket.HandshakeFailed as error:
                raise BadBytes(str(error)) from error
            if opcode == web_socket.PING:
                self._write(web_socket.PONG, data)
            elif opcode == web_socket.CLOSE:
                self.close_code = int.from_bytes(data[:2], "big") if data else 1005
                self.hang_up()
                return None
            elif opcode == wanted:
                return _decoded(msgspec.json.decode if self._is_text else msgspec.msgpack.decode, data)
            elif opcode == web_socket.PONG:
                self._owed_pongs -= 1
                self._answered.set()
            else:
                raise BadBytes(f"a frame has the opcode {opcode}, and messages have {wanted}")


def _pieces(data: bytes, count: int) -> list[bytes]:
    size = -(-len(data) // count)
    return [data[at : at + size] for at in range(0, len(data), size)]


def _decoded(decode: Any, data: bytes) -> Any:
    try:
        return decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBytes(f"{data[:40]!r} cannot be read: {error}") from error


async def accepted(transport: TransportName, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> LinkEnd:
    """The server's end of a connection that has come in. Raises `BadBytes`."""
    if transport == "tcp":
        return TcpEnd(reader, writer)
    try:
        protocol = await web_socket.accept(reader, writer)
    except web_socket.HandshakeFailed as error:
        writer.close()
        raise BadBytes(str(error)) from error
    return WebSocketEnd(reader, writer, is_text=protocol == web_socket.JSON_PROTOCOL, is_client=False)


async def opened(transport: TransportName, host: str, port: int) -> LinkEnd:
    """The client's end of a new connection. Raises `OSError`, or `BadBytes` for a handshake that fails."""
    reader, writer = await asyncio.open_connection(host, port)
    if transport == "tcp":
        return TcpEnd(reader, writer)
    protocol = web_socket.JSON_PROTOCOL if transport == "websocket" else web_socket.MSGPACK_PROTOCOL
    try:
        await web_socket.ask(reader, writer, f"{host}:{port}", protocol)
    except web_socket.HandshakeFailed as error:
        writer.close()
        raise BadBytes(str(error)) from error
    return WebSocketEnd(reader, writer, is_text=transport == "websocket", is_client=True)
