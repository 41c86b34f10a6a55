"""Profile `recovery`: a full data directory, and how long until the daemon serves what is in it.

Once from the log alone and once from a snapshot. The directories are made once and kept in bench/build; every run
works on copies, whose pages are dropped from the page cache before each start. Reading alone is measured in a process
of its own, the whole start on the real daemon: from its exec to the line that says that it listens.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from bench.load.data_directories import STATUSES, copy_of, replayed, start_full, user_name, user_text
from bench.load.links import get_records, open_device_links
from bench.machine.cores import Cores, need_descriptors
from bench.machine.disk import choose_place, file_system, forget_cached
from bench.machine.meter import add_figure
from bench.machine.server import Server
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial
from presenced.wire.messages import Who, WhoPage

SAMPLE_USERS = 5000
KINDS = ("log", "snapshot")


def run(
    *,
    users: int = 1_000_000,
    rounds: int = 3,
    place: Path | None = None,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile: `rounds` starts from each of the two.

    Users that came back wrong are in the checks; `BenchError` means that there is no outcome."""
    need_descriptors(2)
    place = choose_place(place)
    disk = file_system(place)
    ours = ServerOutcome()
    outcome = Outcome("recovery", "recovery: from start to ready", "log_ready_s")
    outcome.options = {"users": users, "rounds": rounds, "file_system": f"{disk.kind} on {disk.device}, {place}"}
    outcome.servers[OURS] = ours
    outcome.notes.append("the files are not in the page cache when the daemon starts")
    with partial() as cut:
        for number, kind in enumerate(KINDS * rounds):
            progress(f"from the {kind}", number, len(KINDS) * rounds)
            with ExitStack() as stack:
                directory = copy_of(stack, place, users, kind)
                figures, wrong = recover_once(stack, directory, users, cores)
                for key, value in figures.items():
                    add_figure(ours, f"{kind}_{key}", value)
                ours.checks.wrong += wrong
        progress("done", 1, 1)
    outcome.interrupted = cut.happened
    return outcome


def recover_once(stack: ExitStack, directory: Path, users: int, cores: Cores) -> tuple[dict[str, float], int]:
    """Read the directory alone, then start the daemon on it: the figures, and how many users came back wrong."""
    forget_cached(directory)
    read = replayed(directory, cores.server)
    forget_cached(directory)
    started_s = time.perf_counter()
    daemon = stack.enter_context(start_full(directory, cores))
    ready_s = time.perf_counter() - started_s
    figures: dict[str, float] = {
        "ready_s": round(ready_s, 2),
        "ready_cpu_s": round(daemon.cpu_ns() / 1e9, 2),
        "facts_per_s": round(read["facts"] / read["replay_s"]),
        "facts_per_cpu_s": round(read["facts"] / read["replay_cpu_s"]),
        "facts": read["facts"],
        "replay_s": round(read["replay_s"], 2),
        "finish_s": round(read["finish_s"], 2),
        "rss_bytes": daemon.resident_bytes(),
        "disk_bytes": read["bytes"],
    }
    return figures, wrong_users(stack, daemon, users)


def wrong_users(stack: ExitStack, daemon: Server, users: int) -> int:
    """How far the number of those online is off, and how many of a sample are not as they were written."""
    link = open_device_links(stack, daemon.port, ["auditor"])[0]
    link.send(Who(1, limit=0))
    wrong = abs(link.receive_reply(WhoPage).total - (users + 1))
    step = max(1, users // SAMPLE_USERS)
    expected = {user_name(index): (STATUSES[index % 4], user_text(index)) for index in range(0, users, step)}
    records = get_records(link, list(expected))
    return wrong + sum(
        (records[user].status, records[user].text, records[user].device) != (status, text, "phone")
        for user, (status, text) in expected.items()
    )
