"""Users who change while the engine takes nothing, once too much would wait for it. Pure.

What no acknowledgement waits for is not kept change by change then: all that is known of such a user is said at once
later (`entries.Whole`), so that other nodes are told the net change. What happened then is forgotten, and events begin
anew. So an outage costs memory for the users who change in it, and not for each of their changes.
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
"""What waits beyond this is put off: some 100,000 changes."""

_PUT_OFF: Final = frozenset({ClaimSet, DeviceForgotten, DeviceSet, MembershipSet, RecordSet, TextSet})
"""What changes most, all of which is in what is said of the user later."""


class Backlog:
    """Whom this node is still to tell of."""

    def __init__(self, homes: Homes, copies: Copies, mine: Member, batches: Batches) -> None:
        self._homes = homes
        self._copies = copies
        self._mine = mine
        self._batches = batches
        self._users: dict[str, None] = {}
        self._has_lost_events = False

    @property
    def is_full(self) -> bool:
        """Whether facts are to be passed through `reduced`. O(1)."""
        return bool(self._users) or self.has_no_room

    @property
    def has_no_room(self) -> bool:
        """Whether more waits for the engine than is to wait. O(1)."""
        return self._batches.bytes > BACKLOG_BYTES

    @property
    def has_work(self) -> bool:
        """Whether there is somebody to tell of, or events are to begin anew, and room for it."""
        return (bool(self._users) or self._has_lost_events) and self._batches.bytes < WAITING_BYTES

    def loses_event(self) -> bool:
        """Whether there is no room for what happened just now. O(1)."""
        is_lost = self.has_no_room
        self._has_lost_events |= is_lost
        return is_lost

    def take_lost_events(self) -> bool:
        """Whether events are to begin anew, since some were lost. True once, behind the last user."""
        is_due = self._has_lost_events and not self._users
        self._has_lost_events = self._has_lost_events and not is_due
        return is_due

    def reduced(self, facts: Sequence[Fact], now_ms: int, *, is_awaited: bool) -> list[Fact]:
        """The facts of a turn that are to be told now. If acknowledgements wait for them (`is_awaited`), all is told
        now of those among their users who were put off before. O(facts)."""
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
        """So many of those of whom all is to be told. O(count)."""
        names = list(islice(self._users, count))
        for name in names:
            del self._users[name]
        return names
