"""Long work on the disk that is done in steps between commits: snapshots.

Without a lock: the `committer`'s guards what both threads call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from presenced.storage.files import DiskFull
from presenced.storage.snapshot import SnapshotError


class Job(NamedTuple):
    """Work to run step by step, once so many submissions are settled."""

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
        """Append a job; it runs after the others."""
        self._queue.append(job)

    def is_due(self, settled: int) -> bool:
        """Whether the first job may do its next step."""
        return bool(self._queue) and self._queue[0].after <= settled

    def advance(self, is_gone: Callable[[BaseException], bool]) -> None:
        """Do the next step of the first job. Raises only errors after which the log cannot go on; `is_gone` says
        whether an error merely means that the directory is gone.

        Only `DiskFull` says that there is no room and no harm is done, and the job alone is given up. The error number
        would not do: a job also seals and syncs the log itself, and a sync that finds no room leaves the log with
        pages that look clean and are on no disk. Whatever is written and acknowledged behind them is lost in a power
        cut, because recovery refuses a log with a hole in it.
        """
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
        self._queue.popleft()
        job.done(error)

    def give_up(self, error: BaseException) -> None:
        """End all jobs with this error."""
        jobs, self._queue = self._queue, deque()
        for job in jobs:
            job.done(error)
