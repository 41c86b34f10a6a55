"""The queue of facts that were handed in for the log and are not written, and who waits for them.

The queue has no lock of its own; the `committer`'s lock guards it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, MutableSequence
from typing import Any, NamedTuple

from presenced.storage.frames import array_of

PENDING_BYTES_MAX = 8 << 20
PENDING_FACTS_MAX = 50_000
"""Beyond either bound, durable requests are refused until the disk has caught up."""

ACK_BYTES = 100
"""The bytes that a waiting acknowledgement counts for: those of requests that changed nothing pile up behind a slow
disk, too."""

FRAME_BYTES = 1 << 18
"""Submissions are joined into frames of about this size at most."""

BATCH_BYTES = 1 << 20
"""About how many bytes one commit takes; the rest waits for the next commit."""


class Submission(NamedTuple):
    """The facts of one turn, encoded one after the other; how many they are; and who waits for them."""

    facts: bytes
    number: int
    waiting: tuple[Any, ...]


class WriteQueue:
    """Submissions in the order of their arrival. Their bytes and facts count until they are settled."""

    def __init__(self) -> None:
        self.bytes = 0
        self.facts = 0
        self.submitted = 0
        self.settled = 0
        """How many submissions were handed in, and how many of these are written or given up."""
        self._queue: deque[Submission] = deque()
        self._taken: list[Submission] = []
        """The batch that a commit has taken."""

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def is_too_much(self) -> bool:
        """Whether durable requests must be refused."""
        return self.bytes > PENDING_BYTES_MAX or self.facts > PENDING_FACTS_MAX

    def add(self, submission: Submission) -> None:
        """Append one submission."""
        self.submitted += 1
        self._queue.append(submission)
        self.bytes += _weight(submission)
        self.facts += submission.number

    def take(self) -> list[Submission]:
        """Take out the oldest submissions, as many as one commit takes."""
        batch: list[Submission] = []
        size = 0
        while self._queue and size < BATCH_BYTES:
            submission = self._queue.popleft()
            size += len(submission.facts)
            batch.append(submission)
        self._taken = batch
        return batch

    def give_back(self, batch: list[Submission]) -> None:
        """Put a batch that could not be written back to the front."""
        self._queue.extendleft(reversed(batch))
        self._taken = []

    def settle(self, batch: list[Submission]) -> None:
        """Stop counting a batch, which is written."""
        if batch is self._taken:
            self._taken = []
        self.settled += len(batch)
        self.bytes -= sum(map(_weight, batch))
        self.facts -= sum(submission.number for submission in batch)

    def refuse(self) -> list[Any]:
        """Everybody who waits, and who waits no longer after this call; the facts stay. O(submissions)."""
        return self._release(self._queue, lambda one: True)

    def give_up(self, is_impatient: Callable[[Any], bool]) -> list[Any]:
        """Everybody who waits of whom this is true, also for the batch that a commit has taken, and who waits no longer
        after this call; the facts stay. O(submissions)."""
        return self._release(self._taken, is_impatient) + self._release(self._queue, is_impatient)

    def _release(self, submissions: MutableSequence[Submission], goes: Callable[[Any], bool]) -> list[Any]:
        released: list[Any] = []
        for index, submission in enumerate(submissions):
            if submission.waiting:
                gone = [one for one in submission.waiting if goes(one)]
                stays = tuple(one for one in submission.waiting if not goes(one))
                released += gone
                submissions[index] = submission._replace(waiting=stays)
                self.bytes -= ACK_BYTES * len(gone)
        return released

    def drop(self) -> None:
        """Give up all facts in the queue, but not the batch that a commit has taken."""
        self.settle(list(self._queue))
        self._queue.clear()

    def end(self) -> None:
        """Give up everything for good. Jobs that waited for these submissions may end; the facts stay counted."""
        self._queue.clear()
        self.settled = self.submitted


def joined(batch: list[Submission]) -> Iterator[tuple[bytes, int]]:
    """Join submissions into payloads of frames, each an array of facts, with their number. The facts of one turn stay
    in one frame."""
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
