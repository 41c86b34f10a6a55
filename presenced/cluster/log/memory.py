"""Remembers the last minute of the log, in case the log loses its end. Pure.

An engine that has failed over may have lost the entries that it accepted last. `common_past` compares tags to find how
far the log still agrees with what was read here. `rewind` then returns what stood behind that, and `lost_entries` makes
it good.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from presenced.cluster.log.nodes import Member

KEEP_MS: Final = 60_000


class _Read(NamedTuple):
    position: int
    read_ms: int


class Lost(NamedTuple):
    """What the log has lost."""

    acquired: list[str]
    """The users whose home this node became there."""
    joined: list[Member]
    """The nodes that joined there, and that nobody had known before."""
    returned: list[Member]
    """The nodes that came back there, from a log before this one."""
    gone: list[Member]
    """The nodes that the log declared gone there."""
    ready: list[Member]
    """The nodes that had appended there that they know all users."""
    told: dict[Member, list[str]]
    """The users of whom other nodes had appended something there, by node."""


class LogMemory:
    """Positions with their tags, and what was read there."""

    def __init__(self) -> None:
        self._read: deque[_Read] = deque()
        self._tags: dict[int, int] = {}
        self._acquired: deque[tuple[int, str]] = deque()
        self._joined: deque[tuple[int, Member]] = deque()
        self._returned: deque[tuple[int, Member]] = deque()
        self._gone: deque[tuple[int, Member]] = deque()
        self._ready: deque[tuple[int, Member]] = deque()
        self._told: deque[tuple[int, Member, Sequence[str]]] = deque()
        self._pairs: deque[tuple[int, Member, str]] = deque()

    def note_read(self, position: int, tag: int, now_ms: int) -> int:
        """An entry was read; returns the position up to which nothing is remembered any longer. O(1), over all."""
        self._read.append(_Read(position, now_ms))
        self._tags[position] = tag
        while now_ms - self._read[0].read_ms > KEEP_MS:
            del self._tags[self._read.popleft().position]
        first = self._read[0].position - 1
        line: deque[Any]
        for line in (
            *(self._acquired, self._joined, self._returned, self._gone, self._ready),
            *(self._told, self._pairs),
        ):
            while line and line[0][0] <= first:
                line.popleft()
        return first

    def note_acquired(self, position: int, name: str) -> None:
        """This node has become the home of the user."""
        self._acquired.append((position, name))

    def note_joined(self, position: int, member: Member) -> None:
        """A new node has joined."""
        self._joined.append((position, member))

    def note_returned(self, position: int, member: Member) -> None:
        """A node has come back that had lived in a log before this one."""
        self._returned.append((position, member))

    def note_gone(self, position: int, member: Member) -> None:
        """A node is gone."""
        self._gone.append((position, member))

    def note_ready(self, position: int, member: Member) -> None:
        """A node has appended that it knows all users."""
        self._ready.append((position, member))

    def note_told(self, position: int, sender: Member, names: Sequence[str]) -> None:
        """Another node has appended something about these users that counts. The names stay for a minute. O(1)."""
        self._told.append((position, sender, names))

    def note_pairs(self, position: int, registrar: Member, name: str) -> None:
        """This node has appended what it knows of the user's pairs, for the registrar to decide. O(1)."""
        self._pairs.append((position, registrar, name))

    def pairs_for(self, registrar: Member) -> list[str]:
        """The users whose pairs this registrar was to decide. O(what is remembered)."""
        return list(dict.fromkeys(name for _, member, name in self._pairs if member is registrar))

    def tag_at(self, position: int) -> int | None:
        """The tag of the entry that was read at this position; None = it is not remembered. O(1)."""
        return self._tags.get(position)

    @property
    def newest(self) -> int:
        """The last position that is remembered; 0 = none is."""
        return self._read[-1].position if self._read else 0

    @property
    def oldest(self) -> int:
        """The first position that is remembered; 0 = none is."""
        return self._read[0].position if self._read else 0

    def rewind(self, position: int) -> Lost:
        """The log has lost all behind this position, and nothing behind it is remembered any longer. O(what is
        remembered)."""
        acquired = dict.fromkeys(name for at, name in self._acquired if at > position)
        joined = [member for at, member in self._joined if at > position]
        returned = [member for at, member in self._returned if at > position]
        gone = [member for at, member in self._gone if at > position]
        ready = [member for at, member in self._ready if at > position]
        told: dict[Member, dict[str, None]] = {}
        for at, sender, names in self._told:
            if at > position:
                told.setdefault(sender, {}).update(dict.fromkeys(names))
        self._read = deque(read for read in self._read if read.position <= position)
        self._tags = {at: tag for at, tag in self._tags.items() if at <= position}
        self._acquired = deque((at, name) for at, name in self._acquired if at <= position)
        self._joined = deque((at, member) for at, member in self._joined if at <= position)
        self._returned = deque((at, member) for at, member in self._returned if at <= position)
        self._gone = deque((at, member) for at, member in self._gone if at <= position)
        self._ready = deque((at, member) for at, member in self._ready if at <= position)
        self._told = deque(one for one in self._told if one[0] <= position)
        self._pairs = deque(one for one in self._pairs if one[0] <= position)
        by_sender = {sender: list(names) for sender, names in told.items()}
        return Lost(list(acquired), joined, returned, gone, ready, by_sender)
