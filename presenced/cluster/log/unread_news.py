"""Users of whom this node knows something that their home has not read. Pure.

The log has lost it, or the home took the user over before it had read as far. This node offers it to the home, which
adopts it and appends all that it knows then (`disputes`). Until that is read, records that the home makes of the older
state are held back here: a record carries no text, so that they would be shown with the newer text, and two nodes would
tell different things under one version. A home that knows better declines the offer without a word, and what it says
then is newer; if its clock is behind, its record is shown when the time for an answer is over.

If a node is gone meanwhile, the offers are made again, since it may have been the one that they were made to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from presenced.core.copies import Copies
from presenced.core.newness import newness_in
from presenced.core.records import Fact, RecordSet, UserErased

ANSWER_MS: Final = 60_000
"""By then the home has read the offer, whatever it has made of it."""


class UnreadNews:
    """The users, and until when records of their homes are held back."""

    def __init__(self, copies: Copies) -> None:
        self._copies = copies
        self._until_ms: dict[str, int] = {}
        self._held: dict[str, RecordSet] = {}
        """The last record of each of them that was held back."""

    def note(self, names: Iterable[str], now_ms: int) -> None:
        """What this node knows of these users may be news to their homes. O(names)."""
        for name in names:
            self._until_ms.pop(name, None)
            self._until_ms[name] = now_ms + ANSWER_MS

    @property
    def names(self) -> list[str]:
        """The users. O(these)."""
        return list(self._until_ms)

    def settle(self, name: str) -> None:
        """The home has said all that it knows of the user. O(1)."""
        self._until_ms.pop(name, None)
        self._held.pop(name, None)

    def hold_back(self, facts: Sequence[Fact]) -> Sequence[Fact]:
        """What a home has decided, without records that it has made of a state before the one that is known here.
        O(facts); O(1) if there are no such users."""
        if not self._until_ms:
            return facts
        return [fact for fact in facts if not self._holds(fact)]

    def _holds(self, record: Fact) -> bool:
        if type(record) is UserErased:
            self.settle(record.user)
        if type(record) is not RecordSet:
            return False
        name = record.user
        if name not in self._until_ms:
            return False
        if newness_in((record,)).said_ms < self._copies.newness_of(name).said_ms:
            self._held[name] = record
            return True
        self._held.pop(name, None)
        return False

    def take_late(self, now_ms: int) -> list[RecordSet]:
        """Forget users whose homes must have answered by now. Returns the records that were held back; those of users
        whom other nodes decide are to be shown after all. O(these)."""
        late: list[RecordSet] = []
        while self._until_ms and next(iter(self._until_ms.values())) <= now_ms:
            name = next(iter(self._until_ms))
            del self._until_ms[name]
            if (record := self._held.pop(name, None)) is not None:
                late.append(record)
        return late
