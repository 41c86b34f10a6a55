"""What the own disk is still to have of what other nodes have said: facts, or all that is known. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from presenced.core.records import Fact


class DiskDebts:
    """What was not given to the disk yet."""

    def __init__(self) -> None:
        self._facts: list[Fact] = []
        self._owes_all = False

    def owe(self, facts: Sequence[Fact]) -> None:
        """Others have decided this, and it was applied. O(facts)."""
        self._facts += facts

    def owe_all(self) -> None:
        """Something was said of users that has no facts of its own: it takes the place of what the disk knows of them,
        which is to begin anew. O(1)."""
        self._owes_all = True

    def take_facts(self) -> list[Fact]:
        """The facts since the last call."""
        facts, self._facts = self._facts, []
        return facts

    def take_all(self) -> bool:
        """Whether the disk is to begin anew since the last call."""
        owes_all, self._owes_all = self._owes_all, False
        return owes_all
