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
from presenced.core.parts.events import Events
from presenced.core.records import UserErased


class Erasure(NamedTuple):
    """A user was erased."""

    number: int
    """Counted from 1 in each run, in order."""
    user: str


class Erasures(Part):
    """Owns the erasures of which the disk may still hold a trace."""

    def __init__(self, parts: Parts, ledger: Ledger, clock: Clock, events: Events) -> None:
        self.latest = 0
        """The number of the newest."""
        self.pending: deque[Erasure] = deque()
        """The oldest first."""
        self._parts = parts
        self._ledger = ledger
        self._clock = clock
        self._events = events

    def add(self, user: User, now_ms: int) -> None:
        """Forget the user, whose links and live devices have ended. Watchers stay, and are told that nothing is known.
        O(what is known, and events kept)."""
        self._parts.erase(user, now_ms)
        self._ledger.add(UserErased(user.name, self._clock.wall_ms(now_ms)))
        self._begin(user.name)

    def _begin(self, name: str) -> None:
        self.latest += 1
        self.pending.append(Erasure(self.latest, name))

    def tell(self, until: int, now_ms: int) -> None:
        """The disk holds nothing any more of those up to this number: tell those who follow. O(these)."""
        while self.pending and self.pending[0].number <= until:
            self._events.tell_erased(self.pending.popleft().user, now_ms)

    # --- the disk ---------------------------------------------------------------------------------------------

    def restorers(self) -> Mapping[type, TakeUp]:
        """Erasures."""
        return {UserErased: self._restore}

    def _restore(self, source: Restoring, fact: UserErased) -> None:
        self._parts.erase(source.user(fact.user), source.now_ms)
        self._begin(fact.user)
