"""A node that joins a cluster which knows very many users: how long until it serves, and what that costs everybody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.load.daemon import start_daemon
from bench.load.data_directories import START_TIMEOUT_S, filled, sleepers, user_name, writable
from bench.load.links import Link, await_ping, get_records, open_device_links
from bench.machine.cores import Cores
from bench.machine.meter import add_figure
from bench.machine.server import Server
from bench.peers.nodes import node_options, start_engine
from bench.results.outcome import Checks, ServerOutcome, percentile
from presenced.wire.messages import Ping, Pong, Record

SAMPLE = 200
PINGS_BETWEEN_S = 0.0002


class _Pinger(threading.Thread):
    """Pings without a pause, and keeps how much CPU the server used between each ping and its pong: what it did in one
    go, whoever else had its core, or more, if something else had the core of the load."""

    def __init__(self, server: Server, link: Link) -> None:
        super().__init__(daemon=True)
        self.used_ns: list[int] = []
        self._server = server
        self._link = link
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.wait(PINGS_BETWEEN_S):
            before_ns = self._server.cpu_ns()
            self._link.send(Ping(1))
            self._link.receive_reply(Pong)
            self.used_ns.append(self._server.cpu_ns() - before_ns)

    def finish(self) -> None:
        """End it."""
        self._is_over.set()
        self.join()


class Arrival:
    """A cluster of one node that knows the users of a data directory."""

    def __init__(
        self, stack: ExitStack, cores: Cores, workdir: Path, directory: Path, users: int, *, prefix: str = ""
    ) -> None:
        """`prefix` stands before the names of the figures."""
        self._cores = cores
        self._users = users
        self._prefix = prefix
        self._engine = stack.enter_context(start_engine(cores.load, workdir / f"{prefix}arrival-engine"))
        options = ("--data-dir", str(directory), "--grace", "1h", *node_options(self._engine, "old"))
        self._old = stack.enter_context(start_daemon(cores.server, options, timeout_s=START_TIMEOUT_S))
        [self._bystander] = open_device_links(stack, self._old.port, ["bystander"])

    def play(self, outcome: ServerOutcome, checks: Checks) -> None:
        """A node joins, tells what it knows, and leaves. A user whom it does not know counts as lost."""
        await_ping([self._bystander])
        old_ns, engine_ns = self._old.settled_cpu_ns(), self._engine.settled_cpu_ns()
        pinger = _Pinger(self._old, self._bystander)
        with ExitStack() as stack:
            options = (*node_options(self._engine, "new"), "--log-level", "warning")
            pinger.start()
            try:
                began_s = time.monotonic()
                new = stack.enter_context(start_daemon(self._cores.load, options, timeout_s=START_TIMEOUT_S))
                joined_s = time.monotonic() - began_s
            finally:
                pinger.finish()
            used_ns = sorted(pinger.used_ns)
            figures = {
                "join_s": round(joined_s, 3),
                "join_cpu_s": new.settled_cpu_ns() / 1e9,
                "join_rss_mib": _mib(new.peak_bytes()),
                "join_engine_rss_mib": _mib(self._engine.peak_bytes()),
                "teacher_cpu_s": (self._old.settled_cpu_ns() - old_ns) / 1e9,
                "teacher_rss_mib": _mib(self._old.peak_bytes()),
                "teacher_turn_cpu_p99_ms": percentile(used_ns, 99) / 1e6,
                "teacher_longest_turn_cpu_ms": percentile(used_ns, 100) / 1e6,
                "join_engine_cpu_s": (self._engine.settled_cpu_ns() - engine_ns) / 1e9,
            }
            for name, value in figures.items():
                add_figure(outcome, self._prefix + name, value)
            self._check(stack, new, checks)

    def _check(self, stack: ExitStack, new: Server, checks: Checks) -> None:
        step = max(1, self._users // SAMPLE)
        names = [user_name(index) for index in range(0, self._users, step)]
        links = [open_device_links(stack, node.port, [f"checker{node.port}"])[0] for node in (self._old, new)]
        old, known = (get_records(link, names) for link in links)
        compare(old, known, names, checks)


def arrivals(cores: Cores, workdir: Path, place: Path, users: int) -> Iterator[Arrival]:
    """One cluster after the other: all of its users are there, and nine in ten of them away (`asleep_`)."""
    for prefix, source in ("", filled(place, users, "snapshot")), ("asleep_", sleepers(place, users, 0, "snapshot")):
        with ExitStack() as one:
            directory = writable(one, place, source)
            yield Arrival(one, cores, workdir, directory, users, prefix=prefix)


def _mib(size: int) -> float:
    return round(size / (1 << 20), 1)


def compare(old: Mapping[str, Record], known: Mapping[str, Record], names: Sequence[str], checks: Checks) -> None:
    """Whom the new node tells otherwise than the old one, or does not know, counts as lost."""
    for name in names:
        right = name in known and known[name].version > 0 and known[name] == old.get(name)
        checks.deliveries += right
        checks.lost += not right
