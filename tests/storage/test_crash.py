"""Power cuts and kills at every operation of every workload, and again during the recovery from them.

See `crashes` for how states are reached and how one is replayed, and `python -m tests.torture.crash` for more of them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from itertools import count

import pytest

from tests.storage.crashes import DEPTH_MAX, Explorer
from tests.storage.machine import Dead, History, Machine, small_units
from tests.storage.simdisk import Decider, SimDisk
from tests.storage.workloads import (
    Workload,
    engines,
    failing_operations,
    failing_syncs,
    full_disks,
    plain,
    walks,
)
from tests.support.tiers import samples, spaced

STATES_MIN = samples(20_000)


@pytest.fixture(autouse=True)
def units() -> Iterator[None]:
    with small_units():
        yield


def chosen() -> Iterator[tuple[Workload, int]]:
    """Workloads, and at which share of their operations they are crashed."""
    for workload in plain():
        yield workload, spaced(40)
    for workload in walks(0, 6):
        yield workload, spaced(80)
    for workload in full_disks(900):
        yield workload, spaced(80)
    for workload in failing_operations(23):
        yield workload, spaced(160)
    for workload in failing_syncs(4):
        yield workload, spaced(160)
    for workload in engines():
        yield workload, spaced(80)


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


@pytest.mark.parametrize("sync_each", [True, False])
def test_a_snapshot_whose_sync_finds_no_room_leaves_no_hole_in_the_log(sync_each: bool) -> None:
    """Each sync of a snapshot fails in turn, with what it was to write lost. Without room for the file of the snapshot
    alone the process goes on, and what it acknowledges then is there after a power cut."""
    goes_on = set()
    for number in count():
        machine = Machine(SimDisk(), History(), sync_each=sync_each)
        machine.open()
        machine.commits(4)
        machine.disk.sync_error = errno.ENOSPC
        failing = machine.disk.syncs + number
        machine.disk.sync_faults = {failing}
        try:
            machine.snapshot()
            if machine.disk.syncs <= failing:
                break
            machine.commits(3)
        except Dead:
            machine.kill()
        goes_on.add(machine.journal is not None)
        for decider in (Decider(0), Decider(-1)):
            after = Machine(machine.disk.cut(decider), machine.history.clone(power_cut=True), sync_each=sync_each)
            after.look()
    assert goes_on == {True, False}


def test_a_path_leads_to_the_same_state_again() -> None:
    explorer = Explorer()
    explorer.replay("snapshots@40:rnd-7@12:mask-1@3:kill")
    assert explorer.by_depth == [0, 1, 1, 1]
