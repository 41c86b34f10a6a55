"""A snapshot taken while the server serves: slices of users on the loop, pieces of the file on the committer's thread.

Nothing stops for it, and it takes no second copy of the state: a slice is encoded, handed over, and forgotten.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from functools import partial

from presenced.core.engine import Engine
from presenced.core.records import Fact
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.storage.committer import Committer
from presenced.storage.frames import array_of
from presenced.storage.port import FactPlace, SnapshotFile
from presenced.wire.codec import encode

SLICE_USERS = 256
SLICE_NS = 300_000
"""How much of a snapshot is made between two looks at the sockets, whichever is first."""

PIECE_BYTES = 1 << 20
"""A piece of the file is cut behind the fact that makes it so long: one user may be in thousands of channels."""

SLICE_GAP_S = 0.001
"""Between two slices, so that a turn that has become due never waits for more than one: with none, the median time
from change to watcher went from 0.4 to 1.5 ms while a snapshot of a million users was taken."""

JOBS_AHEAD = 4
"""Pieces that may wait for the disk: bounds the memory that a snapshot takes."""


def _nothing() -> None:
    pass


class Snapshotting:
    """One snapshot under way: slices of users on the loop, pieces of the file on the committer's thread.

    The writer belongs to the thread and everything else to the loop, which hears of each job's end by a call.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        engine: Engine,
        journal: FactPlace,
        committer: Committer,
        ended: Callable[[BaseException | None], None],
        *,
        is_logged: bool,
        alone: bool = False,
        monotonic_ns: Callable[[], int] = SYSTEM_CLOCKS.monotonic_ns,
    ) -> None:
        """`ended` is called once, on the loop: with None once the snapshot counts, or with why it was given up. It is
        not called after `stop`, unless the end was near, nor if the log fails. `is_logged`: the facts of each turn go
        to the log, and the snapshot must not be ahead of it. `alone`: nothing from before it is kept on the disk."""
        self._loop = loop
        self._engine = engine
        self._journal = journal
        self._committer = committer
        self._ended = ended
        self._is_logged = is_logged
        self._alone = alone
        self._monotonic_ns = monotonic_ns
        self._losses = 0
        """What of the log's losses is in the state at the beginning, and so in this snapshot."""
        self._writer: SnapshotFile | None = None
        self._shelf = 0
        """The next shelf of those who sleep."""
        self._next: int | None = None
        """The place of the next of the others; None = it is not their turn yet."""
        self._holds = False
        """Nobody falls asleep meanwhile."""
        self._general: Iterator[Fact] | None = None
        self._is_all = False
        """Every fact has been taken."""
        self._waiting_jobs = 0
        self._slice_ns = SLICE_NS
        self._gap_s = SLICE_GAP_S
        self._is_stopped = False
        self._is_over = False

    def begin(self) -> None:
        """Start."""
        self._run(self._open(), self._opened)

    def hurry(self) -> None:
        """Take the loop for itself from now on, as nobody is served any more."""
        self._slice_ns, self._gap_s = 50_000_000, 0.0

    def stop(self) -> None:
        """Make no more slices: the file stays as it is, unfinished, and the next start removes it."""
        self._is_stopped = True
        self._let_sleep()

    def _opened(self) -> None:
        """The log goes on in a new segment. Whoever is known by now is to be in the snapshot, also one who came after
        `begin`: such facts may have been written just before the new segment, and nobody reads those again."""
        self._losses = self._committer.losses
        self._holds = True
        self._engine.sleep.hold()
        self._slice()

    def _slice(self, *, has_waited: bool = False) -> None:
        """Dump some users, then let the loop look at its sockets."""
        if self._is_stopped or self._is_over:
            return
        if self._is_logged and not self._engine.is_settled:
            # What was said just now is not in the log, and what is in the snapshot must be, before its end. The turn
            # that sees to that is in the loop's queue, so right behind it; if not, it has been put off.
            if has_waited:
                self._loop.call_later(SLICE_GAP_S, self._slice)
            else:
                self._loop.call_soon(partial(self._slice, has_waited=True))
            return
        if self._waiting_jobs >= JOBS_AHEAD:
            self._loop.call_later(SLICE_GAP_S, self._slice)
            return
        self._add_slice(self._monotonic_ns())
        if not self._is_all:
            self._loop.call_later(self._gap_s, self._slice)
        else:
            self._run(self._close(self._engine.ledger.version), partial(self._end, None))

    def _add_slice(self, now_ns: int) -> None:
        now_ms = now_ns // 1_000_000
        until_ns = now_ns + self._slice_ns
        parts: list[bytes] = []
        size = 0
        for fact in self._some_facts(now_ms, until_ns):
            part = encode(fact)
            parts.append(part)
            size += len(part)
            if size >= PIECE_BYTES:
                self._add_piece(parts)
                parts, size = [], 0
        if parts:
            self._add_piece(parts)

    def _some_facts(self, now_ms: int, until_ns: int) -> Iterator[Fact]:
        if self._shelf < self._engine.shelves and self._next is None:
            return self._asleep_facts(until_ns)
        if self._next is None:
            self._next = len(self._engine.users.order) - 1
        if self._next >= 0:
            return self._users_facts(now_ms, until_ns, self._next)
        self._let_sleep()
        return self._general_facts(now_ms, until_ns)

    def _let_sleep(self) -> None:
        if self._holds:
            self._holds = False
            self._engine.sleep.release()

    def _asleep_facts(self, until_ns: int) -> Iterator[Fact]:
        """Those who sleep, some shelves of them. Who wakes meanwhile is among the others then."""
        while self._shelf < self._engine.shelves:
            fact = self._engine.dump_asleep(self._shelf)
            self._shelf += 1
            if fact is not None:
                yield fact
            if self._monotonic_ns() > until_ns:
                break

    def _users_facts(self, now_ms: int, until_ns: int, first: int) -> Iterator[Fact]:
        """The facts of some of the users who are awake."""
        order = self._engine.users.order
        # Users may have been dropped since the last slice; what took their places has been seen already.
        at = min(first, len(order) - 1)
        stop = at - SLICE_USERS
        while at >= 0 and at > stop:
            yield from self._engine.dump(now_ms, order[at])
            at -= 1
            if self._monotonic_ns() > until_ns:
                break
        self._next = at

    def _general_facts(self, now_ms: int, until_ns: int) -> Iterator[Fact]:
        """Some of the facts that belong to no user, behind those of all users."""
        if self._general is None:
            self._general = self._engine.dump_general(now_ms)
        for fact in self._general:
            yield fact
            if self._monotonic_ns() > until_ns:
                return
        self._is_all = True

    def _add_piece(self, parts: list[bytes]) -> None:
        self._run(self._add(array_of(parts, len(parts)), len(parts)), _nothing)

    def _run(self, job: Iterator[None], then: Callable[[], None]) -> None:
        """Have the thread do a job, and go on with `then` if it did."""
        self._waiting_jobs += 1
        self._committer.run(job, partial(self._post, then))

    def _job_over(self, then: Callable[[], None], error: BaseException | None) -> None:
        self._waiting_jobs -= 1
        if self._is_over:
            # It was given up, and this was in the queue already.
            return
        if error is None:
            then()
        else:
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        self._is_over = True
        self._let_sleep()
        self._ended(error)

    # --- jobs, on the committer's thread ----------------------------------------------------------------------

    def _post(self, then: Callable[[], None], error: BaseException | None) -> None:
        if error is not None and self._writer is not None:
            self._writer.abandon()
            self._writer = None
        with contextlib.suppress(RuntimeError):
            # The loop may have been closed: then nobody is left to tell.
            self._loop.call_soon_threadsafe(self._job_over, then, error)

    def _open(self) -> Iterator[None]:
        self._writer = self._journal.begin_snapshot()
        yield

    def _add(self, payload: bytes, count: int) -> Iterator[None]:
        if self._writer is not None:
            self._writer.add(payload, count)
        yield

    def _close(self, version: int) -> Iterator[None]:
        if self._writer is not None:
            yield from self._journal.finish_snapshot(self._writer, version, alone=self._alone)
            self._writer = None
            # Here and not on the loop: the end of the thread must not come in between.
            self._committer.make_up(self._losses)
