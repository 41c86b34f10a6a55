"""For how long a node has been behind the log. Pure.

A node does not see entries that it does not read. But the answer to each renewal says how long the log is.
"""

from __future__ import annotations

from collections import deque
from typing import Final

ENDS_KEPT: Final = 100


class Lag:
    """Ends of the log that renewals have told and that are not applied yet, the oldest first."""

    def __init__(self) -> None:
        self._ends: deque[tuple[int, int]] = deque()
        """Each with the time at which it was first told."""

    def note_end(self, end_n: int, now_ms: int) -> None:
        """The log holds entries up to this one. O(1)."""
        ends = self._ends
        # For a node that is behind for hours the oldest are enough.
        if len(ends) < ENDS_KEPT and (not ends or end_n > ends[-1][0]):
            ends.append((end_n, now_ms))

    def forget(self) -> None:
        """The log has changed, so that these are not its ends."""
        self._ends.clear()

    def behind_ms(self, position: int, now_ms: int) -> int:
        """For how long the log is known to have entries behind this position; 0 = none are known. O(1), over all."""
        ends = self._ends
        while ends and ends[0][0] <= position:
            ends.popleft()
        return max(1, now_ms - ends[0][1]) if ends else 0
