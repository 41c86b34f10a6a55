"""A queue for things that all wait the same fixed time.

It owns only the order of waiting; it knows no clock and nothing of what waits. Where every delay is equal,
the order of coming due is the order of arrival, and a plain FIFO beats any heap or wheel.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class DelayQueue(Generic[T]):
    """First in, first out, `delay_ms` later: hello deadlines, spaced pushes, throttled links, aborts.

    Nothing but the first can be removed. Most of these matters settle themselves before their time, and searching for
    them then would cost more than letting them come out: the owner checks, when an item comes out, whether
    it still stands. So a settled item is kept alive for up to `delay_ms`.
    """

    __slots__ = ("_waiting", "delay_ms", "next_ms")

    def __init__(self, delay_ms: int) -> None:
        self.delay_ms = delay_ms
        self.next_ms: int | None = None
        """When the first item comes due, exactly; None if nothing waits. A field, because each turn asks a dozen queues
        twice, of which nearly all are empty."""
        self._waiting: deque[tuple[int, T]] = deque()

    def __len__(self) -> int:
        """Items that wait, settled ones among them."""
        return len(self._waiting)

    def __iter__(self) -> Iterator[T]:
        """What waits, in order, settled items among it."""
        return (item for _, item in self._waiting)

    def set_delay(self, delay_ms: int) -> None:
        """Another time to wait from now on. Nothing may be waiting: it would come out in the wrong order."""
        assert not self._waiting
        self.delay_ms = delay_ms

    def add(self, now_ms: int, item: T) -> None:
        """Let `item` come out `delay_ms` after `now_ms`."""
        due_ms = now_ms + self.delay_ms
        if self.next_ms is None:
            self.next_ms = due_ms
        self._waiting.append((due_ms, item))

    def take_due(self, now_ms: int) -> list[T]:
        """Remove and return the items whose time has come, in the order added. O(items returned)."""
        waiting = self._waiting
        due: list[T] = []
        if self.next_ms is None or self.next_ms > now_ms:
            return due
        while waiting and waiting[0][0] <= now_ms:
            due.append(waiting.popleft()[1])
        self.next_ms = waiting[0][0] if waiting else None
        return due

    def take_first(self, until_ms: int) -> T | None:
        """Remove and return the first item if it was to come out by `until_ms`, else None."""
        waiting = self._waiting
        if not waiting or waiting[0][0] > until_ms:
            return None
        item = waiting.popleft()[1]
        self.next_ms = waiting[0][0] if waiting else None
        return item
