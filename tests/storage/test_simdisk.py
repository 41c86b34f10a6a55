"""The simulated disk itself: what is synced stays, and what is not may go in every way that it says."""

from __future__ import annotations

import errno

import pytest

from tests.storage.simdisk import (
    SECTOR_BYTES,
    Decider,
    RandomDecider,
    SimCrash,
    SimDisk,
    StaleDecider,
    Write,
    split_sectors,
)

ALL = -1
NOTHING = 0


def contents(disk: SimDisk, name: str) -> bytes | None:
    if name not in disk.root.names():
        return None
    file = disk.root.open(name)
    return file.read_at(0, file.size())


def disk_with(name: str, data: bytes) -> SimDisk:
    disk = SimDisk()
    file = disk.root.open(name, create=True)
    file.write_at(0, data)
    file.sync()
    disk.root.sync()
    return disk


def test_what_was_synced_survives_anything() -> None:
    disk = disk_with("a", b"one")
    for mask in range(4):
        assert contents(disk.cut(Decider(mask)), "a") == b"one"
    assert contents(disk.killed(), "a") == b"one"


def test_a_name_needs_its_directory_synced() -> None:
    disk = SimDisk()
    file = disk.root.open("a", create=True)
    file.write_at(0, b"one")
    file.sync()
    assert contents(disk.cut(Decider(NOTHING)), "a") is None
    assert contents(disk.cut(Decider(ALL)), "a") == b"one"
    assert contents(disk.killed(), "a") == b"one"


def test_contents_need_their_file_synced() -> None:
    disk = SimDisk()
    disk.root.open("a", create=True).write_at(0, b"one")
    disk.root.sync()
    assert contents(disk.cut(Decider(NOTHING)), "a") == b""
    assert contents(disk.cut(Decider(ALL)), "a") == b"one"


def test_a_rename_or_unlink_can_be_undone_until_the_directory_is_synced() -> None:
    disk = disk_with("a", b"one")
    disk.root.rename("a", "b")
    assert disk.root.names() == ["b"]
    assert disk.cut(Decider(NOTHING)).root.names() == ["a"]
    assert disk.cut(Decider(ALL)).root.names() == ["b"]
    disk.root.unlink("b")
    assert disk.cut(Decider(0b01)).root.names() == ["b"]
    disk.root.sync()
    assert disk.cut(Decider(NOTHING)).root.names() == []


def test_changes_are_kept_and_dropped_each_by_itself() -> None:
    disk = disk_with("a", b"....")
    file = disk.root.open("a", write=True)
    file.write_at(0, b"1")
    file.write_at(2, b"2")
    file.truncate(3)
    seen = [contents(disk.cut(Decider(mask)), "a") for mask in range(8)]
    assert seen == [b"....", b"1...", b"..2.", b"1.2.", b"...", b"1..", b"..2", b"1.2"]


def test_a_gap_left_by_a_dropped_write_reads_as_zeros() -> None:
    disk = disk_with("a", b"")
    file = disk.root.open("a", write=True)
    file.write_at(0, b"12")
    file.write_at(2, b"34")
    assert contents(disk.cut(Decider(0b10)), "a") == b"\0\x0034"


def test_lots_tear_and_garble_at_sectors_and_leave_synced_bytes_alone() -> None:
    kept = b"k" * 700
    disk = disk_with("a", kept)
    disk.graveyard.append(b"s" * 4000)
    file = disk.root.open("a", write=True)
    file.write_at(700, b"n" * 2000)
    kinds = set()
    for seed in range(300):
        data = contents(disk.cut(RandomDecider(seed)), "a")
        assert data is not None and data[:700] == kept
        places = [700, *range(1024, 2700, SECTOR_BYTES)]
        kinds.update(bytes({data[at]}) for at in places if at < len(data))
        new = [data[at : at + 1] == b"n" for at in places]
        if True in new and False in new:
            kinds.add(b"torn")
    assert {b"n", b"\0", b"s", b"torn"} <= kinds
    assert len(kinds) > 20, "no noise"


def test_the_same_seed_gives_the_same_outcome() -> None:
    disk = disk_with("a", b"")
    disk.root.open("a", write=True).write_at(0, bytes(range(256)) * 12)
    outcomes = [contents(disk.cut(RandomDecider(seed)), "a") for seed in range(20)]
    assert outcomes == [contents(disk.cut(RandomDecider(seed)), "a") for seed in range(20)]
    assert len(set(outcomes)) > 5


def test_what_a_removed_file_held_shows_where_zeros_were_written() -> None:
    disk = disk_with("old", b"secret" * 100)
    disk.root.unlink("old")
    file = disk.root.open("new", create=True)
    file.write_at(0, bytes(60))
    file.write_at(0, b"data")
    assert contents(disk.cut(StaleDecider()), "new") == b"data" + (b"secret" * 10)[4:]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("counted", ["syncs", "operations"])
@pytest.mark.parametrize("forgets", [True, False])
def test_after_a_failed_sync_pages_may_look_clean_and_be_lost(forgets: bool, counted: str, code: int) -> None:
    disk = disk_with("a", b"one")
    disk.forgets_failed_syncs = forgets
    file = disk.root.open("a", write=True)
    file.write_at(0, b"two")
    if counted == "syncs":
        disk.sync_faults, disk.sync_error = {disk.syncs}, code
    else:
        disk.faults = {disk.operations: code}
    with pytest.raises(OSError) as caught:
        file.sync()
    assert caught.value.errno == code
    disk.faults = {}
    file.sync()
    assert contents(disk.killed(), "a") == b"two"
    assert contents(disk.cut(Decider(ALL)), "a") == (b"one" if forgets else b"two")


def test_a_killed_process_leaves_what_was_not_synced_still_to_be_lost() -> None:
    disk = disk_with("a", b"one")
    disk.root.open("a", write=True).write_at(0, b"two")
    after = disk.killed()
    assert contents(after, "a") == b"two"
    assert contents(after.cut(Decider(NOTHING)), "a") == b"one"
    after.root.open("a").sync()
    assert contents(after.cut(Decider(NOTHING)), "a") == b"two"
    assert contents(disk.cut(Decider(NOTHING)), "a") == b"one", "the two disks share something"


def test_a_crash_at_an_operation_ends_everything() -> None:
    disk = disk_with("a", b"one")
    disk.crash_at = disk.operations + 1
    file = disk.root.open("a", write=True)
    file.write_at(0, b"two")
    with pytest.raises(SimCrash):
        file.sync()
    with pytest.raises(SimCrash):
        disk.root.sync()
    assert contents(disk.cut(Decider(NOTHING)), "a") == b"one"


def test_room_runs_out_in_the_middle_of_a_write() -> None:
    disk = disk_with("a", b"")
    disk.space = 5
    file = disk.root.open("a", write=True)
    assert file.write_at(0, b"12345678") == 5
    with pytest.raises(OSError) as caught:
        file.write_at(5, b"678")
    assert caught.value.errno == errno.ENOSPC
    disk.space = None
    assert file.write_at(5, b"678") == 3
    assert contents(disk, "a") == b"12345678"


def test_short_writes_and_faults_come_when_they_are_due() -> None:
    disk = disk_with("a", b"")
    disk.short_every = 2
    file = disk.root.open("a", write=True)
    assert [file.write_at(0, b"1234"), file.write_at(0, b"1234")] in ([4, 2], [2, 4])
    disk.faults = {disk.operations: errno.EIO}
    with pytest.raises(OSError, match="Input/output error"):
        disk.root.unlink("a")
    assert disk.root.names() == ["a"]


def test_a_subdirectory_needs_its_parent_synced() -> None:
    disk = SimDisk()
    below = disk.root.subdirectory("kept")
    file = below.open("a", create=True)
    file.sync()
    below.sync()
    assert "data/kept" not in disk.cut(Decider(NOTHING)).directories
    disk.root.sync()
    assert disk.cut(Decider(NOTHING)).root.subdirectory("kept").names() == ["a"]


def test_sectors_are_those_of_the_disk() -> None:
    pieces = split_sectors(Write(500, b"x" * 600))
    assert [(piece.offset, len(piece.data)) for piece in pieces] == [(500, 12), (512, 512), (1024, 76)]
