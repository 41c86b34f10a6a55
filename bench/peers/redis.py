"""Redis with what an application would build presence on.

A user is one connection in RESP3, which may publish while it is subscribed to its contacts' channels. A change is a SET
with an expiry, which is what a newcomer reads, and a PUBLISH of the same payload, which is what the watchers are
told; both go out in one write. A login subscribes, reads the contacts with one MGET and announces its own user.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from pathlib import Path

from bench.peers.base import MARK, PAYLOAD, Contacts, Conversation, Known, PeerFailed
from bench.peers.programs import External

OK = b"+OK\r\n"
PONG = b"+PONG\r\n"
EXPIRY_S = b"600"
SUBSCRIBED = b">3\r\n$9\r\nsubscribe\r\n"


class Redis(External):
    """Redis in memory."""

    name = "redis"
    program = "redis-server"
    speaks_tls = True
    package = "redis-server"
    about = "Redis: a change is SET with an expiry and PUBLISH in one write; no files, no limit on subscribers' buffers"
    version_pattern = r"v=(\S+)"

    units = re.compile(
        rb"(?:\+OK|:\d+|>3\r\n\$7\r\nmessage\r\n\$\d+\r\nuser:(?P<user>[^\r]+)\r\n\$\d+\r\n(?P<payload>"
        + PAYLOAD
        + rb"))\r\n"
    )
    mark = MARK + b"\r\n"

    def command(self, program: str, workdir: Path, users: Sequence[str], contacts: Contacts) -> list[str]:
        """All by options: nothing is written, and no subscriber is cut off however much waits for it."""
        line = [*server_line(program, self.port), "--appendonly", "no", "--dir", str(workdir), *BUFFERS]
        if self.tls is None:
            return line
        certificate, key = str(self.tls.certificate), str(self.tls.key)
        files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate]
        return [*line, "--port", "0", "--tls-port", str(self.port), *files, "--tls-auth-clients", "no"]

    def login(self, user: str, contacts: Sequence[str], *, records: bool) -> Conversation:
        """HELLO, SUBSCRIBE, MGET and SET with PUBLISH, all in one write."""
        return login(self, user, contacts, records=records)

    def change(self, user: str, number: int) -> bytes:
        """SET and PUBLISH."""
        key, payload = b"user:" + user.encode(), self.payload(number)
        return command(b"SET", key, payload, b"EX", EXPIRY_S) + command(b"PUBLISH", key, payload)

    def answer(self, user: str, number: int) -> bytes:
        """Payloads have no line ends in them: only the answer to PUBLISH is a colon at the start of a line."""
        return b"\n:"


BUFFERS = ("--client-output-buffer-limit", "pubsub", "0", "0", "0")


def login(redis: Redis, user: str, contacts: Sequence[str], *, records: bool) -> Generator[bytes, bytes, Known]:
    """The login of a user; its last answer is that to PING."""
    keys = [b"user:" + name.encode() for name in contacts]
    said = command(b"HELLO", b"3")
    if keys:
        said += command(b"SUBSCRIBE", *keys)
    if keys and records:
        said += command(b"MGET", *keys)
    came = yield said + redis.change(user, 0) + command(b"PING")
    while PONG not in came:
        came += yield b""
    if not came.startswith(b"%") or came.count(SUBSCRIBED) != len(keys):
        raise PeerFailed(f"Redis did not subscribe {user}; it said {came[:200]!r}")
    if not records:
        return {}
    at = came.find(b"\r\n*%d\r\n" % len(keys))
    told = re.findall(rb"\$\d+\r\n(" + PAYLOAD + rb")\r\n|_\r\n|\$-1\r\n", came[at:])[: len(keys)]
    return {name: redis.number_of(payload) for name, payload in zip(contacts, told, strict=False) if payload}


def server_line(program: str, port: int) -> list[str]:
    """The options that all uses share."""
    line = [program, "--port", str(port), "--bind", "127.0.0.1", "--protected-mode", "yes"]
    return [*line, "--daemonize", "no", "--logfile", "", "--save", "", "--maxclients", "20000", "--tcp-backlog", "4096"]


def command(*words: bytes) -> bytes:
    """A command, as bytes on the wire."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"".join(parts)
