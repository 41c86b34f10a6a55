"""Stores to be looked at, damaged and mended: made by the journal itself, small, and the same in each run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from presenced.core.records import Fact, RecordSet, TextSet
from presenced.storage.files import OsDirectory
from presenced.storage.frames import array_of
from presenced.storage.journal import Journal
from presenced.storage.recovery import RecoveryFindings, recover
from presenced.storage.store import open_store
from presenced.wire.codec import encode

WALL_MS = 1_700_000_000_000


class Making:
    """A store under construction. `state` is what recovery has to find."""

    def __init__(self, place: Path, *, sync_each: bool = True) -> None:
        self.place = place
        self.directory = OsDirectory(place)
        self.facts: list[Fact] = []
        """All that were committed; the first has sequence number 1."""
        salts = count(0xABC)
        self.journal: Journal
        self.journal, _ = open_store(
            self.directory,
            self.facts.extend,
            sync_each=sync_each,
            new_id=lambda: ("cd" * 16, 1_234),
            salts=lambda: next(salts),
            wall_ms=lambda: WALL_MS,
        )

    def commit(self, *batches: Sequence[Fact]) -> None:
        """One frame for each batch, one commit for all."""
        self.journal.commit([(array_of([encode(fact) for fact in batch], len(batch)), len(batch)) for batch in batches])
        self.facts.extend(fact for batch in batches for fact in batch)

    def texts(self, number: int, *, each: int = 3) -> None:
        """`number` commits of `each` facts."""
        for _ in range(number):
            begin = len(self.facts) + 1
            self.commit([TextSet(f"user{seq % 5}", f"text {seq}", "", 0) for seq in range(begin, begin + each)])

    def snapshot(self, *, alone: bool = False) -> None:
        """Of the state as it stands."""
        facts = list(state_of(self.facts).values())
        facts.append(RecordSet("user1", "online", 1, 0, "laptop", len(self.facts)))
        writer = self.journal.begin_snapshot()
        writer.add(array_of([encode(fact) for fact in facts], len(facts)), len(facts))
        for _ in self.journal.finish_snapshot(writer, len(self.facts), alone=alone):
            pass

    def leave(self) -> None:
        """As after a crash."""
        self.journal.abandon()
        self.directory.close()

    def stop(self) -> None:
        """In order."""
        self.journal.close(version=len(self.facts))
        self.directory.close()


def state_of(facts: Sequence[Fact]) -> dict[str, Fact]:
    """The newest text of each user."""
    return {fact.user: fact for fact in facts if isinstance(fact, TextSet)}


def recovered(place: Path) -> tuple[dict[str, Fact], RecoveryFindings]:
    """The state that recovery finds."""
    directory = OsDirectory(place, create=False)
    facts: list[Fact] = []
    try:
        report = recover(directory, facts.extend).report
    finally:
        directory.close()
    return state_of(facts), report


def contents(place: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that there is: names, times of change and bytes; LOCK apart, which may come."""
    return {
        str(path.relative_to(place)): (path.stat().st_mtime_ns, path.stat().st_mode, _bytes(path))
        for path in place.rglob("*")
        if path.name != "LOCK"
    }


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def copied(place: Path, target: Path) -> Path:
    """A copy to do damage to."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(place, target)
    return target


def flip(path: Path, offset: int) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)
