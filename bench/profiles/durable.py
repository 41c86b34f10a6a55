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
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.load.daemon import start_daemon
from bench.load.links import (
    FIRST_ID,
    Connection,
    decoded,
    edge_triggered,
    get_records,
    open_device_links,
    open_link,
    read_available,
)
from bench.load.openloop import BUSY_MAX
from bench.machine.cores import Cores, need_descriptors
from bench.machine.disk import FileSystem, choose_place, file_system, scratch
from bench.machine.server import Server
from bench.peers.redis import OK, find_redis, get_values, open_redis_links, redis_version, set_request, start_redis
from bench.results.outcome import OURS, Checks, Latency, Outcome, Progress, ServerOutcome, median, no_progress, partial
from presenced.wire.frames import LENGTH_BYTES, frame
from presenced.wire.messages import Done, Hello, SetStatus, Welcome, encode

FIGURE = "server_cpu_us_per_write"
SLICE_S = 0.5
STALL_S = 10.0
KILL_AFTER_S = 0.5
READ_BYTES = 4096
LINKS_PER_WRITER = 3


@dataclass
class Writer:
    """One connection with at most one write outstanding."""

    fd: int
    user: str
    sent: int = FIRST_ID
    acknowledged: int = FIRST_ID
    sent_ns: int = 0
    held: bytes = b""


@dataclass
class Figures:
    """What the counted rounds gave, one entry a round; latencies one for each write."""

    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    flushes: list[float] = field(default_factory=list)
    server_busy: list[float] = field(default_factory=list)
    generator_busy: list[float] = field(default_factory=list)
    rss_bytes: list[float] = field(default_factory=list)
    latencies_ns: list[int] = field(default_factory=list)


class Side:
    """A server with its writers. Speaks presence; `RedisSide` speaks RESP."""

    def __init__(self, stack: ExitStack, server: Server, disk: FileSystem, users: list[str], *, spin: bool) -> None:
        self.server = server
        self.users = users
        self.figures = Figures()
        self.checks = Checks()
        self.waited_ns = self.measured_ns = self.idle_ns = 0
        self._disk = disk
        self._poll_s = 0.0 if spin else STALL_S
        links = self._open(stack)
        self._poller = edge_triggered(stack, links)
        self.writers = {link.fd: Writer(link.fd, user) for link, user in zip(links, users, strict=True)}
        self._round = [0, 0, 0, 0, 0]

    def _open(self, stack: ExitStack) -> Sequence[Connection]:
        return open_device_links(stack, self.server.port, self.users)

    def request(self, writer: Writer) -> bytes:
        """The write that sets the text of the writer's number."""
        return frame(encode(SetStatus(writer.sent, None, text_of(writer.sent))))

    def answered(self, writer: Writer, data: bytes) -> bool:
        """Is `data` the whole answer to the outstanding write? `BenchError` if it is another one."""
        if len(data) < LENGTH_BYTES or len(data) < LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big"):
            return False
        message = decoded(data[LENGTH_BYTES:])
        if not isinstance(message, Done) or message.id != writer.sent:
            raise BenchError(f"{writer.user} waited for the answer to its write and got {message}")
        return True

    def texts(self) -> dict[str, str]:
        """What the server tells of every user, asked over a link of its own."""
        return told_texts(self.server, self.users)

    def run_slice(self, seconds: float) -> None:
        """Write for `seconds`, then wait for the answers that are out; adds to the round."""
        server = self.server
        cpu_ns, waited_ns, flushes = server.settled_cpu_ns(), server.waited_ns(), self._disk.flushes()
        before, self.idle_ns = len(self.figures.latencies_ns), 0
        taken_ns = self.drive(seconds, drain=True)
        flushes = self._disk.flushes() - flushes
        self.waited_ns += server.waited_ns() - waited_ns
        self.measured_ns += taken_ns
        cpu_ns = server.settled_cpu_ns() - cpu_ns
        writes = len(self.figures.latencies_ns) - before
        for index, value in enumerate((writes, taken_ns, cpu_ns, flushes, self.idle_ns)):
            self._round[index] += value

    def drive(self, seconds: float, *, drain: bool) -> int:
        """The closed loops: every writer writes until `seconds` are over. Without `drain` it leaves in their midst.

        Gives the nanoseconds until the last answer.
        """
        writers, poll, poll_s, clock = self.writers, self._poller.poll, self._poll_s, time.perf_counter_ns
        note = self.figures.latencies_ns.append
        started_ns = now_ns = last_ns = before_ns = clock()
        until_ns = started_ns + int(seconds * 1e9)
        outstanding = len(writers)
        for writer in writers.values():
            self._send(writer, clock())
        while outstanding:
            events = poll(poll_s)
            now_ns = clock()
            if now_ns >= until_ns and not drain:
                break
            if poll_s or not events:
                self.idle_ns += now_ns - before_ns
                before_ns = now_ns
            if not events:
                if now_ns - last_ns > STALL_S * 1e9:
                    raise BenchError(f"{outstanding} writes have had no answer for {STALL_S:.0f} s")
                continue
            last_ns = now_ns
            for fd, _ in events:
                writer = writers[fd]
                data = writer.held + _read(fd)
                if not self.answered(writer, data):
                    writer.held = data
                    continue
                writer.held = b""
                writer.acknowledged = writer.sent
                now_ns = clock()
                note(now_ns - writer.sent_ns)
                if now_ns < until_ns:
                    self._send(writer, now_ns)
                else:
                    outstanding -= 1
            before_ns = clock()
        return last_ns - started_ns

    def _send(self, writer: Writer, now_ns: int) -> None:
        writer.sent += 1
        writer.sent_ns = now_ns
        os.write(writer.fd, self.request(writer))

    def end_round(self, *, counted: bool) -> None:
        """Take the round's figures, or drop them: it was the warm-up."""
        writes, taken_ns, cpu_ns, flushes, idle_ns = self._round
        self.checks.deliveries += writes if counted else 0
        self._round = [0, 0, 0, 0, 0]
        if not counted:
            self.figures.latencies_ns.clear()
            return
        self.figures.rates.append(writes / (taken_ns / 1e9))
        self.figures.cpu_us.append(cpu_ns / 1000 / writes)
        self.figures.flushes.append(flushes / writes)
        self.figures.server_busy.append(round(cpu_ns / taken_ns, 3))
        self.figures.generator_busy.append(round(1 - idle_ns / taken_ns, 3))
        self.figures.rss_bytes.append(self.server.resident_bytes())

    def lost(self) -> int:
        """Users of whom the server does not tell the last acknowledged text, nor one that was sent after it."""
        told = self.texts()
        return sum(
            told.get(writer.user) not in {text_of(writer.acknowledged), text_of(writer.sent)}
            for writer in self.writers.values()
        )

    def take_late_answers(self) -> None:
        """Read what the server had answered before it was killed."""
        for writer in self.writers.values():
            try:
                data = writer.held + _read(writer.fd)
            except (BenchError, ConnectionError):
                continue
            if writer.sent != writer.acknowledged and self.answered(writer, data):
                writer.acknowledged = writer.sent


class RedisSide(Side):
    """The same against Redis: a SET of the same text."""

    def _open(self, stack: ExitStack) -> Sequence[Connection]:
        return open_redis_links(stack, self.server.port, len(self.users))

    def request(self, writer: Writer) -> bytes:
        """SET user text."""
        return set_request(writer.user, text_of(writer.sent))

    def answered(self, writer: Writer, data: bytes) -> bool:
        """OK and nothing else."""
        if not OK.startswith(data):
            raise BenchError(f"Redis said {data!r} to SET")
        return data == OK

    def texts(self) -> dict[str, str]:
        """What Redis holds."""
        return get_values(self.server.port, self.users)


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
        always = Side(stack, stack.enter_context(start_policy(cores, directory, "always")), disk, users, spin=spin)
        memory = Side(stack, stack.enter_context(start_policy(cores, directory, "os")), disk, users, spin=spin)
        sides, peer = [always, memory], None
        excuse = Excuse(outcome, sides, named=peers is not None)
        if program:
            with excuse(None):
                server = stack.enter_context(start_peer(cores, directory))
                peer = RedisSide(stack, server, disk, users, spin=spin)
                sides.append(peer)
        with partial() as cut:
            run_rounds(sides, seconds, rounds, progress, excuse)
        if not cut.happened:
            for side in list(sides):
                with excuse(side):
                    side.checks.lost += side.lost()
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
    if peer in sides:
        outcome.servers["redis"] = told(peer)
        outcome.servers["redis"].version = redis_version(program)
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

    def __init__(self, outcome: Outcome, sides: list[Side], *, named: bool) -> None:
        self._outcome = outcome
        self._sides = sides
        self._named = named

    @contextmanager
    def __call__(self, side: Side | None) -> Iterator[None]:
        """What goes wrong inside is of `side`, or of a Redis that has not started yet if that is None."""
        try:
            yield
        except (BenchError, OSError) as error:
            if self._named or not (side is None or isinstance(side, RedisSide)):
                raise
            self._outcome.missing["redis"] = f"redis failed: {error}"
            if side is not None:
                self._sides.remove(side)


def redis_program(outcome: Outcome, peers: Sequence[str] | None) -> str:
    """Where Redis is; empty if it does not take part. `BenchError` if it was asked for and there is none."""
    if peers is not None and "redis" not in peers:
        return ""
    try:
        return find_redis()
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
    sides: list[Side], seconds: float, rounds: int, progress: Progress, excuse: Callable[[Side], Any]
) -> None:
    """A warm-up and `rounds` rounds, each side in turn for a slice at a time. Another one begins each time, and what
    one has left in the page cache is written before the next begins: nobody pays for somebody else's writes."""
    turn = 0
    for number in range(rounds + 1):
        progress("rounds", number, rounds + 1)
        left_s = seconds if number else min(seconds, SLICE_S)
        gc.collect()
        gc.disable()
        while left_s > 0:
            first = turn % len(sides)
            turn += 1
            for side in [*sides[first:], *sides[:first]]:
                os.sync()
                with excuse(side):
                    side.run_slice(min(SLICE_S, left_s))
            left_s -= SLICE_S
        gc.enable()
        for side in list(sides):
            with excuse(side):
                side.end_round(counted=number > 0)


def crash(stack: ExitStack, side: Side, cores: Cores, directory: Path) -> None:
    """Kill the server while everybody writes and start it again: users whose acknowledged text it has lost count."""
    side.drive(KILL_AFTER_S, drain=False)
    side.server.kill()
    side.take_late_answers()
    side.server = stack.enter_context(start_policy(cores, directory, "always"))
    side.checks.lost += side.lost()


def told(side: Side, memory: Side | None = None) -> ServerOutcome:
    """The figures of a server; those of the daemon that answers at the speed of memory beside them."""
    outcome = ServerOutcome(checks=side.checks)
    for one, prefix in ((side, ""), (memory, "os_")):
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


def text_of(number: int) -> str:
    """The text of a writer's write: all of one size."""
    return f"in a call until late, no. {number - FIRST_ID:07d}"


def told_texts(server: Server, users: list[str]) -> dict[str, str]:
    """Every user's text, as the server tells it."""
    with ExitStack() as stack:
        link = open_link(stack, server.port, "auditor")
        link.send(Hello([1], "", link.user, "bench"))
        link.receive_reply(Welcome)
        return {user: record.text for user, record in get_records(link, users).items()}


def _read(fd: int) -> bytes:
    data = os.read(fd, READ_BYTES)
    # The poller is edge-triggered; an answer is far smaller than a full read.
    return data + read_available(fd) if len(data) == READ_BYTES or not data else data
