"""Which users have changed their home of late, and where the log says so. Pure.

What a node says of a user whom it takes for another's is said of the moment up to which it had read. If the user has
changed the home since, it says nothing of now, though it stands in the log behind that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import takewhile


class HomeChanges:
    """Those of the last minute, by name: 100 bytes for each user who has moved."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        """In the order of the log."""
        self._said: Counter[str] = Counter()
        """Users of whom this node has said that another is the home, which it has not read back."""

    def note(self, names: Iterable[str], position: int) -> None:
        """These users have another home from this position on. O(names)."""
        for name in names:
            self._at.pop(name, None)
            self._at[name] = position

    def note_said(self, name: str) -> None:
        """This node is about to say that the user has another home."""
        self._said[name] += 1

    def note_read_back(self, name: str, position: int) -> None:
        """All nodes read at this position what this one has said."""
        self._said[name] -= 1
        if self._said[name] <= 0:
            del self._said[name]
        self.note((name,), position)

    def is_said(self, name: str) -> bool:
        """Whether this node has said that another is the home, and has not read it back. O(1)."""
        return name in self._said

    def since(self, name: str, position: int) -> bool:
        """Whether the user has changed the home behind this position, or is about to. O(1)."""
        return name in self._said or self._at.get(name, 0) > position

    def forget(self, position: int) -> None:
        """Nobody says anything any more that holds for this position or for one before it. O(what is forgotten)."""
        if not self._at:
            return
        for name in list(takewhile(lambda name: self._at[name] <= position, self._at)):
            del self._at[name]

    def rewind(self, position: int) -> None:
        """The log has lost all behind this position: what changed there has changed since then, wherever the log says
        so again. O(that)."""
        for name in list(takewhile(lambda name: self._at[name] > position, reversed(self._at))):
            self._at[name] = position + 1
