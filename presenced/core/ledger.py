"""The ledger: the version counter that numbers the changes of records, and the facts that the log is still to be given.

The two belong together: a version that watchers were told must never be given a second time, and the facts of a turn
are what makes a restart know how far it had come.
"""

from __future__ import annotations

from presenced.core.records import Fact


class Ledger:
    """Owns version, epoch and the facts of the current turn. O(1) throughout."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        """Identifies this history of versions. It changes only when history is lost (protocol.md, 6.4)."""
        self.version = 0
        """The version that was given last. One counter for all users."""
        self._facts: list[Fact] = []

    def add(self, fact: Fact) -> None:
        """Leave a fact for the log, behind those of this turn."""
        self._facts.append(fact)

    def next_version(self) -> int:
        """Count a change of a record: the version that it gets."""
        self.version += 1
        return self.version

    def raise_version(self, version: int) -> None:
        """Never give a version up to this one again. A lower one changes nothing."""
        self.version = max(self.version, version)

    def continue_from(self, epoch: int, version: int) -> None:
        """Go on with the history that a data directory holds."""
        self.epoch, self.version = epoch, version

    @property
    def has_facts(self) -> bool:
        """Whether there are facts that the log was not given."""
        return bool(self._facts)

    def take_facts(self) -> list[Fact]:
        """The facts since the last call, in order."""
        facts, self._facts = self._facts, []
        return facts
