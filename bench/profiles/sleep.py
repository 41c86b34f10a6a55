"""Profile `sleep`: many users who are away for long, asleep and, beside that, all awake.

One user in ten is there. The same users are in a snapshot in which the others sleep, in one in which all are awake, and
in a log; each start is a process of its own without sockets, and what it takes is what the daemon does with such a
directory: read it, check it, and come to the point where it could answer. Starts with sleep and without alternate, so
that both see the same machine.
"""

from __future__ import annotations

import json
from pathlib import Path

from bench.load.data_directories import SLEEPERS, sleepers
from bench.machine.cores import Cores
from bench.machine.disk import choose_place, file_system
from bench.machine.meter import add_figure
from bench.machine.subprocesses import run_apart
from bench.results.outcome import OURS, Outcome, Progress, ServerOutcome, no_progress, partial

AWAKE = "awake"
"""The other column: the same users with nobody asleep."""

APART_TIMEOUT_S = 1800
PAIRS = {"snapshot": ("snapshot", AWAKE), "log": ("log", "log")}
"""What is started from: the directory with sleep, and the one without."""


def run(
    *,
    users: int = 50_000,
    contacts: int = 0,
    rounds: int = 3,
    place: Path | None = None,
    cores: Cores,
    progress: Progress = no_progress,
) -> Outcome:
    """Run the profile. Users who are not known after a start are lost."""
    place = choose_place(place)
    disk = file_system(place)
    ours, theirs = ServerOutcome(), ServerOutcome()
    outcome = Outcome("sleep", "sleep: most users are away for long", "snapshot_ready_cpu_us_per_user")
    outcome.options = {
        "users": users,
        "contacts": contacts,
        "rounds": rounds,
        "file_system": f"{disk.kind} on {disk.device}, {place}",
    }
    outcome.servers = {OURS: ours, AWAKE: theirs}
    outcome.notes.append("one user in ten is there; turns are measured in CPU time")
    with partial() as cut:
        for number, kind in enumerate(list(PAIRS) * rounds):
            progress(f"from the {kind}", number, len(PAIRS) * rounds)
            asleep, awake = PAIRS[kind]
            slept = started(place, users, contacts, asleep, "asleep", cores.server)
            woke = started(place, users, contacts, awake, AWAKE, cores.server)
            for server, found in ((ours, slept), (theirs, woke)):
                server.checks.lost += int(found.pop("unknown"))
                add_figure(server, f"{kind}_ready_cpu_us_per_user", round(found["ready_s"] * 1e6 / users, 3))
                add_figure(server, f"{kind}_rss_bytes_per_user", round(found["rss_bytes"] / users, 1))
            add_figure(ours, f"{kind}_ready_ratio", round(slept["ready_s"] / woke["ready_s"], 3))
            add_figure(ours, f"{kind}_rss_ratio", round(slept["rss_bytes"] / max(1, woke["rss_bytes"]), 3))
            add_figure(ours, f"{kind}_asleep_share", round(slept["asleep"] / users, 4))
            add_login(ours, theirs, kind, slept)
    progress("done", 1, 1)
    outcome.interrupted = cut.happened
    return outcome


def add_login(ours: ServerOutcome, theirs: ServerOutcome, kind: str, found: dict[str, float]) -> None:
    """What the process that had sleepers measured beside its start. All of it is of users that a snapshot had asleep,
    but for the turns of a sweep right after a start, of which there are some behind a log alone."""
    if kind == "log":
        add_figure(ours, "longest_sweep_turn_cpu_ms", round(found["longest_sweep_turn_cpu_ms"], 3))
        return
    add_figure(ours, "waking_cpu_us", round(found["waking_cpu_us"], 2))
    add_figure(ours, "login_cpu_us", round(found["asleep_login_cpu_us"], 2))
    add_figure(theirs, "login_cpu_us", round(found["awake_login_cpu_us"], 2))
    add_figure(ours, "login_ratio", round(found["asleep_login_cpu_us"] / found["awake_login_cpu_us"], 3))
    add_figure(ours, "longest_resweep_turn_cpu_ms", round(found["longest_resweep_turn_cpu_ms"], 3))
    add_figure(ours, "longest_snapshot_turn_cpu_ms", round(found["longest_snapshot_turn_cpu_ms"], 3))


def started(place: Path, users: int, contacts: int, kind: str, how: str, core: int) -> dict[str, float]:
    """Start on a directory, which is made if there is none yet, and say what that took."""
    directory = sleepers(place, users, contacts, kind)
    found: dict[str, float] = json.loads(
        run_apart(SLEEPERS, "start", str(directory), str(users), how, core=core, timeout_s=APART_TIMEOUT_S)
    )
    return found
