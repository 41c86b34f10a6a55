"""Crashes a workload at each of its operations, in many ways, and again while it recovers, and holds every outcome to
the account.

A workload runs once. Before each of its operations the disk is copied and the copy crashed, so that a run costs as
many crashes as it has operations and not the square of that. Everything follows from the path that leads to a state:
`begin@17:rnd-5@3:kill` is the workload `begin`, a power cut with lots drawn from 5 before operation 17, then a kill
before operation 3 of the process that recovered. So a failure is replayed by its path alone.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Sequence

from tests.storage.machine import Dead, History, Machine
from tests.storage.simdisk import Decider, RandomDecider, SimDisk, SimFile, StaleDecider, Write
from tests.storage.workloads import Workload, by_name

DEPTH_MAX = 3
ENUMERATED_MAX = 4
"""With so many pending changes every subset of them is tried."""


class Violation(AssertionError):
    """A state that must not be; the text begins with the path to it."""


class Explorer:
    """Counts the states it has been through in `states`."""

    def __init__(self, *, lots: int = 2, stride: int = 1, depth_max: int = DEPTH_MAX, seed: int = 0) -> None:
        self.states = 0
        self.by_depth = [0] * (DEPTH_MAX + 1)
        self._lots = lots
        self._stride = stride
        self._depth_max = depth_max
        self._seed = seed
        self._route: list[tuple[int, str]] | None = None

    def explore(self, workload: Workload) -> None:
        """Run the workload and crash it everywhere; raises `Violation`."""
        machine = workload.machine()
        self._watch(workload, machine, workload.name, 0)
        try:
            workload.script(machine)
        except Dead:
            machine.kill()
        except (Exception, AssertionError) as error:
            self._complain(workload.name, error)
        self._crash_here(workload, machine, workload.name, 0)

    def replay(self, path: str) -> None:
        """Go to one state only."""
        name, *steps = path.split("@")
        self._route = [(int(number), plan) for number, _, plan in (step.partition(":") for step in steps)]
        self.explore(by_name(name))

    # --- where to crash ---------------------------------------------------------------------------------------

    def _watch(self, workload: Workload, machine: Machine, path: str, depth: int) -> None:
        disk = machine.disk
        luck = random.Random(zlib.crc32(path.encode()) ^ self._seed)
        offset = luck.randrange(self._stride)

        def before(what: str, file: SimFile | None, data: bytes, at: int) -> None:
            if self._route is None:
                if depth == 0 and disk.operations % self._stride != offset:
                    return
                if depth > 0 and luck.random() > 0.05:
                    return
            elif not self._route or self._route[0][0] != disk.operations:
                return
            self._crash_here(workload, machine, path, depth)
            if len(data) > 1 and file is not None and (self._route is not None or luck.random() < 0.3):
                self._crash_half_way(workload, machine, path, depth, file, Write(at, data[: len(data) // 2]))

        if depth < self._depth_max:
            disk.on_operation = before

    def _crash_here(self, workload: Workload, machine: Machine, path: str, depth: int) -> None:
        for plan in self._plans(machine.disk, path, depth):
            self._crash(workload, machine.disk, machine.history, path, plan, depth)

    def _crash_half_way(
        self, workload: Workload, machine: Machine, path: str, depth: int, file: SimFile, part: Write
    ) -> None:
        """Killed within a write: the page cache has its first part."""
        plan = "half"
        if self._route is not None and self._route[0][1] != plan:
            return
        twin = machine.disk.killed()
        twin.operations = machine.disk.operations
        names = twin.directories["data"].cached
        if file.name in names:
            SimFile(twin, names[file.name], file.name, writable=True).put(part)
        self._crash(workload, twin, machine.history, path, plan, depth)

    def _plans(self, disk: SimDisk, path: str, depth: int) -> Sequence[str]:
        if self._route is not None:
            number, plan = self._route[0] if self._route else (-1, "")
            return [plan] if number == disk.operations and plan != "half" else []
        pending = disk.pending()
        luck = zlib.crc32(f"{path}@{disk.operations}".encode()) ^ self._seed
        plans = ["kill", "mask--1", "mask-0"] if pending else ["kill", "mask--1"]
        if pending:
            plans.append("stale")
            if pending <= ENUMERATED_MAX:
                plans.extend(f"mask-{mask}" for mask in range(1, (1 << pending) - 1))
            plans.extend(f"rnd-{luck + lot}" for lot in range(self._lots))
        if depth == 0:
            return plans
        return [plans[luck % len(plans)], plans[(luck >> 8) % len(plans)]]

    # --- and then ---------------------------------------------------------------------------------------------

    def _crash(self, workload: Workload, disk: SimDisk, history: History, path: str, plan: str, depth: int) -> None:
        path = f"{path}@{disk.operations}:{plan}"
        route = self._route
        if route is not None:
            self._route = route[1:]
        twin, power_cut = crashed(disk, plan)
        machine = workload.machine(twin, history.clone(power_cut=power_cut))
        self.states += 1
        self.by_depth[min(depth + 1, DEPTH_MAX)] += 1
        try:
            machine.look()
            self._go_on(workload, machine, path, depth + 1)
        except Violation:
            raise
        except (Exception, AssertionError) as error:
            self._complain(path, error)
        self._route = route

    def _go_on(self, workload: Workload, machine: Machine, path: str, depth: int) -> None:
        """A process recovers the store and works with it for a while; then the power is cut once more."""
        luck = random.Random(zlib.crc32(path.encode()) ^ ~self._seed)
        if depth > self._depth_max or (self._route is None and luck.random() < 0.3):
            return
        self._watch(workload, machine, path, depth)
        try:
            for act in continuation(luck):
                getattr(machine, act)()
        except Dead:
            machine.kill()
        machine.disk.on_operation = None
        if self._route is None:
            self._crash(workload, machine.disk, machine.history, path, luck.choice(("mask-0", "kill")), self._depth_max)
        else:
            self._crash_here(workload, machine, path, depth)

    def _complain(self, path: str, error: BaseException) -> None:
        if isinstance(error, Violation):
            raise error
        raise Violation(
            f"{path}: {type(error).__name__}: {error}\n"
            f"replay: python -m tests.torture.crash --replay {path} --seed {self._seed}"
        ) from error


def continuation(luck: random.Random) -> Iterator[str]:
    """What a process does after it has recovered."""
    yield "open"
    for _ in range(luck.randrange(3)):
        yield luck.choice(("commit", "commit", "commit", "seal", "rotate"))
    lot = luck.random()
    if lot < 0.15:
        yield "snapshot"
    elif lot < 0.3:
        yield "close"
    elif lot < 0.45:
        yield "kill"
        yield "open"
        yield "commit"


def crashed(disk: SimDisk, plan: str) -> tuple[SimDisk, bool]:
    """The disk after it, and whether the power was cut."""
    kind, _, number = plan.partition("-")
    if kind in ("kill", "half"):
        return disk.killed(), False
    if kind == "mask":
        return disk.cut(Decider(int(number))), True
    return disk.cut(RandomDecider(int(number)) if kind == "rnd" else StaleDecider()), True
