"""The wall clock, and what follows when somebody sets it: every end and every moment that is a wall time is looked at
again.

Deadlines run on the monotonic clock. That is right for what was asked for as a duration, whatever the wall clock does.
An end that was said as a wall time was brought onto the monotonic clock with what the wall clock showed then: if that
was wrong, as on a machine that starts before it knows the time, the deadline is, too. What was told as a wall time
stays as it was told, unless it would be later than now.
"""

from __future__ import annotations

from collections import deque

from presenced.core.claims import Claims
from presenced.core.leases import Leases
from presenced.core.model import User
from presenced.core.publisher import Publisher
from presenced.core.users import Users

WALL_JUMP_MS = 1_000
"""Another time than what the clock would show by now, by more than this, is one that was set."""

WALL_TRUST_MS = 600_000
"""So long a clock that was set ahead must show it before anything is dropped for its age by it."""

SLICE_COST_MAX = 1_000
"""What one turn may look at, in users, their devices and claims: about 2 ms."""


class _Walk:
    """One walk over all users, after one jump."""

    __slots__ = ("jump_ms", "set_ms", "left")

    def __init__(self, jump_ms: int, set_ms: int) -> None:
        self.jump_ms = jump_ms
        self.set_ms = set_ms
        """When the clock was set, on the monotonic clock."""
        self.left: int | None = None
        """Places of `Users.order` that are still to be looked at, from the end; None = it has not begun."""


class WallClock:
    """Keeps the wall clock for the other parts, and walks over all users after a jump, a slice each turn."""

    def __init__(self, users: Users, leases: Leases, claims: Claims, publisher: Publisher, offset_ms: int) -> None:
        self._users = users
        self._leases = leases
        self._claims = claims
        self._publisher = publisher
        self._known_ms = publisher.wall_offset_ms = publisher.trusted_offset_ms = offset_ms
        self._trusted_from_ms = 0
        """When the offset is to be trusted though it was set ahead, on the monotonic clock."""
        """The offset at the last jump."""
        self._furthest_ms = offset_ms
        """The furthest that it was ahead after any jump."""
        self._walks: deque[_Walk] = deque()
        """The one under way, and at most one for all that was set meanwhile."""

    def set(self, offset_ms: int, now_ms: int) -> None:
        """The wall clock is this far ahead of the monotonic one now. O(1)."""
        self._publisher.wall_offset_ms = offset_ms
        jump_ms = offset_ms - self._known_ms
        if jump_ms > WALL_JUMP_MS:
            self._trusted_from_ms = now_ms + WALL_TRUST_MS
        if now_ms >= self._trusted_from_ms or offset_ms < self._publisher.trusted_offset_ms:
            self._publisher.trusted_offset_ms = offset_ms
        if abs(jump_ms) <= WALL_JUMP_MS:
            return
        self._known_ms = offset_ms
        self._furthest_ms = max(self._furthest_ms, offset_ms)
        self._publisher.back_ms = offset_ms - self._furthest_ms
        if self._walks and self._walks[-1].left is None:
            self._walks[-1].jump_ms += jump_ms
            self._walks[-1].set_ms = now_ms
        else:
            self._walks.append(_Walk(jump_ms, now_ms))

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = not until the clock is set."""
        return 0 if self._walks else None

    def tick(self, now_ms: int) -> None:
        """Look at the next slice of users. O(`SLICE_COST_MAX`)."""
        if not self._walks:
            return
        walk, order = self._walks[0], self._users.order
        start = len(order) if walk.left is None else min(walk.left, len(order))
        walk.left, left = start, SLICE_COST_MAX
        while walk.left and left > 0:
            walk.left -= 1
            user = order[walk.left]
            left -= 1 + len(user.devices) + 2 * len(user.claims)
            self._look_at(user, walk, now_ms)
        if not walk.left:
            self._walks.popleft()

    def _look_at(self, user: User, walk: _Walk, now_ms: int) -> None:
        for device in user.devices.values():
            self._leases.clock_set(device, walk.jump_ms, walk.set_ms, now_ms)
        if user.claims or user.text_until_ms or user.shown or user.schedule is not None:
            self._claims.clock_set(user, now_ms)
        self._publisher.clock_set(user, now_ms)
