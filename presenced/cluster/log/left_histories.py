"""Which histories of the log are over: nodes have gone on with a later one.

An engine that was restored from an old dump comes back with such a history, and nothing in it is new. A node that
joined since has never read it, so whoever has left one tells those who join (`join_data`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

TOLD_MAX: Final = 32
"""So many are told to others: the last ones."""


class LeftHistories:
    """Those that one node knows of."""

    def __init__(self) -> None:
        self._left: dict[str, None] = {}
        """In the order in which this node heard that they are over."""

    def __contains__(self, history: str) -> bool:
        return history in self._left

    def note(self, history: str) -> None:
        """This node goes on with a later one. O(1)."""
        self._left[history] = None

    def learn(self, histories: Sequence[str], current: str) -> None:
        """Another node has left these; this one goes on with the current one. O(histories)."""
        self._left |= dict.fromkeys(history for history in histories if history != current)

    def told_by(self, current: str) -> list[str]:
        """Those that are over once this node has left the current one as well, as far as others are told. O(these)."""
        return [*self._left, current][-TOLD_MAX:]
