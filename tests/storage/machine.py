"""A process that keeps a store on a simulated disk, and an account of what it owes after every kind of stop.

The account (`History`) is exact. Facts are numbered, so the sequence number at which a recovered log ends says which
facts it claims to hold, and the recovered state must equal the state after just these: nothing lost in between,
nothing twice, nothing from elsewhere. Where it may end is bounded from below by what was promised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec

from presenced.core.positions import Life, carried
from presenced.core.records import ClaimSet, DeviceForgotten, DeviceSet, Fact, RecordSet, TextSet, VersionsRaised
from presenced.storage import journal as journal_module, segment as segment_module, snapshot as snapshot_module
from presenced.storage.files import DiskFull
from presenced.storage.frames import array_of
from presenced.storage.jobs import Job, Jobs
from presenced.storage.journal import Journal
from presenced.storage.layout import MARK_BYTES
from presenced.storage.recovery import Recovered, recover
from presenced.storage.snapshot import SnapshotWriter
from presenced.storage.store import claim, open_store
from presenced.wire.codec import encode
from tests.storage.simdisk import SimDisk

State = dict[Any, Fact]
"""What facts amount to, by what they are about."""

EPOCH = 77
STORE_ID = "5eed" * 8
USERS = ("ann", "bob", "cy")


class Dead(Exception):
    """The disk refused something that the store cannot go on without: the process ends."""


@contextmanager
def small_units() -> Iterator[None]:
    """Let files grow and be marked, and snapshots be synced, in steps that a short workload goes through many times."""
    with (
        patch.object(segment_module, "ALLOCATE_BYTES", 1536),
        patch.object(journal_module, "MARK_EVERY_BATCHES", 2),
        patch.object(snapshot_module, "SYNC_BYTES", 2048),
    ):
        yield


def make_fact(serial: int) -> Fact:
    """The `serial`-th fact of a history; no two are equal."""
    user = USERS[serial // 2 % len(USERS)]
    device = f"d{serial % 2}"
    kind = serial % 6
    if kind == 0:
        return ClaimSet(user, "dnd", serial, 0)
    if kind == 1:
        return DeviceSet(user, device, "phone", f"no. {serial}", 0, "online", True, serial)
    if kind == 2:
        return RecordSet(user, "online", serial, 0, device, serial + 1)
    if kind == 3 and serial % 4 == 3:
        return DeviceForgotten(user, device)
    length = 900 if serial % 11 == 4 else 5 + serial % 40
    return TextSet(user, f"{serial} ".ljust(length, "x"), "", serial)


def make_even_fact(serial: int) -> Fact:
    """As `make_fact`, and all of the same length when encoded."""
    return TextSet("ann", f"{serial:012}", "", 1 << 40)


def apply_facts(state: State, facts: Sequence[Fact]) -> None:
    """What facts do to a state."""
    for fact in facts:
        if isinstance(fact, DeviceForgotten):
            state.pop((DeviceSet, fact.user, fact.device), None)
        elif isinstance(fact, DeviceSet):
            state[DeviceSet, fact.user, fact.device] = fact
        elif isinstance(fact, VersionsRaised):
            records = [known for known in state.values() if isinstance(known, RecordSet)]
            for record in records:
                if 0 < record.version <= fact.above:
                    life = Life(fact.above, fact.newest, fact.durable)
                    state[RecordSet, record.user] = msgspec.structs.replace(
                        record, version=carried(record.version, life)
                    )
        else:
            state[type(fact), fact.user] = fact


class Mark(NamedTuple):
    """A place where a log may end: the facts before `seq`, and what they amount to."""

    seq: int
    state: State


class History:
    """What was asked for, in order, and how much of it was promised."""

    def __init__(self) -> None:
        self.marks: list[Mark] = [Mark(1, {})]
        self.refused: list[tuple[int, list[Mark]]] = []
        """Where a batch was tried and refused, and the marks that it would have led to: of a batch that was refused
        for want of room, the first frames may still be there after a crash, with nothing of what came instead."""
        self.promised = 1
        """Facts before this must survive a power cut."""
        self.written = 1
        """Facts before this must survive the end of the process."""
        self.stopped = False
        """Whether the store was closed in order and not opened since."""
        self.serial = 0
        self.openings = 0
        self.told = 0
        """The highest version that anybody was told of."""

    def clone(self, *, power_cut: bool = False) -> History:
        """The account after a crash."""
        twin = History()
        twin.marks = self.marks.copy()
        twin.refused = self.refused.copy()
        twin.promised = self.promised
        twin.written = self.promised if power_cut else self.written
        twin.stopped = self.stopped
        twin.serial = self.serial
        twin.openings = self.openings
        twin.told = self.told
        return twin

    @property
    def asked(self) -> Mark:
        return self.marks[-1]

    def new_facts(self, count: int, make: Callable[[int], Fact]) -> list[Fact]:
        facts = [make(self.serial + place) for place in range(count)]
        self.serial += count
        return facts

    def ask(self, frames: Sequence[Sequence[Fact]]) -> None:
        for facts in frames:
            state = self.asked.state.copy()
            apply_facts(state, facts)
            self.marks.append(Mark(self.asked.seq + len(facts), state))

    def refuse(self, frames: int) -> None:
        """The last `frames` frames were not taken."""
        kept = self.marks[:-frames]
        self.refused.append((kept[-1].seq, self.marks))
        self.marks = kept

    def judge(self, recovered: Recovered, state: State) -> Mark:
        """Hold a recovery to the account; gives the mark that it came to."""
        seq = recovered.report.next_seq
        assert seq >= self.written, f"facts {seq} to {self.written - 1} were acknowledged and are lost"
        if self.stopped:
            assert recovered.report.clean, "the store was closed in order and reads as if it had crashed"
        for start, marks in [(seq, self.marks), *self.refused]:
            for mark in marks:
                if mark.seq == seq and start >= self.written and mark.state == state:
                    return mark
        places = [mark.seq for mark in self.marks]
        assert seq in places, f"the log ends at {seq}, where no frame did ({places})"
        wanted = self.marks[places.index(seq)].state
        differing = [key for key in {**wanted, **state} if wanted.get(key) != state.get(key)]
        raise AssertionError(
            f"the log ends at {seq} with another state: "
            + "; ".join(f"{state.get(key)} instead of {wanted.get(key)}" for key in differing)
        )

    def settle(self, mark: Mark) -> None:
        """A process has recovered and serves: what it recovered is what counts, for good."""
        self.marks = [mark]
        self.refused = []
        self.promised = self.written = mark.seq
        self.stopped = False


class Machine:
    """One process on one disk. Its methods are what a server does to its store."""

    def __init__(self, disk: SimDisk, history: History, *, sync_each: bool = True, segment_bytes: int = 5600) -> None:
        self.disk = disk
        self.history = history
        self.sync_each = sync_each
        self.segment_bytes = segment_bytes
        self.journal: Journal | None = None
        self.refusals = 0
        self.even = False
        """Whether to commit facts of the same length only."""

    def look(self) -> Mark:
        """Read the store, change nothing, and hold what was read to the account."""
        state: State = {}
        before = self.disk.operations
        recovered = recover(self.disk.root, lambda facts: apply_facts(state, facts))
        assert self.disk.operations == before, "reading the store changed the disk"
        return self.history.judge(recovered, state)

    def open(self) -> None:
        """Recover and make ready to write."""
        if self.history.stopped:
            self.look()
            self.history.stopped = False
        facts: list[Fact] = []
        self.history.openings += 1
        salt = 0x9E3779B9 * (self.history.openings + 1000 * self.history.serial)

        # A few readings of it go by from one mark to the next.
        walls = count(1_700_000_000_000, 7)

        def salts() -> int:
            nonlocal salt
            salt = (salt * 1103515245 + 12345) & 0xFFFFFFFF
            return salt

        try:
            claim(self.disk.root)
            self.journal, recovered = open_store(
                self.disk.root,
                facts.extend,
                sync_each=self.sync_each,
                new_id=lambda: (STORE_ID, EPOCH),
                salts=salts,
                wall_ms=walls.__next__,
                segment_bytes=2 * MARK_BYTES + self.segment_bytes,
            )
        except (OSError, DiskFull) as error:
            raise Dead(str(error)) from error
        state: State = {}
        apply_facts(state, facts)
        mark = self.history.judge(recovered, state)
        assert self.journal.next_seq == mark.seq, "the next fact's number is not the one after the last recovered"
        self.history.settle(mark)
        self.restored(recovered, facts)

    def restored(self, recovered: Recovered, facts: Sequence[Fact]) -> None:
        """For whoever makes more of the facts than a dict."""

    def new_facts(self, count: int) -> Sequence[Fact]:
        """What is to be committed next."""
        return self.history.new_facts(count, make_even_fact if self.even else make_fact)

    @property
    def version(self) -> int:
        """What to put down as the highest version given out."""
        return self.history.serial + 1

    def commit(self, frames: int = 1, facts: int = 2) -> bool:
        """Commit a batch; False if the disk is full."""
        self._alive()
        batch = [made for made in [self.new_facts(facts) for _ in range(frames)] if made]
        if not batch:
            return True
        self.history.ask(batch)
        payloads = [(array_of(list(map(encode, frame)), len(frame)), len(frame)) for frame in batch]
        if not self._do(lambda journal: journal.commit(payloads)):
            self.history.refuse(len(batch))
            return False
        self.history.written = self.history.asked.seq
        if self.sync_each:
            self.history.promised = self.history.written
        return True

    def commits(self, count: int) -> None:
        for number in range(count):
            self.commit(facts=1 + number % 3)

    def sync(self) -> None:
        if self._do(lambda journal: journal.sync()):
            self.history.promised = self.history.written

    def seal(self) -> None:
        if self._do(lambda journal: journal.witness()):
            self.history.promised = self.history.written

    def rotate(self) -> None:
        if self._do(lambda journal: journal.rotate()):
            self.history.promised = self.history.written

    def snapshot(self, *, between: int = 1) -> None:
        """Take a snapshot, with `between` commits between any two of its pieces. What an error of it means to the log
        is decided by the real `Jobs`."""
        journal = self._alive()
        writers: list[SnapshotWriter] = []
        ends: list[BaseException | None] = []
        jobs = Jobs()
        jobs.add(Job(0, self._snapshot_steps(journal, writers, between), ends.append))
        try:
            while jobs:
                jobs.advance(lambda error: False)
        except OSError as error:
            self.journal = None
            raise Dead(str(error)) from error
        if ends != [None]:
            self.refusals += 1
            for writer in writers:
                self._do(lambda _, writer=writer: writer.abandon())

    def _snapshot_steps(self, journal: Journal, writers: list[SnapshotWriter], between: int) -> Iterator[None]:
        writer = journal.begin_snapshot()
        writers.append(writer)
        keys = sorted(self.history.asked.state, key=str)
        for start in range(0, len(keys), 4):
            present = self.history.asked.state
            facts = [present[key] for key in keys[start : start + 4] if key in present]
            self.commits(between)
            writer.add(array_of(list(map(encode, facts)), len(facts)), len(facts))
            yield
        for _ in journal.finish_snapshot(writer, self.version):
            self.commits(between)
            yield

    def close(self) -> None:
        if self._do(lambda journal: journal.close(version=self.version)):
            self.history.promised = self.history.written
            self.history.stopped = True
        self.journal = None

    def kill(self) -> None:
        """The process ends here; the next `open` is another one on the same machine."""
        self.journal = None

    def _alive(self) -> Journal:
        assert self.journal is not None
        return self.journal

    def _do(self, act: Callable[[Journal], object]) -> bool:
        try:
            act(self._alive())
        except DiskFull:
            self.refusals += 1
            return False
        except OSError as error:
            self.journal = None
            raise Dead(str(error)) from error
        return True
