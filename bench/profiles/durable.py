"""Profile `durable`: writers that each wait for the answer to one write before they send the next.

Three servers take turns of half a second, so that all see the same machine: the daemon with `--durability always`,
which answers once the write is on the disk; the daemon with `os`, which answers at the speed of memory; and Redis with
its append-only file synced on every write. All keep their files in one directory of a real disk. A write is a text of
the same size; each answer is checked, and at the end every user's last acknowledged text must be what the server
tells. Then the daemon is killed in the middle of the load and started again, and must still know it.

The kill proves that acknowledgements wait for the log; only a power cut could prove that the disk keeps its word.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.load.framing import FIRST_ID
from bench.load.openloop import BUSY_MAX
from bench.load.writers import Writers, text_of
from bench.machine.cores import Cores, need_descriptors
from bench.machine.disk import choose_place, file_system, scratch
from bench.machine.server import Server
from bench.peers.redis import Redis
from bench.peers.redis_writers import RedisWriters, start_redis
from bench.results.outcome import OURS, Latency, Outcome, Progress, ServerOutcome, median, no_progress, partial

FIGURE = "server_cpu_us_per_write"
SLICE_S = 0.5
KILL_AFTER_S = 0.5
LINKS_PER_WRITER = 3


def run(
    *,
    writers: int = 200,
    seconds: float = 5.0,
    rounds: int = 3,
    place: Path | None = None,
    peers: Sequence[str] | None = None,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile. What was lost is in the checks; `BenchError` means that there is no outcome. Redis takes part if
    it is installed; with `peers` it must be, or must not."""
    need_descriptors(LINKS_PER_WRITER * writers)
    outcome = Outcome("durable", "durable: writes that are on the disk before they are acknowledged", FIGURE)
    program = redis_program(outcome, peers)
    place = choose_place(place)
    disk = file_system(place)
    users = [f"user{index}" for index in range(writers)]
    spin = not cores.shared
    with ExitStack() as stack:
        directory = scratch(stack, place, "durable")
        always = Writers(stack, stack.enter_context(start_policy(cores, directory, "always")), disk, users, spin=spin)
        memory = Writers(stack, stack.enter_context(start_policy(cores, directory, "os")), disk, users, spin=spin)
        groups, peer = [always, memory], None
        excuse = Excuse(outcome, groups, named=peers is not None)
        if program:
            with excuse(None):
                server = stack.enter_context(start_peer(cores, directory))
                peer = RedisWriters(stack, server, disk, users, spin=spin)
                groups.append(peer)
        with partial() as cut:
            run_rounds(groups, seconds, rounds, progress, excuse)
        if not cut.happened:
            for group in list(groups):
                with excuse(group):
                    group.checks.lost += group.lost()
            crash(stack, always, cores, directory)
    outcome.interrupted = cut.happened
    outcome.options = {
        "writers": writers,
        "seconds": seconds,
        "rounds": rounds,
        "text_bytes": len(text_of(FIRST_ID)),
        "file_system": f"{disk.kind} on {disk.device}, {place}",
    }
    outcome.notes.append("figures with os_ are those of the daemon with --durability os; Redis syncs every write too")
    outcome.servers[OURS] = told(always, memory)
    if peer in groups:
        outcome.servers["redis"] = told(peer)
        outcome.servers["redis"].version = Redis.version(program)
    outcome.notes += limits(outcome)
    return outcome


def limits(outcome: Outcome) -> list[str]:
    """A sentence for whatever rate was that of the generator, not of the server or the disk."""
    found = []
    for name, server in outcome.servers.items():
        for prefix in ("", "os_"):
            busy = server.figures.get(f"{prefix}generator_busy", [])
            if busy and median(busy) > BUSY_MAX:
                which = f"{name} with --durability os" if prefix else name
                found.append(
                    f"the generator was the limit of {which}: it was busy {median(busy):.0%} of the time; CPU for each "
                    "write is right, writes per second could be more"
                )
    return found


class Excuse:
    """A failing Redis ends its part, and not the run, unless it was asked for by name."""

    def __init__(self, outcome: Outcome, groups: list[Writers], *, named: bool) -> None:
        self._outcome = outcome
        self._groups = groups
        self._named = named

    @contextmanager
    def __call__(self, group: Writers | None) -> Iterator[None]:
        """What goes wrong inside is of `group`, or of a Redis that has not started yet if that is None."""
        try:
            yield
        except (BenchError, OSError) as error:
            if self._named or not (group is None or isinstance(group, RedisWriters)):
                raise
            self._outcome.missing["redis"] = f"redis failed: {error}"
            if group is not None:
                self._groups.remove(group)


def redis_program(outcome: Outcome, peers: Sequence[str] | None) -> str:
    """Where Redis is; empty if it does not take part. `BenchError` if it was asked for and there is none."""
    if peers is not None and "redis" not in peers:
        return ""
    try:
        return Redis.program_path()
    except BenchError as missing:
        if peers is not None:
            raise
        outcome.missing["redis"] = str(missing)
        return ""


def start_policy(cores: Cores, directory: Path, policy: str) -> Server:
    """The daemon with a data directory in `directory`, named for its policy."""
    return start_daemon(cores.server, ("--data-dir", str(directory / policy), "--durability", policy))


def start_peer(cores: Cores, directory: Path) -> Server:
    """Redis with a data directory beside the daemon's."""
    own = directory / "redis"
    own.mkdir()
    return start_redis(cores.server, own)


def run_rounds(
    groups: list[Writers], seconds: float, rounds: int, progress: Progress, excuse: Callable[[Writers], Any]
) -> None:
    """A warm-up and `rounds` rounds, each group in turn for a slice at a time. Another one begins each time, and what
    one has left in the page cache is written before the next begins: nobody pays for somebody else's writes."""
    turn = 0
    for number in range(rounds + 1):
        progress("rounds", number, rounds + 1)
        left_s = seconds if number else min(seconds, SLICE_S)
        gc.collect()
        gc.disable()
        while left_s > 0:
            first = turn % len(groups)
            turn += 1
            for group in [*groups[first:], *groups[:first]]:
                os.sync()
                with excuse(group):
                    group.run_slice(min(SLICE_S, left_s))
            left_s -= SLICE_S
        gc.enable()
        for group in list(groups):
            with excuse(group):
                group.end_round(counted=number > 0)


def crash(stack: ExitStack, group: Writers, cores: Cores, directory: Path) -> None:
    """Kill the server while everybody writes and start it again: users whose acknowledged text it has lost count."""
    group.drive(KILL_AFTER_S, drain=False)
    group.server.kill()
    group.take_late_answers()
    group.server = stack.enter_context(start_policy(cores, directory, "always"))
    group.checks.lost += group.lost()


def told(group: Writers, memory: Writers | None = None) -> ServerOutcome:
    """The figures of a server; those of the daemon that answers at the speed of memory beside them."""
    outcome = ServerOutcome(checks=group.checks)
    for one, prefix in ((group, ""), (memory, "os_")):
        if one is None or not one.figures.rates:
            continue
        figures = one.figures
        outcome.figures |= {
            f"{prefix}{FIGURE}": figures.cpu_us,
            f"{prefix}writes_per_s": [round(rate) for rate in figures.rates],
            f"{prefix}rss_bytes": figures.rss_bytes,
            f"{prefix}server_core_busy": figures.server_busy,
            f"{prefix}generator_busy": figures.generator_busy,
            f"{prefix}disk_flushes_per_write": figures.flushes,
            f"{prefix}core_taken_by_others": [round(one.waited_ns / max(one.measured_ns, 1), 3)],
        }
        outcome.latency[f"{prefix}write"] = Latency.of_ns(figures.latencies_ns)
    if memory is not None and "write" in outcome.latency and "os_write" in outcome.latency:
        extra_us = outcome.latency["write"].p50_us - outcome.latency["os_write"].p50_us
        outcome.figures["durable_p50_extra_ms"] = [round(extra_us / 1000, 3)]
    return outcome
