"""Power cuts and kills at every operation of every workload, and again during the recovery from them.

See `crashes` for how states are reached and how one is replayed, and `python -m tests.torture.crash` for more of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.storage.crashes import DEPTH_MAX, Explorer
from tests.storage.machine import small_units
from tests.storage.workloads import (
    Workload,
    engines,
    failing_operations,
    failing_syncs,
    full_disks,
    plain,
    walks,
)

STATES_MIN = 20_000


@pytest.fixture(autouse=True)
def units() -> Iterator[None]:
    with small_units():
        yield


def chosen() -> Iterator[tuple[Workload, int]]:
    """Workloads, and at which share of their operations they are crashed."""
    for workload in plain():
        yield workload, 20
    for workload in walks(0, 6):
        yield workload, 40
    for workload in full_disks(900):
        yield workload, 40
    for workload in failing_operations(23):
        yield workload, 80
    for workload in failing_syncs(4):
        yield workload, 80
    for workload in engines():
        yield workload, 40


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_nothing_else_appears(capsys: pytest.CaptureFixture[str]) -> None:
    states = 0
    by_depth = [0] * (DEPTH_MAX + 1)
    for workload, stride in chosen():
        explorer = Explorer(lots=1, stride=stride)
        explorer.explore(workload)
        states += explorer.states
        by_depth = [total + more for total, more in zip(by_depth, explorer.by_depth, strict=True)]
    with capsys.disabled():
        print(f"\n{states:,} crash states, {by_depth[1]:,} + {by_depth[2]:,} + {by_depth[3]:,} by depth", end=" ")
    assert states >= STATES_MIN
    assert all(by_depth[1:])


def test_every_first_operation_is_crashed_in_every_way() -> None:
    """The shortest workload, whole: what the shares above leave out is not left out everywhere."""
    explorer = Explorer(lots=2, stride=1, depth_max=1)
    explorer.explore(next(plain()))
    assert explorer.states > 300


def test_a_path_leads_to_the_same_state_again() -> None:
    explorer = Explorer()
    explorer.replay("snapshots@40:rnd-7@12:mask-1@3:kill")
    assert explorer.by_depth == [0, 1, 1, 1]
