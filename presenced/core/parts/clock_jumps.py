"""What follows when somebody sets the wall clock: every user's ends and moments that are wall times are brought up to
date, a slice of users each turn.

Deadlines run on the monotonic clock. That is right for what was asked for as a duration, whatever the wall clock does.
An end that was given as a wall time was brought onto the monotonic clock with what the wall clock showed then. If that
was wrong, as on a machine that starts before it knows the time, the deadline is wrong, too. What was shown as a wall
time stays as it was shown, unless it would be later than now.
"""

from __future__ import annotations

from collections import deque

from presenced.core.clock import Clock
from presenced.core.part import Jump, Part, Parts
from presenced.core.parts.leases import Leases
from presenced.core.parts.sleep import Sleep
from presenced.core.parts.users import Users

SLICE_COST_MAX = 1_000
"""What one turn may bring up to date, in users, their devices and claims: about 2 ms."""

WAKING_COST = 20
"""Of one user who sleeps, in the same, if they have some contacts."""


class _Walk:
    """One walk over all users, after one jump."""

    __slots__ = ("jump_ms", "set_ms", "left")

    def __init__(self, jump_ms: int, set_ms: int) -> None:
        self.jump_ms = jump_ms
        self.set_ms = set_ms
        """When the clock was set, on the monotonic clock."""
        self.left: int | None = None
        """Places of `Users.order` that are still to be visited, from the end; None = it has not begun."""


class ClockJumps(Part):
    """Owns the walks over all users: the one under way, and at most one for all jumps since it began."""

    def __init__(self, users: Users, parts: Parts, clock: Clock, sleep: Sleep, leases: Leases) -> None:
        self._users = users
        self._leases = leases
        self._sleep = sleep
        self._parts = parts
        self._clock = clock
        self._walks: deque[_Walk] = deque()

    def set(self, offset_ms: int, now_ms: int) -> None:
        """The wall clock is this far ahead of the monotonic clock at `now_ms`. O(1)."""
        before_ms = self._clock.offset_ms
        jump_ms = self._clock.set(offset_ms, now_ms)
        if not jump_ms:
            return
        if not self._walks:
            self._sleep.wake_with(before_ms)
        if self._walks and self._walks[-1].left is None:
            self._walks[-1].jump_ms += jump_ms
            self._walks[-1].set_ms = now_ms
        else:
            self._walks.append(_Walk(jump_ms, now_ms))
            self._sleep.hold()

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = not until the clock is set."""
        return 0 if self._walks else None

    def tick(self, now_ms: int) -> None:
        """Visit the next slice of users. O(`SLICE_COST_MAX`)."""
        if not self._walks:
            return
        walk, order = self._walks[0], self._users.order
        if walk.left is None:
            # They wake as they were before the clock was set, and are visited like all others.
            most = max(1, SLICE_COST_MAX // WAKING_COST)
            if self._users.wake_some(most) == most:
                return
            self._sleep.wake_with(None)
        start = len(order) if walk.left is None else min(walk.left, len(order))
        walk.left, left = start, SLICE_COST_MAX
        while walk.left and left > 0:
            walk.left -= 1
            user = order[walk.left]
            left -= 1 + len(user.devices) + 2 * len(user.claims)
            if user.is_copy:
                self._leases.keep_copied(user, walk.jump_ms)
            else:
                self._parts.clock_jumped(user, Jump(walk.jump_ms, walk.set_ms), now_ms)
        if not walk.left:
            self._walks.popleft()
            self._sleep.release()
