"""Work on the disk that takes long and is done in steps, between commits: snapshots.

Without a lock: the `committer`'s guards what both threads call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from presenced.storage.files import FULL, DiskFull
from presenced.storage.snapshot import SnapshotError


class Job(NamedTuple):
    """What is run step by step once so many submissions are settled."""

    after: int
    steps: Iterator[None]
    done: Callable[[BaseException | None], None]
    """Called with what the job raised, or None."""


class Jobs:
    """Jobs one after the other."""

    def __init__(self) -> None:
        self._queue: deque[Job] = deque()

    def __bool__(self) -> bool:
        return bool(self._queue)

    def add(self, job: Job) -> None:
        """To be run after those that are there."""
        self._queue.append(job)

    def is_due(self, settled: int) -> bool:
        """Whether there is a step to do."""
        return bool(self._queue) and self._queue[0].after <= settled

    def advance(self, is_gone: Callable[[BaseException], bool]) -> None:
        """Do the next step of the first one. Raises what the log cannot go on after; `is_gone` says whether an error
        is only that the directory is gone."""
        job = self._queue[0]
        try:
            next(job.steps)
            return
        except StopIteration:
            error: BaseException | None = None
        except (DiskFull, SnapshotError) as failure:
            error = failure
        except FileNotFoundError as failure:
            if not is_gone(failure):
                raise
            error = failure
        except OSError as failure:
            # A job writes files of its own; without room for them it is given up, and the log goes on.
            if failure.errno not in FULL:
                raise
            error = failure
        self._queue.popleft()
        job.done(error)

    def give_up(self, error: BaseException) -> None:
        """End all of them with that error."""
        jobs, self._queue = self._queue, deque()
        for job in jobs:
            job.done(error)
