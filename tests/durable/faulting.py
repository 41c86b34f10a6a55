"""One life of a daemon whose n-th system call of a kind fails, and what must hold of it and of the next life."""

from __future__ import annotations

import random
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.durable.node import Node
from tests.durable.swarm import Swarm, Writer, ask, number_of, operator
from tests.support.daemon import StartFailed

CALLS = ("pwrite64", "fdatasync", "fsync", "renameat", "openat", "unlinkat", "ftruncate")
FAULTS = {
    "EIO": "error=EIO",
    "ENOSPC": "error=ENOSPC",
    "nothing written": "retval=0",
    "delay": "delay_exit=200000",
    "kill": "signal=SIGKILL",
}

_HIT = re.compile("INJECTED|DELAYED")

DISK_FAILED = 74
WRITERS = 6
ACKS = 90
"""Acknowledgements in one life: enough for several snapshots and segments with the bounds below."""

LIMITS = {"SNAPSHOT_LOG_BYTES": 3_000}
ALLOCATE = "import presenced.storage.segment\npresenced.storage.segment.ALLOCATE_BYTES = {count}\n"


@dataclass(frozen=True)
class Fault:
    """The `ordinal`-th call of that kind fails, and `more` after it; strace counts for each thread by itself."""

    call: str
    kind: str
    ordinal: int
    more: int = 0

    def options(self, data: Path) -> list[str]:
        """For strace. Our files are the only ones that these calls are used on, but for openat."""
        calls = {self.call}
        if self.call == "ftruncate":
            # It is called only to cut off what a full disk did not take of new space.
            calls.add("pwrite64")
        options = ["-e", f"trace={','.join(sorted(calls))}"]
        when = f"when={self.ordinal}..{self.ordinal + self.more}" if self.more else f"when={self.ordinal}"
        if self.call == "openat":
            options += ["-P", str(data)]
        if self.call == "ftruncate":
            return [
                *options,
                "-e",
                f"inject=ftruncate:{FAULTS[self.kind]}:when=1",
                # Every third, of which one is soon for new space and not for a batch.
                *_inject("pwrite64", "ENOSPC", f"when={self.ordinal}+3"),
            ]
        return options + _inject(self.call, self.kind, when)

    @property
    def patches(self) -> str:
        """The daemon's: with such small units each batch needs new space."""
        return ALLOCATE.format(count=64 if self.call == "ftruncate" else 1 << 16)

    def __str__(self) -> str:
        return f"{self.call}-{self.kind.replace(' ', '-')}-{self.ordinal}{f'+{self.more}' if self.more else ''}"


def _inject(call: str, kind: str, when: str) -> list[str]:
    return ["-e", f"inject={call}:{FAULTS[kind]}:{when}"]


@dataclass(frozen=True)
class Template:
    """A data directory left by `kill -9`, and how far each writer was."""

    data: Path
    numbers: dict[str, tuple[int, int]]

    def copy_to(self, node: Node) -> list[Writer]:
        """Put the directory under a node; gives its writers."""
        shutil.copytree(self.data, node.data)
        writers = []
        for name, (acked, asked) in self.numbers.items():
            writer = Writer(name)
            writer.acked, writer.asked = acked, asked
            writers.append(writer)
        return writers


def make_template(directory: Path) -> Template:
    """A first life without faults."""
    with Node(directory, "--rate", "0", limits=LIMITS, patches=ALLOCATE.format(count=1 << 16)) as node:
        writers = [Writer(f"writer-{index}") for index in range(WRITERS)]
        node.start()
        with Swarm(node.port) as swarm:
            drive(node, swarm, writers, ACKS)
            node.kill()
            swarm.drain()
    return Template(node.data, {writer.name: (writer.acked, writer.asked) for writer in writers})


def drive(node: Node, swarm: Swarm, writers: list[Writer], acks: int) -> None:
    """Let the writers write until so many were acknowledged, or the daemon has ended."""
    aim = sum(writer.acked for writer in writers) + acks
    for writer in writers:
        try:
            writer.connect(swarm)
        except ConnectionError:
            break
    swarm.run(lambda: all(writer.welcome for writer in writers) or not node.running, "all were welcomed")
    for writer in writers:
        if writer.peer is not None:
            writer.going = True
            writer.write()
    swarm.run(
        lambda: sum(writer.acked for writer in writers) >= aim or not node.running,
        "writes were acknowledged, or the daemon ended",
    )
    for writer in writers:
        writer.going = False


@dataclass
class Outcome:
    """What a life with a fault came to."""

    fault: Fault
    hit: bool
    status: int | None
    """How the daemon ended by itself; None if it went on."""
    refusals: int


def run_fault(directory: Path, template: Template, fault: Fault, seed: int) -> Outcome:
    """A life with the fault and one without; raises `AssertionError` if a promise is broken."""
    with Node(directory, "--rate", "0", limits=LIMITS, patches=fault.patches) as node:
        writers = template.copy_to(node)
        status = None
        try:
            node.start(*fault.options(node.data))
        except StartFailed as failed:
            status = failed.status
        else:
            with Swarm(node.port) as swarm:
                drive(node, swarm, writers, ACKS)
                if fault.call == "unlinkat" and fault.kind != "kill":
                    # Nothing is dropped before a snapshot has ended, and when that is the disk decides.
                    for _ in range(20):
                        if any(_HIT.search(line) for line in node.trace()):
                            break
                        drive(node, swarm, writers, ACKS)
                status = _finish(node, swarm, random.Random(seed))
        hit = status == -9 if fault.kind == "kill" else any(_HIT.search(line) for line in node.trace())
        _check_status(fault, status, node)
        node.start()
        with Swarm(node.port) as swarm:
            check_recovered(swarm, writers)
            drive(node, swarm, writers, WRITERS)
            assert node.running, node.log()
            node.stop(swarm.drain)
        refusals = sum(len(writer.refusals) for writer in writers)
        return Outcome(fault, hit, status, refusals)


def _finish(node: Node, swarm: Swarm, chance: random.Random) -> int | None:
    """End a daemon that goes on, in one way or the other; else give its status."""
    status = None
    if not node.running:
        status = node.wait()
    elif chance.random() < 0.5:
        node.kill()
    else:
        node.signal(signal.SIGTERM)
        swarm.drain()
        ended = node.wait()
        status = ended if ended else None
    swarm.drain()
    return status


def _check_status(fault: Fault, status: int | None, node: Node) -> None:
    assert "Traceback" not in node.log(), node.log()
    allowed: list[int | None] = [None]
    if fault.kind == "kill":
        allowed.append(-signal.SIGKILL)
    if fault.kind.startswith("E") or fault.call == "ftruncate":
        # With ftruncate the disk is full as well, at the start or at the end for good.
        allowed.append(DISK_FAILED)
    assert status in allowed, f"{fault}: status {status}\n{node.log()}"
    if status == DISK_FAILED:
        assert "presenced: the d" in node.log(), node.log()


def check_recovered(swarm: Swarm, writers: list[Writer]) -> None:
    """What was acknowledged is there, and nothing that was never asked for."""
    records, _ = ask(operator(swarm), [writer.name for writer in writers])
    for writer in writers:
        number = number_of(records[writer.name])
        assert writer.acked <= number <= writer.asked, (
            f"{writer.name} has text {number}; acknowledged was {writer.acked}, asked {writer.asked}"
        )
