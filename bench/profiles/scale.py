"""Profile `scale`: does it cost more to tell each of 19,000 watchers of a change than each of 1,000?

One publisher, everybody else watches, one change at a time. Each round starts a daemon and measures at each size as the
links grow in number, so that a size has as many links as watchers and all sizes of a round see the same machine.
"""

from __future__ import annotations

import gc
import os
import select
from contextlib import ExitStack

from bench.errors import BenchError
from bench.load.agenda import now_ns
from bench.load.daemon import start_daemon
from bench.load.links import Link, edge_triggered, open_device_links, watch
from bench.load.witness import Witness
from bench.machine.cores import Cores, need_descriptors
from bench.machine.meter import Meter, add_figure
from bench.machine.server import Server
from bench.results.histogram import Histogram
from bench.results.outcome import (
    CHANGE_TO_WATCHER,
    OURS,
    Checks,
    Outcome,
    Progress,
    ServerOutcome,
    median,
    no_progress,
    partial,
)

PUBLISHER = "publisher"
STEP_TIMEOUT_S = 10.0
AFTERMATH_NS = 50_000_000
"""How long it listens on once everybody has been told."""

RATIO_MAX = 1.3
"""What the last size may cost, of what the first does."""


class Star:
    """A publisher and its watchers, who become more."""

    def __init__(self, stack: ExitStack, server: Server, checks: Checks, *, spin: bool) -> None:
        self.server = server
        self.witness = Witness({}, checks)
        self._stack = stack
        self._spin = spin
        self._publisher = open_device_links(stack, server.port, [PUBLISHER])[0]
        self._watchers: list[Link] = []

    def grow(self, watchers: int) -> None:
        """Connect more of them, until there are `watchers`."""
        names = [f"watcher{index}" for index in range(len(self._watchers), watchers)]
        links = open_device_links(self._stack, self.server.port, names)
        watch(links, [[PUBLISHER]] * len(links))
        self._watchers += links
        self.witness.add({link.fd: [PUBLISHER] for link in links})

    def play(self, changes: int, latency: Histogram) -> Meter:
        """Make `changes` changes, each once the last has reached everybody."""
        with ExitStack() as stack:
            poller = edge_triggered(stack, [self._publisher, *self._watchers])
            witness = self.witness
            due = witness.arrived
            gc.collect()
            gc.disable()
            with Meter(self.server) as meter:
                for _ in range(changes):
                    due += len(self._watchers)
                    os.write(self._publisher.fd, witness.change(PUBLISHER, now_ns()))
                    if not self._told(poller, due):
                        break
            gc.enable()
            # For what should not come, and for the publisher's last acknowledgement, which `close` asks for.
            until_ns = now_ns() + AFTERMATH_NS
            while now_ns() < until_ns:
                for fd, _ in poller.poll(AFTERMATH_NS / 5e9):
                    witness.read(fd)
            witness.settle(latency)
            witness.close()
        for link in (self._publisher, *self._watchers):
            link.socket.setblocking(True)
        return meter

    def _told(self, poller: select.epoll, due: int) -> bool:
        """Read until `due` notifications have arrived in all; False if somebody is still not told of the last
        change when the time is up."""
        witness, poll_s = self.witness, 0.0 if self._spin else STEP_TIMEOUT_S
        deadline_ns = now_ns() + int(STEP_TIMEOUT_S * 1e9)
        while witness.arrived < due:
            for fd, _ in poller.poll(poll_s):
                witness.read(fd)
            if now_ns() > deadline_ns:
                witness.settle()
                return not witness.behind([link.fd for link in self._watchers])
        return True


def run(
    *,
    links: tuple[int, ...] = (1000, 5000, 19_000),
    deliveries: int = 200_000,
    rounds: int = 3,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile: about `deliveries` deliveries at each number of `links`, `rounds` times."""
    sizes = sorted(set(links))
    if not sizes:
        raise BenchError("name at least one number of links with --links")
    need_descriptors(sizes[-1] + 1)
    ours = ServerOutcome()
    outcome = Outcome(
        "scale", "scale: server CPU for each delivery, by the number of links", "server_cpu_us_per_delivery"
    )
    outcome.options = {"links": sizes, "deliveries": deliveries, "rounds": rounds}
    outcome.servers[OURS] = ours
    whole = {size: Histogram() for size in sizes}
    with partial() as cut:
        for number in range(rounds):
            with ExitStack() as stack:
                server = stack.enter_context(start_daemon(cores.server))
                star = Star(stack, server, ours.checks, spin=not cores.shared)
                for place, size in enumerate(sizes):
                    progress("sizes", number * len(sizes) + place, rounds * len(sizes))
                    measure(star, ours, size, deliveries, whole[size])
            one, other = (ours.figures[figure_of(size)][-1] for size in (sizes[-1], sizes[0]))
            if ours.checks.faults:
                break
            add_figure(ours, "cpu_ratio_last_to_first", round(one / other, 3))
            add_figure(ours, outcome.main_figure, one)
    outcome.interrupted = cut.happened
    told(outcome, ours, sizes, whole)
    return outcome


def measure(star: Star, ours: ServerOutcome, size: int, deliveries: int, latency: Histogram) -> None:
    """One size of one round: a change to warm up, and those that count."""
    star.grow(size)
    star.play(1, Histogram())
    checks = star.witness.checks
    before = checks.deliveries
    meter = star.play(max(2, deliveries // size), latency)
    add_figure(ours, figure_of(size), meter.cpu_us_per(checks.deliveries - before))
    meter.note(ours)


def figure_of(size: int) -> str:
    """The name of the cost at a size."""
    return f"server_cpu_us_per_delivery_at_{size}"


def told(outcome: Outcome, ours: ServerOutcome, sizes: list[int], whole: dict[int, Histogram]) -> None:
    """Medians by size, the waits at the largest, and whether the target is kept."""
    series = ours.series
    for size in sizes:
        if costs := ours.figures.get(figure_of(size)):
            series.setdefault("server_cpu_us_per_delivery_by_links", []).append((size, median(costs)))
            series.setdefault("p50_us_by_links", []).append((size, whole[size].latency().p50_us))
            ours.latency[f"{CHANGE_TO_WATCHER}_at_{size}"] = whole[size].latency()
    if ratios := ours.figures.get("cpu_ratio_last_to_first"):
        kept = "met" if median(ratios) <= RATIO_MAX else "missed"
        outcome.notes.append(
            f"the target, that a delivery at {sizes[-1]:,} links costs at most {RATIO_MAX} times one at {sizes[0]:,}, "
            f"is {kept}: {median(ratios)}"
        )
