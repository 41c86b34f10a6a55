"""What a process does to its store in the crash tests: short scripts that between them visit every path of a write.

A script is deterministic: the same operations on the disk in the same order each time. Those with a number have many
variants, one for each place where something goes wrong.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from tests.storage.engine_machine import EngineMachine
from tests.storage.machine import History, Machine
from tests.storage.simdisk import SimDisk

Script = Callable[[Machine], None]


class Workload(NamedTuple):
    """A script, the policy it runs under, and what its disk does to it."""

    name: str
    script: Script
    sync_each: bool = True
    segment_bytes: int = 5600
    prepare: Callable[[SimDisk], None] | None = None
    kind: type[Machine] = Machine

    def machine(self, disk: SimDisk | None = None, history: History | None = None) -> Machine:
        """A process to run it, on a new disk if none is given."""
        if disk is None:
            disk = SimDisk()
            if self.prepare is not None:
                self.prepare(disk)
        return self.kind(disk, history or History(), sync_each=self.sync_each, segment_bytes=self.segment_bytes)


def begin(m: Machine) -> None:
    m.open()
    m.commits(4)
    m.seal()
    m.commits(2)
    m.close()
    m.open()
    m.commits(2)


def batches(m: Machine) -> None:
    m.open()
    for frames in (3, 1, 4, 2):
        m.commit(frames, facts=1)
    m.kill()
    m.open()
    m.commit(3, facts=2)


def rotations(m: Machine) -> None:
    m.open()
    m.commits(14)
    m.rotate()
    m.rotate()
    m.commits(3)
    m.close()
    m.open()
    m.close()
    m.open()
    m.commit()


def snapshots(m: Machine) -> None:
    m.open()
    m.commits(5)
    m.snapshot()
    m.commits(3)
    m.snapshot(between=0)
    m.snapshot(between=0)
    m.kill()
    m.open()
    m.snapshot(between=0)
    m.snapshot()
    m.commits(2)
    m.close()
    m.open()
    m.commit()


def restarts(m: Machine) -> None:
    m.open()
    m.kill()
    m.open()
    m.commits(2)
    m.kill()
    m.open()
    m.seal()
    m.kill()
    m.open()
    m.commits(3)
    m.rotate()
    m.kill()
    m.open()
    m.commits(1)
    m.close()
    m.open()
    m.kill()
    m.open()


def lazy(m: Machine) -> None:
    """For a policy that does not sync each commit."""
    m.open()
    m.commits(4)
    m.sync()
    m.commits(3)
    m.seal()
    m.commits(5)
    m.rotate()
    m.commits(2)
    m.snapshot()
    m.commits(3)
    m.kill()
    m.open()
    m.commits(3)
    m.close()
    m.open()
    m.commits(2)


def filling(space: int) -> Script:
    """The disk has room for so many bytes more, then for none, then for everything again."""

    def script(m: Machine) -> None:
        m.open()
        m.commits(2)
        m.disk.space = space
        for number in range(7):
            m.commit(frames=1 + number % 3, facts=1 + number % 2)
            if number == 3:
                m.snapshot(between=1)
        m.disk.space = None
        m.commit(facts=1)
        m.commit(2, facts=1)
        m.snapshot(between=0)
        m.commits(2)
        m.close()
        m.open()
        m.commit()

    return script


def refused(frames: int, space: int, even: bool) -> Script:
    """A batch is cut off for want of room, and another one, which may have frames as long, is written instead."""

    def script(m: Machine) -> None:
        m.open()
        m.even = True
        m.commit(facts=1)
        m.disk.space = space
        m.commit(3, facts=1)
        m.disk.space = None
        m.even = even
        m.commit(frames, facts=1)
        m.even = True
        m.commit(facts=1)
        m.close()
        m.open()

    return script


def another_store() -> bytes:
    """A segment of a store that was here before: its facts have higher numbers than the new one has so far."""
    machine = Machine(SimDisk(), History(), segment_bytes=1 << 16)
    machine.history.serial = 5000
    machine.even = True
    machine.open()
    for _ in range(12):
        machine.commit(facts=20)
    return bytes(machine.disk.directories["data"].cached["wal-0000000001.log"].cached)


def _reuse(disk: SimDisk) -> None:
    disk.graveyard = [another_store()]


def everything(m: Machine) -> None:
    """One of each, for faults to be put anywhere into."""
    m.open()
    m.commits(4)
    m.commit(2, facts=1)
    m.snapshot()
    m.rotate()
    m.commits(2)
    m.snapshot(between=0)
    m.seal()
    m.commit()
    m.close()
    m.open()
    m.commits(2)


def random_steps(seed: int) -> Script:
    """A walk through all that a process can do."""

    def script(m: Machine) -> None:
        rng = random.Random(seed)
        m.open()
        for _ in range(12):
            lot = rng.random()
            if lot < 0.45:
                m.commit(rng.randint(1, 3), rng.randint(1, 3))
            elif lot < 0.55:
                m.seal()
            elif lot < 0.65:
                m.rotate()
            elif lot < 0.75:
                m.snapshot(between=rng.randint(0, 1))
            elif lot < 0.8:
                m.sync()
            elif lot < 0.9:
                m.kill()
                m.open()
            elif lot < 0.95:
                m.close()
                m.open()
            else:
                m.disk.space = rng.choice((None, 0, 300, 2500))
                m.commit(rng.randint(1, 3), rng.randint(1, 2))
                m.commit(1, 1)
                m.disk.space = None

    return script


def plain() -> Iterator[Workload]:
    """The workloads in which nothing goes wrong but the crash."""
    yield Workload("begin", begin)
    yield Workload("batches", batches)
    yield Workload("rotations", rotations)
    yield Workload("snapshots", snapshots)
    yield Workload("restarts", restarts)
    yield Workload("lazy", lazy, sync_each=False)
    yield Workload("lazy-rotations", rotations, sync_each=False, segment_bytes=4700)
    yield Workload("lazy-restarts", restarts, sync_each=False)
    yield Workload("lazy-batches", batches, sync_each=False)
    for space in (100, 200, 250, 300):
        for frames in (1, 2):
            yield Workload(f"refused-{frames}-even-{space}", refused(frames, space, True))
            yield Workload(f"refused-{frames}-odd-{space}", refused(frames, space, False))
    yield Workload("reused-blocks", batches, prepare=_reuse)
    yield Workload("short-writes", everything, prepare=_short)


def _short(disk: SimDisk) -> None:
    disk.short_every = 2


def full_disks(step: int) -> Iterator[Workload]:
    """Room for 0, `step`, 2 x `step`, ... bytes."""
    for space in range(0, 14_000, step):
        yield Workload(f"full-{space}", filling(space), sync_each=space % 3 != 0)


def _fail(number: int, code: int, times: int) -> Callable[[SimDisk], None]:
    def prepare(disk: SimDisk) -> None:
        disk.faults = dict.fromkeys(range(number, number + times), code)

    return prepare


def failing_operations(step: int) -> Iterator[Workload]:
    """Each operation in turn fails: for want of room, once or three times in a row, or with an input/output error."""
    for number in range(0, 330, step):
        for code, times in ((errno.ENOSPC, 1), (errno.ENOSPC, 3), (errno.EIO, 1)):
            name = f"{errno.errorcode[code]}-x{times}-{number}"
            yield Workload(name, everything, sync_each=number // 3 % 2 == 0, prepare=_fail(number, code, times))


def _fail_sync(number: int, *, forgets: bool, code: int = errno.EIO) -> Callable[[SimDisk], None]:
    def prepare(disk: SimDisk) -> None:
        disk.sync_faults = {number}
        disk.sync_error = code
        disk.forgets_failed_syncs = forgets

    return prepare


def failing_syncs(step: int) -> Iterator[Workload]:
    """Each sync in turn fails, on a system that then forgets what it could not write and on one that keeps it; and for
    want of room, which NFS and thin volumes report no earlier."""
    for number in range(0, 100, step):
        for forgets in (True, False):
            name = f"sync-{number}-{'forgets' if forgets else 'keeps'}"
            yield Workload(name, everything, prepare=_fail_sync(number, forgets=forgets))
        no_room = _fail_sync(number, forgets=True, code=errno.ENOSPC)
        yield Workload(f"sync-{number}-no-room", everything, sync_each=number // 4 % 2 == 0, prepare=no_room)


def walks(first: int, count: int) -> Iterator[Workload]:
    """Random walks by seed."""
    for seed in range(first, first + count):
        yield Workload(f"walk-{seed}", random_steps(seed), sync_each=seed % 3 != 0, segment_bytes=4600 + seed % 5 * 400)


def engines() -> Iterator[Workload]:
    """The real core in front of the store."""
    for sync_each in (True, False):
        for script in (everything, restarts, snapshots):
            name = f"engine-{'always' if sync_each else 'lazy'}-{script.__name__}"
            yield Workload(name, script, sync_each=sync_each, kind=EngineMachine)


@cache
def _numbered() -> dict[str, Workload]:
    every = (*plain(), *engines(), *full_disks(1), *failing_operations(1), *failing_syncs(1))
    return {workload.name: workload for workload in every}


def by_name(name: str) -> Workload:
    """The workload of that name; raises `KeyError`."""
    head, _, number = name.rpartition("-")
    if head == "walk":
        return next(walks(int(number), 1))
    return _numbered()[name]
