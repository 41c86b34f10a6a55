"""As much of WebSocket (RFC 6455) as the runner needs, for both ends: a handshake, frames, and nothing clever.

It is the runner's own, so that a server or a client is not judged by the code that it is made of.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from typing import Final

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
JSON_PROTOCOL: Final = "presence.v1.json"
MSGPACK_PROTOCOL: Final = "presence.v1.msgpack"


class HandshakeFailed(Exception):
    """The other end does not speak WebSocket as it should; the text says what it did."""


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Answer a client's handshake; returns the subprotocol. Raises `HandshakeFailed`."""
    line, headers = await _head(reader)
    offered = [word.strip() for word in headers.get("sec-websocket-protocol", "").split(",")]
    chosen = next((name for name in (JSON_PROTOCOL, MSGPACK_PROTOCOL) if name in offered), "")
    key = headers.get("sec-websocket-key", "")
    if line.split(" ")[:2] != ["GET", "/ws"] or not chosen or not key:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        raise HandshakeFailed(f"the client asked for {line!r} with the subprotocols {offered}")
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + _accept_of(key) + b"\r\nSec-WebSocket-Protocol: " + chosen.encode() + b"\r\n\r\n"
    )
    return chosen


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, protocol: str) -> None:
    """Open a WebSocket at `/ws`. Raises `HandshakeFailed`."""
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n".encode()
    )
    line, headers = await _head(reader)
    if line.split(" ")[1:2] != ["101"]:
        raise HandshakeFailed(f"the server answered {line!r}")
    if headers.get("sec-websocket-accept", "").encode() != _accept_of(key):
        raise HandshakeFailed("the server answered with a wrong Sec-WebSocket-Accept")
    if headers.get("sec-websocket-protocol") != protocol:
        raise HandshakeFailed(f"the server chose {headers.get('sec-websocket-protocol')!r} and not {protocol!r}")


def _accept_of(key: str) -> bytes:
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest())


async def _head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise HandshakeFailed("the head of the handshake did not come whole") from error
    line, *lines = head.strip().split("\r\n")
    pairs = (one.partition(":") for one in lines)
    return line, {name.strip().lower(): value.strip() for name, _, value in pairs}


def frame(opcode: int, data: bytes, *, is_masked: bool, is_last: bool = True) -> bytes:
    """One frame; of a message in several, `is_last` says whether it is the last."""
    size, mask_bit = len(data), 0x80 if is_masked else 0
    head = bytes([(0x80 if is_last else 0) | opcode])
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 65536:
        head += bytes([mask_bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask_bit | 127]) + size.to_bytes(8, "big")
    if not is_masked:
        return head + data
    mask = os.urandom(4)
    return head + mask + _masked(data, mask)


def _masked(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    pad = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


async def read_message(reader: asyncio.StreamReader, *, is_from_client: bool) -> tuple[int, bytes]:
    """The next message or control frame: its opcode and its data. Raises `HandshakeFailed` for what is no frame, and
    `asyncio.IncompleteReadError` at the end of the stream."""
    whole, kind = b"", 0
    while True:
        first, second = await reader.readexactly(2)
        opcode, is_masked, size = first & 15, bool(second & 0x80), second & 0x7F
        if first & 0x70:
            raise HandshakeFailed("a frame has reserved bits, which nobody has agreed on")
        if is_masked != is_from_client:
            raise HandshakeFailed("a frame of the client is not masked" if is_from_client else "a server masks a frame")
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        mask = await reader.readexactly(4) if is_masked else b"\0\0\0\0"
        data = _masked(await reader.readexactly(size), mask)
        if opcode >= CLOSE:
            return opcode, data
        whole, kind = whole + data, opcode or kind
        if first & 0x80:
            return kind, whole
