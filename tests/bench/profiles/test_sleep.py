"""The profile `sleep`, tiny: what it measures is there, and users whom a start does not know fail the run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bench.load import data_directories
from bench.machine import disk
from bench.machine.cores import Cores
from bench.profiles import sleep
from bench.results.outcome import OURS

CORE = max(os.sched_getaffinity(0))
CORES = Cores(CORE, CORE)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Taken for a disk, whatever it is."""
    monkeypatch.setattr(disk, "IN_MEMORY", ())
    return tmp_path


@pytest.mark.parametrize("contacts", [0, 4])
def test_sleepers_are_measured_beside_the_same_users_awake(contacts: int, place: Path) -> None:
    found = sleep.run(users=200, contacts=contacts, rounds=1, place=place, cores=CORES)
    assert found.faults() == {}
    ours, awake = (found.servers[name].figures for name in (OURS, sleep.AWAKE))
    for kind in ("snapshot", "log"):
        assert ours.keys() >= {f"{kind}_{name}" for name in ("ready_ratio", "rss_ratio", "asleep_share")}
        assert awake.keys() >= {f"{kind}_{name}" for name in ("ready_cpu_us_per_user", "rss_bytes_per_user")}
    turns = {f"longest_{what}_turn_cpu_ms" for what in ("sweep", "resweep", "snapshot")}
    assert ours.keys() >= {"waking_cpu_us", "login_cpu_us", "login_ratio", *turns}
    assert ours["snapshot_asleep_share"] == ours["log_asleep_share"] == [0.9]
    kept = sorted(path.name.rpartition("-")[0] for path in place.iterdir())
    assert kept == [f"sleepers-200-{contacts}-{kind}" for kind in ("awake", "log", "snapshot")]


def test_users_who_are_not_known_after_a_start_fail_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = data_directories.run_apart

    def builds_too_few(module: str, *arguments: str, **rest: Any) -> str:
        what, directory, users, *others = arguments
        return whole(module, what, directory, str(int(users) - 1), *others, **rest)

    monkeypatch.setattr(data_directories, "run_apart", builds_too_few)
    found = sleep.run(users=200, rounds=1, place=place, cores=CORES)
    assert found.faults() == {OURS: {"lost": 2}, sleep.AWAKE: {"lost": 2}}
