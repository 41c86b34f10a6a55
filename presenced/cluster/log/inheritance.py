"""Users whose home has gone: whose they are now is known at once (`homes`), and they are taken over by and by. Pure.

Of one who is awake the timers have to be started; one who sleeps has none, and is this node's without anything done.
"""

from __future__ import annotations

from typing import Final

from presenced.cluster.log.homes import BUCKETS, Homes
from presenced.cluster.log.nodes import NOBODY, Member
from presenced.core.handovers import SLICE_USERS, Handovers
from presenced.limits import RESTART_GRACE_MS, RESTART_SPREAD_MS

LOOKS: Final = 20_000
"""Users at whom one turn may look, most of whom have another home: about 1 ms."""


class Inheritance:
    """What this node has still to take over."""

    def __init__(self, homes: Homes, handovers: Handovers, me: Member) -> None:
        self._homes = homes
        self._handovers = handovers
        self._me = me
        self._gone: dict[Member, bool] = {}
        """The homes that went, and whether in order."""
        self._bucket = 0
        self._acquired: list[str] = []

    def add(self, gone: Member, *, is_orderly: bool) -> None:
        """This home has gone; `is_orderly`: it said so itself."""
        self._gone[gone] = is_orderly
        self._bucket = 0

    @property
    def has_work(self) -> bool:
        """Whether there may be somebody to take over."""
        return bool(self._gone)

    def go_on(self, now_ms: int) -> list[str]:
        """Look at some; returns those of them whose home has changed. O(`SLICE_USERS` and `LOOKS`)."""
        changed: list[str] = []
        if not any(self._homes.counts[gone] for gone in self._gone):
            # As of a node that has gone before it knew all.
            self._bucket = BUCKETS
        looks = LOOKS
        while self._bucket < BUCKETS and len(changed) < SLICE_USERS and looks > 0:
            looks -= self._homes.size_of(self._bucket)
            for name in self._homes.left_by(self._gone, self._bucket):
                self.take_over(name, now_ms)
                changed.append(name)
            self._bucket += 1
        if self._bucket == BUCKETS:
            self._gone.clear()
        return changed

    def take_over(self, name: str, now_ms: int) -> None:
        """If the user was left to this node and nobody has taken them over yet, do so. O(1), or O(what is known of the
        user)."""
        left_by = self._homes.as_filed(name)
        if left_by not in self._gone:
            return
        heir = self._homes.of(name)
        if heir is NOBODY:
            # Nobody was there who knew all users. Whoever serves first then takes them over (`arrival`).
            return
        self._homes.set(name, heir)
        if heir is not self._me:
            return
        self.adopt(name, left_by, now_ms)

    def take_acquired(self) -> list[str]:
        """Whom this node has taken over or up since the last call."""
        acquired, self._acquired = self._acquired, []
        return acquired

    def take_up(self, name: str, now_ms: int) -> None:
        """Decide the user from now on, whom another home has handed over in order. O(what is known of the user)."""
        self._acquired.append(name)
        self._handovers.adopt(name, now_ms, heard_ms=None, grace_ms=RESTART_GRACE_MS, spread_ms=0)

    def adopt(self, name: str, left_by: Member, now_ms: int) -> None:
        """Decide the user from now on, whom this home has left. O(what is known of the user)."""
        is_orderly = self._gone.get(left_by, False)
        self._acquired.append(name)
        self._handovers.adopt(
            name,
            now_ms,
            heard_ms=now_ms if is_orderly else left_by.last_ms,
            grace_ms=RESTART_GRACE_MS,
            spread_ms=RESTART_SPREAD_MS,
        )
