"""Profile `slow`: some of the watchers stop reading. Do the others notice, what does it cost, and what do they get when
they read again?

Publishers change at a steady rate, an open loop. First everybody reads, then some links are left alone until what the
server sent them fills the buffers of both sides, then they read again. From then on what changed meanwhile must
reach them once, as the latest of each user.
"""

from __future__ import annotations

import os
import random
import select
import socket
from contextlib import ExitStack

from bench.errors import BenchError
from bench.load.agenda import Arrivals, now_ns
from bench.load.daemon import start_daemon
from bench.load.links import Link, edge_triggered, open_device_links, watch
from bench.load.openloop import OpenLoop
from bench.load.witness import Witness
from bench.machine.cores import Cores, need_descriptors
from bench.machine.meter import Meter, add_figure
from bench.machine.server import Server
from bench.results.histogram import Histogram
from bench.results.outcome import CHANGE_TO_WATCHER, OURS, Outcome, Progress, ServerOutcome, no_progress, partial

RECEIVE_BUFFER_BYTES = 16_384
"""Of a link that will stop reading: small, so that what it does not read soon stays with the server."""

BESIDE = f"{CHANGE_TO_WATCHER}_beside_slow"
QUIET_S = 0.3
CATCH_UP_S = 20.0


class Audience:
    """Publishers, the watchers who read and those who stop."""

    def __init__(
        self, stack: ExitStack, server: Server, publishers: int, watchers: int, slow: int, *, spin: bool
    ) -> None:
        self.server = server
        users = [f"publisher{index}" for index in range(publishers)]
        self.publishers = open_device_links(stack, server.port, users)
        links = open_device_links(stack, server.port, [f"watcher{index}" for index in range(watchers)])
        watch(links, [users] * watchers)
        self.slow, self.readers = links[:slow], links[slow:]
        for link in self.slow:
            assert isinstance(link.socket, socket.socket)
            link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self.witness = Witness({link.fd: users for link in links})
        self._poller = edge_triggered(stack, [*self.publishers, *links])
        self._deaf: set[int] = set()
        self.loop = OpenLoop(self._poller, self.witness.read, spin=spin)

    def play(self, rate_per_s: float, seconds: float, seed: int) -> None:
        """Let the publishers change for a while, each time one of them."""
        choose = random.Random(seed).choice

        def change(due_ns: int) -> None:
            link: Link = choose(self.publishers)
            os.write(link.fd, self.witness.change(link.user, due_ns))

        self.loop.run(Arrivals(rate_per_s, seconds, change, seed=seed))

    def stop_reading(self) -> None:
        """Leave the slow ones alone from now on."""
        self._deaf = {link.fd for link in self.slow}
        for fd in self._deaf:
            self._poller.unregister(fd)

    def read_again(self) -> tuple[int, float]:
        """Read all that waits for the slow ones, and what the server says then: how many notifications, and the
        seconds until they knew all."""
        before, started_ns = self.witness.arrived, now_ns()
        deaf, self._deaf = self._deaf, set()
        for fd in deaf:
            self._poller.register(fd, select.EPOLLIN | select.EPOLLET)
        taken_s = 0.0
        while taken_s < CATCH_UP_S:
            self.loop.run(Arrivals(0, 0, lambda due_ns: None), quiet_s=QUIET_S)
            taken_s = (now_ns() - started_ns) / 1e9 - QUIET_S
            self.witness.settle()
            if not self.witness.behind(deaf):
                break
        return self.witness.arrived - before, taken_s

    @property
    def deaf(self) -> set[int]:
        """The links that are not read for now."""
        return self._deaf


def run(
    *,
    watchers: int = 100,
    slow: int = 10,
    publishers: int = 20,
    changes_per_s: int = 500,
    seconds: float = 8.0,
    seed: int = 1,
    rounds: int = 3,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile: in each of `rounds`, `seconds` with everybody reading and as long with `slow` of the `watchers`
    not reading. The main figure is what the others' p99 becomes beside them."""
    if slow >= watchers:
        raise BenchError(f"of {watchers} watchers {slow} cannot be slow: some must go on reading; ask for fewer --slow")
    need_descriptors(watchers + publishers)
    ours = ServerOutcome()
    outcome = Outcome("slow", "slow: watchers that do not read", "p99_ratio")
    outcome.options = {
        "watchers": watchers,
        "slow": slow,
        "publishers": publishers,
        "changes_per_s": changes_per_s,
        "seconds": seconds,
        "rounds": rounds,
    }
    outcome.servers[OURS] = ours
    with ExitStack() as stack:
        server = stack.enter_context(start_daemon(cores.server))
        audience = Audience(stack, server, publishers, watchers, slow, spin=not cores.shared)
        ours.checks = audience.witness.checks
        without, beside = Histogram(), Histogram()
        audience.play(changes_per_s, min(seconds, 1.0), seed)
        audience.loop.drain(server)
        audience.witness.close()
        with partial() as cut:
            for number in range(rounds):
                progress("rounds", number, rounds)
                play_round(audience, ours, (without, beside), changes_per_s, seconds, seed + number)
            progress("rounds", rounds, rounds)
    outcome.interrupted = cut.happened
    ours.latency = {CHANGE_TO_WATCHER: without.latency(), BESIDE: beside.latency()}
    outcome.notes += audience.loop.notes()
    if not all(ours.figures.get("merged_for_slow", [])):
        outcome.notes.append("the buffers of the slow ones did not fill: raise --changes-per-s or --seconds")
    return outcome


def play_round(
    audience: Audience,
    ours: ServerOutcome,
    whole: tuple[Histogram, Histogram],
    rate_per_s: float,
    seconds: float,
    seed: int,
) -> None:
    """Everybody reads; some stop; they read again."""
    witness, server = audience.witness, audience.server
    p99_ns = []
    audience.loop.new_round()
    for histogram, prefix in zip(whole, ("", "slow_"), strict=True):
        if prefix:
            audience.stop_reading()
        before_bytes, before, changes = server.resident_bytes(), witness.checks.deliveries, witness.changes
        latency = Histogram()
        with Meter(server) as meter:
            audience.play(rate_per_s, seconds, seed)
        meter.taken_ns = audience.loop.span_ns
        audience.loop.drain(server)
        witness.settle(latency)
        witness.close(but=audience.deaf)
        histogram.add(latency)
        p99_ns.append(latency.percentile_ns(99))
        add_figure(ours, f"{prefix}p99_us", p99_ns[-1] / 1000)
        add_figure(ours, f"{prefix}server_cpu_us_per_delivery", meter.cpu_us_per(witness.checks.deliveries - before))
        add_figure(ours, f"{prefix}rss_growth_bytes", server.resident_bytes() - before_bytes)
        meter.note(ours)
    read, taken_s = audience.read_again()
    made = (witness.changes - changes) * len(audience.slow)
    witness.close()
    add_figure(ours, "p99_ratio", round(p99_ns[1] / max(1, p99_ns[0]), 3))
    add_figure(ours, "slow_told", read)
    add_figure(ours, "slow_catch_up_s", round(taken_s, 3))
    add_figure(ours, "merged_for_slow", made - read)
    add_figure(ours, "generator_lag_p99_us", audience.loop.lag.percentile_ns(99) / 1000)
