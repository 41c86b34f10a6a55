"""Profile `graph`: every user is online, watches some others, and changes as fast as the server answers.

Each user has one change outstanding: the next is sent when the reply to the last arrives, and the server may batch as
it likes. `server_core_busy` tells whether the server or the generator set the pace. A server may also tell a slow
watcher only the latest of several changes, if it says so; whoever does not must tell each. The servers take turns,
round by round, on the same graph.

While a round runs what arrives is only kept; it is taken apart and checked afterwards.
"""

from __future__ import annotations

import gc
import os
import select
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.errors import BenchError
from bench.load.contacts import random_graph
from bench.load.links import edge_triggered, read_available
from bench.machine.cores import Cores, need_descriptors
from bench.machine.meter import Meter
from bench.peers.base import Peer, PeerLink
from bench.peers.ledger import Ledger
from bench.peers.lineup import Lineup, share_of
from bench.peers.presenced import Presenced
from bench.peers.presenced_contacts import PresencedContacts
from bench.peers.storm import Storm, drain, expect_clean
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial

FIGURE = "server_cpu_us_per_delivery"
READ_BYTES = 16_384
QUIET_S = 0.05
CHANGES_MIN = 5
"""Of each user in a round, also on a server that is given only a share: fewer are all start and end."""

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
        os.write(self.link.fd, peer.change(self.link.user, self.number))

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
        self._poller = poller
        self._spin = spin

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
            outcome.figures.setdefault(FIGURE, []).append(meter.cpu_us_per(deliveries))
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
            last_ns = saturate(self._poller, self.people, self.peer, changes, spin=self._spin)
        finally:
            gc.enable()
        late = True
        while late:
            self.peer.process.settled_cpu_ns()
            late = False
            for person in self.people.values():
                data = read_available(person.link.fd)
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


def run(
    *,
    users: int,
    contacts: int,
    changes: int,
    rounds: int,
    seed: int,
    cores: Cores,
    see_contacts: bool = False,
    peers: Sequence[str] | None = (),
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile. Faulty deliveries are in the outcome; `BenchError` means that there is none."""
    options = {"users": users, "contacts": contacts, "changes": changes, "rounds": rounds, "seed": seed}
    outcome = Outcome("graph", "graph: server CPU for each delivery", FIGURE, options)
    lineup = Lineup(outcome, cores, peers, progress)
    need_descriptors((1 + see_contacts + lineup.expected) * users)
    watches = random_graph(users, contacts, seed)
    with ExitStack() as stack:
        own = (Presenced(), *((PresencedContacts(),) if see_contacts else ()))
        lineup.start(stack, own, list(watches), watches)
        graphs = lineup.log_in(lambda server: open_graph(stack, server, watches, spin=not cores.shared))
        lineup.note_work(changes, "changes of each user", least=CHANGES_MIN)
        with partial() as cut:
            lineup.take_turns(
                rounds,
                lambda server, number: play(graphs[server.name], changes if number else 1, outcome if number else None),
            )
        outcome.interrupted = cut.happened
    for name, told in outcome.servers.items():
        told.checks = graphs[name].ledger.checks
    merged = graphs[OURS].ledger.merged
    if merged:
        outcome.notes.append(f"presenced merged {merged:,} changes with later ones of the same user")
    lineup.note_limits()
    return outcome


def play(graph: ConnectedGraph, changes: int, outcome: Outcome | None) -> None:
    """A round of one server; the warm-up if there is no `outcome` to add it to."""
    server = graph.peer
    graph.play(share_of(server, changes, least=CHANGES_MIN), outcome.servers[server.name] if outcome else None)
    if outcome is None:
        graph.ledger.forget()


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
    poll, read, clock = poller.poll, os.read, time.monotonic_ns
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
                data += read_available(fd)
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
