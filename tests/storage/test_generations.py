"""Two snapshots and the log between them: that one of them is always good, and that they are not taken for ever."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from presenced.storage.files import OsDirectory
from presenced.storage.layout import segment_name
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


def test_one_that_stands_alone_leaves_nothing_from_before_it(tmp_path: Path) -> None:
    making = Making(tmp_path / "state")
    for _ in range(2):
        making.texts(4)
        making.snapshot()
    making.texts(3)
    making.snapshot(alone=True)
    (snapshot,) = making.journal.manifest.snapshots
    assert [entry.first_seq for entry in making.journal.manifest.segments] == [snapshot.start_seq]
    assert not making.journal.has_leftovers
    assert sorted(path.name for path in making.place.glob("*-*")) == sorted(
        [snapshot.name, *(segment_name(entry.number) for entry in making.journal.manifest.segments)]
    )
    making.texts(2)
    expected = state_of(making.facts)
    making.leave()
    assert recovered(making.place)[0] == expected
    again = Making(making.place)
    again.snapshot()
    assert len(again.journal.manifest.snapshots) == 2, "and the next makes two generations of it"
    again.leave()


@pytest.mark.parametrize("fails", ["unlink", "sync"])
def test_files_that_cannot_be_removed_for_want_of_room_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    making = Making(tmp_path / "state")
    making.texts(4)
    making.snapshot()

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patched:
        writer = making.journal.begin_snapshot()
        steps = making.journal.finish_snapshot(writer, 1, alone=True)
        for _ in steps:
            if making.journal.manifest.snapshots[0].name == writer.name:
                patched.setattr(OsDirectory, fails, full)
    assert making.journal.has_leftovers and len(making.journal.manifest.snapshots) == 1
    making.texts(1)
    making.snapshot(alone=True)
    assert not making.journal.has_leftovers
    making.stop()
