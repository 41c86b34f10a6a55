"""What the profiles need of a server: to be found, started, logged in to, told of a change, read, and stopped.

A server's class knows its protocol and nothing of what is measured. Every announcement of a user carries a number that
grows by one, so that whoever reads it can tell a lost one from a doubled or an old one.
"""

from __future__ import annotations

import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from bench.errors import BenchError
from bench.load.links import READ_BYTES, Wire, connected, wire_of
from bench.load.tls import Tls
from bench.load.tls_socket import AnySocket, TlsSocket
from bench.machine.meter import Measured

START_TRIES = 3
PROGRAM_DIRECTORIES = ("/usr/sbin", "/usr/local/sbin", "/sbin")
"""Where daemons are, also when PATH is that of somebody who is not root."""

WRONG = -1
"""In place of a number: an announcement with another content than the user made."""
GHOST = -2
"""In place of a number: a user who is there is told to be gone."""

Delivery = tuple[str, int]
"""Whose change was told, and its number."""

Known = dict[str, int]
"""The number that a server tells of each user."""

Conversation = Generator[bytes, bytes, Known]
"""A login: it yields what is to be sent (b"" = nothing yet) and is sent what has arrived; it returns what the server
told of the contacts."""

Contacts = Mapping[str, Sequence[str]]
"""Whom each user watches."""


class PeerMissing(BenchError):
    """It is not installed; the text names the command that installs it."""


class PeerFailed(BenchError):
    """It did not start, or not as it should; the text ends in its own words."""


class PeerLink:
    """One user's connection. `rest` is the beginning of what was not read to its end yet."""

    __slots__ = ("fd", "rest", "socket", "user", "wire")

    def __init__(self, port: int, user: str, tls: Tls | None = None, greeting: bytes = b"") -> None:
        """Under TLS, if it is given, which begins behind what the server ends its `greeting` with."""
        self.user = user
        self.rest = b""
        made = connected(port)
        self.socket: AnySocket = made if tls is None else TlsSocket(made, tls.client, greeting)
        self.fd = self.socket.fileno()
        self.wire: Wire = wire_of([self])

    def close(self) -> None:
        """Close it without a word."""
        self.socket.close()


Stand = Callable[[PeerLink, bytes], bytes]


class Peer(ABC):
    """One server in one run."""

    name: ClassVar[str]
    program: ClassVar[str]
    package: ClassVar[str]
    """What to give to apt-get."""
    about: ClassVar[str]
    """What it is made to do and how it is set, in a sentence for the notes."""
    merges: ClassVar[bool] = False
    """May it tell only the latest of several changes? Else every watcher must be told of each."""
    speaks_tls: ClassVar[bool] = False
    """May it be run under TLS?"""
    greeting: ClassVar[bytes] = b""
    """What it ends its first words with, if it says something before TLS begins."""
    share: ClassVar[int] = 1
    """One that costs tens of times more is given this part of a round's work; figures are for each delivery."""

    units: ClassVar[re.Pattern[bytes]]
    """What a stream is made of after the login: one message at a time. The group `user` is there in deliveries only."""
    mark: ClassVar[bytes]
    """What every delivery ends in, and nothing else has in it."""

    def __init__(self, payload_bytes: int = 57) -> None:
        """`payload_bytes` is the size of what is told of a change, where a server leaves that to its users."""
        self.payload_bytes = payload_bytes
        self.port = 0
        self.tls: Tls | None = None
        """Set before it is started if it is to be run under TLS."""
        self.trouble = ""
        """What was wrong with its end, if anything, once it has been stopped."""

    # --- the process ---------------------------------------------------------------------------------------------

    @classmethod
    def find(cls) -> str:
        """The version that is installed, such as 7.0.15; `PeerMissing` if none is."""
        return cls.version(cls.program_path())

    @classmethod
    def program_path(cls) -> str:
        """The program; `PeerMissing` if it is not there."""
        found = shutil.which(cls.program) or shutil.which(cls.program, path=":".join(PROGRAM_DIRECTORIES))
        if found is None:
            raise PeerMissing(f"no {cls.program} to compare with; install one: apt-get install {cls.package}")
        return found

    @classmethod
    @abstractmethod
    def version(cls, program: str) -> str:
        """What `program` says of itself."""

    @property
    @abstractmethod
    def process(self) -> Measured:
        """What is measured."""

    @abstractmethod
    def start(self, core: int, workdir: Path, users: Sequence[str], contacts: Contacts) -> None:
        """Start it on `core`, with its files in `workdir`, for `users`, some of whom watch others; returns when it
        takes connections. `PeerFailed` with the end of its log if it does not."""

    @abstractmethod
    def stop(self) -> None:
        """End and reap it, and everything it started; idempotent."""

    def cpu_ns(self) -> int:
        """CPU time of all its processes."""
        return self.process.cpu_ns()

    def rss_bytes(self) -> int:
        """Resident memory of all its processes."""
        return self.process.resident_bytes()

    # --- its protocol --------------------------------------------------------------------------------------------

    @abstractmethod
    def login(self, user: str, contacts: Sequence[str], *, records: bool) -> Conversation:
        """What `user` says and hears to come online with `contacts` watched. With `records` it goes on until the server
        has told the present state of every one of them, all of whom must then be online."""

    def open(self, user: str) -> PeerLink:
        """A connection for `user`, on which nothing was said yet."""
        return PeerLink(self.port, user, self.tls, self.greeting)

    def connect(self, user: str, contacts: Sequence[str] = ()) -> PeerLink:
        """A link that is logged in with its presence set and its contacts watched."""
        link = self.open(user)
        try:
            conversation = self.login(user, contacts, records=False)
            said = next(conversation)
            while True:
                if said:
                    link.socket.sendall(said)
                said = conversation.send(link.socket.recv(READ_BYTES) or closed(self, user))
        except StopIteration:
            return link
        except BaseException:
            link.close()
            raise

    def stands(self) -> Mapping[PeerLink, Stand]:
        """Links of an application without which the server is only a building block, each with what answers the data
        that arrives on it."""
        return {}

    def logout(self, user: str) -> bytes:
        """What `user` says before it closes its link; b"" if the protocol has no word for it."""
        return b""

    @abstractmethod
    def change(self, user: str, number: int) -> bytes:
        """What `user` sends to announce the change with this number, and to be answered (`answer`)."""

    @abstractmethod
    def answer(self, user: str, number: int) -> bytes:
        """What is in the stream of `user` once the change is applied, and not before."""

    def count(self, data: bytes) -> int:
        """How many whole deliveries are in `data`, without parsing it."""
        return data.count(self.mark)

    def read(self, link: PeerLink, data: bytes) -> list[Delivery]:
        """The deliveries in what has arrived on `link`; what is unfinished waits in `link.rest`, and so does whatever
        the protocol does not allow there."""
        deliveries, link.rest = self.parse(link.user, link.rest + data)
        return deliveries

    def parse(self, reader: str, data: bytes) -> tuple[list[Delivery], bytes]:
        """The deliveries in a stream of `reader` that begins with a whole message, and what is left of it."""
        deliveries = []
        at = 0
        match = self.units.match
        while found := match(data, at):
            at = found.end()
            delivery = self.delivered(reader, found)
            if delivery:
                deliveries.append(delivery)
        return deliveries, data[at:]

    def delivered(self, reader: str, found: re.Match[bytes]) -> Delivery | None:
        """What one match of `units` tells `reader`; None if it is not about another user."""
        if found["user"] is None:
            return None
        return found["user"].decode(), self.number_of(found["payload"])

    # --- payloads, where the protocol leaves them to its users ---------------------------------------------------

    def payload(self, number: int) -> bytes:
        """What is told of a change: `payload_bytes` bytes that begin in # and end in .;"""
        return (b"#%08d %s in a call" % (number, show_of(number))).ljust(self.payload_bytes - 1, b".") + b";"

    def number_of(self, payload: bytes) -> int:
        """The number in a payload; WRONG if it is not one that was ever sent."""
        number = int(payload[1:9]) if payload[1:9].isdigit() else WRONG
        return number if number >= 0 and payload == self.payload(number) else WRONG


PAYLOAD = rb"\#[^;]*\.;"
MARK = b".;"


def show_of(number: int) -> bytes:
    """The status of a change: two that alternate, as the same one twice might be told once."""
    return b"dnd" if number % 2 else b"away"


def closed(peer: Peer, user: str) -> bytes:
    """Complain that the server closed a link."""
    raise PeerFailed(f"{peer.name} closed the link of {user}")


def until(said: bytes, end: bytes) -> Generator[bytes, bytes, bytes]:
    """Send `said` and read until `end` has come; returns all that came."""
    came = yield said
    while end not in came:
        came += yield b""
    return came
