"""Profile `webhooks`: what an event costs that is posted to a URL, beside a daemon that posts nothing.

A backend changes the texts of users, as fast as it is answered, and every change has to reach a receiver on loopback
that only counts. The daemon without webhooks gets the same changes, in turn with the others.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.load.links import IN_FLIGHT, Link, open_backend
from bench.load.webhook_receiver import EventCounter
from bench.machine.cores import Cores, need_descriptors
from bench.machine.disk import choose_place, scratch
from bench.machine.meter import add_figure
from bench.machine.server import Server
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Done, SetStatus

BATCHES = {"none": 0, "alone": 1, "batch_of_20": 20, "batch_of_100": 100}
"""How many events a request carries; 0 = no webhooks."""

STALL_S = 60.0
LOOK_EVERY_S = 0.005
FILE = """[webhooks]
url = "http://127.0.0.1:{port}/"
secret_file = "{secrets}"
allow_private = true
batch = {batch}
"""


def run(
    *, users: int = 2_000, changes: int = 20_000, rounds: int = 5, cores: Cores, progress: Progress = no_progress
) -> Outcome:
    """Run the profile; `BenchError` if an event does not arrive. With fewer users than requests on the way, two changes
    of one user could become one event."""
    need_descriptors(64)
    outcome = Outcome("webhooks", "webhooks: server CPU for each event that is posted", "server_cpu_us_per_event")
    outcome.options = {"users": users, "changes": changes, "rounds": rounds}
    ours = outcome.servers[OURS] = ServerOutcome()
    with ExitStack() as stack:
        place = scratch(stack, choose_place(), "webhooks")
        ways = [_Way(stack, cores.server, place, name, batch) for name, batch in BATCHES.items()]
        with partial() as cut:
            for number in range(rounds):
                spent = {way.name: way.round(users, changes, number) for way in ways}
                without_us, _ = spent.pop("none")
                add_figure(ours, "server_cpu_us_per_change_without_webhooks", without_us)
                for name, (cpu_us, rate) in spent.items():
                    suffix = "" if name == "alone" else f"_in_a_{name}"
                    add_figure(ours, f"server_cpu_us_per_event{suffix}", cpu_us - without_us)
                    add_figure(ours, f"{name}_events_per_s", rate)
                progress("rounds", number + 1, rounds)
    outcome.interrupted = cut.happened
    return outcome


class _Way:
    """One daemon, its receiver, and the backend that changes."""

    def __init__(self, stack: ExitStack, core: int, place: Path, name: str, batch: int) -> None:
        self.name = name
        self._receiver = EventCounter(stack) if batch else None
        options: tuple[str, ...] = ()
        if self._receiver is not None:
            secrets, settings = place / "secrets", place / f"{name}.toml"
            secrets.write_text("A" * 44)
            settings.write_text(FILE.format(port=self._receiver.port, secrets=secrets, batch=batch))
            options = ("--config", str(settings))
        self._daemon: Server = stack.enter_context(start_daemon(core, options))
        self._link: Link = open_backend(stack, self._daemon.port, "backend")

    def round(self, users: int, changes: int, number: int) -> tuple[float, float]:
        """Microseconds of server CPU for each change, and changes a second until the last has arrived."""
        receiver = self._receiver
        expected = changes + (receiver.events if receiver is not None else 0)
        before_ns, began_ns = self._daemon.settled_cpu_ns(), time.monotonic_ns()
        change_all(self._link, users, changes, number)
        while receiver is not None and receiver.events < expected:
            if time.monotonic_ns() - began_ns > STALL_S * 1e9:
                raise BenchError(f"{expected - receiver.events} of {changes} events were not posted")
            time.sleep(LOOK_EVERY_S)
        took_ns = time.monotonic_ns() - began_ns
        cpu_ns = self._daemon.settled_cpu_ns() - before_ns
        if receiver is not None and receiver.events > expected:
            raise BenchError(f"{receiver.events - expected} events were posted twice")
        return cpu_ns / 1000 / changes, changes * 1e9 / took_ns


def change_all(link: Link, users: int, changes: int, number: int) -> None:
    """Give users in turn another text; returns when all has been acknowledged."""
    for start in range(0, changes, IN_FLIGHT):
        numbers = range(start, min(start + IN_FLIGHT, changes))
        requests = [SetStatus(n + 1, text=f"{number} {n}", user=f"user{n % users}") for n in numbers]
        link.socket.sendall(b"".join(frame(encode(request)) for request in requests))
        for n in numbers:
            answer = link.receive()
            if not isinstance(answer, Done) or answer.id != n + 1:
                raise BenchError(f"change {n} was answered with {answer}")
