"""Profile `channel`: a very large room in which much happens, on the engine without sockets.

Every member watches the room. Time is virtual, a millisecond a step; what is measured is how long each turn takes in
truth, and how many frames a watcher gets. The counts are held against the truth in the end.
"""

from __future__ import annotations

import gc
import time
from collections import Counter

from bench.daemon import BenchError, Cores
from bench.report import Result
from presenced.core.engine import Engine
from presenced.core.model import Session
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


def run(*, members: int, changes_per_s: int, seconds: int, cores: Cores) -> Result:
    """Fill the room, then let its members change."""
    engine = Engine(Policy(change_spacing_ms=0), now_ms=START_MS, wall_ms=1_700_000_000_000, epoch=1)
    log = MemoryLog()
    links = [Session(Member(), f"backend{number}", "service") for number in range(LINKS)]
    watchers = [Session(Member(), f"user{number}", "user") for number in range(members)]
    devices = []
    for number, watcher in enumerate(watchers):
        link = links[number % LINKS]
        device = engine.attach(START_MS, link, "web", user_name=f"user{number:06d}", ref=number + 1)
        engine.join(START_MS, device, ROOM)
        engine.channels.watch(watcher, ROOM)
        devices.append(device)
        if number % 200 == 0:
            run_turn(engine, log, START_MS)
    now_ms = _settle(engine, log, START_MS)
    before = [watcher.edge.frames for watcher in watchers]  # type: ignore[attr-defined]
    gc.collect()
    gc.freeze()
    turns_ms: list[float] = []
    changed = 0
    for step in range(seconds * 1000):
        now_ms += 1
        while changed < (step + 1) * changes_per_s // 1000:
            device = devices[changed * 7919 % members]
            engine.set_device(now_ms, device, status="away" if device.status == "online" else "online")
            changed += 1
        began = time.perf_counter()
        run_turn(engine, log, now_ms)
        turns_ms.append((time.perf_counter() - began) * 1000)
    got = [watcher.edge.frames - was for watcher, was in zip(watchers, before, strict=True)]  # type: ignore[attr-defined]
    _settle(engine, log, now_ms)
    _check_counts(engine, watchers)
    turns_ms.sort()
    return {
        "profile": "channel",
        "members": members,
        "changes_per_s": changes_per_s,
        "seconds": seconds,
        "changes": changed,
        "frames_per_watcher_max": max(got),
        "turn_p50_ms": round(turns_ms[len(turns_ms) // 2], 3),
        "turn_p99_ms": round(turns_ms[len(turns_ms) * 99 // 100], 3),
        "turn_max_ms": round(turns_ms[-1], 3),
    }


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
