"""Finds who sees a user, among many who see some users each: by the name of the user, without asking each of them.

The services of one customer each see one part (`*@acme`), and there may be hundreds of them. Only those with prefixes
are asked one by one.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from presenced.core.rights import Patterns, part_of

T = TypeVar("T", bound=Hashable)


class PatternIndex(Generic[T]):
    """Items with the patterns of what each sees."""

    def __init__(self) -> None:
        self.all: dict[T, Patterns] = {}
        """All of them, for reading. Whether there are any is asked at every change of a user: without a call."""
        self._by_name: dict[str, dict[T, None]] = {}
        self._by_ending: dict[str, dict[T, None]] = {}
        self._others: dict[T, Patterns] = {}
        """Those that no table finds: with prefixes, or with everything."""

    def sees(self, item: T, name: str) -> bool:
        """Whether the item is here and sees this name. O(patterns)."""
        patterns = self.all.get(item)
        return patterns is not None and patterns.match(name)

    def add(self, item: T, patterns: Patterns) -> None:
        """The item, which is not here yet, sees what these match. O(patterns)."""
        self.all[item] = patterns
        for name in sorted(patterns.names):
            self._by_name.setdefault(name, {})[item] = None
        for ending in patterns.endings:
            self._by_ending.setdefault(ending, {})[item] = None
        if patterns.prefixes or patterns.is_all:
            self._others[item] = patterns

    def remove(self, item: T) -> None:
        """The item sees nothing any more. Idempotent. O(patterns)."""
        patterns = self.all.pop(item, None)
        if patterns is None:
            return
        self._others.pop(item, None)
        for name in sorted(patterns.names):
            _take_out(self._by_name, name, item)
        for ending in patterns.endings:
            _take_out(self._by_ending, ending, item)

    def of(self, name: str) -> list[T]:
        """The items that see this name, each once. O(these and the items with prefixes)."""
        found: dict[T, None] = {}
        found.update(self._by_name.get(name, found))
        if self._by_ending and "@" in name:
            found.update(self._by_ending.get("@" + part_of(name), found))
        for item, patterns in self._others.items():
            if patterns.match(name):
                found[item] = None
        return list(found)


def _take_out(table: dict[str, dict[T, None]], key: str, item: T) -> None:
    items = table[key]
    del items[item]
    if not items:
        del table[key]
