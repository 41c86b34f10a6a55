"""Pushes a change to very many watchers of one user in slices, a few each turn, so that nobody else waits for all.

A write to a link takes some microseconds, so the writes for a user with fifty thousand watchers take a third of a
second. The list of waiting watchers is that of the moment of the change. Each slice sends the record of its own moment:
a watcher that began since has it from the reply, and one that has stopped is skipped. If the user changes again
meanwhile, the watchers that were not told of the last change come first. So all are told in the end, however often the
user changes.
"""

from __future__ import annotations

from collections.abc import Collection

from presenced.core.model import Face, Session, Sink, User

WATCHERS = 1_000
"""Watchers of a user up to which all are told in one turn."""

SLICE = 500
"""Watchers who are told in one turn beyond that: about 3 ms."""


class WideFanOuts:
    """Users, or faces of users, of whom watchers are still to be told."""

    def __init__(self) -> None:
        self._lines: dict[User | Face, tuple[list[Session], int, int]] = {}
        """Those who are to be told, how many of them have been, and at which of the user's watchers they begin."""

    def add(self, user: User | Face, watchers: dict[Session, Sink]) -> None:
        """Tell all of these, from the next slice on. O(watchers), without anything done for each."""
        line, first = list(watchers), 0
        if user in self._lines:
            _, at, before = self._lines[user]
            first = (before + at) % len(line)
            line = line[first:] + line[:first]
        self._lines[user] = (line, 0, first)

    def is_under_way(self, user: User | Face) -> bool:
        """Whether some of those who watch are still to be told of the last change. O(1)."""
        return user in self._lines

    @property
    def under_way(self) -> Collection[User | Face]:
        """Those of whom some watchers are still to be told."""
        return self._lines.keys()

    @property
    def next_ms(self) -> int | None:
        """When the next slice is due: 0 = at once, None = there is none."""
        return 0 if self._lines else None

    def take(self) -> tuple[User | Face, dict[Session, Sink]] | None:
        """The next slice, if there is one: of whom to tell now, and whom. Users take turns. O(`SLICE`)."""
        if not self._lines:
            return None
        user = next(iter(self._lines))
        line, at, first = self._lines.pop(user)
        if at + SLICE < len(line):
            self._lines[user] = (line, at + SLICE, first)
        watchers = user.watchers or {}
        return user, {session: watchers[session] for session in line[at : at + SLICE] if session in watchers}
