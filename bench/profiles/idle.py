"""Profile `idle`: what a connected device that does nothing costs the daemon, and the servers beside it, in resident
memory and in CPU. Each server runs while no other does, anew in each round."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.load.links import Link, await_ping, open_device_links
from bench.load.tls import make_tls
from bench.load.websocket import WebSocketLink
from bench.machine.cores import Cores, need_descriptors
from bench.machine.kernel import free_port
from bench.machine.meter import Measured, add_figure
from bench.peers.base import Peer, PeerFailed, PeerLink
from bench.peers.lineup import Lineup, share_of
from bench.peers.presenced import Presenced
from bench.peers.storm import Storm, drain, send
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.limits import HELLO_TIMEOUT_MS

WARM_LINKS = 32
"""Links that are there before the first reading, so that lazy set-up is not charged to the devices."""

TCP = "tcp"
"""The door of the loads that all have; the other one is `websocket`."""

DEADLINES_S = HELLO_TIMEOUT_MS / 1000 + 1
OPENED_AT_ONCE = 1000
STEADY_BYTES_MAX = 64 * 1024
SETTLE_TIMEOUT_S = 10.0
FIGURE = "rss_bytes_per_device"
LINKS_MIN = 2000
"""So many also a server has to which each costs tens of times more: with few, collectors decide the figure."""


def run(
    *,
    links: int = 10_000,
    rest_s: float = 5.0,
    door: str = "tcp",
    tls: bool = False,
    rounds: int = 3,
    cores: Cores,
    peers: Sequence[str] | None = (),
    progress: Progress = no_progress,
) -> Outcome:
    """Open `links` links, each its own user and device: the growth of resident memory over their number, and the CPU
    that they cost while nothing happens for `rest_s`. Each round has servers of its own."""
    if tls and door != TCP:
        raise BenchError("--tls is for --door tcp alone: leave one of them out")
    need_descriptors(links + WARM_LINKS)
    ours = ServerOutcome()
    outcome = Outcome("idle", "idle: memory and CPU of devices that do nothing", FIGURE)
    outcome.options = {"links": links, "rest_s": rest_s, "door": door, "rounds": rounds}
    outcome.servers[OURS] = ours
    outcome.notes.append("no heartbeats: their interval is longer than the run (see the profile heartbeat)")
    lineup = Lineup(outcome, cores, peers, progress, tls=tls)
    users = [f"user{index}" for index in range(WARM_LINKS + links)]

    def beside(peer: Peer) -> None:
        count = share_of(peer, links, least=LINKS_MIN)
        with opened_by_storm(peer) as opening:
            play(peer.process, outcome.servers[peer.name], users[: WARM_LINKS + count], rest_s, opening)

    with partial() as cut:
        for number in range(rounds):
            opened = part_of(progress, f"links of round {number + 1}", links)
            with ExitStack() as stack:
                if door == TCP:
                    daemon = started(stack, cores, tls=tls)
                    opening = stack.enter_context(opened_by_storm(daemon, opened))
                    play(daemon.process, ours, users, rest_s, opening, deadlines_s=DEADLINES_S)
                else:
                    port = free_port()
                    server = stack.enter_context(start_daemon(cores.server, ("--http", f"127.0.0.1:{port}")))
                    opening = opened_by_websocket(stack, port, opened)
                    play(server, ours, users, rest_s, opening, deadlines_s=DEADLINES_S)
            lineup.one_by_one(users, beside)
    outcome.interrupted = cut.happened
    return outcome


def started(stack: ExitStack, cores: Cores, *, tls: bool) -> Presenced:
    """Our server, which `stack` ends."""
    workdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="presenced-bench-")))
    daemon = Presenced()
    daemon.tls = make_tls(workdir / "tls") if tls else None
    daemon.start(cores.server, workdir, (), {})
    stack.callback(daemon.stop)
    return daemon


class Opening(NamedTuple):
    """How devices come, and how it is seen that they are all still served."""

    open: Callable[[Sequence[str]], object]
    served: Callable[[], object]
    """`BenchError` if one is not."""


@contextmanager
def opened_by_storm(peer: Peer, opened: Callable[[int], None] = lambda done: None) -> Iterator[Opening]:
    """As their protocol has it, many at a time; all links are closed at the end."""
    storm = Storm(peer, {}, records=False)

    def log_in(users: Sequence[str]) -> None:
        for start in range(0, len(users), OPENED_AT_ONCE):
            storm.log_in(users[start : start + OPENED_AT_ONCE])
            opened(min(start + OPENED_AT_ONCE, len(users)))

    try:
        yield Opening(log_in, lambda: expect_served(peer, list(storm.links.values())))
    finally:
        storm.close()


def opened_by_websocket(stack: ExitStack, port: int, opened: Callable[[int], None]) -> Opening:
    """By the door for browsers; `stack` closes the links."""
    links: list[Link] = []

    def connect(users: Sequence[str]) -> None:
        for start in range(0, len(users), OPENED_AT_ONCE):
            some = list(users[start : start + OPENED_AT_ONCE])
            links.extend(open_device_links(stack, port, some, kind=WebSocketLink))
            opened(start + len(some))

    return Opening(connect, lambda: await_ping(links))


def part_of(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    """`progress` of one thing, to be told how much of it is done."""
    return lambda done: progress(what, done, total)


def play(
    server: Measured,
    found: ServerOutcome,
    users: Sequence[str],
    rest_s: float,
    opening: Opening,
    *,
    deadlines_s: float = 0.0,
) -> None:
    """One round on a fresh server."""
    count = len(users) - WARM_LINKS
    opening.open(users[:WARM_LINKS])
    before_bytes = steady_resident_bytes(server)
    started_s = time.monotonic()
    cpu_ns = server.settled_cpu_ns()
    opening.open(users[WARM_LINKS:])
    cpu_ns = server.settled_cpu_ns() - cpu_ns
    opening_s = time.monotonic() - started_s
    after_bytes = steady_resident_bytes(server)
    if after_bytes <= before_bytes:
        raise PeerFailed(
            f"the memory of a server did not grow with {count:,} links: nothing can be said of one of them"
        )
    # Every link of ours has a deadline for its hello, which is looked at once more when it is over: no idleness yet.
    time.sleep(max(0.0, opening_s + started_s + deadlines_s - time.monotonic()))
    resting_ns, started_ns = server.cpu_ns(), time.monotonic_ns()
    time.sleep(rest_s)
    resting_ns = server.cpu_ns() - resting_ns
    resting_s = (time.monotonic_ns() - started_ns) / 1e9
    # One that was given up would cost nothing: all must still be served.
    opening.served()
    add_figure(found, FIGURE, round((after_bytes - before_bytes) / count))
    add_figure(found, "rss_before_bytes", before_bytes)
    add_figure(found, "rss_after_bytes", after_bytes)
    add_figure(found, "server_cpu_us_per_hello", round(cpu_ns / 1000 / count, 1))
    add_figure(found, "idle_cpu_us_per_s", round(resting_ns / 1000 / resting_s, 1))
    add_figure(found, "opening_s", round(opening_s, 2))


def expect_served(peer: Peer, links: Sequence[PeerLink]) -> None:
    """Every one of `links` makes a change, and is answered; `BenchError` if one is not."""
    drain(peer, links)
    for link in links:
        send(link, peer.change(link.user, 1))
    peer.process.settled_cpu_ns()
    for link in links:
        if peer.answer(link.user, 1) not in link.wire.available(link.fd):
            raise PeerFailed(f"{peer.name} serves {link.user} no more, who was idle")


def steady_resident_bytes(server: Measured) -> int:
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
