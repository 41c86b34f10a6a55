"""A snapshot taken while the server serves: slices of users on the loop, pieces of the file on the committer's thread.

Nothing stops for it, and it takes no second copy of the state: a slice is encoded, handed over, and forgotten.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

from presenced.core.engine import Engine
from presenced.storage.committer import Committer, array_of
from presenced.storage.journal import Journal
from presenced.storage.snapshot import SnapshotWriter
from presenced.wire.messages import encode

SLICE_USERS = 256
SLICE_S = 0.0003
"""How much of a snapshot is made between two looks at the sockets, whichever is first."""

SLICE_GAP_S = 0.001
"""Between two slices, so that a turn that has become due never waits for more than one: with none, the median time
from change to watcher went from 0.4 to 1.5 ms while a snapshot of a million users was taken."""

JOBS_AHEAD = 4
"""Pieces that may wait for the disk: bounds the memory that a snapshot takes."""


class Snapshotting:
    """One snapshot under way: slices of users on the loop, pieces of the file on the committer's thread."""

    def __init__(
        self, engine: Engine, journal: Journal, committer: Committer, ended: Callable[[BaseException | None], None]
    ) -> None:
        self._engine = engine
        self._journal = journal
        self._committer = committer
        self._ended = ended
        self._writer: SnapshotWriter | None = None
        self._next = 0
        self._waiting_jobs = 0
        self._slice_s = SLICE_S
        self._gap_s = SLICE_GAP_S
        self._is_stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """Start, on the loop."""
        self._loop = asyncio.get_running_loop()
        self._next = len(self._engine.users.order) - 1
        self._run(self._open())

    def hurry(self) -> None:
        """Take the loop for itself from now on, as nobody is served any more."""
        self._slice_s, self._gap_s = 0.05, 0.0

    def stop(self) -> None:
        """Make no more slices: the file stays as it is, unfinished, and the next start removes it."""
        self._is_stopped = True

    def _slice(self) -> None:
        """Dump some users, then let the loop look at its sockets."""
        assert self._loop is not None
        if self._is_stopped:
            return
        if self._waiting_jobs >= JOBS_AHEAD:
            self._loop.call_later(SLICE_GAP_S, self._slice)
            return
        self._add_slice(time.perf_counter() + self._slice_s)
        if self._next >= 0:
            self._loop.call_later(self._gap_s, self._slice)
        else:
            self._finish()

    def _add_slice(self, until_s: float) -> None:
        order = self._engine.users.order
        now_ms = time.monotonic_ns() // 1_000_000
        parts: list[bytes] = []
        # Users may have been dropped since the last slice; what took their places has been seen already.
        at = min(self._next, len(order) - 1)
        stop = at - SLICE_USERS
        while at >= 0 and at > stop:
            parts.extend(map(encode, self._engine.dump(now_ms, order[at])))
            at -= 1
            if time.perf_counter() > until_s:
                break
        self._next = at
        if parts:
            self._run(self._add(array_of(parts, len(parts)), len(parts)))

    def _finish(self) -> None:
        self._run(self._close(self._engine.publisher.version))

    # --- jobs, on the committer's thread ----------------------------------------------------------------------

    def _run(self, job: Iterator[None]) -> None:
        self._waiting_jobs += 1
        self._committer.run(job, self._job_done)

    def _job_done(self, error: BaseException | None) -> None:
        if error is not None and self._writer is not None:
            self._writer.abandon()
            self._writer = None
        if error is not None:
            self._ended(error)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._count_down)

    def _count_down(self) -> None:
        self._waiting_jobs -= 1

    def _open(self) -> Iterator[None]:
        self._writer = self._journal.begin_snapshot()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._slice)
        yield

    def _add(self, payload: bytes, count: int) -> Iterator[None]:
        if self._writer is not None:
            self._writer.add(payload, count)
        yield

    def _close(self, version: int) -> Iterator[None]:
        if self._writer is not None:
            yield from self._journal.finish_snapshot(self._writer, version)
            self._writer = None
            self._ended(None)
