"""Profile `channel`: a very large room in which much happens, on the engine without sockets.

Every member watches the room. Time is virtual, a millisecond a step; what is measured is the CPU that each turn takes
in which somebody is told something, and how many frames a watcher gets. The counts are held against the truth in the
end.
"""

from __future__ import annotations

import gc
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from bench.errors import BenchError
from bench.machine.cores import Cores
from bench.machine.meter import add_figure
from bench.results.histogram import Histogram
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.core.engine import Engine
from presenced.core.model import Device, Edge, Session
from presenced.core.policy import Policy
from presenced.server.fact_log import MemoryLog
from presenced.server.turn import run_turn
from presenced.wire.codec import decode_server
from presenced.wire.frames import FrameReader
from presenced.wire.messages import ChannelCounts

ROOM = "everybody"
LINKS = 20
START_MS = 10**9


class Member(Edge):
    """A watcher's edge: counts the frames it is sent, and keeps the last. `sent` of the class counts those of all."""

    __slots__ = ("frames", "last")
    sent: ClassVar[int] = 0

    def __init__(self) -> None:
        self.frames = 0
        self.last = b""

    def send(self, data: bytes) -> None:
        """Count it."""
        Member.sent += 1
        self.frames += 1
        self.last = data

    def end(self, code: str) -> None:
        """Nothing to close."""


def run(
    *,
    members: int = 50_000,
    changes_per_s: int = 1_000,
    seconds: int = 5,
    rounds: int = 3,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Fill the room, then let its members change, `rounds` times for `seconds`. `BenchError` if the counts told in the
    end are not the truth."""
    outcome = Outcome("channel", "channel: a very large room", "turn_p99_ms")
    outcome.options = {"members": members, "changes_per_s": changes_per_s, "seconds": seconds, "rounds": rounds}
    ours = outcome.servers[OURS] = ServerOutcome()
    whole = Histogram()
    progress("filling the room", 0, rounds)
    with on_core(cores.server):
        room = Room(members)
        with partial() as cut:
            for number in range(rounds):
                progress("rounds", number, rounds)
                room.play(ours, whole, changes_per_s, seconds)
        if not cut.happened:
            room.settle()
            check_counts(room.engine, room.watchers)
    outcome.interrupted = cut.happened
    ours.latency["turn"] = whole.latency()
    outcome.notes.append("times are CPU times of turns in which somebody was told something")
    return outcome


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run what is inside on the core of the servers: it is what is measured."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Room:
    """The engine with everybody in one room, and its own time."""

    def __init__(self, members: int) -> None:
        self.engine, self.log, self.watchers, self._devices = fill(members)
        self._now_ms = START_MS
        self._changed = 0
        self.settle()

    def play(self, ours: ServerOutcome, whole: Histogram, changes_per_s: int, seconds: int) -> None:
        """One round: changes are spread evenly over the room's time, a turn follows each millisecond."""
        before = [watcher.edge.frames for watcher in self.watchers]  # type: ignore[attr-defined]
        turns, quiet, sent, first = Histogram(), 0, Member.sent, self._changed
        gc.collect()
        gc.freeze()
        for step in range(seconds * 1000):
            self._now_ms += 1
            self._change(first + (step + 1) * changes_per_s // 1000)
            told = Member.sent
            began_ns = time.process_time_ns()
            run_turn(self.engine, self.log, self._now_ms)
            taken_ns = time.process_time_ns() - began_ns
            if Member.sent > told:
                turns.record(taken_ns)
            else:
                quiet += 1
        gc.unfreeze()
        whole.add(turns)
        got = [watcher.edge.frames - was for watcher, was in zip(self.watchers, before, strict=True)]  # type: ignore[attr-defined]
        add_figure(ours, "turn_p99_ms", round(turns.percentile_ns(99) / 1e6, 3))
        add_figure(ours, "turn_p50_ms", round(turns.percentile_ns(50) / 1e6, 3))
        add_figure(ours, "turn_max_ms", round(turns.max_ns / 1e6, 3))
        add_figure(ours, "turns_without_frames", quiet)
        add_figure(ours, "frames_per_watcher_max", max(got))
        add_figure(ours, "changes", self._changed - first)
        ours.checks.deliveries += Member.sent - sent

    def settle(self) -> None:
        """Let time pass until the room has nothing more to tell."""
        for _ in range(100_000):
            next_ms = run_turn(self.engine, self.log, self._now_ms)
            if self.engine.channels.next_ms is None:
                return
            self._now_ms = max(self._now_ms + 1, next_ms or 0)
        raise BenchError("the room does not come to rest")

    def _change(self, until: int) -> None:
        while self._changed < until:
            device = self._devices[self._changed * 7919 % len(self._devices)]
            self.engine.devices.change(self._now_ms, device, status="away" if device.status == "online" else "online")
            self._changed += 1


def fill(members: int) -> tuple[Engine, MemoryLog, list[Session], list[Device]]:
    """A room with everybody in it, each with a device, watching."""
    engine = Engine(Policy(change_spacing_ms=0), now_ms=START_MS, wall_ms=1_700_000_000_000, epoch=1)
    log = MemoryLog()
    links = [Session(Member(), f"backend{number}", "service") for number in range(LINKS)]
    watchers = [Session(Member(), f"user{number}", "user") for number in range(members)]
    devices: list[Device] = []
    for number, watcher in enumerate(watchers):
        link = links[number % LINKS]
        device = engine.sessions.attach(START_MS, link, "web", user_name=f"user{number:06d}", ref=number + 1)
        engine.channels.join(device, ROOM, START_MS, "service")
        engine.channels.watch(watcher, ROOM)
        devices.append(device)
        if number % 200 == 0:
            run_turn(engine, log, START_MS)
    return engine, log, watchers, devices


def check_counts(engine: Engine, watchers: list[Session]) -> None:
    """`BenchError` unless the last frame of every watcher has the counts that are the truth."""
    truth = Counter(user.record.status for user in engine.users.values() if user.channels)
    for last, count in Counter(watcher.edge.last for watcher in watchers).items():  # type: ignore[attr-defined]
        reader = FrameReader(1 << 24)
        reader.feed(last)
        messages = reader.take(1000)
        told = decode_server(messages[-1]) if messages else None
        if not isinstance(told, ChannelCounts) or told.counts[1:3] != [truth["online"], truth["away"]]:
            raise BenchError(f"the last counts told to {count} watchers are not the truth: {told}, {truth}")
