"""The wall clock as the core knows it: how far it is ahead of the monotonic clock, and by how much it was set.

Deadlines run on the monotonic clock. The wall clock says what is displayed, and when that ends which was asked for as a
wall time. Somebody may set it at any moment. `parts.clock_jumps` then asks the owner of each moment that depends on it.
"""

from __future__ import annotations

from presenced.limits import DURATION_MS_MAX

WALL_JUMP_MS = 1_000
"""The clock was set, rather than slewed, if it shows another time than it would by now by more than this."""

WALL_TRUST_MS = 600_000
"""A clock that was set ahead must show the new time for this long before anything is dropped for its age by it."""


class Clock:
    """Owns the wall offset. Times are integer milliseconds; an offset is wall time minus monotonic time. O(1)."""

    def __init__(self, offset_ms: int) -> None:
        self.offset_ms = offset_ms
        self.trusted_offset_ms = offset_ms
        """The offset by a clock that has shown it for a while, or that is behind. What is dropped for its age is gone
        for good, and a clock may be wrong for a moment."""
        self.back_ms = 0
        """How far the clock has been set back from the furthest that it was ahead in this run: 0 or less."""
        self._trusted_from_ms = 0
        """When the offset is to be trusted though it was set ahead, on the monotonic clock."""
        self._known_ms = offset_ms
        """The offset at the last jump."""
        self._furthest_ms = offset_ms
        """The largest offset after any jump."""

    def set(self, offset_ms: int, now_ms: int) -> int:
        """The wall clock is this far ahead of the monotonic clock at `now_ms`. Returns by how many milliseconds it was
        set since the last call; 0 if it was not."""
        self.offset_ms = offset_ms
        jump_ms = offset_ms - self._known_ms
        if jump_ms > WALL_JUMP_MS:
            self._trusted_from_ms = now_ms + WALL_TRUST_MS
        if now_ms >= self._trusted_from_ms or offset_ms < self.trusted_offset_ms:
            self.trusted_offset_ms = offset_ms
        if abs(jump_ms) <= WALL_JUMP_MS:
            return 0
        self._known_ms = offset_ms
        self._furthest_ms = max(self._furthest_ms, offset_ms)
        self.back_ms = offset_ms - self._furthest_ms
        return jump_ms

    def wall_ms(self, now_ms: int) -> int:
        """The wall time at a moment of the monotonic clock."""
        return now_ms + self.offset_ms

    def trusted_wall_ms(self, now_ms: int) -> int:
        """The wall time by the offset that can be trusted: what is too old by it may be dropped."""
        return now_ms + self.trusted_offset_ms

    def due_ms(self, until_ms: int, now_ms: int) -> int:
        """The deadline for a wall time (0 = none). Not before now, and not beyond the longest that can be asked for:
        the wall clock may be wrong."""
        if not until_ms:
            return 0
        return min(max(until_ms - self.offset_ms, now_ms), now_ms + DURATION_MS_MAX)

    def shown_ms(self, noted_ms: int, wall_ms: int) -> int:
        """A wall time as it is shown while the clock says `wall_ms`: never later than that. A time that was noted by a
        clock that was ahead is shown as the present clock would have noted it."""
        return noted_ms if noted_ms <= wall_ms else min(noted_ms + self.back_ms, wall_ms)
