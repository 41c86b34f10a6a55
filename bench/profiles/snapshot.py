"""Profile `snapshot`: a daemon full of restored users takes a snapshot while watchers are told of changes.

One publisher changes at fixed times, whatever the server does, and every latency counts from the time at which the
change was due: a server that stands still is charged for all that it held up. Changes that one turn merges reach the
watchers as the last of them, which counts for those before it. Quiet times and snapshots alternate.

Beside it an extra link pings every 2 ms: the longest wait for a pong, less the usual one, is the longest time that the
server's loop did not look at its sockets. What was under way while the generator itself stood still is left out of
both, and counted.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError
from bench.load.data_directories import copy_of, start_full
from bench.load.framing import whole_frames
from bench.load.links import edge_triggered, open_device_links, read_available, watch
from bench.load.witness import DIGITS, MARK_BYTES, text_of
from bench.machine.cores import Cores, need_descriptors
from bench.machine.disk import choose_place, file_system
from bench.machine.server import Server
from bench.results.histogram import Histogram
from bench.results.outcome import (
    CHANGE_TO_WATCHER,
    OURS,
    Outcome,
    Progress,
    ServerOutcome,
    no_progress,
    partial,
    percentile,
)
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Ping, SetStatus

PING_EVERY_NS = 2_000_000
OWN_PAUSE_NS = 2_000_000
"""A generator that did not look at its links for longer than this must not blame the server: what was under way
meanwhile is left out. Reading one change from all watchers takes it less than half of that."""

LEFT_OUT_MAX = 0.01
"""More than this share left out makes the run void."""

LOOK_EVERY_NS = 20_000_000
DRAIN_S = 5.0
SNAPSHOT_TIMEOUT_S = 300.0


@dataclass
class Figures:
    """One entry for each round."""

    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)
    pause_ms: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)
    left_out: int = 0
    counted: int = 0
    waits: Histogram = field(default_factory=Histogram)
    """All of them, of all rounds."""

    def told(self, prefix: str) -> dict[str, list[float]]:
        """By name, one value for each round."""
        return {
            f"{prefix}p50_us": self.p50_us,
            f"{prefix}p99_us": self.p99_us,
            f"{prefix}longest_pause_ms": self.pause_ms,
            f"{prefix}phase_s": self.seconds,
        }


class Files:
    """What the daemon's directory tells of its snapshots, seen from outside."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._before: set[str] = set()

    def note(self) -> None:
        """Remember the snapshots that are there."""
        self._before = self._snapshots()

    @property
    def finished(self) -> bool:
        """Whether there is a new one under its final name, and no unfinished one beside it."""
        found = self._snapshots()
        return bool(found - self._before) and not any(name.endswith(".tmp") for name in found)

    def _snapshots(self) -> set[str]:
        return {name for name in os.listdir(self._directory) if name.startswith("snap-")}


class Load:
    """The publisher, its watchers and the pinging link; `run` makes one phase."""

    def __init__(self, stack: ExitStack, server: Server, watchers: int, changes_per_s: int, *, spin: bool) -> None:
        self.server = server
        self.lost = self.wrong = self.merged = self.deliveries = 0
        self._spin = spin
        self._every_ns = 1_000_000_000 // changes_per_s
        self.publisher, self.pinger = open_device_links(stack, server.port, ["publisher", "pinger"])
        self.watchers = open_device_links(stack, server.port, [f"watcher{index}" for index in range(watchers)])
        watch(self.watchers, [["publisher"]] * watchers)
        self._poller = edge_triggered(stack, [self.publisher, self.pinger, *self.watchers])
        self._seen = {link.fd: 0 for link in self.watchers}
        self._change = 0
        self._due_ns: dict[int, int] = {}
        self._ping = 1 << 24
        self._latencies_ns: list[int] = []
        self._pings_ns: list[int] = []
        self._paused_until_ns = 0
        self._left_out = 0
        self._kept_ns = own_wait_ns()

    def run(self, figures: Figures, over: Callable[[float], bool]) -> None:
        """Send changes and pings on time until `over(seconds)` says so, then wait for what is out."""
        self._latencies_ns, self._pings_ns, self._left_out = [], [], 0
        first = self._change
        waited_ns = self.server.waited_ns()
        gc.collect()
        gc.disable()
        taken_ns = self._drive(over)
        gc.enable()
        waited_ns = self.server.waited_ns() - waited_ns
        self.lost += sum(seen != self._change for seen in self._seen.values())
        self._seen = dict.fromkeys(self._seen, self._change)
        self.merged += (self._change - first) * len(self.watchers)
        ordered = sorted(self._latencies_ns)
        pauses = sorted(self._pings_ns)
        if not pauses or not ordered:
            raise BenchError("the phase was too short, or the generator was kept from its core all the time")
        for value_ns in ordered:
            figures.waits.record(value_ns)
        figures.p50_us.append(percentile(ordered, 50) / 1000)
        figures.p99_us.append(percentile(ordered, 99) / 1000)
        figures.pause_ms.append(round((pauses[-1] - percentile(pauses, 50)) / 1e6, 3))
        figures.seconds.append(taken_ns / 1e9)
        figures.taken.append(waited_ns / taken_ns)
        figures.left_out += self._left_out
        figures.counted += len(ordered) + len(pauses)

    def _drive(self, over: Callable[[float], bool]) -> int:
        clock = time.perf_counter_ns
        started_ns = now_ns = before_ns = clock()
        change_ns = ping_ns = look_ns = started_ns
        until_ns = 0
        out: list[int] = []
        while not until_ns or ((out or self._behind()) and now_ns < until_ns):
            events = self._poller.poll(0.0 if self._spin else 0.0005)
            now_ns = clock()
            if now_ns - before_ns > OWN_PAUSE_NS and self._was_kept():
                self._paused_until_ns = now_ns
            before_ns = now_ns
            for fd, _ in events:
                if fd == self.pinger.fd:
                    for _ in range(whole_frames(read_available(fd))[0]):
                        self._note(self._pings_ns, out.pop(0), clock())
                elif fd == self.publisher.fd:
                    read_available(fd)
                else:
                    self._take(fd, read_available(fd))
            if until_ns:
                continue
            if now_ns >= change_ns:
                self._send_change(change_ns)
                change_ns += self._every_ns
            if now_ns >= ping_ns:
                self._ping += 1
                out.append(ping_ns)
                os.write(self.pinger.fd, frame(encode(Ping(self._ping))))
                ping_ns += PING_EVERY_NS
            if now_ns >= look_ns:
                look_ns = now_ns + LOOK_EVERY_NS
                self._kept_ns = own_wait_ns()
                if over((now_ns - started_ns) / 1e9):
                    until_ns = now_ns + int(DRAIN_S * 1e9)
                    taken_ns = now_ns - started_ns
        return taken_ns

    def _was_kept(self) -> bool:
        """Had something else this process's core for most of the pause? Only then is it no fault of the server's."""
        before_ns, self._kept_ns = self._kept_ns, own_wait_ns()
        return self._kept_ns - before_ns > OWN_PAUSE_NS // 2

    def _behind(self) -> bool:
        return any(seen != self._change for seen in self._seen.values())

    def _send_change(self, due_ns: int) -> None:
        self._change += 1
        self._due_ns[self._change] = due_ns
        os.write(self.publisher.fd, frame(encode(SetStatus(self._change, None, text_of(self._change)))))

    def _take(self, fd: int, data: bytes) -> None:
        """Note what one watcher was told: the number in each text, newest last."""
        now_ns = time.perf_counter_ns()
        seen = self._seen[fd]
        for piece in data.split(MARK_BYTES)[1:]:
            number = int(piece[:DIGITS])
            if not seen < number <= self._change:
                self.wrong += 1
                continue
            for change in range(seen + 1, number + 1):
                self._note(self._latencies_ns, self._due_ns[change], now_ns)
            self.deliveries += 1
            self.merged -= 1
            seen = number
        self._seen[fd] = seen

    def _note(self, samples: list[int], due_ns: int, now_ns: int) -> None:
        if due_ns < self._paused_until_ns:
            self._left_out += 1
        else:
            samples.append(now_ns - due_ns)


def run(
    *,
    users: int = 1_000_000,
    changes_per_s: int = 200,
    watchers: int = 100,
    rounds: int = 3,
    quiet_s: float = 5.0,
    place: Path | None = None,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile. Faulty deliveries are in the checks; `BenchError` means that there is no outcome."""
    need_descriptors(watchers + 2)
    place = choose_place(place)
    disk = file_system(place)
    quiet, during = Figures(), Figures()
    ours = ServerOutcome()
    with ExitStack() as stack:
        progress("filling a directory", 0, rounds)
        directory = copy_of(stack, place, users, "snapshot")
        server = stack.enter_context(start_full(directory, cores))
        load = Load(stack, server, watchers, changes_per_s, spin=not cores.shared)
        files = Files(directory)
        before_bytes = server.resident_bytes()
        with partial() as cut:
            load.run(Figures(), lambda seconds: seconds >= min(quiet_s, 1.0))
            for number in range(rounds):
                progress("rounds", number, rounds)
                load.run(quiet, lambda seconds: seconds >= quiet_s)
                files.note()
                server.signal(signal.SIGUSR1)
                load.run(during, lambda seconds: _finished(files, seconds))
            progress("rounds", rounds, rounds)
        ours.figures["rss_growth_bytes"] = [server.resident_bytes() - before_bytes]
    ours.checks.deliveries, ours.checks.lost, ours.checks.wrong = load.deliveries, load.lost, load.wrong
    left_out = quiet.left_out + during.left_out
    share = left_out / max(1, left_out + quiet.counted + during.counted)
    if share > LEFT_OUT_MAX:
        raise BenchError(
            f"{share:.1%} of all waits were left out, as something else had the generator's core; the run is void, "
            "run it again on a machine that does less"
        )
    ratios = [one / other for one, other in zip(during.p99_us, quiet.p99_us, strict=False)]
    ours.figures |= {
        **during.told(""),
        **quiet.told("quiet_"),
        "p99_ratio": ratios,
        "merged": [load.merged],
        "left_out": [left_out],
        "left_out_share": [round(share, 5)],
        "core_taken_by_others": quiet.taken,
    }
    ours.latency = {CHANGE_TO_WATCHER: during.waits.latency(), f"quiet_{CHANGE_TO_WATCHER}": quiet.waits.latency()}
    outcome = Outcome("snapshot", "snapshot: what watchers notice of one", "p99_us", interrupted=cut.happened)
    outcome.servers[OURS] = ours
    outcome.options = {
        "users": users,
        "changes_per_s": changes_per_s,
        "watchers": watchers,
        "rounds": rounds,
        "file_system": f"{disk.kind} on {disk.device}, {place}",
    }
    outcome.notes.append("quiet_ is the time between snapshots; what the generator itself held up is left out")
    return outcome


def own_wait_ns() -> int:
    """Time that this thread was ready to run and something else had its core."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1])


def _finished(files: Files, seconds: float) -> bool:
    if seconds > SNAPSHOT_TIMEOUT_S:
        raise BenchError(f"no snapshot was finished within {SNAPSHOT_TIMEOUT_S:.0f} s of SIGUSR1")
    return files.finished
