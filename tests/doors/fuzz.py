"""Random and damaged handshakes, frames and requests against the doors, from a seed: `python -m tests.doors.fuzz`.

What a case sends is made whole first, and then damaged and cut: so most of it comes far into the code. A server that
breaks RFC 6455 or HTTP in an answer, that fails inside, or whose other links notice anything, has lost.
"""

from __future__ import annotations

import argparse
import re
import socket
import sys
from collections.abc import Callable
from random import Random
from typing import Any

from tests.support.doors import serving
from tests.support.in_process import InProcess
from tests.support.raw_websocket import (
    CLOSE,
    CONT,
    JSON,
    MSGPACK,
    OPCODES,
    PING,
    PONG,
    RawWebSocket,
    client_frame,
    encoded,
    handshake,
)
from tests.support.until import PATIENCE_S
from tests.support.wire import Bystander

WHOLE_BYTES = 10_000_000
CASES_PER_CHECK = 50

MESSAGES: list[list[Any]] = [
    [2, None],
    [3],
    [4, 1],
    [5, 2, "dnd", "a text", "", 0],
    [5, 2, "away", "x" * 300],
    [7, 3, ["bob", "carol"]],
    [8, 4, "", 10],
    [9, 5, ["marker", "bob"]],
    [10, 6, ["bob"]],
    [25, 7, "room"],
    [23, 8, "room"],
    [36, 9, "bob", "hello"],
    [42, 10],
    [56, 11, ["bob"] * 50, [1] * 50],
    [58, 12],
    [63, "room"],
    [191, 13],
    [66, 14, "forbidden", "no"],
]


def frames(random: Random, kind: str) -> bytes:
    """A hello and some messages in frames, each perhaps in pieces, with control frames between."""
    user = f"u{random.randrange(50)}"
    said = [[1, [1], "", user, "tab"], *random.choices(MESSAGES, k=random.randrange(12))]
    parts: list[bytes] = []
    for message in said:
        data, mask = encoded(kind, *message), random.randbytes(4)
        if random.random() < 0.2:
            at = random.randrange(len(data) + 1)
            parts.append(client_frame(OPCODES[kind], data[:at], fin=False, mask=mask))
            parts += [client_frame(PING, random.randbytes(random.randrange(126)))] * random.randrange(3)
            parts.append(client_frame(CONT, data[at:], mask=mask))
        else:
            parts.append(client_frame(OPCODES[kind], data, mask=mask))
        if random.random() < 0.1:
            parts.append(client_frame(random.choice((PING, PONG)), random.randbytes(random.randrange(126))))
    if random.random() < 0.2:
        parts.append(client_frame(CLOSE, random.choice((b"", b"\x03\xe8", random.randbytes(9)))))
    return b"".join(parts)


def request(random: Random) -> bytes:
    """A request for `/v1/` or for a page."""
    name = random.choice(("get_status", "set_status", "who", "attach", "watch", "events", "openapi.json", "x"))
    path = random.choice((f"/v1/{name}", f"/v1/{name}?a=b", "/healthz", "/metrics", "/client/presence.js", "/"))
    body = random.choice((b"", b"{}", b'{"users":["bob"]}', b'{"status":"dnd","text":"t"}', b"[" * 50))
    lines = [
        f"{random.choice(('GET', 'POST', 'HEAD', 'OPTIONS'))} {path} HTTP/1.{random.randrange(2)}",
        "Host: localhost",
        *random.sample(
            [
                "Presence-User: eve",
                "Content-Type: application/json",
                "Origin: https://evil.example",
                "Authorization: Bearer abc.def.ghi",
                "Expect: 100-continue",
                "Accept: text/event-stream",
                "Last-Event-ID: 1",
                "Connection: close",
                "X: " + "y" * random.randrange(500),
            ],
            random.randrange(6),
        ),
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def damaged(random: Random, data: bytes) -> bytes:
    """`data` with a few bytes changed, left out, repeated or put in; or as it is."""
    found = bytearray(data)
    for _ in range(random.choice((0, 0, 1, 1, 2, 5, 20))):
        at, size = random.randrange(len(found) + 1), random.randrange(1, 20)
        how = random.randrange(5)
        if how == 0 and at < len(found):
            found[at] ^= 1 << random.randrange(8)
        elif how == 1:
            del found[at : at + size]
        elif how == 2:
            found[at:at] = found[at : at + size]
        elif how == 3:
            found[at:at] = random.randbytes(size)
        else:
            found[at:at] = random.choice((b"\r\n", b"\0", b"\n", b"\xff" * 9, b": ", b"\x88\x80", b"\x81\xfe\xff\xff"))
    return bytes(found)


def case(random: Random) -> tuple[str | None, bytes]:
    """What one connection sends: the subprotocol, if it begins with a good handshake, and the bytes behind that."""
    how = random.randrange(10)
    kind = random.choice((JSON, MSGPACK))
    if how < 5:
        return kind, damaged(random, frames(random, kind))
    if how == 5:
        return kind, random.randbytes(random.randrange(1, 20_000))
    if how == 6:
        return None, damaged(random, handshake(kind, path=random.choice(("/ws", "/ws?a=b", "/")))) + frames(
            random, kind
        )
    if how == 7:
        return None, random.randbytes(random.randrange(1, 9_000))
    return None, damaged(random, b"".join(request(random) for _ in range(random.randrange(1, 5))))


class Fuzz:
    """The cases of one seed against one server."""

    def __init__(self, server: InProcess, port: int, seed: int) -> None:
        self.server = server
        self.port = port
        self.seed = seed
        self.sent_bytes = 0
        self.cases = 0
        self.ends: dict[str, int] = {}
        """How many connections ended so."""

    def run(self, wanted_bytes: int, tell: Callable[[str], None] = lambda line: None) -> None:
        """Send so many bytes. Raises `AssertionError` that names the case."""
        bystander = Bystander(self.server.port)
        while self.sent_bytes < wanted_bytes:
            random = Random(f"{self.seed}/{self.cases}")
            try:
                self._one(random)
            except AssertionError as error:
                raise AssertionError(f"seed {self.seed}, case {self.cases}: {error}") from error
            self.cases += 1
            if self.cases % CASES_PER_CHECK == 0:
                bystander.check()
                tell(f"{self.cases} cases, {self.sent_bytes} bytes")
        bystander.check()
        bystander.close()
        goodbyes = self.server.ask(lambda server: dict(server.stats.goodbyes))
        assert "link_failed" not in goodbyes, f"the server failed while serving a link: {goodbyes}"
        assert not self.server.loop_errors, self.server.loop_errors[0]

    def _one(self, random: Random) -> None:
        kind, data = case(random)
        self.sent_bytes += len(data)
        with RawWebSocket(self.port, kind or JSON, opens=kind is not None) as link:
            at = 0
            while at < len(data):
                size = random.choice((1, 7, 100, 5_000, len(data)))
                link.send(data[at : at + size])
                at += size
            try:
                link.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # The server has closed it.
            self._read(link, kind)

    def _read(self, link: RawWebSocket, kind: str | None) -> None:
        link.socket.settimeout(PATIENCE_S)
        if kind is None:
            said = link.rest()
            head = said.partition(b"\r\n\r\n")[0]
            answers = re.findall(rb"HTTP/1\.1 ([0-9]{3}) [A-Z]", said)
            assert not said or head.startswith(b"HTTP/1.1 "), said[:100]
            assert b"500" not in answers, said[:500]
            self._count(answers[-1].decode() if answers else "nothing")
            return
        end = "nothing"
        for frame in link.drain():
            if frame.opcode == CLOSE:
                end = frame.data[2:].decode() or "closed"
                assert end != "link_failed"
            elif frame.opcode == OPCODES[link.kind]:
                assert link.decoded(frame)
        self._count(end)

    def _count(self, end: str) -> None:
        self.ends[end] = self.ends.get(end, 0) + 1


def main() -> None:
    """All bytes, on a server in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=WHOLE_BYTES)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with serving(grace_ms=0) as (server, port):
        fuzz = Fuzz(server, port, options.seed)
        fuzz.run(options.bytes, lambda line: print(f"\r{line}", end="", file=sys.stderr))
        print(f"\n{fuzz.cases} cases of {fuzz.sent_bytes} bytes; they ended so: {fuzz.ends}")


if __name__ == "__main__":
    main()
