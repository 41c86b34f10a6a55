"""A client by WebSocket whose every byte a test decides, and which holds the server to RFC 6455 in what it sends back.

Nothing of it is shared with the library behind the server, so that an error there is not made twice.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import ssl
from typing import Any, NamedTuple

import msgpack

from tests.support.until import PATIENCE_S

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

JSON = "presence.v1.json"
MSGPACK = "presence.v1.msgpack"
OPCODES = {JSON: TEXT, MSGPACK: BINARY}

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Received(NamedTuple):
    """One frame of the server's."""

    opcode: int
    data: bytes


def client_frame(
    opcode: int, data: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = b"\x11\x22\x33\x44"
) -> bytes:
    """A frame of a client; `mask` None: without one, which no client may send."""
    first, masked = bytes([fin << 7 | rsv << 4 | opcode]), 0x80 if mask is not None else 0
    if len(data) < 126:
        head = first + bytes([masked | len(data)])
    elif len(data) < 1 << 16:
        head = first + bytes([masked | 126]) + len(data).to_bytes(2, "big")
    else:
        head = first + bytes([masked | 127]) + len(data).to_bytes(8, "big")
    if mask is None:
        return head + data
    long_mask = (mask * (len(data) // 4 + 1))[: len(data)]
    masked_data = int.from_bytes(data, "big") ^ int.from_bytes(long_mask, "big")
    return head + mask + masked_data.to_bytes(len(data), "big")


def encoded(kind: str, *message: Any) -> bytes:
    """A message as a client of this subprotocol says it."""
    return json.dumps(list(message)).encode() if kind == JSON else msgpack.packb(list(message))


def said(kind: str, *message: Any) -> bytes:
    """The same in a frame."""
    return client_frame(OPCODES[kind], encoded(kind, *message))


def handshake(
    kind: str = JSON, *more: str, host: str = "localhost", path: str = "/ws", key: str = "AAAAAAAAAAAAAAAAAAAAAA=="
) -> bytes:
    """The request of a client, with `more` headers."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", f"Sec-WebSocket-Protocol: {kind}", *more]
    return "\r\n".join([*lines, "", ""]).encode()


class RawWebSocket:
    """One connection. Reading raises `AssertionError` at anything that no server may send."""

    def __init__(
        self,
        port: int,
        kind: str = JSON,
        *,
        receive_bytes: int = 0,
        opens: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.kind = kind
        plain = socket.socket()
        plain.settimeout(PATIENCE_S)
        if receive_bytes:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            plain.connect(("127.0.0.1", port))
            self.socket = tls.wrap_socket(plain, server_hostname="localhost") if tls is not None else plain
        except OSError:
            plain.close()
            raise
        self._buffer = b""
        if opens:
            self.open()

    def open(self, *more: str) -> None:
        """The handshake; its answer is checked."""
        key = base64.b64encode(os.urandom(16)).decode()
        self.send(handshake(self.kind, *more, key=key))
        head = self.head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest())
        headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n"))}
        assert headers[b"sec-websocket-accept"] == accept and headers[b"sec-websocket-protocol"] == self.kind.encode()
        assert b"sec-websocket-extensions" not in headers

    def head(self) -> bytes:
        """The head of an answer of HTTP."""
        while b"\r\n\r\n" not in self._buffer:
            assert self._read(), f"it ended after {self._buffer!r}"
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head

    # --- sending ----------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """These bytes. That the peer has ended the connection is no error: what it has said before is to be read."""
        try:
            self.socket.sendall(data)
        except ConnectionError:
            pass

    def say(self, *message: Any) -> None:
        self.send(said(self.kind, *message))

    def greet(self, user: str, device: str = "tab", token: str = "") -> list[Any]:
        """Say hello; returns the welcome."""
        self.say(1, [1], token, user, device)
        welcome = self.hear()
        assert welcome[0] == 64, welcome
        return welcome

    # --- reading ----------------------------------------------------------------------------------------------

    def frame(self) -> Received | None:
        """The next frame; None at the end of the connection, which must not come within one."""
        while (found := self._parsed()) is None:
            if not self._read():
                assert not self._buffer, f"the connection ended within a frame: {self._buffer[:40]!r}"
                return None
        return found

    def hear(self) -> list[Any]:
        """The next message; pongs are passed over."""
        while (found := self.frame()) is not None:
            if found.opcode == PONG:
                continue
            assert found.opcode == OPCODES[self.kind], found
            return self.decoded(found)
        raise AssertionError("the connection ended")

    def decoded(self, received: Received) -> list[Any]:
        got = json.loads(received.data.decode()) if self.kind == JSON else msgpack.unpackb(received.data)
        assert isinstance(got, list)
        return got

    def until(self, type_number: int) -> list[Any]:
        while (got := self.hear())[0] != type_number:
            pass
        return got

    def ended(self) -> tuple[list[list[Any]], int, str]:
        """All messages up to the close frame, its code and its reason; answers it, and holds the server to closing."""
        messages: list[list[Any]] = []
        while (found := self.frame()) is not None:
            if found.opcode == CLOSE:
                self.send(client_frame(CLOSE, found.data[:2]))
                assert self.frame() is None, "something came behind the close frame"
                return messages, int.from_bytes(found.data[:2], "big"), found.data[2:].decode()
            if found.opcode != PONG:
                messages.append(self.decoded(found))
        raise AssertionError(f"the connection ended without a close frame, after {messages}")

    def drain(self) -> list[Received]:
        """Whatever comes until the end of the connection, a close frame or none."""
        found = []
        while (one := self.frame()) is not None:
            found.append(one)
            if one.opcode == CLOSE:
                self.send(client_frame(CLOSE, one.data[:2]))
        return found

    def rest(self) -> bytes:
        """All bytes up to the end of the connection, whatever they are."""
        while self._read():
            pass
        found, self._buffer = self._buffer, b""
        return found

    def _read(self) -> bool:
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError:
            return False
        self._buffer += data
        return bool(data)

    def _parsed(self) -> Received | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        opcode, size, at = buffer[0] & 0x0F, buffer[1], 2
        assert buffer[0] & 0xF0 == 0x80, "the server sends whole frames, without reserved bits"
        assert not size & 0x80, "a server masks nothing"
        assert opcode in (TEXT, BINARY, CLOSE, PING, PONG)
        assert opcode < CLOSE or size <= 125
        if size > 125:
            at = 4 if size == 126 else 10
            if len(buffer) < at:
                return None
            size = int.from_bytes(buffer[2:at], "big")
            assert size > (125 if at == 4 else 0xFFFF), "a length is said in as few bytes as it has"
        if len(buffer) < at + size:
            return None
        self._buffer = buffer[at + size :]
        return Received(opcode, buffer[at : at + size])

    def close(self) -> None:
        self.socket.close()

    def __del__(self) -> None:
        # So that a test that fails reports its failure, not its sockets.
        if hasattr(self, "socket"):
            self.socket.close()

    def __enter__(self) -> RawWebSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
