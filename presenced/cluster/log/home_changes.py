"""Remembers which users have changed their home within the last minute, and at which position of the log. Pure.

What a node appends about a user of another home, such as an offer, is true as of the position up to which that node had
read. If the user has changed the home since then, it is out of date, although it stands in the log behind the change.
Whoever reads it asks here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import takewhile


class HomeChanges:
    """The changes of the last minute: 100 bytes for each user who has moved."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        """The position of the last change of each user, in the order of the log."""
        self._said: Counter[str] = Counter()
        """How often this node has appended for a user that another node is the home, without having read it back."""

    def note(self, names: Iterable[str], position: int) -> None:
        """These users have another home from this position on. O(names)."""
        for name in names:
            self._at.pop(name, None)
            self._at[name] = position

    def note_said(self, name: str) -> None:
        """This node is about to append that the user has another home."""
        self._said[name] += 1

    def note_read_back(self, name: str, position: int) -> None:
        """All nodes read at this position that the user has another home, as this one has appended."""
        self._said[name] -= 1
        if self._said[name] <= 0:
            del self._said[name]
        self.note((name,), position)

    def is_said(self, name: str) -> bool:
        """Whether this node has appended that another is the home, and has not read that back. O(1)."""
        return name in self._said

    def since(self, name: str, position: int) -> bool:
        """Whether the user's home has changed behind this position, or is about to. O(1)."""
        return name in self._said or self._at.get(name, 0) > position

    def forget(self, position: int) -> None:
        """Nothing is appended any longer that is true as of this position, or of one before it. O(what is
        forgotten)."""
        if not self._at:
            return
        for name in list(takewhile(lambda name: self._at[name] <= position, self._at)):
            del self._at[name]

    def rewind(self, position: int) -> None:
        """The log has lost all behind this position. A change that stood there counts as the first behind it, since it
        may be appended again anywhere. O(what was lost)."""
        for name in list(takewhile(lambda name: self._at[name] > position, reversed(self._at))):
            self._at[name] = position + 1
