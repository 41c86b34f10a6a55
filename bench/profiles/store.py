"""Profile `store`: presenced's log beside SQLite, without a daemon: the same facts, the same promise, the same disk.

Each store runs in a process of its own, and they take turns. First it is filled with users; then writers change them,
each of whom waits until its change is on the disk before it makes the next. At the end it is read as a start reads it.
The CPU is that of the whole process, with what makes the facts, which is the same for both.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.load.data_directories import user_name
from bench.load.stores import SQLITE, STORES, LogStore, SqliteStore, Store, facts_of_change, write_snapshot
from bench.machine.cores import Cores
from bench.machine.disk import choose_place, file_system, forget_cached, scratch, tree_bytes
from bench.machine.meter import add_figure
from bench.machine.subprocesses import run_apart
from bench.results.outcome import Latency, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.core.records import Fact, RecordSet

FIGURE = "cpu_us_per_fact"
STEP = 7919
"""A prime, so that the changes of a writer are spread over all users."""

FILL_AT_ONCE = 2000
"""Users handed in together while a store is filled."""


def run(
    *,
    users: int = 100_000,
    writers: int = 200,
    seconds: float = 3.0,
    rounds: int = 5,
    place: Path | None = None,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile. A change that is acknowledged and not read back counts as lost."""
    place = choose_place(place)
    disk = file_system(place)
    outcome = Outcome("store", "store: the log beside SQLite", FIGURE)
    outcome.options = {"users": users, "writers": writers, "seconds": seconds, "rounds": rounds}
    outcome.options["file_system"] = f"{disk.kind} on {disk.device}, {place}"
    outcome.servers = {name: ServerOutcome() for name in STORES}
    outcome.servers[SQLITE].version = sqlite3.sqlite_version
    outcome.notes.append("SQLite: journal_mode=WAL, synchronous=FULL, one row for each thing, group commit on a thread")
    waits_ns: dict[str, list[int]] = {name: [] for name in STORES}
    with partial() as cut:
        for number in range(rounds):
            for name in (*STORES,) if number % 2 else (*reversed(STORES),):
                progress(f"round, {name}", number, rounds)
                with ExitStack() as stack:
                    directory = scratch(stack, place, "store")
                    os.sync()  # what the one before has left to be written is not this one's
                    found = measured_apart(name, directory, users, writers, seconds, cores.server)
                waits_ns[name] += found.pop("waits_ns")
                outcome.servers[name].checks.lost += found.pop("lost")
                for figure, value in found.items():
                    add_figure(outcome.servers[name], figure, value)
        progress("round", rounds, rounds)
    for name, values in waits_ns.items():
        outcome.servers[name].latency["write"] = Latency.of_ns(values)
    outcome.interrupted = cut.happened
    return outcome


def measured_apart(name: str, directory: Path, users: int, writers: int, seconds: float, core: int) -> dict[str, Any]:
    """`measure` in a process of its own, pinned to `core`; `BenchError` with its words if it failed."""
    found: dict[str, Any] = json.loads(
        run_apart(__name__, name, str(directory), str(users), str(writers), str(seconds), core=core)
    )
    return found


def measure(name: str, directory: Path, users: int, writers: int, seconds: float) -> dict[str, Any]:
    """One store from empty to read back."""
    kind = STORES[name]
    place = directory / "data"
    place.mkdir()
    wake = threading.Event()
    store = kind(place, wake)
    names = [user_name(index) for index in range(users)]
    began_s, cpu_s = time.perf_counter(), time.process_time()
    for start in range(0, users, FILL_AT_ONCE):
        facts = [fact for user in names[start : start + FILL_AT_ONCE] for fact in facts_of_change(user, 0)]
        store.submit(facts, (start,))
        wait_for(store, wake)
    fill_s, fill_cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    found: dict[str, Any] = {"fill_s": round(fill_s, 3), "fill_cpu_s": round(fill_cpu_s, 3)}
    found |= change(store, wake, names, writers, seconds)
    store.close()
    found["disk_bytes"] = tree_bytes(place)
    found |= read(kind, place, "", acknowledged=found.pop("acknowledged"))
    if kind is LogStore:
        whole = directory / "snapshot"
        write_snapshot(whole, [fact for user in names for fact in facts_of_change(user, 1)])
        found["snapshot_disk_bytes"] = tree_bytes(whole)
        found |= read(kind, whole, "snapshot_")
    return found


def change(store: Store, wake: threading.Event, names: list[str], writers: int, seconds: float) -> dict[str, Any]:
    """Writers that each wait for their change before they make the next; a change is of another user each time."""
    theirs = [names[writer::writers] for writer in range(min(writers, len(names)))]
    """By writer, the users that it alone changes."""
    sent_ns = [0] * len(theirs)
    number = [0] * len(theirs)
    """Of a writer's last change."""
    waits_ns: list[int] = []
    acknowledged: dict[str, int] = {}
    made: dict[int, tuple[str, int]] = {}
    """By writer, the change that waits: whose it is, and its number."""
    count = 0
    ready = list(range(len(theirs)))
    began_s, cpu_s = time.perf_counter(), time.process_time()
    while True:
        if time.perf_counter() - began_s < seconds:
            facts = []
            for writer in ready:
                number[writer] += 1
                user = theirs[writer][number[writer] * STEP % len(theirs[writer])]
                made[writer] = user, number[writer]
                facts += facts_of_change(user, number[writer])
            count += len(facts)
            now_ns = time.perf_counter_ns()
            for writer in ready:
                sent_ns[writer] = now_ns
            store.submit(facts, tuple(ready))
        if not made:
            break
        ready = wait_for(store, wake)
        now_ns = time.perf_counter_ns()
        for writer in ready:
            waits_ns.append(now_ns - sent_ns[writer])
            user, at = made.pop(writer)
            acknowledged[user] = at
    taken_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    return {
        FIGURE: round(1e6 * cpu_s / count, 3),
        "facts_per_s": round(count / taken_s),
        "waits_ns": waits_ns,
        "acknowledged": acknowledged,
    }


def wait_for(store: Store, wake: threading.Event) -> list[int]:
    """Whose facts are on the disk, once there is somebody."""
    while not (done := list(store.take_done())):
        wake.wait()
        wake.clear()
    return done


def read(
    kind: type[LogStore] | type[SqliteStore], directory: Path, prefix: str, acknowledged: Any = ()
) -> dict[str, Any]:
    """Read a store as a start does, with nothing of it in the page cache; how many changes are not in it."""
    versions: dict[str, int] = {}

    def apply(facts: Sequence[Fact]) -> None:
        for fact in facts:
            if isinstance(fact, RecordSet):
                versions[fact.user] = fact.version

    forget_cached(directory)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    kind.read(directory, apply)
    found: dict[str, Any] = {
        f"{prefix}read_s": round(time.perf_counter() - began_s, 3),
        f"{prefix}read_cpu_s": round(time.process_time() - cpu_s, 3),
    }
    if acknowledged:
        found["lost"] = sum(versions.get(user, -1) != at for user, at in acknowledged.items())
    return found


if __name__ == "__main__":
    _, kind_name, path, *sizes = sys.argv
    print(json.dumps(measure(kind_name, Path(path), int(sizes[0]), int(sizes[1]), float(sizes[2]))))
