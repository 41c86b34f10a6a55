"""Profile `service`: one backend link that speaks for many devices: what attaching each and beating for each costs.

Requests are sent back to back, as a backend does that has just started; the time to the last answer counts. The
heartbeats of all devices go out in frames of a thousand, each with an idle time.
"""

from __future__ import annotations

from contextlib import ExitStack

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.load.links import Link, attach_all, await_ping, get_records, open_backend, open_device_links
from bench.machine.cores import Cores, need_descriptors
from bench.machine.meter import add_figure
from bench.machine.server import Server
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Beats

BEATS_PER_FRAME = 1_000
LONG_IDLE_MS = 2 * 3600 * 1000
"""Longer than the hour after which these daemons call nobody online."""


def run(*, devices: int = 10_000, rounds: int = 5, cores: Cores, progress: Progress = no_progress) -> Outcome:
    """Run the profile; `BenchError` if anything was refused."""
    need_descriptors(8)
    ours = ServerOutcome()
    outcome = Outcome("service", "service: server CPU for each device of a backend", "server_cpu_us_per_beat")
    outcome.options = {"devices": devices, "rounds": rounds}
    outcome.servers[OURS] = ours
    with ExitStack() as stack:
        daemon = stack.enter_context(start_daemon(cores.server))
        link = open_backend(stack, daemon.port, "backend")
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
        if not cut.happened:
            check_beats(stack, daemon, devices)
    outcome.interrupted = cut.happened
    return outcome


def check_beats(stack: ExitStack, daemon: Server, devices: int) -> None:
    """Devices that nobody has touched for long are not online, and a beat that says otherwise must bring each of them
    back; `BenchError` if not. Devices of their own: a beat that repeats what is known shows nowhere."""
    link = open_backend(stack, daemon.port, "checker")
    attach_all(link, devices, "checked", idle_ms=LONG_IDLE_MS)
    auditor = open_device_links(stack, daemon.port, ["auditor"])[0]
    users = [f"checked{number}" for number in range(1, devices + 1)]
    for touched in (False, True):
        if touched:
            beat_all(link, devices, idle_ms=1_000)
            await_ping([link])
        records = get_records(auditor, users)
        others = [user for user, record in records.items() if (record.status == "online") != touched]
        if others:
            said = "are not online after their beats" if touched else "are online though nobody has touched them"
            raise BenchError(f"{len(others)} of {devices} devices, such as {others[0]}, {said}")


def beat_all(link: Link, devices: int, *, idle_ms: int) -> None:
    """One heartbeat for each device."""
    for start in range(0, devices, BEATS_PER_FRAME):
        beats: list[int] = []
        for ref in range(start + 1, min(start + BEATS_PER_FRAME, devices) + 1):
            beats += (ref, idle_ms)
        link.socket.sendall(frame(encode(Beats(beats))))
