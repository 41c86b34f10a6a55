"""The index of who is online: by name for pages of them, and by status for the operator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sortedcontainers import SortedList

from presenced.core.model import User
from presenced.core.rights import Patterns
from presenced.wire.messages import ONLINE_STATUSES, Status


class OnlineIndex:
    """The users whose records are not offline, in order of their names."""

    def __init__(self) -> None:
        self.names: SortedList[str] = SortedList()
        self.by_status: dict[str, int] = dict.fromkeys(ONLINE_STATUSES, 0)
        """How many users show each status but offline."""

    def __len__(self) -> int:
        return len(self.names)

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
        elif before != "offline":
            self.names.remove(name)

    def fill(self, users: Iterable[User]) -> None:
        """Enter all who are online by their records, into an empty index. O(users log online)."""
        online: list[str] = []
        for user in users:
            status = user.record.status
            if status != "offline":
                online.append(user.name)
                self.by_status[status] += 1
        self.names.update(online)

    def page(self, after: str, limit: int) -> tuple[list[str], str]:
        """Up to `limit` names after `after`, and where the next page starts ("" = nowhere). O(limit + log online)."""
        if limit == 0:
            return [], ""
        names: Iterator[str] = self.names.irange(after, inclusive=(False, True)) if after else iter(self.names)
        page: list[str] = []
        for name in names:
            if len(page) == limit:
                return page, page[-1]
            page.append(name)
        return page, ""

    def part(self, part: str) -> SortedList[str]:
        return SortedList(name for name in self.names if name.endswith("@" + part))

    def names_of(self, patterns: Patterns) -> list[str]:
        return [name for name in self.names if patterns.match(name)]

    def page_of(self, patterns: Patterns, after: str, limit: int) -> tuple[list[str], str]:
        names = [name for name in self.names_of(patterns) if name > after]
        return names[:limit], names[limit - 1] if limit and len(names) > limit else ""

    def count_of(self, patterns: Patterns) -> int:
        return len(self.names_of(patterns))
