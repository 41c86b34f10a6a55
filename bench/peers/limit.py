"""The bare C loop behind the same interface: it is sent what our server told, byte for byte, and passes it on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.load.framing import whole_frames
from bench.load.limit import start_limit, stop_limit
from bench.machine.server import Server
from bench.peers.base import Contacts, Conversation, Delivery, Peer, PeerFailed
from bench.peers.presenced import Presenced
from bench.results.outcome import LIMIT


class Limit(Peer):
    """`native/limit.c` in one of its modes: what any server must pay at least."""

    name = LIMIT
    program = "cc"
    package = "gcc"
    about = "C loop: no semantics; it is sent the bytes that presenced told and writes them to every watcher"

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.replayed: dict[str, bytes] = {}
        """What each publisher sends next."""
        self._mode = mode
        self._server: Server | None = None
        self._reader = Presenced()

    @classmethod
    def find(cls) -> str:
        """It has no version: it is compiled from the tree."""
        return ""

    @classmethod
    def version(cls, program: str) -> str:
        """None."""
        return ""

    @property
    def process(self) -> Server:
        """What is measured; only between `start` and `stop`."""
        assert self._server is not None, "the C loop is not running"
        return self._server

    def start(self, core: int, workdir: Path, users: Sequence[str], contacts: Contacts) -> None:
        """Compile it if it is new, and start it."""
        self._server = start_limit(core, self._mode)
        self.port = self._server.port

    def stop(self) -> None:
        """End and reap it; idempotent."""
        if self._server is not None:
            self._server.stop()

    def stop_and_count(self) -> dict[str, int]:
        """End it; its own counts. `BenchError` if it dropped anything: nothing else would tell."""
        return stop_limit(self.process)

    def login(self, user: str, contacts: Sequence[str], *, records: bool) -> Conversation:
        """One letter: who watches anybody is a watcher, everybody else a publisher."""
        came = yield b"W" if contacts else b"P"
        if came != b"A":
            raise PeerFailed("the C loop did not acknowledge a link")
        return {}

    def change(self, user: str, number: int) -> bytes:
        """What our server told of it."""
        return self.replayed[user]

    def answer(self, user: str, number: int) -> bytes:
        """There is none."""
        return b""

    def count(self, data: bytes) -> int:
        """By the frames' lengths."""
        return whole_frames(data)[0]

    def parse(self, reader: str, data: bytes) -> tuple[list[Delivery], bytes]:
        """What it passes on is what our server said."""
        return self._reader.parse(reader, data)
