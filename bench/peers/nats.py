"""NATS core: a subject for each user, to which the contacts subscribe.

Core NATS remembers nothing, so that a newcomer asks an application for the present state of its contacts: one request,
which a link of the generator answers from memory (`stands`). A change waits for the PONG to a PING behind
it.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

from bench.peers.base import MARK, PAYLOAD, Contacts, Conversation, Known, PeerFailed, PeerLink, Stand, closed
from bench.peers.programs import External

CONNECT = b'CONNECT {"verbose":false,"pedantic":false,"echo":false,"protocol":1,"headers":false}\r\n'
PING = b"PING\r\n"
PONG = b"PONG\r\n"
REQUEST = re.compile(rb"MSG presence\.get 1 (\S+) \d+\r\n([^\r]*)\r\n")
REPLY = re.compile(rb"MSG inbox\.\S+ 0 (\d+)\r\n")


class Nats(External):
    """NATS on one CPU, as everybody else."""

    name = "nats"
    program = "nats-server"
    speaks_tls = True
    greeting = b"\r\n"  # INFO, from which its clients learn that TLS is next
    package = "nats-server"
    about = (
        "NATS: core pub/sub with GOMAXPROCS=1; it remembers nothing, so that at login one request per user is answered "
        "by an application, whose own CPU is not counted"
    )

    units = re.compile(
        rb"(?:PONG|PING|INFO [^\r]*|MSG presence\.user\.(?P<user>\S+) \d+ \d+\r\n(?P<payload>" + PAYLOAD + rb"))\r\n"
    )
    mark = MARK + b"\r\n"

    def __init__(self, payload_bytes: int = 57) -> None:
        super().__init__(payload_bytes)
        self._present: dict[str, int] = {}

    def environment(self, workdir: Path) -> Mapping[str, str]:
        """One core, so one CPU for the Go runtime."""
        return {"GOMAXPROCS": "1"}

    def command(self, program: str, workdir: Path, users: Sequence[str], contacts: Contacts) -> list[str]:
        """A file with limits out of the way: nobody is cut off for reading slowly, or for being quiet."""
        config = workdir / "nats.conf"
        tls = ""
        if self.tls is not None:
            tls = f'tls {{ cert_file: "{self.tls.certificate}", key_file: "{self.tls.key}" }}\n'
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\nmax_connections: 20000\nmax_pending: 1073741824\n'
            'write_deadline: "60s"\nping_interval: "1h"\n' + tls
        )
        return [program, "--config", str(config)]

    def prepare(self, users: Sequence[str], contacts: Contacts) -> None:
        """Let the application's link take the requests."""
        self._present.clear()
        link = self.open("application")
        self._own_links.append(link)
        link.socket.sendall(CONNECT + b"SUB presence.get 1\r\n" + PING)
        came = b""
        while PONG not in came:
            came += link.socket.recv(65_536) or closed(self, link.user)

    def stands(self) -> Mapping[PeerLink, Stand]:
        """The application that knows the present state of all."""
        return dict.fromkeys(self._own_links, self._stand)

    def _stand(self, link: PeerLink, data: bytes) -> bytes:
        """Answer the requests in what arrived."""
        data = link.rest + data
        at = 0
        said = []
        while found := REQUEST.search(data, at):
            at = found.end()
            told = b"".join(self.payload(self._present.get(name, 0)) for name in found[2].decode().split(","))
            said.append(b"PUB %s %d\r\n%s\r\n" % (found[1], len(told), told))
        link.rest = data[at:]
        return b"".join(said)

    def login(self, user: str, contacts: Sequence[str], *, records: bool) -> Conversation:
        """CONNECT, a SUB for each contact, the request, and the own announcement, all in one write."""
        return login(self, user, contacts, records=records)

    def change(self, user: str, number: int) -> bytes:
        """PUB and PING."""
        self._present[user] = number
        payload = self.payload(number)
        return b"PUB presence.user.%s %d\r\n%s\r\nPING\r\n" % (user.encode(), len(payload), payload)

    def answer(self, user: str, number: int) -> bytes:
        """The answer to the PING."""
        return PONG


def login(nats: Nats, user: str, contacts: Sequence[str], *, records: bool) -> Generator[bytes, bytes, Known]:
    """The login of a user: over when the PING is answered, and the request too."""
    own = user.encode()
    said = [CONNECT, *(b"SUB presence.user.%s %d\r\n" % (name.encode(), at) for at, name in enumerate(contacts, 1))]
    if records:
        asked = ",".join(contacts).encode()
        said += [b"SUB inbox.%s 0\r\nPUB presence.get inbox.%s %d\r\n%s\r\n" % (own, own, len(asked), asked)]
    came = yield b"".join(said) + nats.change(user, 0)
    reply = None
    while PONG not in came or (records and not (reply := _reply(came))):
        came += yield b""
    if b"-ERR" in came:
        raise PeerFailed(f"NATS refused {user}; it said {came[-200:]!r}")
    size = nats.payload_bytes
    told = reply or b""
    return {name: nats.number_of(told[at * size : (at + 1) * size]) for at, name in enumerate(contacts) if records}


def _reply(came: bytes) -> bytes:
    """The whole answer to the request, or b""."""
    found = REPLY.search(came)
    if found is None:
        return b""
    told = came[found.end() : found.end() + int(found[1])]
    return told if len(told) == int(found[1]) else b""
