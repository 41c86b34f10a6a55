"""What `make test` leaves to `make check`, and how much of a sample it takes.

A file or directory has a marker by standing here; a single test that is slow among quick ones has its own.
"""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import PurePosixPath

LEFT_OUT = ("slow", "peers", "systemd")
"""Markers whose tests `make test` does not run. `make check` and CI run everything."""

PLACES: dict[str, tuple[str, ...]] = {
    "slow": (
        "backplane/test_engines.py",
        "bench/load",
        "bench/profiles",
        "bench/test_bench.py",
        "bench/test_processes.py",
        "bench/test_results_kept.py",
        "bench/test_run.py",
        "cli/test_store.py",
        "client/test_interleavings.py",
        "client/test_types.py",
        "docs/test_readme.py",
        "durable/test_engine_store.py",
        "durable/test_faults.py",
        "durable/test_full_disk.py",
        "durable/test_following.py",
        "durable/test_kill.py",
        "durable/test_restart.py",
        "durable/test_returns.py",
        "durable/test_snapshots.py",
        "e2e/test_slow_watchers.py",
        "nodes/test_nodes_together.py",
        "nodes/test_supervisor.py",
        "ops/test_descriptors.py",
        "ops/test_drain.py",
        "packaging",
        "sim/test_seeded_bugs.py",
        "storage/test_directories.py",
        "storage/test_reader.py",
        "storage/test_sealed.py",
        "storage/test_seeded_bugs.py",
        "storage/test_tools.py",
        "testing_package/test_plugin.py",
        "web/test_client.py",
        "web/test_demo.py",
        "web/test_package.py",
        "web/test_pages.py",
    ),
    "peers": ("bench/peers",),
    "systemd": ("systemd",),
}
"""Below tests/."""

SHARE = "TEST_SHARE"
"""The variable with the share of each sample that is tried; 1 without it."""


@cache
def markers_of(path: PurePosixPath) -> tuple[str, ...]:
    """Those that a file below tests/ has by its place."""
    return tuple(marker for marker, places in PLACES.items() if any(path.is_relative_to(place) for place in places))


def samples(full: int) -> int:
    """How many examples to try where `full` are enough for good."""
    return max(1, math.ceil(full * _share()))


def spaced(full: int) -> int:
    """How far apart the examples are to be where every `full`-th is enough for good."""
    return max(1, math.ceil(full / _share()))


def _share() -> float:
    return float(os.environ.get(SHARE, "1"))
