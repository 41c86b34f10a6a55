"""What other nodes have decided, and this node's own disk has not been given yet: facts, or all that is known. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from presenced.core.records import Fact


class DiskDebts:
    """What the disk is still to be given."""

    def __init__(self) -> None:
        self._facts: list[Fact] = []
        self._owes_all = False

    def owe(self, facts: Sequence[Fact]) -> None:
        """Other nodes have decided these facts, which were applied here. O(facts)."""
        self._facts += facts

    def owe_all(self) -> None:
        """Users were replaced as a whole, of which there are no facts: the disk has to begin anew with all that is
        known. O(1)."""
        self._owes_all = True

    def take_facts(self) -> list[Fact]:
        """The facts since the last call."""
        facts, self._facts = self._facts, []
        return facts

    def take_all(self) -> bool:
        """Whether the disk has to begin anew. False after that, until `owe_all` is called again."""
        owes_all, self._owes_all = self._owes_all, False
        return owes_all
