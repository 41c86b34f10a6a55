"""The queue of items that this node appends to the log, batch by batch, in the order in which they were made. Pure.

One batch is under way at a time. What is made meanwhile waits for the next batch, so that the more there is to append,
the fewer requests each item costs. A batch whose reply was lost is appended again under its number, and the log accepts
each number once. Batches that were read back are kept for a minute, because the log may still lose them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from presenced.cluster.log.entries import BATCH_BYTES, Item, NodeBatch, decode_batch
from presenced.cluster.node_keys import NodeKey
from presenced.wire.codec import encode, encode_into, list_head

WAITING_BYTES: Final = 1 << 20
"""While more than this waits, nothing is added that can wait."""


class Stored(NamedTuple):
    """What is to be stored beside the log before the batch is appended that refers to it."""

    joiner: NodeKey
    number: int
    data: bytes


class Closed(NamedTuple):
    """A batch that is to be appended."""

    number: int
    data: bytes
    stored: list[Stored]


class _Floor(NamedTuple):
    number: int
    """Of the first item that it holds for."""
    version: int


class _Kept(NamedTuple):
    position: int
    closed: Closed


class Batches:
    """Items in, batches out; and up to which item this node has read its own batches back."""

    def __init__(self, version: Callable[[], int], floor: Callable[[], int]) -> None:
        """`version` returns the node's version counter, and `floor` a version below which nothing is still to be
        added."""
        self.added = 0
        """How many items were ever added."""
        self.confirmed = 0
        """How many of these the node has read back, so that all nodes apply them."""
        self._needs_append = False
        self.bytes = 0
        """How many bytes wait."""
        self.closed = 0
        """How many batches were closed."""
        self._version = version
        self._floor = floor
        self._is_marked = False
        """A batch is wanted even if there is no item for it."""
        self._wake: Callable[[], object] | None = None
        self._waiting: deque[Item] = deque()
        self._encoded = bytearray()
        """The same items, encoded one behind the other. Each is encoded once, since that is most of its cost."""
        self._until: deque[int] = deque()
        """Where each item ends, counted from the first byte that was ever added."""
        self._taken_bytes = 0
        self._floors: deque[_Floor] = deque()
        """For some of the items, the version below which no record came with them, nor comes behind them."""
        self._begins_turn = False
        """The last item has the records of a turn, and the next one is of another turn."""
        self._stored: dict[int, Stored] = {}
        """What is to be stored before an item is appended, by the number of the item."""
        self._under_way: Closed | None = None
        self._ends: deque[tuple[int, int]] = deque()
        """For each batch that was not read back yet, its number, and how many items there were up to its last."""
        self._taken = 0
        self._appended = 0
        """The newest batch whose append has succeeded."""
        self._read_back = 0
        """The newest that was read back."""
        self._sent: deque[Closed] = deque()
        """Batches that were closed and not read back yet."""
        self._unread: deque[NodeBatch] = deque()
        """The same batches as they were made, but for those that are to be appended again."""
        self._kept: deque[_Kept] = deque()
        """Batches that were read back not long ago: the log may still lose them."""
        self._again: deque[Closed] = deque()
        """Batches that the log has lost."""
        self._storing: deque[Closed] = deque()
        """Of the batches that are kept or under way, those of which something that is stored may not have been taken in
        yet."""

    def wake_by(self, wake: Callable[[], object]) -> None:
        """Call this whenever there is something to append, where there was nothing; and now, if there is."""
        self._wake = wake
        if self.has_more:
            wake()

    def wait_for_appends(self) -> None:
        """From now on an item counts as confirmed once its append has succeeded as well: that promises more than that
        the log has it."""
        self._needs_append = True

    def add(self, item: Item, stored: Stored | None = None, *, least: int | None = None) -> None:
        """Queue the item. Items leave in order, as many to a batch as fit. `least`: the least version of a record in it
        that was made in this turn. O(its size)."""
        waiting, encoded, number = self._waiting, self._encoded, self.added
        is_first = not waiting
        if is_first or self._begins_turn or least is not None:
            floor = self._floor()
            self._floors.append(_Floor(number, floor if least is None else min(floor, least)))
            self._begins_turn = least is not None
        encode_into(item, encoded, -1)
        waiting.append(item)
        self.bytes = size = len(encoded)
        self._until.append(self._taken_bytes + size)
        if stored is not None:
            self._stored[number] = stored
        self.added = number + 1
        if is_first and self._wake is not None:
            self._wake()

    def mark(self) -> None:
        """Append this node's version counter with the next batch, or in one without items. O(1)."""
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
            items, stored, encoded = self._take_waiting()
            self.closed += 1
            self._ends.append((self.closed, self._taken))
            # What waits may have been made when the counter stood lower, the first of it at the lowest.
            floor = self._floors[0].version if self._waiting else self._floor()
            made = NodeBatch(self.closed, self._version(), items, floor)
            # As `encode(made)`, of items that are encoded already.
            data = encode((made.number, made.version, msgspec.Raw(list_head(len(items)) + encoded), floor))
            self._under_way = Closed(self.closed, data, stored)
            if stored:
                self._storing.append(self._under_way)
            self._unread.append(made)
            self._sent.append(self._under_way)
        return self._under_way

    def _take_waiting(self) -> tuple[list[Item], list[Stored], bytes]:
        """The items of the next batch, what is to be stored for them, and they themselves encoded. O(items in it)."""
        waiting, until, floors = self._waiting, self._until, self._floors
        if self.bytes <= BATCH_BYTES:
            items, size = list(waiting), self.bytes
            waiting.clear()
            until.clear()
            floors.clear()
        else:
            items = []
            size, end = 0, self._taken_bytes + BATCH_BYTES
            while waiting and (not items or until[0] <= end):
                items.append(waiting.popleft())
                size = until.popleft() - self._taken_bytes
        encoded = bytes(self._encoded[:size])
        del self._encoded[:size]
        self._taken_bytes += size
        self.bytes -= size
        first, self._taken = self._taken, self._taken + len(items)
        while len(floors) > 1 and floors[1].number <= self._taken:
            floors.popleft()
        stored = []
        if self._stored:
            numbers = range(first, self._taken)
            stored = [self._stored.pop(number) for number in numbers if number in self._stored]
        return items, stored, encoded

    def appended(self, number: int) -> bool:
        """The append of this batch has succeeded, and of all before it. Returns whether items are confirmed by that:
        they were read back before, so that nothing else wakes those who wait for them."""
        confirmed = self.confirmed
        self._appended = max(self._appended, number)
        self._end_of_way(number)
        self._confirm()
        return self.confirmed != confirmed

    def decoded(self, data: bytes) -> NodeBatch:
        """The batch with these bytes, whichever node has made it. A batch of this node's own is not decoded: it is
        still there as it was made. O(bytes)."""
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
        """The log cannot lose what stands up to this position any longer. O(what is forgotten)."""
        while self._kept and self._kept[0].position <= position:
            number = self._kept.popleft().closed.number
            while self._storing and self._storing[0].number <= number:
                self._storing.popleft()

    def forget_stored(self, joiner: NodeKey, number: int) -> None:
        """The node has taken in what was stored for it up to this number: it is not stored again. O(batches of which
        something is stored)."""
        for closed in self._storing:
            if closed is not self._under_way:
                closed.stored[:] = [one for one in closed.stored if one.joiner != joiner or one.number > number]
        while self._storing and not self._storing[0].stored:
            self._storing.popleft()

    def rewind(self, position: int) -> None:
        """The log has lost all behind this position: append those batches again, unchanged. O(that)."""
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
