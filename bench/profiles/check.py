"""Profile `check`: server CPU for each checksum of what a link watches, beside heartbeats and pings of the same links.

One sweep sends one message on every link and waits until the server rests, so that two never share a read: in life they
are minutes apart. Sweeps of the three alternate.
"""

from __future__ import annotations

import random
from contextlib import ExitStack

from bench.load.daemon import start_daemon
from bench.load.links import await_ping, open_device_links, watch
from bench.load.sweeps import swept
from bench.machine.cores import Cores, need_descriptors
from bench.peers.presenced import Presenced
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Check, Checked, Heartbeat, Ping, Pong, ServerMessage

FIGURE = "server_cpu_us_per_check"
SWEPT: dict[str, tuple[bytes, type[ServerMessage] | None]] = {
    FIGURE: (frame(encode(Check(7))), Checked),
    "server_cpu_us_per_heartbeat": (frame(encode(Heartbeat(1500))), None),
    "server_cpu_us_per_ping": (frame(encode(Ping(7))), Pong),
}
"""What is sent on each link, and what comes back."""


def run(
    *, links: int, watched: int, sweeps: int, rounds: int, cores: Cores, progress: Progress = no_progress
) -> Outcome:
    """Run the profile; `BenchError` if a checksum was not told."""
    need_descriptors(links)
    users = [f"user{index}" for index in range(links)]
    options = {"links": links, "watched": watched, "sweeps": sweeps, "rounds": rounds}
    outcome = Outcome("check", "check: server CPU for each checksum of a view", FIGURE, options)
    ours = ServerOutcome(Presenced.find())
    outcome.servers = {OURS: ours}
    choice = random.Random(7)
    with ExitStack() as stack:
        progress("logging in", 0, 1)
        daemon = stack.enter_context(start_daemon(cores.server))
        device_links = open_device_links(stack, daemon.port, users)
        watch(device_links, [choice.sample(users, watched) for _ in users])
        with partial() as cut:
            for number in range(rounds + 1):
                for name, (data, answer) in SWEPT.items():
                    cpu_ns = swept(daemon, device_links, data, answer, sweeps if number else 1)
                    if number:
                        ours.figures.setdefault(name, []).append(cpu_ns / 1000 / (sweeps * links))
                progress("round", number, rounds)
        outcome.interrupted = cut.happened
        await_ping(device_links)
    return outcome
