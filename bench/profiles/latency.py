"""Profile `latency`: how long a change takes to its watchers when changes come at a fixed rate, below what the server
can do.

A graph of users who watch each other. First a closed loop finds the peak: everybody has one change outstanding. Then
an open loop sends a share of that rate at times that were fixed beforehand, and each wait counts from the time at which
its change was due to the read at the watcher, so that nothing is left out of what a slow moment held up.

Beside Redis the rate is a share of Redis's peak, the same for both, and the two take turns.
"""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bench.errors import BenchError
from bench.load.agenda import Arrivals, now_ns
from bench.load.contacts import random_graph
from bench.load.daemon import start_daemon
from bench.load.framing import FIRST_ID
from bench.load.links import Link, edge_triggered, open_device_links, read_available, watch
from bench.load.openloop import QUIET_S, OpenLoop
from bench.load.witness import Witness
from bench.machine.cores import Cores, need_descriptors
from bench.machine.meter import Meter, add_figure
from bench.machine.server import Server
from bench.peers.base import Peer
from bench.peers.connected_graph import open_graph
from bench.peers.lineup import BUSY_MIN, Lineup
from bench.peers.paced_graph import PacedGraph
from bench.peers.presenced import Presenced
from bench.peers.redis import Redis
from bench.results.histogram import Histogram
from bench.results.outcome import CHANGE_TO_WATCHER, OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.wire.codec import encode
from presenced.wire.messages import Done

PEAK_S = 2.0
PEAK_CHANGES = 20
"""Of each user, to find the peak of Redis."""

STALL_S = 10.0
P99_MS_MAX = 10.0
P999_MS_MAX = 25.0
"""What the server shall keep at half of its peak."""

TAKEN_MAX = 0.05
"""The share of the server's core that others may take in a run that judges it."""


class WitnessedGraph:
    """Everybody of the graph, connected to one server."""

    def __init__(self, stack: ExitStack, server: Server, watches: dict[str, list[str]], *, spin: bool) -> None:
        self.server = server
        self.links = open_device_links(stack, server.port, list(watches))
        watch(self.links, list(watches.values()))
        self.witness = Witness({link.fd: watches[link.user] for link in self.links})
        self.spin = spin
        self.poller = edge_triggered(stack, self.links)

    def change(self, link: Link, due_ns: int) -> None:
        """A change of the user of this link, which was due at `due_ns`."""
        os.write(link.fd, self.witness.change(link.user, due_ns))


def run(
    *,
    users: int = 900,
    contacts: int = 50,
    share: float = 0.5,
    peak: float = 0.0,
    seconds: float = 5.0,
    even: bool = False,
    seed: int = 1,
    rounds: int = 3,
    cores: Cores,
    peers: Sequence[str] | None = (),
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile: `rounds` times `seconds` at `share` of `peak` changes per second, which is measured if it is 0.
    Changes arrive like those of independent people (Poisson), or with `even` one like the other."""
    watches = random_graph(users, contacts, seed)
    outcome = Outcome("latency", "latency: from a change to its watchers, at a fixed rate", "p99_us")
    outcome.options = {"users": users, "contacts": contacts, "share": share, "seconds": seconds, "seed": seed}
    lineup = Lineup(outcome, cores, peers, progress)
    need_descriptors((1 + lineup.expected) * users)
    if lineup.expected:
        if even:
            raise BenchError("beside a peer changes come at random times; leave out --even, or give --peers none")
        return beside_redis(lineup, watches, share, peak, seconds, seed, rounds)
    ours = outcome.servers[OURS] = ServerOutcome()
    with ExitStack() as stack:
        progress("connecting", 0, rounds)
        server = stack.enter_context(start_daemon(cores.server))
        graph = WitnessedGraph(stack, server, watches, spin=not cores.shared)
        ours.checks = graph.witness.checks
        loop = OpenLoop(graph.poller, graph.witness.read, spin=graph.spin)
        whole = Histogram()
        with partial() as cut:
            if not peak:
                progress("measuring the peak", 0, rounds)
                found = find_peak(graph, PEAK_S)
                peak = found.changes_per_s
                found.tell(outcome)
            rate = share * peak
            for number in range(rounds):
                progress("rounds", number, rounds)
                play(graph, loop, ours, whole, rate, seconds, None if even else seed + number)
            progress("rounds", rounds, rounds)
    outcome.interrupted = cut.happened
    ours.latency[CHANGE_TO_WATCHER] = whole.latency()
    ours.figures["peak_changes_per_s"] = [round(peak)]
    ours.figures["merged"] = [graph.witness.merged]
    outcome.options |= {"peak": round(peak), "arrivals": "even" if even else "Poisson", "peak_of": "its"}
    limits = loop.notes()
    outcome.notes += [
        *limits,
        *kept_targets(ours, share, limited=any("limit" in note for note in limits)),
        "waits count from the planned time",
    ]
    return outcome


def beside_redis(
    lineup: Lineup, watches: dict[str, list[str]], share: float, peak: float, seconds: float, seed: int, rounds: int
) -> Outcome:
    """Both servers at `share` of the peak of Redis, in turn."""
    outcome, cores = lineup.outcome, lineup.cores
    contacts = len(next(iter(watches.values())))
    peaks: dict[str, float] = {}
    with ExitStack() as stack:
        lineup.start(stack, [Presenced()], list(watches), watches)
        graphs = lineup.log_in(lambda server: PacedGraph(open_graph(stack, server, watches, spin=not cores.shared)))

        def play_one(server: Peer, number: int) -> None:
            paced, found = graphs[server.name], outcome.servers[server.name]
            if number:
                paced.play(share * (peak or peaks[Redis.name]), seconds, seed + number, found)
                return
            closed = ServerOutcome()
            paced.graph.play(1, None)
            paced.graph.play(PEAK_CHANGES, closed)
            paced.graph.ledger.forget()
            peaks[server.name] = closed.figures["deliveries_per_s"][0] / contacts
            add_figure(found, "peak_changes_per_s", round(peaks[server.name]))

        with partial() as cut:
            lineup.take_turns(rounds, play_one)
        outcome.interrupted = cut.happened
    outcome.options |= {"peak": round(peak or peaks.get(Redis.name, 0)), "arrivals": "Poisson", "peak_of": "Redis's"}
    limited = False
    for name, paced in graphs.items():
        found = outcome.servers[name]
        found.checks = paced.graph.ledger.checks
        found.latency[CHANGE_TO_WATCHER] = paced.whole.latency()
        if paced.graph.peer.merges:
            add_figure(found, "merged", paced.graph.ledger.merged)
        limits = paced.loop.notes()
        limited = limited or any("limit" in note for note in limits)
        outcome.notes += [f"{name}: {note}" for note in limits]
    outcome.notes += [*against_redis(outcome, limited=limited), "waits count from the planned time"]
    return outcome


def play(
    graph: WitnessedGraph,
    loop: OpenLoop,
    ours: ServerOutcome,
    whole: Histogram,
    rate_per_s: float,
    seconds: float,
    seed: int | None,
) -> None:
    """One round of the open loop, and its figures."""
    choose = random.Random(seed or 0).choice
    witness, links, latency = graph.witness, graph.links, Histogram()
    before, changes = witness.checks.deliveries, witness.changes
    loop.new_round()
    with Meter(graph.server) as meter:
        loop.run(Arrivals(rate_per_s, seconds, lambda due_ns: graph.change(choose(links), due_ns), seed=seed))
    meter.taken_ns = loop.span_ns
    loop.drain(graph.server)
    witness.settle(latency)
    witness.close()
    whole.add(latency)
    deliveries = witness.checks.deliveries - before
    told = latency.latency()
    add_figure(ours, "p50_us", told.p50_us)
    add_figure(ours, "p99_us", told.p99_us)
    add_figure(ours, "p999_us", told.p999_us)
    add_figure(ours, "changes_per_s", round((witness.changes - changes) / seconds))
    add_figure(ours, "server_cpu_us_per_delivery", meter.cpu_us_per(deliveries))
    add_figure(ours, "generator_lag_p99_us", loop.lag.percentile_ns(99) / 1000)
    add_figure(ours, "generator_busy", round(loop.busy, 3))
    meter.note(ours)


def kept_targets(ours: ServerOutcome, share: float, *, limited: bool) -> list[str]:
    """Whether the tail is as short as it shall be, in a sentence. A generator that was the limit, or others on the
    server's core, cannot make it shorter than it is, but longer."""
    told = ours.latency[CHANGE_TO_WATCHER]
    kept = told.p99_us <= P99_MS_MAX * 1000 and told.p999_us <= P999_MS_MAX * 1000
    taken = max(ours.figures.get("core_taken_by_others", [0.0]))
    verdict = "met" if kept else "missed"
    reasons = doubts(taken, limited=limited)
    if reasons and not kept:
        verdict += f", in a run that cannot judge it: {' and '.join(reasons)}"
    return [
        f"the target of p99 {P99_MS_MAX:.0f} ms and p99.9 {P999_MS_MAX:.0f} ms at half of the peak is {verdict}; "
        f"this run was at {share:.0%}"
    ]


def against_redis(outcome: Outcome, *, limited: bool) -> list[str]:
    """Whether 99 in 100 watchers wait no longer than those of Redis, in a sentence; nothing if one of the two is
    missing. In a run that was disturbed neither verdict counts: it was not disturbed alike."""
    ours, redis = outcome.servers.get(OURS), outcome.servers.get(Redis.name)
    if ours is None or redis is None or not ours.figures.get("p99_us") or not redis.figures.get("p99_us"):
        return []
    p99_us, theirs_us = (found.latency[CHANGE_TO_WATCHER].p99_us for found in (ours, redis))
    taken = max([0.0, *ours.figures.get("core_taken_by_others", []), *redis.figures.get("core_taken_by_others", [])])
    verdict = "met" if p99_us <= theirs_us else "missed"
    if reasons := doubts(taken, limited=limited):
        verdict += f", in a run that cannot judge it: {' and '.join(reasons)}"
    return [f"the target of a p99 that is not above that of Redis at the same rate is {verdict}"]


def doubts(taken: float, *, limited: bool) -> list[str]:
    """Why a run cannot judge the waits; `taken`: the share of the server's core that others took."""
    reasons = ["the generator was late"] if limited else []
    if taken > TAKEN_MAX:
        reasons.append(f"others took {taken:.0%} of the server's core")
    return reasons


@dataclass(frozen=True)
class Peak:
    """What the closed loop found, and who set its pace."""

    changes_per_s: float
    server_busy: float
    generator_busy: float

    def tell(self, outcome: Outcome) -> None:
        """How busy both were, and a note if that was not the server's peak."""
        ours = outcome.servers[OURS]
        add_figure(ours, "peak_core_busy", round(self.server_busy, 3))
        add_figure(ours, "peak_generator_busy", round(self.generator_busy, 3))
        if self.server_busy < BUSY_MIN:
            outcome.notes.append(
                f"the peak may be that of the load: while it was measured the server's core was busy for "
                f"{self.server_busy:.0%} of the time, the generator for {self.generator_busy:.0%}"
            )


def find_peak(graph: WitnessedGraph, seconds: float) -> Peak:
    """Changes per second when each user sends the next as soon as the last is acknowledged: a closed loop."""
    with Meter(graph.server) as meter:
        changes_per_s, idle_ns, taken_ns = saturate(graph, seconds)
    OpenLoop(graph.poller, graph.witness.read, spin=graph.spin).drain(graph.server)
    graph.witness.close()
    return Peak(changes_per_s, meter.cpu_ns / max(1, taken_ns), 1 - idle_ns / max(1, taken_ns))


def saturate(graph: WitnessedGraph, seconds: float) -> tuple[float, int, int]:
    """The closed loop: changes per second, and of the nanoseconds until the last arrival those in which the generator
    had nothing to do, and all."""
    poll, witness, answers = graph.poller.poll, graph.witness, Answers()
    by_fd = {link.fd: link for link in graph.links}
    outstanding, answered, idle_ns, quiet_ns = len(by_fd), 0, 0, 0
    gc.collect()
    gc.disable()
    started_ns = last_ns = time_ns = now_ns()
    until_ns = started_ns + int(seconds * 1e9)
    for link in graph.links:
        graph.change(link, started_ns)
        answers.expect(link.fd, witness.changes)
    while time_ns - last_ns < (STALL_S if outstanding else QUIET_S) * 1e9:
        events = poll(0.0 if graph.spin else QUIET_S)
        if events:
            # A quiet time at the end is no idleness: only what was before an arrival is.
            idle_ns, quiet_ns = idle_ns + quiet_ns, 0
        for fd, _ in events:
            data = read_available(fd)
            last_ns = time.monotonic_ns()
            witness.keep(fd, last_ns, data)
            if not answers.has(fd, data):
                continue
            answered += last_ns <= until_ns
            if last_ns < until_ns:
                graph.change(by_fd[fd], last_ns)
                answers.expect(fd, witness.changes)
            else:
                outstanding -= 1
        before_ns, time_ns = time_ns, now_ns()
        quiet_ns += 0 if events else time_ns - before_ns
    gc.enable()
    if not answered:
        raise BenchError("no change was acknowledged while the peak was measured; the time is too short")
    return answered / seconds, idle_ns, last_ns - started_ns


class Answers:
    """Finds the answer to each link's outstanding change in what it reads, without taking it apart."""

    def __init__(self) -> None:
        self._wanted: dict[int, bytes] = {}
        self._tails: dict[int, bytes] = {}

    def expect(self, fd: int, number: int) -> None:
        """The change of this number was sent on the link."""
        self._wanted[fd] = encode(Done(FIRST_ID + number, 0))[:-1]

    def has(self, fd: int, data: bytes) -> bool:
        """Whether the answer is in what was just read, or split between it and the last."""
        wanted = self._wanted.get(fd)
        if wanted is None:
            return False
        found = wanted in data or wanted in self._tails.get(fd, b"") + data[: len(wanted)]
        self._tails[fd] = b"" if found else data[-len(wanted) :]
        if found:
            del self._wanted[fd]
        return found
