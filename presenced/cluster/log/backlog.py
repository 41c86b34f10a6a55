"""Bounds the memory that changes take while the engine accepts nothing. Pure.

Changes wait in `batches` until they are appended. When more than `BACKLOG_BYTES` wait, changes for which nobody waits
are no longer kept one by one: only the name of the user is kept, and later all that is known of the user is appended at
once (`entries.Whole`). Other nodes then see the net change. Events of that time are lost, and begin anew afterwards. So
an outage costs memory for each user who changes, and not for each change.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from presenced.cluster.log.batches import WAITING_BYTES, Batches
from presenced.cluster.log.entries import Whole, home_part_of
from presenced.cluster.log.homes import Homes
from presenced.cluster.log.nodes import Member
from presenced.core.copies import Copies
from presenced.core.records import (
    ClaimSet,
    DeviceForgotten,
    DeviceSet,
    Fact,
    MembershipSet,
    RecordSet,
    TextSet,
    UserErased,
)

BACKLOG_BYTES: Final = 16 << 20
"""If more bytes than this wait, changes are put off: some 100,000 changes."""

_PUT_OFF: Final = frozenset({ClaimSet, DeviceForgotten, DeviceSet, MembershipSet, RecordSet, TextSet})
"""The facts that come most often. All of them are in what is appended of the user later."""


class Backlog:
    """The users whose changes were put off."""

    def __init__(self, homes: Homes, copies: Copies, mine: Member, batches: Batches) -> None:
        self._homes = homes
        self._copies = copies
        self._mine = mine
        self._batches = batches
        self._users: dict[str, None] = {}
        self._has_lost_events = False

    @property
    def is_full(self) -> bool:
        """Whether facts have to pass through `reduced`. O(1)."""
        return bool(self._users) or self.has_no_room

    @property
    def has_no_room(self) -> bool:
        """Whether more waits for the engine than should. O(1)."""
        return self._batches.bytes > BACKLOG_BYTES

    @property
    def has_work(self) -> bool:
        """Whether there are users to be appended, or events that are to begin anew, and room for it."""
        return (bool(self._users) or self._has_lost_events) and self._batches.bytes < WAITING_BYTES

    def loses_event(self) -> bool:
        """Whether there is no room for an event that has just happened, so that it is lost. O(1)."""
        is_lost = self.has_no_room
        self._has_lost_events |= is_lost
        return is_lost

    def take_lost_events(self) -> bool:
        """Whether events are to begin anew, since some were lost. True once, after the last user was taken."""
        is_due = self._has_lost_events and not self._users
        self._has_lost_events = self._has_lost_events and not is_due
        return is_due

    def reduced(self, facts: Sequence[Fact], now_ms: int, *, is_awaited: bool) -> list[Fact]:
        """Those facts of a turn that are to be appended now; the others are put off. If acknowledgements wait for the
        turn (`is_awaited`), nothing is put off, and all is appended of those users in it who were put off before.
        O(facts)."""
        users = self._users
        kept: list[Fact] = []
        whole: dict[str, None] = {}
        puts_off = not is_awaited and self.has_no_room
        for fact in facts:
            if type(fact) is UserErased:
                users.pop(fact.user, None)
            elif type(fact) in _PUT_OFF and self._homes.of(fact.user) is self._mine:
                if puts_off or fact.user in users or fact.user in whole:
                    if is_awaited:
                        users.pop(fact.user, None)
                        whole[fact.user] = None
                    else:
                        users[fact.user] = None
                    continue
            kept.append(fact)
        for name in whole:
            self._batches.add(Whole(name, home_part_of(self._copies, name, now_ms)))
        return kept

    def take(self, count: int) -> list[str]:
        """Remove and return so many of the users of whom all is to be appended. O(count)."""
        names = list(islice(self._users, count))
        for name in names:
            del self._users[name]
        return names
