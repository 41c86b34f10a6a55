"""The open loop on a connected graph, whichever server it is: changes are made at times that were fixed beforehand.

Each wait counts from the time at which its change was due to the read at the watcher. While a round runs what arrives
is only kept, with its time.
"""

from __future__ import annotations

import random

from bench.load.agenda import Arrivals, now_ns
from bench.load.openloop import OpenLoop
from bench.machine.meter import Meter, add_figure
from bench.peers.connected_graph import CPU, ConnectedGraph, Person
from bench.peers.storm import expect_clean
from bench.results.histogram import Histogram
from bench.results.outcome import ServerOutcome


class PacedGraph:
    """Everybody of a graph on one server. `ledger` of the graph has what was found so far."""

    def __init__(self, graph: ConnectedGraph) -> None:
        self.graph = graph
        self.loop = OpenLoop(graph.poller, self._read, spin=graph.spin)
        self.whole = Histogram()
        """The waits of all rounds."""
        self._kept: list[tuple[int, int, bytes]] = []
        self._due_ns: dict[str, list[int]] = {}
        """When each change of a user was due in this round."""
        self._before: dict[str, int] = {}
        """The number of each user's last change before this round."""

    def play(self, rate_per_s: float, seconds: float, seed: int, outcome: ServerOutcome) -> None:
        """One round of changes like those of independent people, added to `outcome`."""
        graph, loop, latency = self.graph, self.loop, Histogram()
        people, choose = list(graph.people.values()), random.Random(seed).choice
        self._before = {person.link.user: person.number for person in people}
        self._due_ns = {person.link.user: [] for person in people}
        before = graph.ledger.checks.deliveries
        loop.new_round()
        with Meter(graph.peer.process) as meter:
            loop.run(Arrivals(rate_per_s, seconds, lambda due_ns: self._change(choose(people), due_ns), seed=seed))
        meter.taken_ns = loop.span_ns
        # Until it rests and nothing is left: a server that was kept from its core looks as if it had nothing to say.
        while True:
            graph.peer.process.settled_cpu_ns()
            before_last = len(self._kept)
            for fd in graph.people:
                self._read(fd)
            if len(self._kept) == before_last:
                break
        self._settle(latency)
        self.whole.add(latency)
        told, changes = latency.latency(), sum(map(len, self._due_ns.values()))
        add_figure(outcome, "p50_us", told.p50_us)
        add_figure(outcome, "p99_us", told.p99_us)
        add_figure(outcome, "p999_us", told.p999_us)
        add_figure(outcome, "changes_per_s", round(changes / seconds))
        add_figure(outcome, CPU, meter.cpu_us_per(graph.ledger.checks.deliveries - before))
        add_figure(outcome, "generator_lag_p99_us", loop.lag.percentile_ns(99) / 1000)
        add_figure(outcome, "generator_busy", round(loop.busy, 3))
        meter.note(outcome)

    def _change(self, person: Person, due_ns: int) -> None:
        peer, user = self.graph.peer, person.link.user
        person.number += 1
        self._due_ns[user].append(due_ns)
        person.link.wire.write(person.link.fd, peer.change(user, person.number))

    def _read(self, fd: int) -> None:
        """Keep what has arrived on a link."""
        data = self.graph.people[fd].link.wire.available(fd)
        if data:
            self._kept.append((fd, now_ns(), data))

    def _settle(self, latency: Histogram) -> None:
        """Take apart what was kept; the waits go into `latency`. A change that was passed over has waited until a later
        one of the same user was told."""
        graph, kept = self.graph, self._kept
        self._kept = []
        known: dict[str, dict[str, int]] = {person.link.user: {} for person in graph.people.values()}
        for fd, time_ns, data in kept:
            link = graph.people[fd].link
            deliveries = graph.peer.read(link, data)
            graph.ledger.told(link.user, deliveries)
            for user, number in deliveries:
                first = self._before.get(user, 0)
                last = known[link.user].get(user, first)
                for due_ns in self._due_ns.get(user, [])[last - first : max(last, number) - first]:
                    self._note(latency, link.user, user, time_ns - due_ns)
                known[link.user][user] = max(last, number)
        for person in graph.people.values():
            expect_clean(graph.peer, person.link)
        graph.ledger.come_to_rest({person.link.user: person.number for person in graph.people.values()})

    def _note(self, latency: Histogram, watcher: str, user: str, waited_ns: int) -> None:
        """A watcher has waited so long for a change of this user."""
        latency.record(waited_ns)
