"""What was acknowledged and sealed is there, or the start is refused: whatever is cut off, zeroed, flipped or removed.

Every file of a store, at every length, with every sector zeroed, alone and with all that follows it. A log is sealed
when it has fallen idle, after a stop in order, after a start that found a crash, and in a backup.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from presenced.core.records import Fact
from presenced.storage.backup import back_up
from presenced.storage.check import check
from presenced.storage.files import OsDirectory
from presenced.storage.layout import FRAMES_AT, MARK_BYTES, SEGMENT_HEADER_BYTES, newest_mark, unpack_segment_header
from presenced.storage.manifest import ManifestError
from presenced.storage.recovery import DamageError, recover
from tests.storage.machine import History, Machine, small_units
from tests.storage.making import Making, recovered, state_of
from tests.storage.oracle import Memory, MemoryFile
from tests.storage.simdisk import SimDisk
from tests.support.tiers import samples, spaced

SECTOR_BYTES = 512
Files = dict[str, bytes]


class Present(Memory):
    """A directory in memory, in which a file can be missing."""

    def open(self, name: str, **_: Any) -> MemoryFile:
        if name not in self.files:
            raise FileNotFoundError(name)
        return super().open(name)


def read_back(files: Files) -> dict[str, Fact] | None:
    """The state that a start finds; None if it is refused."""
    facts: list[Fact] = []
    try:
        recover(Present(files), facts.extend)  # type: ignore[arg-type]  # all that is needed for reading
    except (DamageError, ManifestError):
        return None
    return state_of(facts)


def files_of(place: Path) -> Files:
    return {path.name: path.read_bytes() for path in place.iterdir() if path.is_file() and path.name != "LOCK"}


def idle(place: Path) -> Files:
    """The log has fallen idle, and then the machine has stopped."""
    making = Making(place)
    making.texts(2)
    making.snapshot()
    making.texts(3)
    making.journal.rotate()
    making.texts(9, each=2)
    making.journal.seal()
    making.leave()
    return files_of(place)


def stopped(place: Path) -> Files:
    making = Making(place)
    making.texts(9, each=2)
    making.stop()
    return files_of(place)


def started_again(place: Path) -> Files:
    """A start has found a crash and written anew what was in doubt; nothing came after it."""
    making = Making(place, sync_each=False)
    making.texts(9, each=2)
    making.leave()
    Making(place).leave()
    return files_of(place)


def backed_up(place: Path) -> Files:
    """Of a log in the middle of its work."""
    making = Making(place)
    making.texts(2)
    making.snapshot()
    making.texts(9, each=2)
    target = OsDirectory(place.with_name("backup"))
    back_up(making.directory, target, lambda: None)
    making.leave()
    target.close()
    return files_of(place.with_name("backup"))


@pytest.fixture(params=[idle, stopped, started_again, backed_up])
def sealed(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    make: Callable[[Path], Files] = request.param
    with small_units():
        return make(tmp_path / "state")


def damaged(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Every way that is tried on each file."""
    # Odd steps, so that every bit of a byte has its turn.
    for size in range(0, len(data), spaced(1) | 1):
        yield f"cut to {size} bytes", data[:size]
    for start in range(0, len(data), SECTOR_BYTES):
        yield f"zeroed from {start} to its end", data[:start].ljust(len(data), b"\0")
        for size in (SECTOR_BYTES, 8 * SECTOR_BYTES):
            zeroed = data[:start] + bytes(min(size, len(data) - start)) + data[start + size :]
            yield f"zeroed from {start} for {size} bytes", zeroed
    for offset in range(0, len(data), spaced(7) | 1):
        flipped = bytearray(data)
        flipped[offset] ^= 1 << offset % 8
        yield f"with a bit of byte {offset} flipped", bytes(flipped)


def test_sealed_is_there_or_the_start_is_refused(sealed: Files) -> None:
    whole = read_back(sealed)
    assert whole, "the store as it is"
    refused = 0
    for name, data in sealed.items():
        assert read_back({other: held for other, held in sealed.items() if other != name}) in (None, whole), name
        for how, changed in damaged(data):
            state = read_back({**sealed, name: changed})
            assert state in (None, whole), f"{name} {how}: it starts, and acknowledged facts are missing"
            refused += state is None
    assert refused > samples(1_000)


def test_what_a_mark_says_holds_within_a_busy_log(tmp_path: Path) -> None:
    """No pause, so no seal: what was acknowledged before the last mark is there or missed."""
    walls = count(1_700_000_000_000, 3)
    with small_units():
        making = Making(tmp_path / "state")
        making.journal._wall_ms = walls.__next__
        making.texts(80, each=2)
        making.leave()
    files = files_of(making.place)
    name = max(name for name in files if name.startswith("wal-"))
    data = files[name]
    mark = newest_mark(data, unpack_segment_header(data))
    assert mark is not None and mark.seq > len(making.facts) - 2 * 17, "marked a moment ago"
    for how, changed in damaged(data):
        facts: list[Fact] = []
        try:
            recover(Present({**files, name: changed}), facts.extend)  # type: ignore[arg-type]
        except DamageError:
            continue
        assert len(facts) >= mark.seq - 1, f"{how}: it starts without what was marked"


def test_a_log_that_was_cut_at_any_length_is_missed_also_before_the_first_mark(tmp_path: Path) -> None:
    """The file's length alone tells."""
    with small_units():
        making = Making(tmp_path / "state")
        making.texts(50, each=3)
        making.leave()
    files = files_of(making.place)
    (name,) = (name for name in files if name.startswith("wal-"))
    used = len(files[name].rstrip(b"\0"))
    for size in range(SEGMENT_HEADER_BYTES, used):
        assert read_back({**files, name: files[name][:size]}) is None, f"cut to {size} of {used} bytes"


def test_the_marks_are_never_both_written_in_one_sync() -> None:
    """A power cut may spoil all that was written since the last one, and one of the two has to read."""
    disk = SimDisk()
    disk.log = []
    machine = Machine(disk, History(), sync_each=False)
    machine.open()
    for _ in range(3):
        machine.commits(9)
        machine.sync()
        machine.commits(1)
        machine.seal()
    written: list[str] = []
    for what in disk.log:
        marks = [at for at in ("4096", "8192") if f" at {at} of wal-" in what and "tmp" not in what]
        if marks:
            assert set(written) <= set(marks), "both, and no sync in between"
            written += marks
        elif what.startswith("sync wal-"):
            written = []
    assert sum(" at 4096 of wal-" in what for what in disk.log) > 4


def test_one_mark_is_enough_and_none_is_damage(tmp_path: Path) -> None:
    with small_units():
        files = idle(tmp_path / "state")
    name = max(name for name in files if name.startswith("wal-"))
    data, whole = files[name], read_back(files)
    marks = [(at, at + MARK_BYTES) for at in range(SEGMENT_HEADER_BYTES, FRAMES_AT, MARK_BYTES)]
    for start, end in marks:
        without = data[:start] + bytes(end - start) + data[end:]
        assert read_back({**files, name: without}) == whole
        assert read_back({**files, name: without[:FRAMES_AT].ljust(len(data), b"\0")}) is None
    assert read_back({**files, name: data[:SEGMENT_HEADER_BYTES] + bytes(2 * MARK_BYTES) + data[FRAMES_AT:]}) is None


def test_a_backup_does_not_take_a_log_that_was_cut_for_a_whole_one(tmp_path: Path) -> None:
    making = Making(tmp_path / "state")
    making.texts(9)
    making.journal.seal()
    making.leave()
    log = making.place / "wal-0000000001.log"
    log.write_bytes(log.read_bytes()[:FRAMES_AT].ljust(1 << 20, b"\0"))
    source, target = OsDirectory(making.place), OsDirectory(tmp_path / "backup")
    with pytest.raises(DamageError, match="ends too early"):
        back_up(source, target, lambda: None)
    assert not target.names()
    report = check(source, lambda: None)
    assert (report.sound, report.truncate_at, report.lost_facts) == (False, 1, 27)
    assert "facts up to 27 were synced" in report.verdict
    assert "synced up to fact 27" in report.segments[0].problem
    source.close()
    target.close()


@pytest.mark.parametrize("kind", ["crashed", "clean"])
def test_a_store_of_an_older_version_opens_and_is_of_this_one_from_then_on(tmp_path: Path, kind: str) -> None:
    """Written by the program as it was before logs had marks; a snapshot and three segments."""
    with tarfile.open(Path(__file__).parent / "old" / "format-1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    place = tmp_path / kind
    before, report = recovered(place)
    assert before["user2"].text == "text 42" and report.clean == (kind == "clean")  # type: ignore[attr-defined]
    making = Making(place)
    assert making.journal.manifest.format == 2 and state_of(making.facts) == before
    making.texts(1)
    making.journal.seal()
    making.leave()
    after, _ = recovered(place)
    assert len(after) == 5 and after != before
    log = max(place.glob("wal-*"))
    log.write_bytes(log.read_bytes()[:FRAMES_AT].ljust(1 << 20, b"\0"))
    with pytest.raises(DamageError):
        recovered(place)
