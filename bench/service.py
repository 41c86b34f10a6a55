"""Profile `service`: one backend link that speaks for many devices: what attaching each and beating for each costs.

Requests are sent back to back, as a backend does that has just started; the time to the last answer counts. The
heartbeats of all devices go out in frames of a thousand, each with an idle time.
"""

from __future__ import annotations

from contextlib import ExitStack

from bench.daemon import BenchError, Cores, need_descriptors, start_daemon
from bench.load import Link, await_ping, open_link
from bench.meter import add_figure
from bench.result import OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.wire.frames import frame
from presenced.wire.messages import Attach, Beats, Done, Hello, Welcome, encode

BEATS_PER_FRAME = 1_000
IN_FLIGHT = 256
"""Requests sent before their answers are read: fits the buffers of both sides."""


def run(*, devices: int = 10_000, rounds: int = 5, cores: Cores, progress: Progress = no_progress) -> Outcome:
    """Run the profile; `BenchError` if anything was refused."""
    need_descriptors(8)
    ours = ServerOutcome()
    outcome = Outcome("service", "service: server CPU for each device of a backend", "server_cpu_us_per_beat")
    outcome.options = {"devices": devices, "rounds": rounds}
    outcome.servers[OURS] = ours
    with ExitStack() as stack:
        daemon = stack.enter_context(start_daemon(cores.server))
        link = open_link(stack, daemon.port, "backend")
        link.send(Hello([1], "", "backend", "", role="service"))
        link.receive_reply(Welcome)
        resident = daemon.resident_bytes()
        before = daemon.settled_cpu_ns()
        attach_all(link, devices)
        add_figure(ours, "server_cpu_us_per_attach", (daemon.settled_cpu_ns() - before) / 1000 / devices)
        add_figure(ours, "rss_bytes_per_device", round((daemon.resident_bytes() - resident) / devices))
        with partial() as cut:
            for number in range(rounds + 1):
                progress("rounds", number, rounds + 1)
                before = daemon.settled_cpu_ns()
                beat_all(link, devices, idle_ms=1_000 + number)
                await_ping([link])
                if number:
                    add_figure(ours, outcome.main_figure, (daemon.settled_cpu_ns() - before) / 1000 / devices)
    outcome.interrupted = cut.happened
    return outcome


def attach_all(link: Link, devices: int) -> None:
    """Attach devices of as many users; returns when all have been acknowledged."""
    for start in range(0, devices, IN_FLIGHT):
        numbers = range(start + 1, min(start + IN_FLIGHT, devices) + 1)
        requests = [encode(Attach(n, n, f"user{n}", "web", "browser", idle_ms=0)) for n in numbers]
        link.socket.sendall(b"".join(map(frame, requests)))
        for number in numbers:
            answer = link.receive()
            if not isinstance(answer, Done) or answer.id != number:
                raise BenchError(f"attach {number} was answered with {answer}")


def beat_all(link: Link, devices: int, *, idle_ms: int) -> None:
    """One heartbeat for each device."""
    for start in range(0, devices, BEATS_PER_FRAME):
        beats: list[int] = []
        for ref in range(start + 1, min(start + BEATS_PER_FRAME, devices) + 1):
            beats += (ref, idle_ms)
        link.socket.sendall(frame(encode(Beats(beats))))
