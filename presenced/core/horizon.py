"""How far a node of a cluster knows all decisions of all nodes, as one version; positions count on this scale
(protocol.md, section 28.3). Pure.

With each batch that a node appends to the log, it says below which version it will append nothing any more. Below the
lowest of these versions everything is known: that is the horizon. It follows from the log alone, so that it is the same
on all nodes that have read as far, and a position that one node gave out means the same on every other.

Something may arrive below the horizon all the same, as a user of whom the log had lost something. It is late, and
counts as of the horizon at which it arrived. Where it is not known what was late, earlier positions are no longer
valid.
"""

from __future__ import annotations

from itertools import takewhile
from typing import Final

LATE_MAX: Final = 100_000
"""Users whose last change is remembered because their versions do not tell when it came."""


class Horizon:
    """That of one life of a node. It begins when the node knows all users (`begin`)."""

    def __init__(self, key: int) -> None:
        """`key` names this life of the node."""
        self.origin = key
        """The node that founded the cluster: positions of another one mean nothing here."""
        self.founded_ms = 0
        """When it did so, in wall time; 0 = that is not known."""
        self.version = 0
        """Every change of a record below this is known here. 0 = it has not begun."""
        self.floor = 0
        """Positions up to this one are not good any more."""
        self.has_begun = False
        self._taught = 0
        """What it begins with, as far as older nodes have said."""
        self._ends_earlier = False
        """Whether positions from before its beginning are not good any more."""
        self._late: dict[str, int] = {}
        """Users whose record changed below the horizon, and where that stood; the last of them last."""

    def found(self, key: int, now_ms: int) -> None:
        """The node of this key, which is this one, founds the cluster at this wall time. O(1)."""
        self.origin, self.founded_ms = key, now_ms

    def is_founded_by(self, key: int) -> bool:
        """Whether the node of this key, which is this one, founded the cluster in this life. O(1)."""
        return self.origin == key and self.founded_ms > 0

    def learn(self, origin: int, version: int, floor: int, founded_ms: int = 0) -> None:
        """An older node tells of its own; it stands still until this one begins. O(1)."""
        if origin:
            self.origin, self.founded_ms = origin, founded_ms
        self._taught = max(self._taught, version)
        self.floor = max(self.floor, floor)

    def begin(self) -> None:
        """All users are known from here on. Idempotent. O(1)."""
        if self.has_begun:
            return
        self.has_begun = True
        self.version = self._taught
        if self._ends_earlier:
            self.floor = self.version

    def reach(self, version: int) -> None:
        """What is still to come below this version is late. Before the beginning nobody can say. O(1)."""
        if self.has_begun and version > self.version:
            self.version = version

    def begin_again(self, version: int) -> None:
        """The log had lost something, and a node whose horizon stood here has said it again: positions that nodes have
        given on the ground of what was lost are not good any more. O(1)."""
        self._taught = max(self._taught, version)
        self.reach(version)
        self.end_earlier()

    def note(self, name: str, version: int) -> None:
        """The record of the user has changed, and has this version. O(1)."""
        if version >= self.version:
            return
        self._late.pop(name, None)
        self._late[name] = self.version
        if len(self._late) > LATE_MAX:
            self.floor = max(self.floor, self._late.pop(next(iter(self._late))))

    def end_earlier(self) -> None:
        """Something has changed that cannot be told by what users are now: positions from before are not good any
        more. O(1)."""
        self._ends_earlier = True
        self.floor = max(self.floor, self.version)

    @property
    def told_floor(self) -> int:
        """Up to which position whoever does not know what was late cannot tell what has changed. O(1)."""
        return max(self.floor, next(reversed(self._late.values()), 0))

    def late_since(self, version: int) -> list[str]:
        """The users who changed at or above this version in one below it, the last of them first. O(these)."""
        return list(takewhile(lambda name: self._late[name] >= version, reversed(self._late)))
