"""What this node is about to append to the log: items in the order in which they were made, taken batch by batch. Pure.

One batch is under way at a time. What is made meanwhile is in the next, so that the log is asked more rarely the more
there is to append. A batch whose reply was lost is appended again under its number, which the log takes once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from presenced.cluster.entries import BATCH_BYTES, Item, NodeBatch, decode_batch
from presenced.wire.codec import encode


class Stored(NamedTuple):
    """What is to be stored beside the log before the batch is appended that tells of it."""

    joiner: int
    number: int
    data: bytes


class Closed(NamedTuple):
    """A batch that is to be appended."""

    number: int
    data: bytes
    stored: list[Stored]


class _Waiting(NamedTuple):
    item: Item
    size: int
    stored: Stored | None
    floor: int


class _Kept(NamedTuple):
    position: int
    closed: Closed


class Batches:
    """Items in, batches out; and up to which item this node has read its own batches back."""

    def __init__(self, version: Callable[[], int], floor: Callable[[], int]) -> None:
        """`version` says what the node's version counter has come to, and `floor` below which version there is nothing
        that is still to be added."""
        self.added = 0
        """Items that were ever added."""
        self.confirmed = 0
        """Of these, how many the node has read back: all nodes apply them."""
        self._needs_append = False
        self.bytes = 0
        """Bytes that wait."""
        self.closed = 0
        """Batches that were closed."""
        self._version = version
        self._floor = floor
        self._is_marked = False
        """A batch is wanted though there may be no item for it."""
        self._wake: Callable[[], object] | None = None
        self._waiting: deque[_Waiting] = deque()
        self._under_way: Closed | None = None
        self._ends: deque[tuple[int, int]] = deque()
        """Of each batch that was not read back yet: its number, and how many items there were with its last."""
        self._taken = 0
        self._appended = 0
        """The newest batch whose append has succeeded."""
        self._read_back = 0
        """The newest that was read back."""
        self._sent: deque[Closed] = deque()
        """Batches that were closed and not read back yet."""
        self._unread: deque[NodeBatch] = deque()
        """The same as they were made; those that are to be appended again are not among them."""
        self._kept: deque[_Kept] = deque()
        """Batches that were read back not long ago: the log may still lose them."""
        self._again: deque[Closed] = deque()
        """Batches that the log has lost."""
        self._storing: deque[Closed] = deque()
        """Of those that are kept or under way, the ones of which something stored may not have been taken yet."""

    def wake_by(self, wake: Callable[[], object]) -> None:
        """Call this whenever there is something to append."""
        self._wake = wake

    def wait_for_appends(self) -> None:
        """From now on an item is confirmed once its append has succeeded as well: that says more than that the log has
        it."""
        self._needs_append = True

    def add(self, item: Item, stored: Stored | None = None, *, least: int | None = None) -> None:
        """The item is in the next batch but for those before it. `least`: the least version of a record in it that was
        made in this turn. O(its size)."""
        size, floor = len(encode(item)), self._floor()
        self._waiting.append(_Waiting(item, size, stored, floor if least is None else min(floor, least)))
        self.added += 1
        self.bytes += size
        if self._wake is not None:
            self._wake()

    def mark(self) -> None:
        """Say how far this node's version counter has come, with the next batch or one without items. O(1)."""
        self._is_marked = True
        if self._wake is not None:
            self._wake()

    @property
    def has_more(self) -> bool:
        """Whether there is a batch to append."""
        return self._under_way is not None or bool(self._again) or bool(self._waiting) or self._is_marked

    def close(self) -> Closed | None:
        """The batch to append now: the one that is under way, or what waits, up to `BATCH_BYTES`; None if there is
        none. O(items in it)."""
        if self._under_way is None and self._again:
            self._under_way = self._again.popleft()
        elif self._under_way is None and (self._waiting or self._is_marked):
            self._is_marked = False
            items: list[Item] = []
            stored: list[Stored] = []
            size = 0
            while self._waiting and (not items or size + self._waiting[0].size <= BATCH_BYTES):
                waiting = self._waiting.popleft()
                items.append(waiting.item)
                size += waiting.size
                if waiting.stored is not None:
                    stored.append(waiting.stored)
            self.bytes -= size
            self.closed += 1
            self._taken += len(items)
            self._ends.append((self.closed, self._taken))
            # What waits may have been made when the counter stood lower, the first of it at the lowest.
            floor = self._waiting[0].floor if self._waiting else self._floor()
            made = NodeBatch(self.closed, self._version(), items, floor)
            self._under_way = Closed(self.closed, encode(made), stored)
            if stored:
                self._storing.append(self._under_way)
            self._unread.append(made)
            self._sent.append(self._under_way)
        return self._under_way

    def appended(self, number: int) -> None:
        """The append of this batch has succeeded, and of all before it."""
        self._appended = max(self._appended, number)
        self._end_of_way(number)
        self._confirm()

    def decoded(self, data: bytes) -> NodeBatch:
        """The batch with these bytes, whoever made it. The next of this node's own is still there as it was made.
        O(bytes)."""
        unread = self._unread
        if unread and unread[0].number == self._sent[0].number and data == self._sent[0].data:
            return unread[0]
        return decode_batch(data)

    def read_back(self, number: int, position: int) -> None:
        """The node has read this batch of its own at this position, and all before it."""
        while self._sent and self._sent[0].number <= number:
            self._kept.append(_Kept(position, self._sent.popleft()))
        while self._unread and self._unread[0].number <= number:
            self._unread.popleft()
        self._read_back = max(self._read_back, number)
        if not self._needs_append:
            self._end_of_way(number)
        self._confirm()

    def _end_of_way(self, number: int) -> None:
        if self._under_way is not None and self._under_way.number == number:
            self._under_way = None

    def _confirm(self) -> None:
        number = min(self._read_back, self._appended) if self._needs_append else self._read_back
        while self._ends and self._ends[0][0] <= number:
            self.confirmed = self._ends.popleft()[1]

    def forget(self, position: int) -> None:
        """The log does not lose what stands at this position or before it any more. O(what is forgotten)."""
        while self._kept and self._kept[0].position <= position:
            number = self._kept.popleft().closed.number
            while self._storing and self._storing[0].number <= number:
                self._storing.popleft()

    def forget_stored(self, joiner: int, number: int) -> None:
        """The node has taken what was stored for it under this number and before, which is not stored again. O(batches
        of which something is stored)."""
        for closed in self._storing:
            if closed is not self._under_way:
                closed.stored[:] = [one for one in closed.stored if one.joiner != joiner or one.number > number]
        while self._storing and not self._storing[0].stored:
            self._storing.popleft()

    def rewind(self, position: int) -> None:
        """The log has lost all behind this position: append it again, as it was. O(that)."""
        lost = [kept.closed for kept in self._kept if kept.position > position]
        self._kept = deque(kept for kept in self._kept if kept.position <= position)
        # Each once, in order: one under way may be among those that were sent.
        numbers = {closed.number: closed for closed in (*lost, *self._sent)}
        self._again = deque(numbers[number] for number in sorted(numbers))
        self._sent = deque(self._again)
        self._unread.clear()
        self._under_way = None
        if self._again:
            self._appended = min(self._appended, self._again[0].number - 1)
