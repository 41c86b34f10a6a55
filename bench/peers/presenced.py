"""Our own server behind the same interface as its peers."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import jwt

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.load.framing import FIRST_ID, decoded, frames, whole_frames
from bench.machine.server import Server
from bench.peers.base import GHOST, WRONG, Contacts, Conversation, Delivery, Known, Peer, show_of
from bench.results.outcome import OURS
from presenced.limits import USERS_PER_REQUEST_MAX
from presenced.wire.codec import encode
from presenced.wire.frames import LENGTH_BYTES, frame
from presenced.wire.messages import (
    Bye,
    ClientMessage,
    Done,
    Error,
    Goodbye,
    Hello,
    Presence,
    Record,
    Records,
    SetStatus,
    Watch,
    Welcome,
)

DEVICE = "bench"
SECRET = "a secret that the bench and its server share, for one run"
TOKEN_S = 86_400
TEXT = "in a call, no. "


class Presenced(Peer):
    """presenced with the loads' common settings; in dev mode, or with real tokens."""

    name = OURS
    program = "presenced"
    speaks_tls = True
    package = ""
    about = (
        "presenced: change spacing and rate limit off, no data directory unless asked for; it may tell only the latest "
        "of several changes of a user, and every other server is held to each of them, once and in order"
    )
    merges = True

    def __init__(self, payload_bytes: int = 57, *, options: tuple[str, ...] = (), tokens: bool = False) -> None:
        super().__init__(payload_bytes)
        self._options = options
        self._tokens = tokens
        self._server: Server | None = None
        self._versions: dict[Delivery, int] = {}

    @classmethod
    def find(cls) -> str:
        """The version of this tree."""
        return importlib.metadata.version("presenced")

    @classmethod
    def version(cls, program: str) -> str:
        """The same: there is no program to be found."""
        return cls.find()

    @property
    def process(self) -> Server:
        """What is measured; only between `start` and `stop`."""
        assert self._server is not None, "presenced is not running"
        return self._server

    def start(self, core: int, workdir: Path, users: Sequence[str], contacts: Contacts) -> None:
        """Start it; it needs to know nobody."""
        secret = None
        if self._tokens:
            secret = workdir / "secret"
            secret.touch(mode=0o600)
            secret.write_text(SECRET)
        options, environment = self._options, None
        if self.tls is not None:
            options += ("--tls-cert", str(self.tls.certificate), "--tls-key", str(self.tls.key))
            environment = self.tls.environment
        self._server = start_daemon(core, options, secret_file=secret, environment=environment)
        self.port = self._server.port

    def stop(self) -> None:
        """End and reap it; idempotent."""
        if self._server is not None:
            self._server.stop()

    def login(self, user: str, contacts: Sequence[str], *, records: bool) -> Conversation:
        """Hello and Watch in one write. Every Watch is answered with records, whether they are looked at or not."""
        token = token_of(user) if self._tokens else ""
        said = [self.said(Hello([1], token, user, DEVICE))]
        for at in range(0, len(contacts), USERS_PER_REQUEST_MAX):
            said.append(self.said(Watch(1 + at, list(contacts[at : at + USERS_PER_REQUEST_MAX]))))
        came = yield b"".join(said)
        while self.whole(came)[0] < len(said):
            came += yield b""
        told: Known = {}
        for payload in self.payloads(came[: self.whole(came)[1]]):
            message = decoded(payload)
            if isinstance(message, Goodbye | Error):
                raise BenchError(f"presenced said {message.code} to {user}: {message.message}")
            if isinstance(message, Records):
                told.update((record.user, number_of(record)) for record in message.records)
            elif not isinstance(message, Welcome | Presence):
                raise BenchError(f"presenced said {message} to the hello of {user}")
        return told

    def logout(self, user: str) -> bytes:
        """Bye: the next login is not a return within the grace."""
        return self.said(Bye())

    def change(self, user: str, number: int) -> bytes:
        """SetStatus."""
        status = show_of(number).decode()
        return self.said(SetStatus(FIRST_ID + number, status, text_of(number)))  # type: ignore[arg-type]

    def answer(self, user: str, number: int) -> bytes:
        """Done, up to the version, which is not known yet."""
        return encode(Done(FIRST_ID + number, 0))[:-1]

    def count(self, data: bytes) -> int:
        """By the frames' lengths; where only deliveries are expected."""
        return self.whole(data)[0]

    def parse(self, reader: str, data: bytes) -> tuple[list[Delivery], bytes]:
        """Every message is decoded in full. A record of which another watcher was told something else is wrong."""
        deliveries = []
        end = self.whole(data)[1]
        for payload in self.payloads(data[:end]):
            message = decoded(payload)
            if isinstance(message, Presence):
                deliveries.append(self._delivery(message.record))
            elif not isinstance(message, Done):
                raise BenchError(f"presenced said {message} to {reader or 'a watcher'}")
        return deliveries, data[end:]

    # --- its framing ---------------------------------------------------------------------------------------------

    def said(self, message: ClientMessage) -> bytes:
        """A message to it, as bytes on the wire."""
        return frame(encode(message))

    def whole(self, data: bytes) -> tuple[int, int]:
        """How many whole messages `data` begins with, and how many bytes they take."""
        return whole_frames(data)

    def payloads(self, data: bytes) -> Iterator[bytes]:
        """The messages in `data`, which must end at the end of one, as msgpack."""
        return frames(data)

    def _delivery(self, record: Record) -> Delivery:
        number = number_of(record)
        delivery = record.user, number
        if number > 0:
            versions = self._versions
            same = versions.setdefault(delivery, record.version) == record.version
            if not same or versions.get((record.user, number - 1), 0) >= record.version:
                return record.user, WRONG
        return delivery


def number_of(record: Record) -> int:
    """The number of the change that a record is of; 0 if its user has just come."""
    if record.status == "offline":
        return GHOST
    if record.status == "online" and not record.text:
        return 0
    digits = record.text[len(TEXT) :]
    number = int(digits) if digits.isdigit() else WRONG
    return number if (record.status, record.text) == (show_of(number).decode(), text_of(number)) else WRONG


def text_of(number: int) -> str:
    """The text of a change: all of one size."""
    return f"{TEXT}{number:06d}"


def push_bytes() -> int:
    """What one notification takes on the wire without its length; peers are given payloads of the same size."""
    record = Record("user000", "dnd", text_of(1), "", time.time_ns() // 1_000_000, 0, DEVICE, 100_000)
    return len(encode(Presence(record)))


def frames_by_user(blob: bytes) -> dict[str, bytes]:
    """The frames in what a watcher was told, by the user whom each is about."""
    told = {}
    for payload in frames(blob[: whole_frames(blob)[1]]):
        message = decoded(payload)
        if isinstance(message, Presence):
            told[message.record.user] = len(payload).to_bytes(LENGTH_BYTES, "big") + payload
    return told


@lru_cache(maxsize=100_000)
def token_of(user: str) -> str:
    """A token that lasts longer than any run; made once, as it is the application that pays for it."""
    return jwt.encode({"sub": user, "exp": int(time.time()) + TOKEN_S}, SECRET, algorithm="HS256")
