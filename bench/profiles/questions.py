"""Profile `questions`: server CPU for each of the questions that applications ask, and what awaits cost others.

Two daemons run, of which one has very many awaits under way, about users who never come. On both the same links ask and
change in turn. One sweep sends one message on every link and waits until the server rests, as in `check`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.load.links import Link, await_ping, open_backend, open_device_links
from bench.load.sweeps import swept
from bench.machine.cores import Cores, need_descriptors
from bench.machine.server import Server
from bench.peers.presenced import Presenced
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import (
    Await,
    Done,
    Explain,
    Explanation,
    Get,
    Records,
    Route,
    Routes,
    ServerMessage,
    SetStatus,
)

FIGURE = "server_cpu_us_per_get"
ASKED: dict[str, tuple[bytes | Callable[[str], bytes], type[ServerMessage]]] = {
    FIGURE: (frame(encode(Get(7, ["user0"]))), Records),
    "server_cpu_us_per_get_valid": (frame(encode(Get(7, ["user0"], True))), Records),
    "server_cpu_us_per_explain": (frame(encode(Explain(7))), Explanation),
    "server_cpu_us_per_route": (lambda user: frame(encode(Route(7, [user], "normal", "general"))), Routes),
}
"""Questions, each with the type of its answer; what a link may ask about its own user alone is made of that name. A
question about one user is held against a Get of one."""

CHANGES = [frame(encode(SetStatus(7, "dnd"))), frame(encode(SetStatus(7, "away")))]
CHANGE = "server_cpu_us_per_change"
CHANGE_BESIDE = "server_cpu_us_per_change_beside_awaits"
RATIO = "change_ratio_beside_awaits"

WEEK_MS = 7 * 24 * 3600 * 1000


def run(
    *, links: int, awaits: int, sweeps: int, rounds: int, cores: Cores, progress: Progress = no_progress
) -> Outcome:
    """Run the profile; `BenchError` if something was not answered."""
    need_descriptors(2 * links)
    users = [f"user{index}" for index in range(links)]
    options = {"links": links, "awaits": awaits, "sweeps": sweeps, "rounds": rounds}
    outcome = Outcome("questions", "questions: server CPU for each question about a user", FIGURE, options)
    ours = ServerOutcome(Presenced.find())
    outcome.servers = {OURS: ours}
    with ExitStack() as stack:
        progress("logging in", 0, 1)
        daemon, other = (stack.enter_context(start_daemon(cores.server)) for _ in range(2))
        asking = open_device_links(stack, daemon.port, users)
        beside = open_device_links(stack, other.port, users)
        await_many(stack, other, awaits, ours)
        with partial() as cut:
            for number in range(rounds + 1):
                figures = measured(daemon, asking, sweeps)
                figures[CHANGE_BESIDE] = changed(other, beside, sweeps)
                figures[RATIO] = round(figures[CHANGE_BESIDE] / figures[CHANGE], 3)
                # The first round warms up.
                for name, value in figures.items() if number else ():
                    ours.figures.setdefault(name, []).append(value)
                progress("round", number, rounds)
        outcome.interrupted = cut.happened
        await_ping(asking + beside)
    return outcome


def await_many(stack: ExitStack, daemon: Server, awaits: int, ours: ServerOutcome) -> None:
    """Begin so many awaits on one link of a backend."""
    backend = open_backend(stack, daemon.port, "backend")
    before_ns, before_bytes = daemon.settled_cpu_ns(), daemon.resident_bytes()
    for number in range(awaits):
        backend.send(Await(1 + number, f"absent{number}", WEEK_MS, ["dnd"], [], 10_000))
    await_ping([backend])
    ours.figures["server_cpu_us_per_await"] = [(daemon.settled_cpu_ns() - before_ns) / 1000 / awaits]
    ours.figures["rss_bytes_per_await"] = [(daemon.resident_bytes() - before_bytes) / awaits]


def measured(daemon: Server, links: list[Link], sweeps: int) -> dict[str, float]:
    """Server CPU in microseconds for each question and each change."""
    found = {
        name: swept(daemon, links, data, answer, sweeps) / 1000 / (sweeps * len(links))
        for name, (data, answer) in ASKED.items()
    }
    return {**found, CHANGE: changed(daemon, links, sweeps)}


def changed(daemon: Server, links: list[Link], sweeps: int) -> float:
    """Server CPU in microseconds for each change of users whom nobody watches or awaits."""
    if sweeps % 2:
        raise BenchError("the users change between two statuses: give an even number of sweeps")
    cpu_ns = sum(swept(daemon, links, CHANGES[number % 2], Done, 1) for number in range(sweeps))
    return cpu_ns / 1000 / (sweeps * len(links))
