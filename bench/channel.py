"""Profile `channel`: a very large room in which much happens, on the engine without sockets.

Every member watches the room. Time is virtual, a millisecond a step; what is measured is how long each turn takes in
truth, and how many frames a watcher gets. The counts are held against the truth in the end.
"""

from __future__ import annotations

import gc
import time
from collections import Counter

from bench.daemon import BenchError, Cores
from bench.histogram import Histogram
from bench.result import OURS, Outcome, Progress, ServerOutcome, no_progress
from presenced.core.engine import Engine
from presenced.core.model import Device, Session
from presenced.core.policy import Policy
from presenced.server.turn import MemoryLog, run_turn
from presenced.wire.frames import FrameReader
from presenced.wire.messages import ChannelCounts, decode_server

ROOM = "everybody"
LINKS = 20
START_MS = 10**9


class Member:
    """A watcher's edge: counts the frames it is sent, and keeps the last."""

    __slots__ = ("frames", "last")

    def __init__(self) -> None:
        self.frames = 0
        self.last = b""

    def send(self, data: bytes) -> None:
        """Count it."""
        self.frames += 1
        self.last = data

    def end(self, code: str) -> None:
        """Nothing to close."""


def run(
    *,
    members: int = 50_000,
    changes_per_s: int = 1_000,
    seconds: int = 5,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Fill the room, then let its members change. `BenchError` if the counts told in the end are not the truth."""
    progress("filling the room", 0, seconds)
    engine, log, watchers, devices = fill(members)
    now_ms = _settle(engine, log, START_MS)
    before = [watcher.edge.frames for watcher in watchers]  # type: ignore[attr-defined]
    gc.collect()
    gc.freeze()
    turns = Histogram()
    changed = 0
    for step in range(seconds * 1000):
        if step % 1000 == 0:
            progress("seconds of the room", step // 1000, seconds)
        now_ms += 1
        while changed < (step + 1) * changes_per_s // 1000:
            device = devices[changed * 7919 % members]
            engine.set_device(now_ms, device, status="away" if device.status == "online" else "online")
            changed += 1
        began_ns = time.perf_counter_ns()
        run_turn(engine, log, now_ms)
        turns.record(time.perf_counter_ns() - began_ns)
    gc.unfreeze()
    got = [watcher.edge.frames - was for watcher, was in zip(watchers, before, strict=True)]  # type: ignore[attr-defined]
    _settle(engine, log, now_ms)
    _check_counts(engine, watchers)
    ours = ServerOutcome()
    ours.figures = {
        "turn_p99_ms": [round(turns.percentile_ns(99) / 1e6, 3)],
        "turn_p50_ms": [round(turns.percentile_ns(50) / 1e6, 3)],
        "turn_max_ms": [round(turns.max_ns / 1e6, 3)],
        "frames_per_watcher_max": [max(got)],
        "changes": [changed],
    }
    ours.checks.deliveries = sum(got)
    ours.latency["turn"] = turns.latency()
    outcome = Outcome("channel", "channel: a very large room", "turn_p99_ms")
    outcome.options = {"members": members, "changes_per_s": changes_per_s, "seconds": seconds}
    outcome.servers[OURS] = ours
    return outcome


def fill(members: int) -> tuple[Engine, MemoryLog, list[Session], list[Device]]:
    """A room with everybody in it, each with a device, watching."""
    engine = Engine(Policy(change_spacing_ms=0), now_ms=START_MS, wall_ms=1_700_000_000_000, epoch=1)
    log = MemoryLog()
    links = [Session(Member(), f"backend{number}", "service") for number in range(LINKS)]
    watchers = [Session(Member(), f"user{number}", "user") for number in range(members)]
    devices: list[Device] = []
    for number, watcher in enumerate(watchers):
        link = links[number % LINKS]
        device = engine.attach(START_MS, link, "web", user_name=f"user{number:06d}", ref=number + 1)
        engine.join(START_MS, device, ROOM)
        engine.channels.watch(watcher, ROOM)
        devices.append(device)
        if number % 200 == 0:
            run_turn(engine, log, START_MS)
    return engine, log, watchers, devices


def _settle(engine: Engine, log: MemoryLog, now_ms: int) -> int:
    """Let time pass until the room has nothing more to tell."""
    for _ in range(100_000):
        next_ms = run_turn(engine, log, now_ms)
        if engine.channels.next_ms is None:
            return now_ms
        now_ms = max(now_ms + 1, next_ms or 0)
    raise BenchError("the room does not come to rest")


def _check_counts(engine: Engine, watchers: list[Session]) -> None:
    truth = Counter(user.record.status for user in engine.users.values() if user.channels)
    reader = FrameReader(1 << 24)
    reader.feed(watchers[-1].edge.last)  # type: ignore[attr-defined]
    told = decode_server(reader.take(1000)[-1])
    if not isinstance(told, ChannelCounts) or told.counts[1:3] != [truth["online"], truth["away"]]:
        raise BenchError(f"the last counts told are not the truth: {told}, {truth}")
