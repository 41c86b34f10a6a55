"""Profile `graph`: every user is online, watches some others, and changes as fast as the server answers.

Each user has one change outstanding: the next is sent when the reply to the last arrives, and the server may batch as
it likes. `server_core_busy` tells whether the server or the generator set the pace. The server may also tell a slow
watcher only the latest of several changes; what counts as lost is a watcher whose last word on a user, after
everything came to rest, is not that user's last word.
"""

from __future__ import annotations

import gc
import os
import random
import select
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.daemon import BenchError, Cores, Server, need_descriptors, start_daemon
from bench.load import Link, edge_triggered, open_device_links, presences, read_available, watch
from bench.report import Result, median, spread
from presenced.wire.frames import frame
from presenced.wire.messages import Done, Presence, SetStatus, Status, encode

FIRST_ID = 1 << 24
"""Request ids from here on take five bytes on the wire: long enough to be found in a stream without parsing
it.
"""

READ_BYTES = 16_384
QUIET_S = 0.3
STALL_S = 10.0


@dataclass
class Person:
    """One user of the graph: a link, whom it watches, and everything it read in this round."""

    link: Link
    watches: list[str]
    chunks: list[bytes] = field(default_factory=list)
    request: int = FIRST_ID
    left: int = 0
    answer: bytes = b""
    """The bytes that the reply to the outstanding request begins with."""
    latest: tuple[Status, str] = ("online", "")

    def send_change(self) -> None:
        self.request += 1
        self.left -= 1
        status: Status = "dnd" if self.request % 2 else "away"
        self.latest = (status, f"in a call, no. {self.request - FIRST_ID:06d}")
        self.answer = encode(Done(self.request, 0))[:-1]
        os.write(self.link.fd, frame(encode(SetStatus(self.request, *self.latest))))

    def answered(self, data: bytes) -> bool:
        """Is the reply to the outstanding change in what was just read, or split between it and the last?"""
        if not self.answer:
            return False
        if self.answer not in data:
            split = len(self.answer) - 1
            before = self.chunks[-2][-split:] if len(self.chunks) > 1 else b""
            if self.answer not in before + data[:split]:
                return False
        self.answer = b""
        return True


@dataclass
class Tally:
    deliveries: int = 0
    merged: int = 0
    lost: int = 0
    wrong: int = 0
    push_bytes: int = 0
    """The payload of one push, without its length."""


@dataclass
class Figures:
    """What the counted rounds gave, one entry a round."""

    cpu_us: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    waited_ns: int = 0
    measured_ns: int = 0


class Side:
    """A server with everyone of the graph connected to it. This one speaks presence; a peer is a subclass."""

    prefix = ""
    """What the names of its figures begin with."""

    def __init__(self, server: Server, people: Mapping[int, Person], poller: select.epoll, *, spin: bool) -> None:
        self.server = server
        self.people = people
        self.figures = Figures()
        self.tally = Tally()
        self._poller = poller
        self._spin = spin

    def verify(self, changes: int) -> None:
        """Count and check what everyone read in the round."""
        verify(self.people, changes, self.tally)

    def play(self, changes: int) -> None:
        """One counted round of `changes` changes by everyone."""
        server, before = self.server, self.tally.deliveries
        cpu_ns, waited_ns, started_ns = server.settled_cpu_ns(), server.waited_ns(), time.monotonic_ns()
        round_ns = saturate(self._poller, self.people, changes, spin=self._spin) - started_ns
        waited_ns = server.waited_ns() - waited_ns
        cpu_ns = server.settled_cpu_ns() - cpu_ns
        self.verify(changes)
        deliveries, figures = self.tally.deliveries - before, self.figures
        if not deliveries:
            raise BenchError("nobody was told of anything in a whole round")
        figures.cpu_us.append(cpu_ns / 1000 / deliveries)
        figures.rates.append(deliveries / (round_ns / 1e9))
        figures.busy.append(cpu_ns / round_ns)
        figures.waited_ns += waited_ns
        figures.measured_ns += round_ns

    def warm_up(self) -> int:
        """One change by everyone, not counted; gives the bytes of a push."""
        saturate(self._poller, self.people, 1, spin=self._spin)
        self.verify(1)
        push_bytes = self.tally.push_bytes
        self.tally = Tally()
        return push_bytes

    def told(self, cpu_key: str) -> Result:
        """The figures, medians over the rounds."""
        figures, prefix = self.figures, self.prefix
        return {
            cpu_key: median(figures.cpu_us),
            f"{prefix or 'server_'}spread": spread(figures.cpu_us),
            f"{prefix}deliveries_per_s": round(median(figures.rates)),
            f"{prefix}server_core_busy": median(figures.busy),
            f"{prefix}core_taken_by_others": round(figures.waited_ns / figures.measured_ns, 3),
            f"{prefix}deliveries": self.tally.deliveries,
        }


OpenPeer = Callable[[ExitStack, Cores, dict[str, list[str]], int], Side]
"""Sets a peer up: the stack that ends it, the cores, whom each user watches, the bytes of a push."""


def run(
    *, users: int, contacts: int, changes: int, rounds: int, seed: int, cores: Cores, open_peer: OpenPeer | None = None
) -> Result:
    """Run the profile. Faulty deliveries are in the result; `BenchError` means that there is no result."""
    if contacts >= users:
        raise BenchError(f"{users} users cannot have {contacts} contacts each; ask for fewer contacts")
    need_descriptors(users if open_peer is None else 2 * users)
    names = [f"user{index}" for index in range(users)]
    choose = random.Random(seed)
    watches = {own: choose.sample([name for name in names if name != own], contacts) for own in names}
    with ExitStack() as stack:
        side = open_side(stack, cores, watches)
        push_bytes = side.warm_up()
        peer = open_peer(stack, cores, watches, push_bytes) if open_peer else None
        if peer:
            peer.warm_up()
        for _ in range(rounds):
            side.play(changes)
            if peer:
                peer.play(changes)
    sides = [side, peer] if peer else [side]
    return {
        "profile": "graph",
        "users": users,
        "contacts": contacts,
        "changes": changes,
        "rounds": rounds,
        "seed": seed,
        "push_bytes": push_bytes,
        **side.told("server_cpu_us_per_delivery"),
        "merged": side.tally.merged,
        **(compared(side, peer) if peer else {}),
        "lost": sum(one.tally.lost for one in sides),
        "wrong": sum(one.tally.wrong for one in sides),
    }


def compared(side: Side, peer: Side) -> Result:
    """The peer's figures, and the ratio of the CPU for a delivery, taken for each round."""
    ratios = [one / other for one, other in zip(side.figures.cpu_us, peer.figures.cpu_us, strict=True)]
    return {
        **peer.told(f"{peer.prefix}cpu_us_per_delivery"),
        "ratio": median(ratios),
        "ratio_spread": spread(ratios),
    }


def open_side(stack: ExitStack, cores: Cores, watches: dict[str, list[str]]) -> Side:
    """The daemon with a link for each user that watches its contacts."""
    daemon = stack.enter_context(start_daemon(cores.server))
    links = open_device_links(stack, daemon.port, list(watches))
    watch(links, list(watches.values()))
    people = {link.fd: Person(link, watches[link.user]) for link in links}
    return Side(daemon, people, edge_triggered(stack, links), spin=not cores.shared)


def saturate(poller: select.epoll, people: Mapping[int, Person], changes: int, *, spin: bool) -> int:
    """Let everyone make `changes` changes and read until nothing more comes; the time of the last arrival."""
    poll, read, clock = poller.poll, os.read, time.monotonic_ns
    busy = len(people)
    gc.collect()
    gc.disable()
    last_ns = clock()
    for person in people.values():
        person.left = changes
        person.send_change()
    while True:
        events = poll(0.0 if spin else QUIET_S)
        now_ns = clock()
        if not events:
            if now_ns - last_ns > (STALL_S if busy else QUIET_S) * 1e9:
                break
            continue
        last_ns = now_ns
        for fd, _ in events:
            person = people[fd]
            data = read(fd, READ_BYTES)
            if len(data) == READ_BYTES or not data:
                data += read_available(fd)
            person.chunks.append(data)
            if person.answered(data):
                if person.left:
                    person.send_change()
                else:
                    busy -= 1
    gc.enable()
    if busy:
        raise BenchError(f"{busy} users have had no reply to their last change for {STALL_S:.0f} s")
    return last_ns


def verify(people: Mapping[int, Person], changes: int, tally: Tally) -> None:
    """Count what everyone read in the round and hold its end against the truth; forgets the round."""
    truth = {person.link.user: person.latest for person in people.values()}
    for person in people.values():
        last: dict[str, tuple[str, str]] = {}
        versions: dict[str, int] = {}
        pushes = presences(b"".join(person.chunks))
        person.chunks.clear()
        for push in pushes:
            record = push.record
            if record.version <= versions.get(record.user, 0):
                tally.wrong += 1
            versions[record.user] = record.version
            last[record.user] = (record.status, record.text)
        if pushes:
            tally.push_bytes = len(encode(Presence(pushes[-1].record)))
        tally.deliveries += len(pushes)
        tally.merged += changes * len(person.watches) - len(pushes)
        tally.lost += sum(last.get(user) != truth[user] for user in person.watches)
        tally.wrong += len(last.keys() - set(person.watches))
