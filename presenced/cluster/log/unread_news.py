"""Users of whom this node knows something that their home has not read. Pure.

The log has lost it, or the home took the user over before it had read as far. This node offers it to the home, which
adopts it and appends all that it knows then (`disputes`). Until that is read, records that the home makes of the older
state are held back here: a record carries no text, so that they would be shown with the newer text, and two nodes would
tell different things under one version. A home that knows better declines the offer, and appends all that it knows
only if that is something else. If its clock is behind, its record is shown when the time for an answer is over.

If the home is gone meanwhile, the offer is made to its heir.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Final

from presenced.cluster.log.homes import Homes
from presenced.cluster.log.nodes import Member
from presenced.core.copies import Copies
from presenced.core.ledger import Ledger
from presenced.core.newness import newness_in
from presenced.core.records import Fact, RecordSet, UserErased

ANSWER_MS: Final = 60_000
"""An offer counts as answered then, whatever the home has made of it."""


class UnreadNews:
    """The users, and until when records of their homes are held back."""

    def __init__(self, copies: Copies, homes: Homes, ledger: Ledger) -> None:
        self._copies = copies
        self._homes = homes
        self._ledger = ledger
        self._noted: dict[str, tuple[int, Member]] = {}
        """Until when, and the home that was to learn it; the last that was noted is the last."""
        self._held: dict[str, RecordSet] = {}
        """The last record of each of them that was held back."""

    def note(self, names: Iterable[str], now_ms: int) -> None:
        """What this node knows of these users may be news to their homes. O(names)."""
        until_ms, of = now_ms + ANSWER_MS, self._homes.of
        for name in names:
            self._noted.pop(name, None)
            self._noted[name] = (until_ms, of(name))

    def of(self, home: Member) -> list[str]:
        """The users of whom this home was to learn something. O(all users who are noted)."""
        return [name for name, (_, member) in self._noted.items() if member is home]

    def settle(self, name: str) -> None:
        """The home has said all that it knows of the user. O(1)."""
        self._noted.pop(name, None)
        self._held.pop(name, None)

    def hold_back(self, facts: Sequence[Fact]) -> Sequence[Fact]:
        """What a home has decided, without records that it has made of a state before the one that is known here.
        O(facts); O(1) if there are no such users."""
        if not self._noted:
            return facts
        return [fact for fact in facts if not self._holds(fact)]

    def _holds(self, record: Fact) -> bool:
        if type(record) is UserErased:
            self.settle(record.user)
        if type(record) is not RecordSet:
            return False
        name = record.user
        if name not in self._noted:
            return False
        if newness_in((record,)).said_ms < self._copies.newness_of(name).said_ms:
            self._held[name] = record
            # Other nodes tell it. If this node is to decide the user next, it decides above that.
            self._ledger.raise_version(record.version + 1, self._ledger.now_ms)
            return True
        self._held.pop(name, None)
        return False

    def take_late(self, now_ms: int) -> list[RecordSet]:
        """Forget users whose homes must have answered by now. Returns the records that were held back; those of users
        whom other nodes decide are to be shown after all. O(these)."""
        over = list(takewhile(lambda name: self._noted[name][0] <= now_ms, self._noted))
        for name in over:
            del self._noted[name]
        return [self._held.pop(name) for name in over if name in self._held]
