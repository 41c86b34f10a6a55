"""Two snapshots and the log between them: that one of them is always good, and that they are not taken for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from presenced.storage.snapshot import SnapshotError
from tests.storage.machine import History, Machine
from tests.storage.making import Making, flip, recovered, state_of
from tests.storage.simdisk import SimDisk, SimFile


def test_a_snapshot_that_the_disk_garbled_is_not_listed() -> None:
    """It is read back before it counts: the good one before it must not be the one that goes."""
    disk = SimDisk()
    machine = Machine(disk, History())
    machine.open()
    machine.commits(5)
    machine.snapshot(between=0)
    assert machine.refusals == 0
    listed = machine._alive().manifest.snapshots

    def garble(what: str, file: SimFile | None, data: bytes, offset: int) -> None:
        if what.startswith("sync snap-"):
            (name,) = (name for name in disk.directories["data"].cached if name.endswith(".prs.tmp"))
            disk.directories["data"].cached[name].cached[-70] ^= 8

    journal = machine._alive()
    writer = journal.begin_snapshot()
    writer.add(b"\xdd\x00\x00\x00\x01\xc0", 1)
    disk.on_operation = garble
    with pytest.raises(SnapshotError, match="does not read back as it was written"):
        list(journal.finish_snapshot(writer, 1))
    disk.on_operation = None
    writer.abandon()
    assert journal.manifest.snapshots == listed
    machine.kill()
    machine.look()


def test_one_that_cannot_be_used_does_not_take_the_place_of_the_older_one(tmp_path: Path) -> None:
    making = Making(tmp_path / "state")
    making.texts(4)
    making.snapshot()
    making.texts(2)
    making.snapshot()
    making.leave()
    older, newer = sorted(making.place.glob("snap-*"))
    flip(newer, 5_000 % newer.stat().st_size)
    again = Making(making.place)
    assert [entry.name for entry in again.journal.manifest.snapshots] == [older.name]
    again.texts(2)
    again.snapshot()
    again.texts(1)
    expected = state_of(again.facts)
    again.leave()
    newest = max(making.place.glob("snap-*"))
    assert newest.name > newer.name
    flip(newest, 5_000 % newest.stat().st_size)
    state, report = recovered(making.place)
    assert report.snapshot == older.name and state == expected


def test_what_a_snapshot_holds_does_not_count_for_the_next_one(tmp_path: Path) -> None:
    making = Making(tmp_path / "state")
    making.texts(10)
    assert making.journal.bytes_since_snapshot > 500
    writer = making.journal.begin_snapshot()
    assert making.journal.bytes_since_snapshot == 0
    writer.abandon()
    making.texts(1)
    assert 0 < making.journal.bytes_since_snapshot < 300
    making.leave()
