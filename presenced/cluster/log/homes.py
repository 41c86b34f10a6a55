"""The home of each user: the node that alone decides the user. Pure.

When a node is gone, its users are not given to their heirs one by one. Whoever asks for the home of such a user gets
the heir, and the table itself is brought up to date bucket by bucket (`inheritance`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from presenced.cluster.log.nodes import NOBODY, Member, heir_of

BUCKETS: Final = 4_096
"""Parts of the table. A walk goes from one to the next, and other turns run in between."""


class Homes:
    """Homes by the names of users. `len` counts the users who have one."""

    def __init__(self) -> None:
        self._buckets: list[dict[str, Member]] = [{} for _ in range(BUCKETS)]
        self.counts: Counter[Member] = Counter()
        """Users by home, as the table has them. Those of a home that is gone count there until the table is brought up
        to date."""

    def __len__(self) -> int:
        return self.counts.total()

    def of(self, name: str) -> Member:
        """The user's home at this position; `NOBODY` if there is none. O(1), and O(nodes) for each home that went."""
        home = self._buckets[hash(name) % BUCKETS].get(name, NOBODY)
        while home.heirs is not None:
            home = heir_of(name, home.heirs)
        return home

    def as_filed(self, name: str) -> Member:
        """The user's home as the table has it. It may be gone, if the table was not brought up to date since. O(1)."""
        return self._buckets[hash(name) % BUCKETS].get(name, NOBODY)

    def set(self, name: str, home: Member) -> None:
        """The user's home is this one from now on. O(1)."""
        self._set(self._buckets[hash(name) % BUCKETS], name, home)

    def set_all(self, names: Iterable[str], home: Member) -> None:
        """The home of all these users is this one from now on. O(names); 0.3 us for each."""
        buckets, new = self._buckets, 0
        for name in names:
            bucket = buckets[hash(name) % BUCKETS]
            before = bucket.get(name)
            if before is None:
                bucket[name] = home
                new += 1
            elif before is not home:
                self._count(before, -1)
                bucket[name] = home
                new += 1
        if new:
            self._count(home, new)

    def drop(self, name: str) -> None:
        """The user has no home any longer. O(1)."""
        home = self._buckets[hash(name) % BUCKETS].pop(name, None)
        if home is not None:
            self._count(home, -1)

    def of_bucket(self, number: int) -> list[str]:
        """The users of one of the `BUCKETS`. O(these)."""
        return list(self._buckets[number])

    def that_are(self, names: Sequence[str], home: Member) -> list[bool]:
        """For each of these users, whether this is the home, which lives. O(names), as `of`; 0.15 us for each."""
        buckets, of = self._buckets, self.of
        filed = [buckets[hash(name) % BUCKETS].get(name, NOBODY) for name in names]
        return [
            one is home or (one.heirs is not None and of(name) is home) for name, one in zip(names, filed, strict=True)
        ]

    def unfiled(self, names: Sequence[str]) -> list[str]:
        """Those of these users of whom the table has no home, not even one that is gone. O(names); 0.2 us for each."""
        buckets = self._buckets
        return [name for name in names if name not in buckets[hash(name) % BUCKETS]]

    def size_of(self, number: int) -> int:
        """How many users are in one bucket. O(1)."""
        return len(self._buckets[number])

    def left_by(self, gone: Iterable[Member], number: int) -> list[str]:
        """The users of one bucket whose home, as the table has it, is one of these. O(users in it)."""
        lost = frozenset(gone)
        return [name for name, home in self._buckets[number].items() if home in lost]

    def _set(self, bucket: dict[str, Member], name: str, home: Member) -> None:
        before = bucket.get(name)
        if before is home:
            return
        if before is not None:
            self._count(before, -1)
        if home is NOBODY:
            bucket.pop(name, None)
            return
        bucket[name] = home
        self._count(home, 1)

    def _count(self, home: Member, by: int) -> None:
        self.counts[home] += by
        if not self.counts[home]:
            del self.counts[home]
