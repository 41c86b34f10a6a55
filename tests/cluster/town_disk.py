"""Disks of a town's nodes: what a node has written, and what its next life makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from presenced.core.engine import Engine
from presenced.core.records import Fact
from presenced.core.restorer import Restorer
from presenced.limits import RESTART_GRACE_MS, RESTART_SPREAD_MS
from presenced.server.fact_log import Ack
from presenced.server.status import LogStatus
from presenced.storage.openings import starts_with, version_gap
from presenced.testing.disk import KeepingLog, dump


class TownDisk:
    """What is left of one life for the next."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.version = 0
        """What the manifest says of the version counter: as it was when that was written."""
        self.is_clean = True
        """Whether the last life ended in order."""
        self.seen_ms = 0
        """The wall time of its last sign of life; 0 = there was none."""
        self.starts: tuple[int, ...] = ()


class OpenDisk(KeepingLog):
    """A disk that a node writes to."""

    def __init__(self, disk: TownDisk, engine: Engine) -> None:
        super().__init__()
        self._disk = disk
        self._engine = engine
        self._needs_snapshot = False
        self._writes: list[int] = []
        """How many facts there were before each write since the last snapshot."""
        self.begin(disk.facts)

    def restore(self, now_ms: int) -> None:
        """Make the engine know what the disk does, as a daemon does when it starts."""
        disk, engine = self._disk, self._engine
        wall_ms = engine.clock.wall_ms(now_ms)
        if not disk.seen_ms:
            disk.starts, disk.seen_ms, disk.is_clean = (wall_ms,), wall_ms, False
            return
        restorer = Restorer(engine, now_ms)
        restorer.apply_log(disk.facts)
        engine.ledger.continue_from(engine.ledger.epoch, disk.version, now_ms)
        gap = version_gap(disk.starts, wall_ms, is_clean=disk.is_clean)
        disk.version += gap
        disk.starts = starts_with(
            disk.starts, wall_ms, max(engine.policy.grace_max_ms, RESTART_GRACE_MS) + RESTART_SPREAD_MS
        )
        disk.is_clean = False
        restorer.finish(
            grace_ms=RESTART_GRACE_MS,
            spread_ms=RESTART_SPREAD_MS,
            version_gap=gap,
            stopped_wall_ms=disk.seen_ms,
            starts=disk.starts,
        )
        engine.catch_up(now_ms)

    def append(self, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        """See `Log`."""
        if facts:
            self._writes.append(len(self.facts))
        super().append(facts, acks)

    def leave(self, now_ms: int, *, is_clean: bool, unwritten: int = 0) -> TownDisk:
        """What is left. So many of the last writes had not come to the disk."""
        disk = self._disk
        if unwritten and len(self._writes) > unwritten:
            del self.facts[self._writes[-unwritten] :]
        disk.facts, disk.seen_ms, disk.is_clean = list(self.facts), self._engine.clock.wall_ms(now_ms), is_clean
        if is_clean:
            disk.version = self._engine.ledger.version
        return disk

    def status(self) -> LogStatus | None:
        """There is a disk."""
        return cast(LogStatus, self)

    def take_snapshot(self) -> None:
        """Once this turn is over."""
        self._needs_snapshot = True

    def snap(self, now_ms: int) -> None:
        """Take the snapshot that is due. O(users)."""
        if self._needs_snapshot:
            self._needs_snapshot = False
            self.facts = dump(self._engine, now_ms)
            self._writes = []
            self._disk.version = max(self._disk.version, self._engine.ledger.version)
