"""Users of whom everything is forgotten: from memory at once, from the log's disk as soon as it can be (protocol.md,
13.41).

What each part knows of a user it forgets by itself (`Part.erase`). The fact that the user was erased stands for all of
that in the log. What was written before it stays on the disk until a snapshot that began later has taken its place:
until then the erasure is pending, also over a restart, since the fact is read again with all that stands before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from presenced.core.clock import Clock
from presenced.core.ledger import Ledger
from presenced.core.model import User
from presenced.core.part import Part, Parts, Restoring, TakeUp
from presenced.core.parts.contacts import Contacts
from presenced.core.parts.events import Events
from presenced.core.records import UserErased


class Erasure(NamedTuple):
    """A user was erased."""

    number: int
    """Counted from 1 in each run, in order."""
    user: str
    is_told: bool = True
    """Followers hear of it from here."""


class Erasures(Part):
    """Owns the erasures of which the disk may still hold a trace."""

    def __init__(self, parts: Parts, ledger: Ledger, clock: Clock, events: Events, contacts: Contacts) -> None:
        self.latest = 0
        """The number of the newest."""
        self.pending: deque[Erasure] = deque()
        """The oldest first."""
        self._parts = parts
        self._ledger = ledger
        self._clock = clock
        self._events = events
        self._contacts = contacts

    def add(self, user: User, now_ms: int) -> None:
        """Forget the user, whose links and live devices have ended. Watchers stay, and are told that nothing is known.
        O(what is known, and events kept)."""
        version = self._ledger.version
        self._parts.erase(user, now_ms)
        self._ledger.add(UserErased(user.name, self._clock.wall_ms(now_ms), version))
        self._begin(user.name)

    def apply(self, user: User, version: int, now_ms: int) -> None:
        """Another node has erased the user, when its counter stood at this version: the same here. Followers hear of it
        from that node."""
        self._contacts.number_from(version)
        try:
            self._parts.erase(user, now_ms)
        finally:
            self._contacts.number_from(None)
        self._begin(user.name, is_told=False)

    def _begin(self, name: str, *, is_told: bool = True) -> None:
        self.latest += 1
        self.pending.append(Erasure(self.latest, name, is_told))

    def tell(self, until: int, now_ms: int) -> None:
        """The disk holds nothing any more of those up to this number: tell those who follow. O(these)."""
        while self.pending and self.pending[0].number <= until:
            erasure = self.pending.popleft()
            if erasure.is_told:
                self._events.tell_erased(erasure.user, now_ms)

    # --- the disk ---------------------------------------------------------------------------------------------

    def restorers(self) -> Mapping[type, TakeUp]:
        """Erasures."""
        return {UserErased: self._restore}

    def _restore(self, source: Restoring, fact: UserErased) -> None:
        self._parts.erase(source.user(fact.user), source.now_ms)
        self._begin(fact.user)
