"""Broadcast servers over WebSockets, each a page of Python that passes on what a publisher says and does nothing else:
no names, no states, no order of versions, nobody who is told only the latest, and nothing for who comes later."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.load import websocket
from bench.peers.base import WRONG, Contacts, Conversation, Delivery, PeerMissing
from bench.peers.programs import External


class Broadcast(External):
    """One of them. Whoever comes to `/publish` is heard, and everybody else is told."""

    server: ClassVar[str]
    """The file beside this one that is the server."""

    @classmethod
    def find(cls) -> str:
        """The version of the package that it is written with."""
        try:
            return importlib.metadata.version(cls.package)
        except importlib.metadata.PackageNotFoundError:
            raise PeerMissing(
                f"no Python package {cls.package} to compare with; install it: .venv/bin/pip install {cls.package}"
            ) from None

    @classmethod
    def program_path(cls) -> str:
        """The interpreter."""
        cls.find()
        return sys.executable

    def command(self, program: str, workdir: Path, users: Sequence[str], contacts: Contacts) -> list[str]:
        """Without its directory among those of modules, where files have the names of packages."""
        return [program, "-P", str(Path(__file__).with_name(self.server)), str(self.port)]

    def login(self, user: str, contacts: Sequence[str], *, records: bool) -> Conversation:
        """The handshake is all."""
        came = yield websocket.handshake(self.port, "/watch" if contacts else "/publish")
        while websocket.HEAD_END not in came:
            came += yield b""
        websocket.accepted(came)
        return {}

    def change(self, user: str, number: int) -> bytes:
        """One text message."""
        return websocket.client_message(websocket.TEXT, user.encode() + self.payload(number))

    def answer(self, user: str, number: int) -> bytes:
        """There is none."""
        return b""

    def count(self, data: bytes) -> int:
        """By the frames' lengths."""
        return websocket.whole_messages(data)[0]

    def parse(self, reader: str, data: bytes) -> tuple[list[Delivery], bytes]:
        """What was said, as it was said."""
        end = websocket.whole_messages(data)[1]
        deliveries = []
        for opcode, said in websocket.messages(data[:end]):
            user, payload = said[: -self.payload_bytes], said[-self.payload_bytes :]
            number = self.number_of(payload) if opcode == websocket.TEXT else WRONG
            deliveries.append((user.decode(errors="replace"), number))
        return deliveries, data[end:]


class Websockets(Broadcast):
    """With the package `websockets`, and its function that is made for this."""

    name = "websockets"
    package = "websockets"
    server = "broadcast_websockets.py"
    about = (
        "websockets: a server that only passes on, by `broadcast` of the package websockets, on uvloop, without "
        "compression and pings"
    )


class Aiohttp(Broadcast):
    """With `aiohttp`, one send after the other."""

    name = "aiohttp"
    package = "aiohttp"
    server = "broadcast_aiohttp.py"
    about = "aiohttp: a server that only passes on, by `send_str` to each, on uvloop, without compression and pings"
