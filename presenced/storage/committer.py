"""The one thread that touches the disk: group commit, sync policies, and what happens when the disk refuses.

The event loop hands in encoded facts and goes on. Facts that arrive during one commit form the next one: at low load a
request waits for one sync, and under load the batches grow by themselves. No timer is needed for that.

A `Runner` calls `Committer.step` on the thread; a simulator calls the same steps one by one, when it chooses.

The file is long because two threads meet here: what each of them does under the lock is seen best beside the other.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from presenced.storage.files import DiskFull
from presenced.storage.jobs import Job, Jobs
from presenced.storage.port import FactHost, FactPlace
from presenced.storage.runner import Runner, ThreadRunner
from presenced.storage.write_queue import Submission, WriteQueue, joined

IDLE_SEAL_S = 0.25
GONE_LOOK_S = 0.5  # The time between two checks that the data directory is still there.
RETRY_FULL_S = 1.0
"""The time between two attempts on a full disk, however many facts arrive: each attempt is a write and a sync."""

SyncPolicy = Literal["always", "interval", "os"]
"""When a commit counts as done: once it is synced; once it is written, with a sync at an interval; once it is written,
with the sync left to the system."""

CommitterState = Literal["ok", "full", "gone", "failed", "closed"]


class Committer:
    """Writes to a `FactPlace` on a thread. Call its methods on the loop's thread, except those that say otherwise;
    `wake` is called on the committer's thread."""

    def __init__(
        self,
        journal: FactPlace,
        wake: Callable[[], None],
        *,
        policy: SyncPolicy,
        interval_s: float,
        clock: Callable[[], float],
        observe: Callable[[int], object] = lambda ns: None,
        runner: Runner | None = None,
    ) -> None:
        """`observe` is called on the thread with the nanoseconds that each commit took, and each separate sync.
        `runner` runs the steps; the default is a thread."""
        self.journal = journal
        self.error: BaseException | None = None
        """What made the state `failed`."""
        self.lost = ""
        """What is gone, in words, while it is `gone`."""
        self.losses = 0
        """How many times facts were dropped for which no request waited. Such facts are in memory alone until a
        snapshot is finished that began after the loss."""
        self._made_up = 0
        self._wake = wake
        self._policy = policy
        self._interval_s = interval_s
        self._clock = clock
        self._observe = observe
        self._synced_s = clock()
        self._retry_s = 0.0
        """While the disk is full: when the next attempt is due."""
        self._look_s = clock() + GONE_LOOK_S
        """When the next check for the directory is due."""
        self._state: CommitterState = "ok"
        self._told: tuple[CommitterState, bool] = ("ok", False)
        """CommitterState and `busy` as the loop last saw or was woken for."""
        self._has_news = False
        """`take_done` has something for which the loop was not woken yet."""
        self._changed = threading.Condition()
        self._queue = WriteQueue()
        self._done: list[Any] = []
        self._refused: list[Any] = []
        self._jobs = Jobs()
        self._closing = False
        self._runner = runner or ThreadRunner("committer")
        journal.attach(FactHost(lambda: self._queue.is_too_much, lambda: self._closing, self.note_loss, self._tell))

    def start(self) -> None:
        """Start the thread."""
        self._runner.start(self.step)

    # --- for the loop's thread --------------------------------------------------------------------------------

    @property
    def state(self) -> CommitterState:
        """`full` and `gone` (the directory is missing): nothing can be made durable for now. `failed`: nothing can be
        made durable in this process again."""
        return self._state

    @property
    def busy(self) -> bool:
        """Whether so many facts wait that the server must refuse durable requests."""
        return self._queue.is_too_much or self.journal.is_late

    @property
    def idle(self) -> bool:
        """Whether all facts and jobs that were handed in are done."""
        return not self._queue.facts and not self._jobs

    @property
    def pending_facts(self) -> int:
        """Facts that were handed in and are not written."""
        return self._queue.facts

    @property
    def pending_bytes(self) -> int:
        """Their bytes."""
        return self._queue.bytes

    @property
    def lost_facts(self) -> bool:
        """Whether facts were dropped that no snapshot holds, so that a snapshot is needed."""
        return self.losses > self._made_up

    def note_loss(self) -> None:
        """Count a loss of facts that never reached the committer and are in memory alone."""
        with self._changed:
            self.losses += 1

    def make_up(self, losses: int) -> None:
        """A finished snapshot holds all that was lost up to this value of `losses`. For both threads."""
        with self._changed:
            self._made_up = max(self._made_up, losses)

    def submit(self, facts: bytes, count: int, waiting: tuple[Any, ...]) -> None:
        """Hand in encoded facts and their number. Each of `waiting` comes back from `take_done` or `take_refused`."""
        with self._changed:
            self._queue.add(Submission(facts, count, waiting))
            if self._state in ("full", "gone"):
                self._refuse_waiting()
            # The turn that submits reads both right after this call.
            self._told = (self._state, self.busy)
            self._changed.notify()

    def run(self, job: Iterator[None], done: Callable[[BaseException | None], None]) -> None:
        """Run a job on the thread step by step, with commits between the steps. It starts once all earlier submissions
        are written. `done` is called on the thread, with the exception that the job raised, or None."""
        with self._changed:
            self._jobs.add(Job(self._queue.submitted, job, done))
            self._changed.notify()

    def take_done(self) -> list[Any]:
        """Those who waited for facts that are now as durable as the policy promises."""
        if not self._done:
            return []
        with self._changed:
            done, self._done = self._done, []
        return done

    def take_refused(self) -> list[Any]:
        """Those who waited for facts that cannot be made durable, because the disk is full or the directory gone."""
        if not self._refused:
            return []
        with self._changed:
            refused, self._refused = self._refused, []
        return refused

    def give_up(self, is_impatient: Callable[[Any], bool]) -> list[Any]:
        """Those who wait of whom this is true, each once: they wait no longer, and what they wait for is written all
        the same. O(submissions that are not written)."""
        with self._changed:
            return self._queue.give_up(is_impatient)

    def close(self, version: int) -> None:
        """Write the queue, seal the log, mark the store clean and end the thread. Blocks until all of that is done.

        If that fails, or if facts are lost, `error` says why and the store stays as after a crash: the next start must
        not assume that the store holds everything that clients have seen.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._runner.join()
        if self._state in ("ok", "full", "gone"):
            try:
                if self._state == "gone":
                    raise FileNotFoundError(self.lost)
                if self.lost_facts:
                    raise DiskFull("some of what was to be kept is in memory alone")
                self.journal.close(version=version)
                self._state = "closed"
                return
            except (DiskFull, OSError) as error:
                self.error = error
                self._state = "failed"
        with contextlib.suppress(OSError):
            self.journal.abandon()
        self._tell()

    # --- the thread -------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Do the next piece of work, and tell the loop what it changed; False when there is none left to do, ever."""
        goes_on = False
        try:
            goes_on = self._step()
        except BaseException as error:
            # This covers a bug of ours too: a log that has stopped must never look as if it went on.
            self.error = error
            self._state = "failed"
        self._tell()
        return goes_on

    def _tell(self) -> None:
        """Wake the loop if anything differs from what it last saw; no other method wakes it. The state and `busy`
        decide whether requests are refused, so a change of either matters even if no request waits."""
        with self._changed:
            now = (self._state, self.busy)
            if now == self._told and not self._has_news:
                return
            self._told, self._has_news = now, False
        self._wake()

    def _step(self) -> bool:
        """Commit a batch, or do the next step of a job, or wait. False when there is nothing left to do."""
        if self._clock() >= self._look_s:
            self._look_for_directory()
        with self._changed:
            if self._state == "gone":
                self._jobs.give_up(FileNotFoundError(self.lost))
            batch = self._next_batch()
            if not batch and not self._jobs.is_due(self._queue.settled):
                if self._closing:
                    return False
                if self._runner.wait(self._changed, self._patience()) or self._queue:
                    return True
        if batch:
            self._commit(batch)
            # Before the next work on the disk, which may take long.
            self._tell()
            self._sync_in_time()
        if self._jobs.is_due(self._queue.settled):
            self._jobs.advance(self._is_gone)
        elif not batch:
            self._tidy()
        return True

    def _next_batch(self) -> list[Submission]:
        if self._state == "gone":
            return []
        if self._state == "full" and not self._closing and self._clock() < self._retry_s:
            return []
        return self._queue.take()

    def _patience(self) -> float:
        """How many seconds to wait for work, before `_tidy` or the next check for the directory."""
        if self._state == "full":
            return max(0.0, self._retry_s - self._clock())
        if self._policy == "interval" and self.journal.unsynced:
            return min(self._interval_s, GONE_LOOK_S)
        if self._policy == "always" and self.journal.unsealed:
            return IDLE_SEAL_S
        return GONE_LOOK_S

    def _look_for_directory(self) -> None:
        """Check that the files are in their place. If they are not, nothing counts as kept, although writes and syncs
        of the removed files still succeed."""
        self._look_s = self._clock() + GONE_LOOK_S
        lost = self.journal.lost()
        with self._changed:
            self.lost = lost
            if lost and self._state in ("ok", "full"):
                self._state = "gone"
                self._refuse_waiting()
            elif not lost and self._state == "gone":
                # The directory was moved away and is back. Nothing was written in between.
                self._state = "ok"

    def _is_gone(self, error: BaseException) -> bool:
        """Whether an error means that the directory is gone, before the regular check has noticed. Only a missing name
        can mean that: after any other error, what was written may be lost, wherever the directory is."""
        if isinstance(error, FileNotFoundError):
            self._look_for_directory()
        return self._state == "gone"

    def _tidy(self) -> None:
        """Write a witness when the log is idle; a witness also syncs. While the disk is full, this is the attempt."""
        if self._state != "full" and not self._is_witness_due():
            return
        try:
            self._timed(self.journal.witness)
            self._synced_s = self._clock()
        except DiskFull:
            self._retry_s = self._clock() + RETRY_FULL_S
            return
        except FileNotFoundError as error:
            if self._is_gone(error):
                return
            raise
        if self._state == "full":
            self._state = "ok"

    def _is_witness_due(self) -> bool:
        if self._state == "gone" or not (self.journal.unsealed or self.journal.unsynced):
            return False
        if self._policy == "interval" and self._interval_s > GONE_LOOK_S:
            return self._clock() - self._synced_s >= self._interval_s
        return self._policy != "os"

    def _commit(self, batch: list[Submission]) -> None:
        frames = list(joined(batch))
        try:
            if frames:
                self._timed(lambda: self.journal.commit(frames))
        except DiskFull:
            self._hold_back(batch, "full")
            return
        except FileNotFoundError as error:
            if not self._is_gone(error):
                raise
            self._hold_back(batch, "gone")
            return
        with self._changed:
            if frames:
                self._state = "ok"
            self._queue.settle(batch)
            for submission in batch:
                if submission.waiting:
                    self._done.extend(submission.waiting)
                    self._has_news = True

    def _sync_in_time(self) -> None:
        """Sync if the policy is `interval` and the interval is over; acknowledgements do not wait for that."""
        if self._state == "ok" and self._policy == "interval" and self._clock() - self._synced_s >= self._interval_s:
            self._timed(self.journal.sync)
            self._synced_s = self._clock()

    def _timed(self, work: Callable[[], None]) -> None:
        began_ns = time.monotonic_ns()
        work()
        self._observe(time.monotonic_ns() - began_ns)

    def _hold_back(self, batch: list[Submission], state: CommitterState) -> None:
        """After a batch that could not be written: keep its facts, refuse those who wait, and try again later."""
        with self._changed:
            self._queue.give_back(batch)
            self._state = state
            self._retry_s = self._clock() + RETRY_FULL_S
            self._refuse_waiting()
            if self._closing:
                self._queue.end()
                self._state = "failed"
                self.error = DiskFull("the disk was full until the end")

    def _refuse_waiting(self) -> None:
        self._refused.extend(self._queue.refuse())
        if self._queue.is_too_much:
            self._queue.drop()
            self.losses += 1
