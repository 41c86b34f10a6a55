"""For how long a node has been behind the log, as renewals tell it. Pure.

A node does not see an entry that it does not read: it knows of it because a renewal tells how long the log is.
"""

from __future__ import annotations

from collections import deque
from typing import Final

ENDS_KEPT: Final = 100


class Lag:
    """Ends of the log that were told and are not applied yet, the oldest first."""

    def __init__(self) -> None:
        self._ends: deque[tuple[int, int]] = deque()
        """Each with the time when it was told first."""

    def note_end(self, end_n: int, now_ms: int) -> None:
        """The log holds entries up to this one. O(1)."""
        ends = self._ends
        # Of one that is behind for hours the oldest tell enough.
        if len(ends) < ENDS_KEPT and (not ends or end_n > ends[-1][0]):
            ends.append((end_n, now_ms))

    def forget(self) -> None:
        """The log is not the one that they were the ends of."""
        self._ends.clear()

    def behind_ms(self, position: int, now_ms: int) -> int:
        """For how long the log is known to hold what a node has not applied that has come to this position; 0 = it has
        applied all that is known of. O(1), over all."""
        ends = self._ends
        while ends and ends[0][0] <= position:
            ends.popleft()
        return max(1, now_ms - ends[0][1]) if ends else 0
