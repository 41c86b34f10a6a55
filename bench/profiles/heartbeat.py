"""Profile `heartbeat`: server CPU for each heartbeat, beside a C loop that reads and discards the same bytes.

One sweep sends one heartbeat on every link and waits until the server rests, so that two heartbeats never
share a read: in life they are half a minute apart. Sweeps alternate between the two servers.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.load.limit import open_limit_links, start_limit, stop_limit
from bench.load.links import Link, await_ping, open_device_links
from bench.machine.cores import Cores, need_descriptors
from bench.machine.server import Server
from bench.peers.presenced import Presenced
from bench.results.outcome import LIMIT, OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Heartbeat

BEAT = frame(encode(Heartbeat(1500)))
FIGURE = "server_cpu_us_per_heartbeat"


def run(*, links: int, sweeps: int, rounds: int, cores: Cores, progress: Progress = no_progress) -> Outcome:
    """Run the profile; `BenchError` if a heartbeat was not handled."""
    need_descriptors(2 * links)
    users = [f"user{index}" for index in range(links)]
    options = {"links": links, "sweeps": sweeps, "rounds": rounds, "frame_bytes": len(BEAT)}
    outcome = Outcome("heartbeat", "heartbeat: server CPU for each", FIGURE, options)
    ours, theirs = ServerOutcome(Presenced.find()), ServerOutcome()
    outcome.servers = {OURS: ours, LIMIT: theirs}
    with ExitStack() as stack:
        progress("logging in", 0, 1)
        daemon = stack.enter_context(start_daemon(cores.server))
        limit = stack.enter_context(start_limit(cores.server, "read"))
        device_links = open_device_links(stack, daemon.port, users)
        limit_links = open_limit_links(stack, limit.port, users, b"P")
        with partial() as cut:
            for number in range(rounds + 1):
                one, other = sweep_both(daemon, device_links, limit, limit_links, sweeps if number else 1)
                if number:
                    ours.figures.setdefault(FIGURE, []).append(one / 1000 / (sweeps * links))
                    theirs.figures.setdefault(FIGURE, []).append(other / 1000 / (sweeps * links))
                progress("round", number, rounds)
        outcome.interrupted = cut.happened
        # Frames of a link are handled in order: a pong means that the heartbeats before it were.
        await_ping(device_links)
        counts = stop_limit(limit)
    sent_bytes = (rounds * sweeps + 1) * links * len(BEAT)
    if counts["bytes_in"] != sent_bytes and not cut.happened:
        raise BenchError(f"the C server read {counts['bytes_in']} of {sent_bytes} bytes; the run is void")
    return outcome


def sweep_both(
    daemon: Server, device_links: list[Link], limit: Server, limit_links: list[Link], sweeps: int
) -> tuple[int, int]:
    """CPU that `sweeps` alternating sweeps cost each server, in nanoseconds."""
    before = daemon.settled_cpu_ns(), limit.settled_cpu_ns()
    for _ in range(sweeps):
        sweep(device_links)
        daemon.settled_cpu_ns()
        sweep(limit_links)
        limit.settled_cpu_ns()
    return daemon.settled_cpu_ns() - before[0], limit.settled_cpu_ns() - before[1]


def sweep(links: list[Link]) -> None:
    """One heartbeat on each link."""
    write = os.write
    for link in links:
        write(link.fd, BEAT)
