"""What was handed in for the log and is not written: how much of it there is, and what waits for it.

Without a lock: the `committer`'s guards it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from presenced.storage.frames import array_of

PENDING_BYTES_MAX = 8 << 20
PENDING_FACTS_MAX = 50_000
"""Beyond either, durable requests are refused until the disk has caught up."""

ACK_BYTES = 100
"""What an acknowledgement that waits takes: also those of requests that changed nothing pile up behind a slow disk."""

FRAME_BYTES = 1 << 18
"""Submissions are joined into frames of up to about this size."""

BATCH_BYTES = 1 << 20
"""About what one commit takes; the rest waits for the next."""


class Submission(NamedTuple):
    """One turn's facts: encoded one after the other, how many, and what waits for them."""

    facts: bytes
    number: int
    waiting: tuple[Any, ...]


class Pending:
    """Submissions in the order in which they came. Bytes and facts count until they are settled."""

    def __init__(self) -> None:
        self.bytes = 0
        self.facts = 0
        self.submitted = 0
        self.settled = 0
        """Submissions handed in, and of those the ones written or given up."""
        self._queue: deque[Submission] = deque()

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def is_too_much(self) -> bool:
        """Whether no more should be promised."""
        return self.bytes > PENDING_BYTES_MAX or self.facts > PENDING_FACTS_MAX

    def add(self, submission: Submission) -> None:
        """Hand one in."""
        self.submitted += 1
        self._queue.append(submission)
        self.bytes += _weight(submission)
        self.facts += submission.number

    def take(self) -> list[Submission]:
        """The oldest ones, as many as one commit takes."""
        batch: list[Submission] = []
        size = 0
        while self._queue and size < BATCH_BYTES:
            submission = self._queue.popleft()
            size += len(submission.facts)
            batch.append(submission)
        return batch

    def give_back(self, batch: list[Submission]) -> None:
        """What was taken could not be written, and is the oldest again."""
        self._queue.extendleft(reversed(batch))

    def settle(self, batch: list[Submission]) -> None:
        """What was taken is written."""
        self.settled += len(batch)
        self.bytes -= sum(map(_weight, batch))
        self.facts -= sum(submission.number for submission in batch)

    def refuse(self) -> list[Any]:
        """All that waits, which waits no longer; the facts stay."""
        refused: list[Any] = []
        for index, submission in enumerate(self._queue):
            if submission.waiting:
                refused.extend(submission.waiting)
                self._queue[index] = submission._replace(waiting=())
                self.bytes -= ACK_BYTES * len(submission.waiting)
        return refused

    def drop(self) -> None:
        """Give up all but what was taken and is in hand at this moment."""
        self.settle(list(self._queue))
        self._queue.clear()

    def end(self) -> None:
        """Give up everything, for good. What was to come after it comes to its own end; the facts stay counted."""
        self._queue.clear()
        self.settled = self.submitted


def joined(batch: list[Submission]) -> Iterator[tuple[bytes, int]]:
    """Join submissions into frames' payloads: an array of facts each. A turn's facts stay in one frame."""
    parts: list[bytes] = []
    size = count = 0
    for submission in batch:
        if parts and size + len(submission.facts) > FRAME_BYTES:
            yield array_of(parts, count), count
            parts, size, count = [], 0, 0
        parts.append(submission.facts)
        size += len(submission.facts)
        count += submission.number
    if count:
        yield array_of(parts, count), count


def _weight(submission: Submission) -> int:
    return len(submission.facts) + ACK_BYTES * len(submission.waiting)
