"""`python -m tests.storage.seeded_bugs`: breaks the store on purpose, one way after the other, and tells whether the
checks of the crash tests notice. A suite that never failed proves little.

Each bug is a context manager that swaps a function of `presenced.storage` for a version with one thing wrong: what
could be forgotten, or was, in a store like this one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from presenced.core.restorer import Restorer
from presenced.storage import files, frames, layout, manifest, openings, recovery, segment, snapshot, store
from presenced.storage.files import Directory
from presenced.storage.jobs import Jobs
from presenced.storage.journal import Journal
from presenced.storage.layout import FRAME_HEADER_BYTES, segment_name
from presenced.storage.manifest import SegmentEntry
from presenced.storage.recovery import DamageError
from presenced.storage.segment import Segment
from presenced.storage.snapshot import SnapshotWriter
from tests.storage.crashes import DEPTH_MAX, Explorer
from tests.storage.machine import History, Machine, small_units
from tests.storage.simdisk import SimDisk
from tests.storage.workloads import by_name
from tests.support.tiers import spaced

Bug = Callable[[], Any]

BUGS: dict[str, Bug] = {}
WHERE: dict[str, tuple[str, ...]] = {}
"""The workloads that are run against each bug; the probes always are."""


def bug(*workloads: str) -> Callable[[Callable[[], Iterator[None]]], Bug]:
    def add(make: Callable[[], Iterator[None]]) -> Bug:
        BUGS[make.__name__] = contextmanager(make)
        WHERE[make.__name__] = workloads
        return BUGS[make.__name__]

    return add


# --- syncs ------------------------------------------------------------------------------------------------------


@bug("begin")
def acknowledges_before_the_sync() -> Iterator[None]:
    def sync(self: Segment) -> None:
        self.durable_seq = self.next_seq

    with patch.object(Segment, "sync", sync):
        yield


@bug("sync-8-forgets")
def tries_a_failed_sync_again() -> Iterator[None]:
    whole = Segment.sync

    def sync(self: Segment) -> None:
        try:
            whole(self)
        except OSError:
            whole(self)

    with patch.object(Segment, "sync", sync):
        yield


@bug("sync-8-forgets")
def goes_on_after_a_failed_sync() -> Iterator[None]:
    whole = Segment.sync

    def sync(self: Segment) -> None:
        try:
            whole(self)
        except OSError:
            self.durable_seq = self.next_seq

    with patch.object(Segment, "sync", sync):
        yield


@bug("sync-11-no-room")
def gives_up_a_snapshot_for_want_of_room_of_the_log() -> Iterator[None]:
    """The seal before a snapshot could not be synced, and the log goes on behind it."""
    whole = Jobs.advance

    def advance(self: Any, is_gone: Callable[[BaseException], bool]) -> None:
        try:
            whole(self, is_gone)
        except OSError as error:
            if error.errno not in files.FULL:
                raise
            self._queue.popleft().done(error)

    with patch.object(Jobs, "advance", advance):
        yield


def _replace(directory: Directory, name: str, data: bytes, *, file_synced: bool, names_synced: bool) -> None:
    temporary = f"{name}.tmp"
    if temporary in directory.names():
        directory.unlink(temporary)
    file = directory.open(temporary, create=True)
    files.write_all(file, 0, data)
    if file_synced:
        file.sync()
    file.close()
    directory.rename(temporary, name)
    if names_synced:
        directory.sync()


@bug("begin")
def replaces_the_manifest_without_its_sync() -> Iterator[None]:
    def replace(directory: Directory, name: str, data: bytes) -> None:
        _replace(directory, name, data, file_synced=False, names_synced=True)

    with patch.object(manifest, "durable_replace", replace):
        yield


@bug("begin")
def skips_the_directory_after_a_rename() -> Iterator[None]:
    def replace(directory: Directory, name: str, data: bytes) -> None:
        _replace(directory, name, data, file_synced=True, names_synced=False)

    with patch.object(manifest, "durable_replace", replace):
        yield


@bug("begin")
def lists_a_segment_before_it_is_synced() -> Iterator[None]:
    def make(directory: Directory, name: str, data: bytes) -> files.File:
        for leftover in (name, f"{name}.tmp"):
            if leftover in directory.names():
                directory.unlink(leftover)
        file = directory.open(f"{name}.tmp", create=True)
        files.write_all(file, 0, data.ljust((len(data) // 1536 + 1) * 1536, b"\0"))
        directory.rename(f"{name}.tmp", name)
        directory.sync()
        return file

    with patch.object(segment, "_make_file", make):
        yield


@bug("snapshots")
def lists_a_snapshot_before_it_is_synced() -> Iterator[None]:
    def finish(self: Any, end_seq: int) -> Iterator[None]:
        self._end_seq = end_seq
        self._frame(b"", 0, layout.SEAL, end_seq)
        self._file.close()
        self._directory.rename(self._temporary, self.name)
        self._directory.sync()
        yield

    with patch.object(SnapshotWriter, "finish", finish):
        yield


@bug("lazy")
def rotates_without_a_sync() -> Iterator[None]:
    with patch.object(Journal, "seal", lambda self: None):
        yield


# --- watermarks -------------------------------------------------------------------------------------------------


@bug("lazy", "lazy-restarts")
def a_seal_claims_more_than_was_synced() -> Iterator[None]:
    def seal(self: Any, wall_ms: int) -> int:
        self.durable_seq = self.next_seq
        data, crc = self._frame(b"", self.next_seq, 0, layout.SEAL, self.crc, wall_ms)
        self._make_room(self.position + len(data))
        self._append(data)
        self.crc = crc
        self.is_sealed = True
        self.sync()
        return len(data)

    with patch.object(Segment, "seal", seal):
        yield


@bug("lazy")
def a_mark_claims_more_than_was_synced() -> Iterator[None]:
    whole = Segment._mark

    def mark(self: Any) -> None:
        self._durable = (self.position, self.next_seq, self.crc)
        whole(self)

    with patch.object(Segment, "_mark", mark):
        yield


@bug("rotations")
def writes_into_space_before_it_is_synced() -> Iterator[None]:
    def make_room(self: Any, end: int) -> None:
        if end >= self._allocated:
            grown = (end // 1536 + 1) * 1536
            files.write_all(self._file, self._allocated, bytes(grown - self._allocated))
            self._allocated = grown

    with patch.object(Segment, "_make_room", make_room):
        yield


@bug("begin")
def never_marks() -> Iterator[None]:
    with patch.object(Segment, "_mark", lambda self: None):
        yield


@bug("begin")
def a_frame_claims_to_be_synced_itself() -> Iterator[None]:
    def pack_frame(payload: bytes, **fields: int) -> tuple[bytes, int]:
        fields["durable_seq"] = fields["first_seq"] + fields["count"]
        return layout.pack_frame(payload, **fields)

    with patch.object(segment, "pack_frame", pack_frame):
        yield


@bug()
def takes_every_damage_for_a_torn_tail() -> Iterator[None]:
    with patch.object(recovery._LogReader, "_judge", lambda *_: None):
        yield


@bug("restarts")
def takes_a_seal_for_synced() -> Iterator[None]:
    whole = recovery._LogReader._read_frames

    def read(self: Any, name: str, data: bytes, tail: Any) -> None:
        whole(self, name, data, tail)
        if tail.unwitnessed_seq == self.next_seq:
            tail.unwitnessed, tail.unwitnessed_crc = tail.position, tail.last_crc

    with patch.object(recovery._LogReader, "_read_frames", read):
        yield


# --- what a frame is known by -----------------------------------------------------------------------------------


@bug("reused-blocks")
def does_not_salt() -> Iterator[None]:
    def unsalted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **named: Any) -> Any:
            if "salt" in named:
                return function(*args, **{**named, "salt": 0})
            return function(*args[:-1], 0)

        return call

    with (
        patch.object(segment, "pack_frame", unsalted(layout.pack_frame)),
        patch.object(snapshot, "pack_frame", unsalted(layout.pack_frame)),
        patch.object(frames, "unpack_frame_header", unsalted(layout.unpack_frame_header)),
        patch.object(frames, "frame_payload", unsalted(layout.frame_payload)),
    ):
        yield


@bug()
def does_not_check_the_chain() -> Iterator[None]:
    whole = frames.must_follow

    def must_follow(header: layout.FrameHeader, crc: int, seq: int) -> None:
        whole(header, header.previous_crc, seq)

    with patch.object(frames, "must_follow", must_follow):
        yield


# --- recovery ---------------------------------------------------------------------------------------------------


@bug("begin")
def does_not_write_anew_after_an_unclean_stop() -> Iterator[None]:
    whole = store._continue

    def go_on(into: Journal, recovered: Any, stored: Any, tail: Any) -> None:
        tail.unwitnessed, tail.unwitnessed_seq = tail.position, recovered.report.next_seq
        tail.unwitnessed_crc = tail.last_crc
        whole(into, recovered, stored, tail)

    with patch.object(store, "_continue", go_on):
        yield


@bug("begin")
def appends_to_a_recovered_segment() -> Iterator[None]:
    def go_on(into: Any, recovered: Any, stored: Any, tail: Any) -> None:
        entry: SegmentEntry = tail.entry
        file = into.directory.open(segment_name(entry.number), write=True)
        into.manifest = stored
        end = layout.Mark(tail.position, recovered.report.next_seq, tail.last_crc)
        into._segment = Segment(file, entry.number, entry.first_seq, tail.header.salt, end)
        into._is_open = True

    with patch.object(store, "_continue", go_on):
        yield


@bug("engine-lazy-restarts")
def gives_versions_out_again() -> Iterator[None]:
    whole = Restorer.finish

    def finish(self: Restorer, *, grace_ms: int, spread_ms: int, version_gap: int) -> None:
        whole(self, grace_ms=grace_ms, spread_ms=spread_ms, version_gap=0)

    with patch.object(Restorer, "finish", finish):
        yield


@bug("engine-lazy-restarts")
def gives_versions_out_again_after_two_crashes() -> Iterator[None]:
    with patch.object(openings, "VERSION_GAP", 0):
        yield


@bug("snapshots")
def starts_over_with_sequence_numbers() -> Iterator[None]:
    whole = Journal.open_segment

    def open_segment(self: Journal, stored: Any, number: int, frames: Any = (), *, first_seq: int = 1) -> None:
        whole(self, stored, number, frames)

    with patch.object(Journal, "open_segment", open_segment):
        yield


@bug("begin")
def takes_a_first_start_cut_short_for_damage() -> Iterator[None]:
    def refuse(directory: Directory) -> None:
        for name in directory.names():
            if name.startswith("wal-"):
                raise DamageError(f"{name} and no MANIFEST")

    with patch.object(recovery, "_refuse_orphans", refuse):
        yield


# --- a full disk ------------------------------------------------------------------------------------------------


@bug("refused-1-even-250")
def goes_on_behind_what_did_not_fit() -> Iterator[None]:
    whole = Segment._append

    def append(self: Any, data: bytes) -> None:
        try:
            whole(self, data)
        finally:
            self.is_spoiled = False

    with patch.object(Segment, "_append", append):
        yield


@bug("short-writes")
def takes_a_short_write_for_a_whole_one() -> Iterator[None]:
    def write(file: files.File, offset: int, data: bytes) -> None:
        file.write_at(offset, data)

    with patch.object(segment, "write_all", write), patch.object(snapshot, "write_all", write):
        yield


@bug("ENOSPC-x1-35")
def takes_a_manifest_half_replaced_for_not_replaced() -> Iterator[None]:
    """The directory's sync fails for want of room, and the journal goes on in the old segment."""

    def replace(directory: Directory, name: str, data: bytes) -> None:
        _replace(directory, name, data, file_synced=True, names_synced=True)

    with patch.object(manifest, "durable_replace", replace):
        yield


# --- snapshots --------------------------------------------------------------------------------------------------


@bug("snapshots")
def drops_the_old_snapshot_before_the_new_is_there() -> Iterator[None]:
    whole = Journal.begin_snapshot

    def begin(self: Journal) -> SnapshotWriter:
        for entry in self.manifest.snapshots:
            self.directory.unlink(entry.name)
        return whole(self)

    with patch.object(Journal, "begin_snapshot", begin):
        yield


@bug()
def a_snapshot_ends_too_early() -> Iterator[None]:
    whole = SnapshotWriter.entry

    def entry(self: Any) -> Any:
        return whole(self).__class__(
            self.name, self._start_seq, self._start_seq, self._position, self._digest.hexdigest(), self._facts
        )

    with patch.object(SnapshotWriter, "entry", entry):
        yield


@bug("snapshots")
def a_snapshot_starts_too_late() -> Iterator[None]:
    whole = SnapshotWriter.finish

    def finish(self: Any, end_seq: int) -> Iterator[None]:
        self._start_seq = end_seq
        yield from whole(self, end_seq)

    with patch.object(SnapshotWriter, "finish", finish):
        yield


# --- the checks -------------------------------------------------------------------------------------------------


STRIDES = {"begin": 2, "restarts": 1, "lazy": 4, "snapshots": 5, "lazy-restarts": 4, "engine-lazy-restarts": 4}
"""At which share of their operations workloads are crashed here; the others at each."""

FIRST_ONLY = (
    "short-writes",
    "refused-1-even-250",
    "reused-blocks",
    "ENOSPC-x1-35",
    "sync-8-forgets",
    "sync-11-no-room",
)
"""Workloads whose recovery is not crashed again here."""


def rot_is_told_from_a_torn_tail() -> None:
    """Damage to what was synced, with a later frame or a seal as witness, is refused."""
    for sealed in (False, True):
        machine = Machine(SimDisk(), History())
        machine.open()
        machine.commits(2)
        if sealed:
            machine.seal()
        file = machine.disk.directories["data"].cached["wal-0000000001.log"]
        file.cached[layout.FRAMES_AT + FRAME_HEADER_BYTES + 3] ^= 1
        must_refuse(machine, "a damaged frame")


def a_log_without_its_end_is_missed() -> None:
    """Zeros, or nothing, where the log fell idle."""
    for zeros in (0, 1536):
        machine = Machine(SimDisk(), History())
        machine.open()
        machine.commits(2)
        machine.seal()
        file = machine.disk.directories["data"].cached["wal-0000000001.log"]
        file.cached[layout.FRAMES_AT :] = bytes(zeros)
        must_refuse(machine, "a log without its end")


def a_log_that_ends_before_its_snapshot_is_refused() -> None:
    """A snapshot holds facts of the log after its start: without them it is no state that ever was."""
    machine = Machine(SimDisk(), History(), sync_each=False, segment_bytes=1 << 16)
    with patch.object(Segment, "_mark", lambda self: None):
        machine.open()
        machine.commits(3)
        machine.snapshot()
    names = machine.disk.directories["data"].cached
    last = max(name for name in names if name.startswith("wal-"))
    data = names[last].cached
    data[layout.FRAMES_AT :] = bytes(len(data) - layout.FRAMES_AT)
    must_refuse(machine, "a log that ends before the end of the snapshot")


def a_frame_of_another_history_is_refused() -> None:
    """Two logs that differ in one batch, as after a restore gone wrong: each frame is whole, and they do not fit."""
    images = []
    for serial in (0, 500):
        machine = Machine(SimDisk(), History())
        machine.even = True
        machine.open()
        machine.commit(facts=1)
        machine.history.serial += serial
        machine.commit(facts=1)
        machine.history.serial -= serial
        # Enough of them for the newest mark to stand behind the exchanged one, which it knows by itself.
        for _ in range(4):
            machine.commit(facts=1)
        images.append(machine.disk.directories["data"].cached["wal-0000000001.log"].cached)
    start = layout.FRAMES_AT
    size = len(images[0][start:].rstrip(b"\0")) // 6 + 7 & ~7
    second = slice(start + size, start + 2 * size)
    assert images[0][start : start + size] == images[1][start : start + size] != images[0][second]
    images[1][second] = images[0][second]
    must_refuse(machine, "a frame that does not chain to the one before it")


def must_refuse(machine: Machine, what: str) -> None:
    try:
        machine.look()
    except DamageError:
        return
    raise AssertionError(f"{what} was accepted")


PROBES = (
    rot_is_told_from_a_torn_tail,
    a_log_without_its_end_is_missed,
    a_log_that_ends_before_its_snapshot_is_refused,
    a_frame_of_another_history_is_refused,
)


def check(workloads: Iterable[str], thinned: int = 1) -> int:
    """The probes, and crashes of the workloads at a share of their operations, `thinned` so many times; gives the
    crash states, raises what is found."""
    states = 0
    with small_units():
        for probe in PROBES:
            probe()
        for name in workloads:
            explorer = Explorer(stride=STRIDES.get(name, 1) * thinned, depth_max=1 if name in FIRST_ONLY else DEPTH_MAX)
            explorer.explore(by_name(name))
            states += explorer.states
    return states


def check_without_bugs() -> int:
    """What the bugs are held against, on the store as it is; most of it is done by the crash tests anyway."""
    return check(dict.fromkeys(name for names in WHERE.values() for name in names), thinned=spaced(6))


def caught(name: str) -> str:
    """What the checks say of the store with that bug in it; empty if they do not notice."""
    with BUGS[name]():
        try:
            check(WHERE[name])
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return ""


def main() -> int:
    print(f"without a bug: {check_without_bugs():,} states, nothing wrong")
    missed = 0
    for name in BUGS:
        began_s = time.monotonic()
        said = caught(name)
        missed += not said
        took_s = time.monotonic() - began_s
        print(f"{'caught' if said else 'MISSED':6}  {took_s:5.1f} s  {name.replace('_', ' ')}")
        if said:
            print(f"                {said.splitlines()[0][:150]}")
    print(f"{len(BUGS) - missed} of {len(BUGS)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
