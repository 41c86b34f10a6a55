"""Users of whom everything is forgotten: in memory at once, and on the disk of the log as soon as it can be
(protocol.md, 13.41).

Each part forgets by itself what it knows of the user (`Part.erase`); the log has one fact for all of them. What was
written before that fact stays on the disk until a later snapshot has taken its place. Until then the erasure is
pending, also over a restart, since the fact is read again together with all that stands before it.

A node of a cluster may be away meanwhile, with a disk that knows the user. So nodes keep the name and the time of an
erasure for as long as a revocation, unless the user comes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from presenced.core.clock import Clock
from presenced.core.ledger import Ledger
from presenced.core.model import User
from presenced.core.part import Part, Parts, Restoring, TakeUp
from presenced.core.parts.contacts import Contacts
from presenced.core.parts.events import Events
from presenced.core.records import Fact, UserErased
from presenced.core.said_times import SaidTimes
from presenced.limits import REVOCATION_KEPT_MS


class Erasure(NamedTuple):
    """A user was erased."""

    number: int
    """Counted from 1 in each run, in order."""
    user: str
    is_told: bool = True
    """Followers hear of it from here."""


class Erasures(Part):
    """Owns the erasures of which the disk may still hold a trace."""

    def __init__(
        self, parts: Parts, ledger: Ledger, clock: Clock, events: Events, contacts: Contacts, said: SaidTimes
    ) -> None:
        self.latest = 0
        """The number of the newest."""
        self.pending: deque[Erasure] = deque()
        """The oldest first."""
        self._parts = parts
        self._ledger = ledger
        self._clock = clock
        self._events = events
        self._contacts = contacts
        self._said = said
        self._kept: dict[str, UserErased] = {}
        """The last erasures of users of whom nothing was said since, by name."""
        self._are_shared = False

    def share(self) -> None:
        """Other nodes may be away: keep who was erased. O(1)."""
        self._are_shared = True

    def last_of(self, name: str) -> UserErased | None:
        """The last erasure of the user; None = it is not kept. O(1)."""
        return self._kept.get(name)

    def keep(self, user: User, fact: UserErased) -> None:
        """The user was erased then, and nothing is known from before. O(1)."""
        kept = self._kept.get(user.name)
        if kept is None or kept.version <= fact.version:
            self._kept[user.name] = replace(fact, user=user.name, is_kept=True, is_old=True)
            self._said.note_erased(user, fact.at_ms)

    def add(self, user: User, now_ms: int) -> None:
        """Forget the user, whose links and live devices have ended. Watchers stay, and are told that nothing is known.
        O(what is known, and events kept)."""
        version, at_ms = self._ledger.version, self._clock.wall_ms(now_ms)
        if self._are_shared:
            # Newer than all that was said, whatever the clock shows.
            at_ms = max(at_ms, user.said_ms + 1)
        self._parts.erase(user, now_ms)
        fact = UserErased(user.name, at_ms, version, is_kept=self._are_shared)
        self._ledger.add(fact)
        if self._are_shared:
            self.keep(user, fact)
        self._begin(user.name)

    def apply(self, user: User, fact: UserErased, now_ms: int) -> None:
        """Another node has erased the user: the same here. Followers hear of it from that node."""
        self._contacts.number_from(fact.version)
        try:
            self._parts.erase(user, now_ms)
        finally:
            self._contacts.number_from(None)
        if fact.is_kept or self._are_shared:
            self.keep(user, fact)
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

    def keeps(self, user: User) -> bool:
        """Whether the user was erased, and nodes that are away may not know it."""
        return user.name in self._kept and not user.record.version

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """The erasure, unless the user has come back or it is too old; then it is dropped. O(1)."""
        kept = self._kept.get(user.name)
        if kept is None:
            return ()
        if user.record.version or self._clock.trusted_wall_ms(now_ms) - kept.at_ms > REVOCATION_KEPT_MS:
            del self._kept[user.name]
            return ()
        return (kept,)

    def restorers(self) -> Mapping[type, TakeUp]:
        """Erasures."""
        return {UserErased: self._restore}

    def _restore(self, source: Restoring, fact: UserErased) -> None:
        user = source.user(fact.user)
        if not fact.is_old:
            self._parts.erase(user, source.now_ms)
            self._begin(fact.user)
        if fact.is_kept:
            self.keep(user, fact)
