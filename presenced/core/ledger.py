"""The version counter, which numbers changes of records, and the facts that are still to be given to the log.

The two belong together: a version that watchers were told must never be given again, and the facts of a turn tell a
restart how far the counter had come.

The counter follows the clock and does not count changes. Otherwise, whoever is told it twice would know how often users
changed whom they may not see (protocol.md, 6.4).
"""

from __future__ import annotations

from presenced.core.records import Fact, RecordSet


class Ledger:
    """Owns version, epoch and the facts of the current turn. O(1) throughout."""

    def __init__(self, epoch: int, now_ms: int) -> None:
        self.epoch = epoch
        """Identifies this history of versions. It changes only when history is lost (protocol.md, 6.4)."""
        self.version = 0
        """What the version counter has come to, in milliseconds: a function of the time that was reached last."""
        self._zero_ms = now_ms
        """The monotonic time at which the counter would have been 0."""
        self._facts: list[Fact] = []
        self._looked_at = 0
        """How many of these `least` has looked at, and the least version of a record among them."""
        self._least: int | None = None

    def add(self, fact: Fact) -> None:
        """Leave a fact for the log, behind those of this turn."""
        self._facts.append(fact)

    def reach(self, now_ms: int) -> None:
        """Let the counter run on to this moment. It never falls. Everything that may lead to a reply calls this first,
        so that what is told does not depend on when anybody else did something."""
        version = now_ms - self._zero_ms
        if version > self.version:
            self.version = version

    @property
    def now_ms(self) -> int:
        """The moment that was reached last, on the monotonic clock: that of whatever is under way."""
        return self.version + self._zero_ms

    def next_version(self, before: int) -> int:
        """The version of a change of a record that had the version `before`. It rises for each user; those of several
        users may be equal. A user who changes twice within a millisecond is ahead of the counter."""
        return max(self.version, before + 1)

    def raise_version(self, version: int, now_ms: int) -> None:
        """Let the counter go on from this version now, unless it is there already."""
        self.reach(now_ms)
        if version > self.version:
            self.version, self._zero_ms = version, now_ms - version

    def continue_from(self, epoch: int, version: int, now_ms: int) -> None:
        """Go on with the history that a data directory holds, from this version now."""
        self.epoch, self.version, self._zero_ms = epoch, version, now_ms - version

    @property
    def least(self) -> int:
        """No record that the log is still to be given, now or later, has a version below this, but for one that was
        made before and is said again. O(facts since it was asked last): a node asks with each event."""
        facts = self._facts
        for number in range(self._looked_at, len(facts)):
            fact = facts[number]
            if type(fact) is RecordSet and (self._least is None or fact.version < self._least):
                self._least = fact.version
        self._looked_at = len(facts)
        return self.version if self._least is None else min(self.version, self._least)

    @property
    def has_facts(self) -> bool:
        """Whether there are facts that the log was not given."""
        return bool(self._facts)

    def take_facts(self) -> list[Fact]:
        """The facts since the last call, in order."""
        facts, self._facts = self._facts, []
        self._looked_at, self._least = 0, None
        return facts
