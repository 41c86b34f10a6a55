"""A server's disk in memory: the log of one that runs, and what it leaves for the next."""

from __future__ import annotations

from collections.abc import Sequence

from presenced.core.engine import Engine
from presenced.core.records import Fact
from presenced.server.fact_log import Ack, MemoryLog


class KeepingLog(MemoryLog):
    """A log that keeps its facts in memory, for whoever wants to start again from them."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: list[Fact] = []
        self._refused: list[Ack] = []
        self._saved: int | None = None
        """How many facts were saved when the log began to refuse; None = all are."""

    def append(self, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        """See `Log`."""
        self.facts.extend(facts)
        if self.refusal:
            self._refused.extend(acks)
        else:
            super().append(facts, acks)

    def take_refused(self) -> Sequence[Ack]:
        """See `Log`."""
        acks, self._refused = self._refused, []
        return acks

    def begin(self, facts: list[Fact]) -> None:
        """These are saved already."""
        self.facts = facts

    def refuse(self, code: str) -> None:
        """Save nothing from now on, for this reason; empty: save everything again, and what came meanwhile."""
        self.refusal = code
        self._saved = len(self.facts) if code else None

    def lose(self) -> None:
        """What was saved is gone."""
        self.facts = []
        self._saved = None if self._saved is None else 0

    @property
    def saved(self) -> list[Fact]:
        """What a kill leaves."""
        return self.facts[: self._saved]


class Disk:
    """What is left of a server that has ended, for the next."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.epoch = 0
        """Of the history of versions; 0 = there is none yet."""
        self.version = 0
        self.is_clean = True
        """Whether the last server ended in order."""
        self.seen_ms = 0
        """The wall time at which it did."""
        self.starts: list[int] = []
        """The wall times of the starts since one that ended in order."""
        self._last_epoch = 0

    def keep(self, engine: Engine, facts: list[Fact], wall_ms: int, *, is_clean: bool) -> None:
        """Take what a server leaves."""
        self.facts = facts
        self.epoch, self.version = engine.ledger.epoch, engine.ledger.version
        self.seen_ms, self.is_clean = wall_ms, is_clean
        if is_clean:
            self.starts = []

    def note_start(self, wall_ms: int) -> None:
        """A server starts on it."""
        self.starts.append(wall_ms)

    def next_epoch(self, wall_ms: int) -> int:
        """The epoch of a new history: later than each before."""
        self._last_epoch = max(self._last_epoch + 1, wall_ms)
        return self._last_epoch

    def lose(self) -> None:
        """Everything on it is gone. The next server begins another history."""
        self.facts, self.epoch, self.version, self.is_clean, self.starts = [], 0, 0, True, []


def dump(engine: Engine, now_ms: int) -> list[Fact]:
    """The facts by which another engine comes to where this one is, as a snapshot has them. O(users)."""
    facts: list[Fact] = [fact for shelf in range(engine.shelves) if (fact := engine.dump_asleep(shelf))]
    for user in list(engine.users.order):
        facts += engine.dump(now_ms, user)
    return facts + list(engine.dump_general(now_ms))
