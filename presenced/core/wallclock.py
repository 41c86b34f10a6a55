"""The wall clock, and what follows when somebody sets it: every end that is a wall time is looked at again.

Deadlines run on the monotonic clock. That is right for what was asked for as a duration, whatever the wall clock does.
An end that was said as a wall time was brought onto the monotonic clock with what the wall clock showed then: if that
was wrong, as on a machine that starts before it knows the time, the deadline is, too.
"""

from __future__ import annotations

from presenced.core.claims import Claims
from presenced.core.publisher import Publisher
from presenced.core.users import Users

WALL_JUMP_MS = 1_000
"""Another time than what the clock would show by now, by more than this, is one that was set."""

SLICE_USERS = 2_000
"""Users looked at in one turn: about 1 ms if few of them have anything that ends."""


class WallClock:
    """Keeps the wall clock for the other parts, and walks over all users after a jump, a slice each turn."""

    def __init__(self, users: Users, claims: Claims, publisher: Publisher, offset_ms: int) -> None:
        self._users = users
        self._claims = claims
        self._publisher = publisher
        self._known_ms = publisher.wall_offset_ms = offset_ms
        """The offset at the last jump."""
        self._left = 0
        """Places of `Users.order` that are still to be looked at, from the end."""

    def set(self, offset_ms: int) -> None:
        """The wall clock is this far ahead of the monotonic one now. O(1)."""
        self._publisher.wall_offset_ms = offset_ms
        if abs(offset_ms - self._known_ms) > WALL_JUMP_MS:
            self._known_ms = offset_ms
            self._left = len(self._users.order)

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = not until the clock is set."""
        return 0 if self._left else None

    def tick(self, now_ms: int) -> None:
        """Look at the next slice of users. O(`SLICE_USERS`)."""
        order = self._users.order
        start = min(self._left, len(order))
        self._left = max(0, start - SLICE_USERS)
        for place in range(start - 1, self._left - 1, -1):
            user = order[place]
            if user.claims or user.text_until_ms or user.schedule is not None:
                self._claims.clock_set(user, now_ms)
