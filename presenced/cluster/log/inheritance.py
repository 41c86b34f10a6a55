"""Takes over the users of nodes that are gone. Pure.

When a node is gone, the heirs of its users are known at once (`homes`). But an heir has to start the timers of each
user who is awake, and there may be very many. So it walks through the table of homes some buckets at a time, and takes
over some users in each turn. A user whom somebody asks for is taken over at once. A user who sleeps has no timers, so
that nothing is to be done but to note the new home.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from presenced.cluster.log.homes import BUCKETS, Homes
from presenced.cluster.log.nodes import NOBODY, Member
from presenced.core.handovers import SLICE_USERS, Handovers
from presenced.limits import RESTART_GRACE_MS, RESTART_SPREAD_MS

LOOKS: Final = 20_000
"""The most users that one turn looks at, most of whom have another home: about 1 ms."""


class Inheritance:
    """The users whom this node has still to take over."""

    def __init__(self, homes: Homes, handovers: Handovers, me: Member) -> None:
        self._homes = homes
        self._handovers = handovers
        self._me = me
        self._gone: dict[Member, bool] = {}
        """The homes that are gone, and whether each has left in order."""
        self._bucket = 0
        self._acquired: list[str] = []
        self._adopted: Callable[[str, int], object] = lambda name, now_ms: None

    def tell(self, adopted: Callable[[str, int], object]) -> None:
        """Call `adopted` with each user whom this node takes over as an heir, and the time, before anything else is
        decided of the user."""
        self._adopted = adopted

    def add(self, gone: Member, *, is_orderly: bool) -> None:
        """This home is gone. `is_orderly`: it left in order, and said so itself."""
        self._gone[gone] = is_orderly
        self._bucket = 0

    @property
    def has_work(self) -> bool:
        """Whether there may be somebody to take over."""
        return bool(self._gone)

    def go_on(self, now_ms: int) -> list[str]:
        """Look at some users. Returns those whose home has changed. O(`SLICE_USERS` and `LOOKS`)."""
        changed: list[str] = []
        if not any(self._homes.counts[gone] for gone in self._gone):
            # No user has them as a home in the table, as with a node that died before it served.
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
        """If the user's home is gone, note the heir in the table of homes; if the heir is this node, decide the user
        from now on. O(1), or O(what is known of the user)."""
        left_by = self._homes.as_filed(name)
        if left_by not in self._gone:
            return
        heir = self._homes.of(name)
        if heir is NOBODY:
            # No node served when the home died. The first that serves afterwards takes its users over (`arrival`).
            return
        self._homes.set(name, heir)
        if heir is not self._me:
            return
        self.adopt(name, left_by, now_ms)

    def take_acquired(self) -> list[str]:
        """The users whom this node has taken over or up since the last call."""
        acquired, self._acquired = self._acquired, []
        return acquired

    def take_up(self, name: str, now_ms: int) -> None:
        """Decide the user from now on, whom another home has handed over in order. O(what is known of the user)."""
        self._acquired.append(name)
        self._handovers.adopt(name, now_ms, heard_ms=None, grace_ms=RESTART_GRACE_MS, spread_ms=0)

    def adopt(self, name: str, left_by: Member, now_ms: int) -> None:
        """Decide the user from now on, as the heir of `left_by`. O(what is known of the user)."""
        is_orderly = self._gone.get(left_by, False)
        self._acquired.append(name)
        self._handovers.adopt(
            name,
            now_ms,
            heard_ms=now_ms if is_orderly else left_by.last_ms,
            grace_ms=RESTART_GRACE_MS,
            spread_ms=RESTART_SPREAD_MS,
        )
        self._adopted(name, now_ms)
