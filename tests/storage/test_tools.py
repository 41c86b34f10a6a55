"""Check, dump, repair and backup, as functions on directories; the commands are in tests/cli/test_store.py."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from presenced.core.records import ContactSet, ContactSide, ContactsSet, TextSet
from presenced.core.roster import ASKED, ASKS, FROM, LISTED, TO
from presenced.storage.backup import CannotBackUp, back_up
from presenced.storage.check import Examined, check
from presenced.storage.dump import Line, dump
from presenced.storage.files import OsDirectory
from presenced.storage.layout import FRAMES_AT
from presenced.storage.manifest import Manifest, NewerFormat, read_manifest, write_manifest
from presenced.storage.recovery import DamageError
from presenced.storage.repair import CannotRepair, Repaired, repair
from presenced.storage.store import DirectoryError
from presenced.storage.survey import NotAStore
from tests.storage.making import Making, contents, copied, flip, recovered, state_of


def no_pause() -> None:
    return


def checked(place: Path) -> Examined:
    """Check, and hold it to changing nothing."""
    before = contents(place)
    directory = OsDirectory(place, create=False)
    try:
        return check(directory, no_pause)
    finally:
        directory.close()
        assert contents(place) == before


def dumped(place: Path, *, user: str = "", from_seq: int = 0) -> list[Line]:
    before = contents(place)
    directory = OsDirectory(place, create=False)
    try:
        return list(dump(directory, user=user, from_seq=from_seq))
    finally:
        directory.close()
        assert contents(place) == before


def repaired(place: Path, truncate_at: int) -> Repaired:
    salts = count(99)
    directory = OsDirectory(place, create=False)
    try:
        return repair(directory, truncate_at, salts=lambda: next(salts), wall_ms=lambda: 42)
    finally:
        directory.close()


def goes_on(place: Path) -> Making:
    """Open it as the daemon does."""
    making = Making(place)
    making.texts(1)
    return making


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """One segment with 30 facts in 10 frames, crashed."""
    making = Making(tmp_path / "plain")
    making.texts(10)
    making.leave()
    return making.place


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """Two snapshots (at facts 13 and 25) and the segments that they need, up to fact 45; crashed."""
    making = Making(tmp_path / "full")
    making.texts(4)
    making.snapshot()
    making.texts(4)
    making.snapshot()
    making.texts(4)
    making.journal.rotate()
    making.texts(3)
    making.journal.seal()
    making.leave()
    return making.place


FACTS = [TextSet(f"user{seq % 5}", f"text {seq}", "", 0) for seq in range(1, 46)]
"""What the fixtures hold."""


def segment_with(place: Path, seq: int) -> Path:
    """The segment that holds a fact."""
    found = [one for one in checked(place).segments if one.first_seq <= seq < one.end_seq]
    return place / found[0].name


def frame_of(place: Path, seq: int) -> tuple[Path, int]:
    """Where a fact is."""
    line = next(line for line in dumped(place) if line.seq == seq)
    return place / line.file, line.offset


# --- check -------------------------------------------------------------------------------------------------------


def test_check_of_a_sound_store(full: Path) -> None:
    report = checked(full)
    assert (report.verdict, report.sound, report.clean) == ("ok", True, False)
    assert [(one.state, one.first_seq, one.end_seq, one.problem) for one in report.segments] == [
        ("sealed", 13, 25, ""),
        ("sealed", 25, 37, ""),
        ("active", 37, 46, ""),
    ]
    assert [(one.start_seq, one.end_seq, one.facts, one.problem) for one in report.snapshots] == [
        (25, 25, 6, ""),
        (13, 13, 6, ""),
    ]
    assert (report.facts, report.next_seq, report.truncate_at) == (6 + 21, 46, 0)


def test_check_of_a_clean_store(tmp_path: Path) -> None:
    making = Making(tmp_path / "clean")
    making.texts(2)
    making.stop()
    report = checked(making.place)
    assert (report.verdict, report.clean, report.version) == ("ok", True, 6)


def test_check_of_a_torn_tail(plain: Path) -> None:
    path, offset = frame_of(plain, 28)
    flip(path, offset + 60)
    report = checked(plain)
    size = len(path.read_bytes()[offset:].rstrip(b"\0"))
    assert report.verdict == f"ok, torn tail of {size} bytes will be dropped"
    assert (report.sound, report.next_seq) == (True, 28)
    assert f"{path.name} at {offset}" in report.torn_at


def test_check_names_the_damage_and_where_to_cut(plain: Path) -> None:
    path, offset = frame_of(plain, 7)
    flip(path, offset + 60)
    report = checked(plain)
    assert report.verdict.startswith(f"damaged: {path.name} at {offset}: ")
    assert (report.sound, report.truncate_at, report.lost_facts) == (False, 7, 24)
    assert report.segments[0].problem.startswith(f"at {offset}: ")


def test_check_verifies_what_recovery_does_not_need(full: Path) -> None:
    """The older snapshot, and the segment that only it needs: damage there is told before it matters."""
    older = min(full.glob("snap-*"))
    flip(older, 5000 % len(older.read_bytes()))
    flip(segment_with(full, 13), FRAMES_AT + 104)
    report = checked(full)
    assert report.verdict == "ok"
    assert report.snapshots[1].problem and not report.snapshots[0].problem
    assert report.segments[0].problem
    assert any(report.segments[0].name in remark and "older" in remark for remark in report.remarks)


def test_check_looks_twice_before_it_calls_damage(plain: Path) -> None:
    """A daemon at work makes what looks like damage for a moment."""
    path, offset = frame_of(plain, 7)
    flip(path, offset + 60)
    looks = []

    def pause() -> None:
        looks.append(1)
        if len(looks) == 1:
            flip(path, offset + 60)

    directory = OsDirectory(plain, create=False)
    assert check(directory, pause).verdict == "ok"
    assert looks
    directory.close()


def test_check_of_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotAStore, match="no MANIFEST"):
        checked(tmp_path)
    (tmp_path / "letter.txt").write_text("hello")
    with pytest.raises(NotAStore):
        checked(tmp_path)


def test_a_newer_format_is_refused_by_all(plain: Path) -> None:
    def newer(manifest: Manifest) -> Manifest:
        return Manifest(3, manifest.store_id, manifest.epoch, 9, manifest.segments)

    rewritten(plain, newer)
    for tool in (checked, dumped, lambda place: repaired(place, 3)):
        with pytest.raises(NewerFormat, match="format 3"):
            tool(plain)


def rewritten(place: Path, change: Callable[[Manifest], Manifest]) -> None:
    directory = OsDirectory(place)
    manifest, _ = read_manifest(directory)
    assert manifest is not None
    write_manifest(directory, change(manifest))
    directory.close()


def test_with_nothing_but_a_snapshot_the_tools_make_a_store_of_it(full: Path) -> None:
    for path in full.iterdir():
        if path.name != max(one.name for one in full.glob("snap-*")) and path.is_file():
            path.unlink()
    report = checked(full)
    assert (report.sound, report.truncate_at, report.segments) == (False, 25, [])
    assert len([line for line in dumped(full) if line.fact]) == 6
    assert repaired(full, 25).end_seq == 25
    assert checked(full).verdict == "ok"
    state, _ = recovered(full)
    assert state["user4"] == TextSet("user4", "text 24", "", 0)
    making = goes_on(full)
    assert making.journal.next_seq == 28
    making.leave()


def test_what_nearly_has_the_name_of_a_segment_is_none(full: Path) -> None:
    for name in ("wal-notes.log", "snap-1.prs", "wal-0000000009.log.bak"):
        (full / name).write_bytes(b"?")
    with pytest.raises(DirectoryError, match="nearly the name"):
        checked(full)
    assert not any(line.damage for line in dumped(full))


# --- dump --------------------------------------------------------------------------------------------------------


def test_dump_tells_everything_in_order(full: Path) -> None:
    lines = dumped(full)
    logged = [line for line in lines if line.seq]
    assert [(line.seq, line.fact, line.fields["text"]) for line in logged] == [
        (seq, "TextSet", f"text {seq}") for seq in range(13, 46)
    ]
    assert not any(line.damage for line in lines)
    first = lines[0]
    assert first.file == min(path.name for path in full.glob("snap-*")) and first.seq == 0
    newest = [line for line in lines if line.file == max(path.name for path in full.glob("snap-*"))]
    assert len(newest) == 6
    assert lines.index(newest[0]) == next(index for index, line in enumerate(lines) if line.seq == 25) - 6


def test_dump_follows_one_user_through_snapshots_and_log(full: Path) -> None:
    lines = dumped(full, user="user2")
    assert {line.fields["user"] for line in lines} == {"user2"}
    assert [line.fields["text"] for line in lines if not line.seq] == ["text 12", "text 22"]
    assert [line.seq for line in lines if line.seq] == [17, 22, 27, 32, 37, 42]


def test_dump_from_a_fact_on(full: Path) -> None:
    lines = dumped(full, from_seq=30)
    assert [line.seq for line in lines] == list(range(30, 46))


def test_dump_goes_on_behind_damage(full: Path) -> None:
    path, offset = frame_of(full, 28)
    flip(path, offset + 50)
    lines = dumped(full)
    (damage,) = [line for line in lines if line.damage]
    assert (damage.file, damage.offset, damage.is_loss) == (path.name, offset, True)
    assert [line.seq for line in lines if line.fact and line.seq] == [*range(13, 28), *range(31, 46)]


def test_dump_of_a_torn_tail_is_no_loss(plain: Path) -> None:
    path, offset = frame_of(plain, 28)
    flip(path, offset + 50)
    (damage,) = [line for line in dumped(plain) if line.damage]
    assert not damage.is_loss


def test_dump_without_a_manifest_and_with_a_file_missing(full: Path) -> None:
    for path in full.glob("MANIFEST*"):
        path.write_bytes(b"junk")
    flip(segment_with(full, 25), 8)
    lines = dumped(full)
    assert sum(line.is_loss for line in lines) >= 1
    assert [line.seq for line in lines if line.fact and line.seq] == [*range(13, 25), *range(37, 46)]


# --- repair ------------------------------------------------------------------------------------------------------


def holds(place: Path, facts: int) -> None:
    """It is sound, ends after so many facts, can be written to, and begins a new epoch."""
    report = checked(place)
    assert (report.verdict, report.next_seq, report.epoch) == ("ok", facts + 1, 0)
    state, _ = recovered(place)
    assert state == state_of(FACTS[:facts])
    making = goes_on(place)
    assert making.journal.manifest.epoch == 1_234
    assert len(making.journal.manifest.segments) >= 1
    making.stop()
    assert checked(place).verdict == "ok"
    assert recovered(place)[1].next_seq == facts + 4


@pytest.mark.parametrize("truncate_at", range(1, 32))
def test_repair_at_any_fact(plain: Path, truncate_at: int) -> None:
    before = contents(plain)
    done = repaired(plain, truncate_at)
    assert (done.end_seq, done.known_seq) == (truncate_at, 31)
    copies = {path.name: path.read_bytes() for path in Path(done.quarantine).iterdir()}
    assert set(copies) == set(done.copies) >= {"MANIFEST", "MANIFEST.copy"}
    for name, data in copies.items():
        assert before[name][2] == data
    assert truncate_at == 31 or "wal-0000000001.log" in copies
    holds(plain, truncate_at - 1)


def test_a_repair_is_undone_by_the_copies(plain: Path) -> None:
    before = {path.name: path.read_bytes() for path in plain.iterdir()}
    done = repaired(plain, 10)
    for path in plain.iterdir():
        if path.is_file():
            path.unlink()
    for path in Path(done.quarantine).iterdir():
        path.rename(plain / path.name)
    assert {path.name: path.read_bytes() for path in plain.iterdir() if path.is_file()} == before
    assert recovered(plain)[1].next_seq == 31


@pytest.mark.parametrize("truncate_at", [0, -1, 32, 1000])
def test_repair_where_it_is_not_possible(plain: Path, truncate_at: int) -> None:
    before = contents(plain)
    with pytest.raises(CannotRepair, match="from 1 to 31"):
        repaired(plain, truncate_at)
    assert contents(plain) == before


@pytest.mark.parametrize("seq", [13, 16, 25, 28, 34, 37, 40])
def test_repair_of_a_damaged_segment(full: Path, seq: int) -> None:
    """Anywhere in the log: `check` names the fact, `repair` cuts there, and nothing before it is lost."""
    path, offset = frame_of(full, seq)
    flip(path, offset + 50)
    report = checked(full)
    if seq < 25:
        assert report.verdict == "ok", "only the older snapshot would need it"
        return
    assert (report.sound, report.truncate_at, report.lost_facts) == (False, seq, 46 - seq)
    with pytest.raises(CannotRepair, match=f"from 25 to {seq} .* from 13 to {seq}"):
        repaired(full, seq + 1)
    assert repaired(full, seq).known_seq == 46
    holds(full, seq - 1)


def test_repair_to_before_the_newest_snapshot(full: Path) -> None:
    done = repaired(full, 20)
    assert {path.name for path in full.glob("snap-*")} == {min(path.name for path in full.glob("snap-*"))}
    assert any(name.startswith("snap-") for name in done.copies)
    holds(full, 19)
    with pytest.raises(CannotRepair):
        repaired(full, 12)


@pytest.mark.parametrize("harm", ["missing", "empty", "header"])
@pytest.mark.parametrize(("seq", "ends"), [(25, 24), (37, 36)])
def test_repair_of_a_lost_segment(full: Path, harm: str, seq: int, ends: int) -> None:
    path = segment_with(full, seq)
    if harm == "missing":
        path.unlink()
    elif harm == "empty":
        path.write_bytes(b"")
    else:
        flip(path, 100)
    report = checked(full)
    assert (report.sound, report.truncate_at) == (False, ends + 1)
    repaired(full, ends + 1)
    holds(full, ends)


def test_repair_when_the_snapshot_stands_alone(full: Path) -> None:
    """All that is left is the newest snapshot."""
    for path in full.glob("wal-*"):
        path.unlink()
    repaired(full, 25)
    holds(full, 24)


def test_repair_when_the_log_ends_before_the_snapshot(full: Path) -> None:
    """Without a manifest, and with nothing but a damaged segment from before the newest snapshot."""
    damaged = segment_with(full, 13)
    flip(damaged, 4300)
    for path in [*full.glob("MANIFEST*"), *full.glob("wal-*")]:
        if path != damaged:
            path.unlink()
    assert checked(full).truncate_at == 25
    repaired(full, 25)
    holds(full, 24)


def test_repair_of_damaged_snapshots(full: Path) -> None:
    for path in full.glob("snap-*"):
        flip(path, 4100)
    assert not checked(full).sound
    with pytest.raises(CannotRepair, match="restore a backup"):
        repaired(full, 25)


def test_repair_of_a_damaged_snapshot_behind_a_whole_log(tmp_path: Path) -> None:
    making = Making(tmp_path / "one")
    making.texts(4)
    making.snapshot()
    making.texts(4)
    making.leave()
    flip(next(making.place.glob("snap-*")), 4100)
    report = checked(making.place)
    assert (report.sound, report.truncate_at, report.lost_facts) == (False, 25, 0)
    repaired(making.place, 25)
    holds(making.place, 24)


@pytest.mark.parametrize("truncate_at", [14, 25, 26, 37, 39, 46])
@pytest.mark.parametrize("harm", ["missing", "empty", "damaged"])
def test_repair_without_any_manifest(full: Path, harm: str, truncate_at: int) -> None:
    for path in full.glob("MANIFEST*"):
        if harm == "missing":
            path.unlink()
        elif harm == "empty":
            path.write_bytes(b"")
        else:
            flip(path, 20)
    report = checked(full)
    assert (report.sound, report.truncate_at, report.lost_facts) == (False, 46, 0)
    done = repaired(full, truncate_at)
    assert any("put together" in remark for remark in done.remarks)
    holds(full, truncate_at - 1)


def test_repair_without_a_manifest_of_a_store_that_crashed_before(tmp_path: Path) -> None:
    """After a crash the end of a segment is copied to the next; its own copy of it must not count twice."""
    making = Making(tmp_path / "twice", sync_each=False)
    making.texts(3)
    making.journal.sync()
    making.texts(4)
    making.leave()
    making = Making(making.place)
    assert making.facts == FACTS[:21]
    making.texts(2)
    making.leave()
    for path in making.place.glob("MANIFEST*"):
        path.unlink()
    assert checked(making.place).truncate_at == 28
    repaired(making.place, 28)
    holds(making.place, 27)


def test_repair_when_the_manifest_is_damaged_and_its_copy_is_behind(tmp_path: Path) -> None:
    making = Making(tmp_path / "behind")
    making.texts(3)
    behind = (making.place / "MANIFEST.copy").read_bytes()
    making.journal.rotate()
    making.texts(3)
    making.leave()
    (making.place / "MANIFEST.copy").write_bytes(behind)
    flip(making.place / "MANIFEST", 20)
    report = checked(making.place)
    assert "holds frames and the MANIFEST that lists it is damaged" in report.verdict
    assert (report.truncate_at, report.lost_facts) == (19, 0)
    repaired(making.place, 19)
    holds(making.place, 18)


def test_repair_with_a_copy_from_before_the_last_start(tmp_path: Path) -> None:
    """The end of the segment that the copy calls active was copied to the next, which only the manifest lists."""
    making = Making(tmp_path / "behind", sync_each=False)
    making.texts(3)
    making.journal.sync()
    making.texts(4)
    behind = (making.place / "MANIFEST.copy").read_bytes()
    making.leave()
    making = Making(making.place)
    making.texts(2)
    making.leave()
    (making.place / "MANIFEST.copy").write_bytes(behind)
    flip(making.place / "MANIFEST", 20)
    assert checked(making.place).truncate_at == 28
    repaired(making.place, 28)
    holds(making.place, 27)


def test_a_damaged_manifest_with_a_good_copy_needs_no_repair(full: Path) -> None:
    flip(full / "MANIFEST", 20)
    report = checked(full)
    assert report.verdict == "ok" and "MANIFEST" in report.remarks[0]


def test_a_repair_may_be_repeated(plain: Path) -> None:
    places = {repaired(plain, seq).quarantine for seq in (28, 20, 20)}
    assert len(places) == 3
    holds(plain, 19)


# --- backup ------------------------------------------------------------------------------------------------------


def backed_up(place: Path, target: Path, pause: Callable[[], None] = no_pause) -> int:
    before = contents(place)
    source, copy = OsDirectory(place, create=False), OsDirectory(target)
    try:
        return back_up(source, copy, pause).report.next_seq
    finally:
        source.close()
        copy.close()
        assert contents(place) == before


def test_a_backup_holds_everything(full: Path, tmp_path: Path) -> None:
    assert backed_up(full, tmp_path / "copy") == 46
    holds(tmp_path / "copy", 45)
    assert checked(full).verdict == "ok"


def test_a_backup_of_a_clean_store_is_not_called_clean(tmp_path: Path) -> None:
    making = Making(tmp_path / "clean")
    making.texts(2)
    making.stop()
    backed_up(making.place, tmp_path / "copy")
    assert not checked(tmp_path / "copy").clean
    holds(tmp_path / "copy", 6)


def test_a_backup_leaves_out_a_torn_tail(plain: Path, tmp_path: Path) -> None:
    path, offset = frame_of(plain, 28)
    flip(path, offset + 50)
    assert backed_up(plain, tmp_path / "copy") == 28
    holds(tmp_path / "copy", 27)


@pytest.mark.parametrize("seq", [28, 40])
def test_a_backup_of_damage_is_refused(full: Path, tmp_path: Path, seq: int) -> None:
    path, offset = frame_of(full, seq)
    flip(path, offset + 50)
    with pytest.raises(DamageError, match=f"{path.name} at {offset}"):
        backed_up(full, tmp_path / "copy")


def test_a_backup_of_a_store_with_a_file_missing_is_refused(full: Path, tmp_path: Path) -> None:
    segment_with(full, 37).unlink()
    with pytest.raises(DamageError, match="missing"):
        backed_up(full, tmp_path / "copy")


class Busy(OsDirectory):
    """A directory in which something happens whenever a file is opened."""

    happens: Callable[[str], None]

    def open(self, name: str, *, create: bool = False, write: bool = False):  # type: ignore[no-untyped-def]
        self.happens(name)
        return super().open(name, create=create, write=write)


def test_a_backup_while_snapshots_are_taken_is_of_one_moment(tmp_path: Path) -> None:
    """The files it saw first are gone before it has opened them all."""
    making = Making(tmp_path / "source")
    making.texts(3)
    making.snapshot()
    making.texts(3)
    turns = 0

    def happens(name: str) -> None:
        nonlocal turns
        if name.startswith(("wal-", "snap-")) and turns < 8:
            turns += 1
            making.snapshot()
            making.texts(1)

    source = Busy(making.place)
    source.happens = happens
    acknowledged = len(making.facts)
    target = OsDirectory(tmp_path / "copy")
    done = back_up(source, target, no_pause)
    assert turns == 8
    assert acknowledged < done.report.next_seq <= len(making.facts) + 1
    state, _ = recovered(tmp_path / "copy")
    assert state == state_of(making.facts[: done.report.next_seq - 1])
    making.stop()


def test_a_backup_gives_up_on_a_store_that_never_stands_still(tmp_path: Path) -> None:
    making = Making(tmp_path / "source")
    making.texts(1)

    def happens(name: str) -> None:
        if name == "wal-0000000001.log":
            making.texts(1)
            making.journal.rotate()

    source = Busy(making.place)
    source.happens = happens
    with pytest.raises(CannotBackUp, match="changed"):
        back_up(source, OsDirectory(tmp_path / "copy"), no_pause)
    making.stop()


def test_a_copy_of_a_copy(full: Path, tmp_path: Path) -> None:
    copied(full, tmp_path / "one")
    backed_up(tmp_path / "one", tmp_path / "two")
    backed_up(tmp_path / "two", tmp_path / "three")
    assert recovered(tmp_path / "three")[0] == recovered(full)[0]


def test_dump_tells_of_contacts_in_words_and_to_both(tmp_path: Path) -> None:
    making = Making(tmp_path / "data")
    side = ContactSide("Bobby", ("work",))
    making.commit(
        [
            ContactSet("alice", "bob", TO | LISTED, FROM, 5, 6, side, None),
            ContactSet("carol", "bob", ASKED, ASKS, 7, 8, None, ContactSide(note="hi", asked=7)),
            ContactsSet("alice", ["bob", "dave"], [LISTED, TO | FROM | FROM << 8], 9, 10, [(0, side, None)]),
        ]
    )
    making.stop()
    named = {"name": "Bobby", "groups": ("work",)}
    lines = dumped(making.place, user="bob")
    assert [line.fields["flags"] for line in lines] == ["to listed", "asked", ["listed, nothing", "to from, from"]]
    assert [line.fields.get("other_flags") for line in lines] == ["from", "asks", None]
    assert [line.fields.get("side", line.fields.get("sides")) for line in lines] == [
        named,
        None,
        [("bob", named, None)],
    ]
    assert lines[1].fields["other_side"] == {"note": "hi", "asked": 7}
    assert [line.fact for line in dumped(making.place, user="dave")] == ["ContactsSet"]
