"""A server with everyone of a graph connected to it, and the closed loop: each user has one change outstanding, and
the next is sent when the reply to the last arrives.

While a round runs what arrives is only kept; it is taken apart and checked afterwards.
"""

from __future__ import annotations

import gc
import select
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.errors import BenchError
from bench.load.links import edge_triggered, wire_of
from bench.machine.meter import Meter
from bench.peers.base import Peer, PeerLink
from bench.peers.ledger import Ledger
from bench.peers.storm import Storm, drain, expect_clean
from bench.results.outcome import ServerOutcome

CPU = "server_cpu_us_per_delivery"
READ_BYTES = 16_384
QUIET_S = 0.05
STALL_S = 10.0
"""How long nothing may come while replies are due; a slow server has up to four times as long."""


@dataclass
class Person:
    """One user of the graph: a link, and everything it read in this round."""

    link: PeerLink
    chunks: list[bytes] = field(default_factory=list)
    number: int = 0
    left: int = 0
    answer: bytes = b""
    """The bytes in the reply to the outstanding change."""

    def send_change(self, peer: Peer) -> None:
        """Make the next change."""
        self.number += 1
        self.left -= 1
        self.answer = peer.answer(self.link.user, self.number)
        self.link.wire.write(self.link.fd, peer.change(self.link.user, self.number))

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


class ConnectedGraph:
    """A server with everyone of the graph connected to it."""

    def __init__(
        self,
        peer: Peer,
        people: Mapping[int, Person],
        poller: select.epoll,
        contacts: Mapping[str, Sequence[str]],
        *,
        spin: bool,
    ) -> None:
        self.peer = peer
        self.people = people
        self.ledger = Ledger(contacts, merges=peer.merges)
        self.poller = poller
        self.spin = spin

    def play(self, changes: int, outcome: ServerOutcome | None) -> None:
        """One round of `changes` changes by everyone, added to `outcome` if it counts."""
        server, before = self.peer.process, self.ledger.checks.deliveries
        with Meter(server) as meter:
            started_ns = time.monotonic_ns()
            last_ns = self._saturate(changes)
        # The loop has listened on for a while: only what was before its last arrival was work.
        meter.taken_ns = last_ns - started_ns
        wire_bytes = sum(len(chunk) for person in self.people.values() for chunk in person.chunks)
        self.verify()
        deliveries = self.ledger.checks.deliveries - before
        if not deliveries:
            raise BenchError(f"{self.peer.name} told nobody of anything in a whole round")
        if outcome is not None:
            outcome.figures.setdefault(CPU, []).append(meter.cpu_us_per(deliveries))
            outcome.figures.setdefault("deliveries_per_s", []).append(deliveries / (meter.taken_ns / 1e9))
            # With the replies to the own changes.
            outcome.figures.setdefault("wire_bytes_per_delivery", []).append(round(wire_bytes / deliveries, 1))
            outcome.figures.setdefault("rss_bytes", []).append(self.peer.rss_bytes())
            meter.note(outcome)

    def _saturate(self, changes: int) -> int:
        """Let everyone change, and read until the server rests and nothing is left; the time of the last arrival."""
        gc.collect()
        gc.disable()
        try:
            last_ns = saturate(self.poller, self.people, self.peer, changes, spin=self.spin)
        finally:
            gc.enable()
        late = True
        while late:
            self.peer.process.settled_cpu_ns()
            late = False
            for person in self.people.values():
                data = person.link.wire.available(person.link.fd)
                if data:
                    person.chunks.append(data)
                    late, last_ns = True, time.monotonic_ns()
        return last_ns

    def verify(self) -> None:
        """Count and check what everyone read in the round; forgets it."""
        for person in self.people.values():
            data = b"".join(person.chunks)
            person.chunks.clear()
            self.ledger.told(person.link.user, self.peer.read(person.link, data))
            expect_clean(self.peer, person.link)
        self.ledger.come_to_rest({person.link.user: person.number for person in self.people.values()})


def open_graph(stack: ExitStack, peer: Peer, watches: Mapping[str, Sequence[str]], *, spin: bool) -> ConnectedGraph:
    """The server with a link for each user that watches its contacts, and nothing left to read."""
    storm = Storm(peer, watches, records=False)
    stack.callback(storm.close)
    storm.log_in(watches)
    links = list(storm.links.values())
    drain(peer, links)
    people = {link.fd: Person(link) for link in links}
    return ConnectedGraph(peer, people, edge_triggered(stack, links), watches, spin=spin)


def saturate(poller: select.epoll, people: Mapping[int, Person], peer: Peer, changes: int, *, spin: bool) -> int:
    """Let everyone make `changes` changes and read until nothing more comes for a while; the time of the last
    arrival."""
    wire = wire_of([person.link for person in people.values()])
    poll, read, clock = poller.poll, wire.read, time.monotonic_ns
    busy = len(people)
    stall_s = STALL_S * min(peer.share, 4)
    last_ns = clock()
    for person in people.values():
        person.left = changes
        person.send_change(peer)
    while True:
        events = poll(0.0 if spin else QUIET_S)
        now_ns = clock()
        if not events:
            if now_ns - last_ns > (stall_s if busy else QUIET_S) * 1e9:
                break
            continue
        last_ns = now_ns
        for fd, _ in events:
            person = people[fd]
            data = read(fd, READ_BYTES)
            if len(data) == READ_BYTES or not data:
                data += wire.available(fd)
            person.chunks.append(data)
            if person.answered(data):
                if person.left:
                    person.send_change(peer)
                else:
                    busy -= 1
    if busy:
        raise BenchError(
            f"{busy} users have had no reply to their last change for {stall_s:.0f} s{heard(people, peer)}"
        )
    return last_ns


def heard(people: Mapping[int, Person], peer: Peer) -> str:
    """What one who waits for a reply has heard instead, for the message."""
    for person in people.values():
        if person.answer:
            peer.read(person.link, b"".join(person.chunks))
            return f"; {peer.name} said {person.link.rest[:200]!r} to {person.link.user}" if person.link.rest else ""
    return ""
