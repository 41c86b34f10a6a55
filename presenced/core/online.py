"""The index of who is online: by name for pages of them, by part for those who see one part alone, and by status for
the operator.

The part of a name is what stands behind its last @: `acme` of `bob@acme`. The index by part is made when somebody first
asks for one, all parts at once, since a server with many parts would look at everybody again for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice

from sortedcontainers import SortedList

from presenced.core.model import User
from presenced.core.rights import Patterns, part_of
from presenced.wire.messages import ONLINE_STATUSES, Status

_NONE: SortedList[str] = SortedList()
_LAST = chr(0x10FFFF)


class OnlineIndex:
    """The users whose records are not offline, in order of their names."""

    def __init__(self) -> None:
        self.names: SortedList[str] = SortedList()
        self.by_status: dict[str, int] = dict.fromkeys(ONLINE_STATUSES, 0)
        """How many users show each status but offline."""
        self._parts: dict[str, SortedList[str]] | None = None
        """By part; None until somebody asks. None of the lists is empty."""

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def move(self, name: str, before: Status, after: Status) -> None:
        """A user shows another status than before. O(log online) to come or go, else O(1)."""
        if before != "offline":
            self.by_status[before] -= 1
        if after != "offline":
            self.by_status[after] += 1
            if before == "offline":
                self.names.add(name)
                if self._parts is not None:
                    self._enter(name)
        elif before != "offline":
            self.names.remove(name)
            if self._parts is not None:
                self._take_out(name)

    def fill(self, users: Iterable[User]) -> None:
        """Enter all who are online by their records, into an empty index. O(users log online)."""
        online: list[str] = []
        for user in users:
            status = user.record.status
            if status != "offline":
                online.append(user.name)
                self.by_status[status] += 1
        self.names.update(online)

    # --- pages ------------------------------------------------------------------------------------------------

    def page(self, after: str, limit: int) -> tuple[list[str], str]:
        """Up to `limit` names after `after`, and where the next page starts ("" = nowhere). O(limit + log online)."""
        return _page(behind(self.names, after), limit)

    def page_of(self, patterns: Patterns, after: str, limit: int) -> tuple[list[str], str]:
        """A page of the names that the patterns match, as by `page`. O(limit log patterns + patterns log online)."""
        return _page(self._matching(patterns, after), limit)

    def names_of(self, patterns: Patterns) -> list[str]:
        """All names that the patterns match, in order. O(these log patterns + patterns log online)."""
        return list(self._matching(patterns, ""))

    def count_of(self, patterns: Patterns) -> int:
        """How many names the patterns match, exactly. O(prefixes * parts * log online): no name is looked at."""
        if patterns.is_all:
            return len(self.names)
        count = sum(name in self.names for name in patterns.names)
        parts = [self.part(ending[1:]) for ending in patterns.endings]
        count += sum(len(part) for part in parts)
        for prefix in patterns.prefixes:
            # No prefix begins with another, and no name has two parts: a name may be counted twice, and no oftener.
            count += _count(self.names, prefix) - sum(_count(part, prefix) for part in parts)
        return count

    def part(self, part: str) -> SortedList[str]:
        """The names of this part, in order, not to be changed. O(1), but for the first call, which is O(online)."""
        if self._parts is None:
            parts: dict[str, list[str]] = {}
            for name in self.names:
                if "@" in name:
                    parts.setdefault(part_of(name), []).append(name)
            # From lists that are in order: to add each name by itself takes twice as long.
            self._parts = {part: SortedList(names) for part, names in parts.items()}
        return self._parts.get(part, _NONE)

    def check(self) -> None:
        """Raise `AssertionError` if the lists of parts hold other names than the index. O(online)."""
        if self._parts is None:
            return
        parts: dict[str, list[str]] = {}
        for name in self.names:
            if "@" in name:
                parts.setdefault(part_of(name), []).append(name)
        assert {part: list(names) for part, names in self._parts.items()} == parts, "the index by part is wrong"

    def _matching(self, patterns: Patterns, after: str) -> Iterator[str]:
        """The names after `after` that the patterns match, in order, each once."""
        if patterns.is_all:
            yield from behind(self.names, after)
            return
        exact = sorted(name for name in patterns.names if name > after and name in self.names)
        ranges = [_range(self.names, prefix, after) for prefix in patterns.prefixes]
        parts = [behind(self.part(ending[1:]), after) for ending in patterns.endings]
        last = ""
        for name in merge(exact, *ranges, *parts):
            if name != last:
                yield name
            last = name

    def _enter(self, name: str) -> None:
        if "@" in name:
            assert self._parts is not None
            names = self._parts.get(part := part_of(name))
            if names is None:
                names = self._parts[part] = SortedList()
            names.add(name)

    def _take_out(self, name: str) -> None:
        if "@" in name:
            assert self._parts is not None
            names = self._parts[part := part_of(name)]
            names.remove(name)
            if not names:
                del self._parts[part]


def behind(names: SortedList[str], after: str) -> Iterator[str]:
    """The names after `after`, in order."""
    return iter(names.irange(after, inclusive=(False, True)) if after else names)


def _range(names: SortedList[str], prefix: str, after: str) -> Iterator[str]:
    """The names after `after` that begin with the prefix, in order."""
    first, is_included = (prefix, True) if after < prefix else (after, False)
    # None if `after` is behind them all.
    return iter(names.irange(first, _end(prefix), inclusive=(is_included, False)))


def _count(names: SortedList[str], prefix: str) -> int:
    """How many of the names begin with the prefix. O(log names)."""
    start: int = names.bisect_left(prefix)
    end = _end(prefix)
    return (names.bisect_left(end) if end is not None else len(names)) - start


def _end(prefix: str) -> str | None:
    """The least text behind all that begin with the prefix; None = there is none."""
    prefix = prefix.rstrip(_LAST)
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else None


def _page(names: Iterator[str], limit: int) -> tuple[list[str], str]:
    """Up to `limit` names, and the last of them if there are more."""
    if limit == 0:
        return [], ""
    page = list(islice(names, limit))
    return page, page[-1] if len(page) == limit and next(names, None) is not None else ""
