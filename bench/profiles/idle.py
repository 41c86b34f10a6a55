"""Profile `idle`: what a connected device that does nothing costs the daemon in resident memory and in CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from bench.load.daemon import start_daemon
from bench.load.links import await_ping, open_device_links
from bench.machine.cores import Cores, need_descriptors
from bench.machine.meter import add_figure
from bench.machine.server import Server
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.limits import HELLO_TIMEOUT_MS

WARM_LINKS = 32
"""Links that are there before the first reading, so that lazy set-up is not charged to the devices."""

DEADLINES_S = HELLO_TIMEOUT_MS / 1000 + 1
OPENED_AT_ONCE = 1000
STEADY_BYTES_MAX = 64 * 1024
SETTLE_TIMEOUT_S = 10.0


def run(
    *, links: int = 10_000, rest_s: float = 5.0, rounds: int = 3, cores: Cores, progress: Progress = no_progress
) -> Outcome:
    """Open `links` links, each its own user and device: the growth of resident memory over their number, and the CPU
    that they cost while nothing happens for `rest_s`. Each round has a daemon of its own."""
    need_descriptors(links + WARM_LINKS)
    ours = ServerOutcome()
    outcome = Outcome("idle", "idle: memory and CPU of devices that do nothing", "rss_bytes_per_device")
    outcome.options = {"links": links, "rest_s": rest_s, "rounds": rounds}
    outcome.servers[OURS] = ours
    outcome.notes.append("no heartbeats: their interval is longer than the run (see the profile heartbeat)")
    with partial() as cut:
        for number in range(rounds):
            with ExitStack() as stack:
                daemon = stack.enter_context(start_daemon(cores.server))
                what = f"links of round {number + 1}"
                play(stack, daemon, ours, links, rest_s, part_of(progress, what, links))
    outcome.interrupted = cut.happened
    return outcome


def part_of(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    """`progress` of one thing, to be told how much of it is done."""
    return lambda done: progress(what, done, total)


def play(
    stack: ExitStack, daemon: Server, ours: ServerOutcome, links: int, rest_s: float, opened: Callable[[int], None]
) -> None:
    """One round on a fresh daemon."""
    opened_links = open_device_links(stack, daemon.port, [f"warm{index}" for index in range(WARM_LINKS)])
    before_bytes = steady_resident_bytes(daemon)
    started_s = time.monotonic()
    cpu_ns = daemon.settled_cpu_ns()
    for start in range(0, links, OPENED_AT_ONCE):
        users = [f"user{index}" for index in range(start, min(start + OPENED_AT_ONCE, links))]
        opened_links += open_device_links(stack, daemon.port, users)
        opened(start + len(users))
    cpu_ns = daemon.settled_cpu_ns() - cpu_ns
    opening_s = time.monotonic() - started_s
    after_bytes = steady_resident_bytes(daemon)
    # Every link has a deadline for its hello, which the server looks at once more when it is over: no idleness yet.
    time.sleep(max(0.0, opening_s + started_s + DEADLINES_S - time.monotonic()))
    resting_ns, started_ns = daemon.cpu_ns(), time.monotonic_ns()
    time.sleep(rest_s)
    resting_ns = daemon.cpu_ns() - resting_ns
    resting_s = (time.monotonic_ns() - started_ns) / 1e9
    # One that was given up would cost nothing: all must still be served.
    await_ping(opened_links)
    add_figure(ours, "rss_bytes_per_device", round((after_bytes - before_bytes) / links))
    add_figure(ours, "rss_before_bytes", before_bytes)
    add_figure(ours, "rss_after_bytes", after_bytes)
    add_figure(ours, "server_cpu_us_per_hello", round(cpu_ns / 1000 / links, 1))
    add_figure(ours, "idle_cpu_us_per_s", round(resting_ns / 1000 / resting_s, 1))
    add_figure(ours, "opening_s", round(opening_s, 2))


def steady_resident_bytes(server: Server) -> int:
    """Resident memory once the server rests and two readings agree."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    server.settled_cpu_ns()
    before = server.resident_bytes()
    while time.monotonic() < deadline:
        time.sleep(0.2)
        now = server.resident_bytes()
        if abs(now - before) <= STEADY_BYTES_MAX:
            return now
        before = now
    return before
