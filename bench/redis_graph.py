"""The peer of the graph profile: Redis, with what an application would build presence on.

A user is one connection in RESP3, which may publish while it is subscribed to its contacts' channels. A change is a
SET with an expiry, which is what a newcomer would read, and a PUBLISH of the same payload, which is what the watchers
are told; both go out in one write, and the next change waits for the answer to the PUBLISH. The payload has the size of
the daemon's push. The generator's loop is that of graph.py; nothing is measured here.
"""

from __future__ import annotations

import os
import re
import select
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench import graph
from bench.daemon import BenchError, Cores, Server
from bench.graph import Person, Side, Tally
from bench.load import Link, edge_triggered, open_link
from bench.redis import OK, command, find_redis, redis_version, start_redis_in_memory
from bench.report import Result

EXPIRY_S = b"60"
READ_BYTES = 65_536
PONG = b"+PONG\r\n"
SUBSCRIBED = b">3\r\n$9\r\nsubscribe\r\n"
MESSAGE = re.compile(rb">3\r\n\$7\r\nmessage\r\n\$\d+\r\nuser:([^\r]+)\r\n\$\d+\r\n(\d{8}) [^\r]*\r\n")


@dataclass
class Subscriber(Person):
    """One user of the graph on Redis."""

    number: int = 0
    """How many changes it has made since it connected."""
    followers: int = 0
    payload_bytes: int = 0

    def send_change(self) -> None:
        """SET and PUBLISH in one write."""
        self.number += 1
        self.left -= 1
        # Payloads have no line ends in them: only the answer to PUBLISH is a colon at the start of a line.
        self.answer = b"\n" + self.published()
        key = b"user:" + self.link.user.encode()
        payload = (b"%08d dnd in a call" % self.number).ljust(self.payload_bytes, b".")
        os.write(self.link.fd, command(b"SET", key, payload, b"EX", EXPIRY_S) + command(b"PUBLISH", key, payload))

    def published(self) -> bytes:
        """The answer to its PUBLISH: how many were told."""
        return b":%d\r\n" % self.followers


class RedisSide(Side):
    """Redis with everyone of the graph connected to it."""

    prefix = "redis_"

    def __init__(self, server: Server, people: dict[int, Subscriber], poller: select.epoll, *, spin: bool) -> None:
        super().__init__(server, people, poller, spin=spin)
        self._subscribers = list(people.values())

    def verify(self, changes: int) -> None:
        """Count and check what everyone read in the round."""
        verify(self._subscribers, changes, self.tally)


def verify(people: list[Subscriber], changes: int, tally: Tally) -> None:
    """Redis merges nothing: every watcher has read each of the round's changes once, in order. Forgets the round."""
    ends = {person.link.user.encode(): person.number for person in people}
    for person in people:
        data = b"".join(person.chunks)
        person.chunks.clear()
        rest = MESSAGE.sub(b"", data)
        if rest != (OK + person.published()) * changes:
            raise BenchError(f"Redis said {rest[:200]!r} to {changes} changes of {person.link.user}")
        heard = {user: ends[user] - changes for user in map(str.encode, person.watches)}
        for user, digits in MESSAGE.findall(data):
            number = int(digits)
            tally.deliveries += 1
            if user not in heard or not heard[user] < number <= ends[user]:
                tally.wrong += 1
                continue
            tally.lost += number - heard[user] - 1
            heard[user] = number
        tally.lost += sum(ends[user] - number for user, number in heard.items())


def open_side(stack: ExitStack, cores: Cores, watches: dict[str, list[str]], push_bytes: int) -> Side:
    """Redis on the daemon's core, with a connection for each user that is subscribed to its contacts."""
    server = stack.enter_context(start_redis_in_memory(cores.server))
    followers = Counter(user for users in watches.values() for user in users)
    people = {}
    links = []
    for user, users in watches.items():
        link = open_link(stack, server.port, user)
        subscribe(link, users)
        links.append(link)
        people[link.fd] = Subscriber(link, users, followers=followers[user], payload_bytes=push_bytes)
    return RedisSide(server, people, edge_triggered(stack, links), spin=not cores.shared)


def subscribe(link: Link, users: list[str]) -> None:
    """Speak RESP3 and subscribe; returns once Redis has confirmed every channel."""
    channels = [b"user:" + user.encode() for user in users]
    link.socket.sendall(command(b"HELLO", b"3") + command(b"SUBSCRIBE", *channels) + command(b"PING"))
    said = b""
    while not said.endswith(PONG):
        data = link.socket.recv(READ_BYTES)
        if not data:
            raise BenchError(f"Redis closed the connection of {link.user} after {said[-200:]!r}")
        said += data
    if not said.startswith(b"%") or said.count(SUBSCRIBED) != len(users):
        raise BenchError(f"Redis did not subscribe {link.user}; it said {said[:200]!r}")


def run(*, insist: bool, alone: bool, cores: Cores, **options: Any) -> Result:
    """The graph profile with Redis, if there is one and `alone` does not forbid it; without one `insist` makes it a
    `BenchError`, and otherwise the result names the command that installs it.
    """
    if alone:
        return graph.run(cores=cores, **options)
    try:
        program = find_redis()
    except BenchError as missing:
        if insist:
            raise
        return {**graph.run(cores=cores, **options), "redis": str(missing)}
    return {**graph.run(cores=cores, open_peer=open_side, **options), "redis": redis_version(program)}
