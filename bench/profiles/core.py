"""Profile `core`: the engine without sockets: does a change cost more among a million users, and what do they weigh?

Each size is built in a process of its own, so that what one leaves behind in memory weighs on no other.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path

from bench.load.directory_maker import Nowhere
from bench.machine.cores import Cores
from bench.machine.subprocesses import run_apart
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, median, no_progress, partial
from presenced.core.engine import Engine
from presenced.core.model import Session, User
from presenced.core.policy import Policy
from presenced.server.fact_log import MemoryLog
from presenced.server.turn import run_turn
from presenced.wire.messages import Status

WATCHERS = 50
CHANGES = 20_000
LINKS = 20
ATTEMPTS = 3
NOW_MS = 10**9


def run(
    *,
    users: tuple[int, ...] = (10_000, 100_000, 1_000_000),
    live_devices: int = 200_000,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Build an engine of each size and measure it. The main figure is the cost of a change at the last size."""
    ours = ServerOutcome()
    outcome = Outcome("core", "core: the engine without sockets", "change_us")
    outcome.options = {"users": list(users), "live_devices": live_devices, "watchers": WATCHERS, "changes": CHANGES}
    outcome.servers[OURS] = ours
    series = ours.series
    with partial() as cut:
        for number, size in enumerate(users):
            progress("sizes", number, len(users))
            ours.figures = measure_apart(size, min(live_devices, size), cores.server)
            for name, values in ours.figures.items():
                series.setdefault(f"{name}_by_users", []).append((size, median(values)))
        progress("sizes", len(users), len(users))
    outcome.interrupted = cut.happened
    costs = [cost for _, cost in series.get("change_us_by_users", [])]
    if len(costs) > 1:
        ours.figures["change_ratio_last_to_first"] = [round(costs[-1] / costs[0], 3)]
    outcome.notes.append("figures are those of the last size; the series has all of them")
    return outcome


def measure_apart(users: int, live_devices: int, core: int) -> dict[str, list[float]]:
    """`measure` in a process of its own, pinned to `core`; `BenchError` with its words if it failed."""
    measured: dict[str, list[float]] = json.loads(run_apart(__name__, str(users), str(live_devices), core=core))
    return measured


def measure(users: int, live_devices: int) -> dict[str, list[float]]:
    """One size: memory of known users, of live devices beyond them, and the CPU time of a change with its fan-out,
    which is measured several times."""
    engine = Engine(Policy(change_spacing_ms=0), now_ms=NOW_MS, wall_ms=1_700_000_000_000, epoch=1)
    before = _resident_bytes()
    known = [_known_user(engine, f"user{number:07d}", number) for number in range(users)]
    run_turn(engine, MemoryLog(), NOW_MS)
    after_users = _resident_bytes()
    links = [Session(Nowhere(), f"backend{number}", "service") for number in range(LINKS)]
    step = max(1, users // live_devices)
    for number, user in enumerate(known[::step][:live_devices]):
        engine.sessions.attach(
            NOW_MS, links[number % LINKS], "web", user_name=user.name, ref=number + 1, kind="browser", idle_ms=0
        )
        if number % 1000 == 0:
            run_turn(engine, MemoryLog(), NOW_MS)
    run_turn(engine, MemoryLog(), NOW_MS)
    after_devices = _resident_bytes()
    return {
        "change_us": _changes_us(engine, known[::step][:live_devices]),
        "bytes_per_user": [round((after_users - before) / users)],
        "bytes_per_live_device": [round((after_devices - after_users) / live_devices)],
    }


def _known_user(engine: Engine, name: str, number: int) -> User:
    user = engine.users.get_or_new(name)
    engine.manual_status.set(NOW_MS, user, None, status="dnd", text=f"in a meeting, no. {number}", emoji=None, for_ms=0)
    if number % 1000 == 0:
        run_turn(engine, MemoryLog(), NOW_MS)
    return user


def _changes_us(engine: Engine, online: list[User]) -> list[float]:
    """Microseconds of CPU for a change of one user, spread over all that are online, told to some watchers;
    one value for each attempt."""
    changed = online[:: max(1, len(online) // 1000)][:1000]
    watchers = [Session(Nowhere(), f"watcher{number}", "service") for number in range(WATCHERS)]
    for session in watchers:
        for start in range(0, len(changed), 256):
            engine.watches.add(NOW_MS, session, [user.name for user in changed[start : start + 256]])
    log = MemoryLog()
    gc.freeze()
    taken = []
    for attempt in range(ATTEMPTS):
        began_ns = time.process_time_ns()
        for number in range(CHANGES):
            user = changed[number % len(changed)]
            status: Status = "away" if (number // len(changed) + attempt) % 2 else "dnd"
            engine.manual_status.set(NOW_MS, user, None, status=status, text=None, emoji=None, for_ms=0)
            run_turn(engine, log, NOW_MS)
        taken.append(round((time.process_time_ns() - began_ns) / 1000 / CHANGES, 3))
    return taken


def _resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
