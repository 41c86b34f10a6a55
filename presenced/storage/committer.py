"""The one thread that touches the disk: group commit, policies, and what happens when the disk says no.

The event loop hands in encoded facts and goes on. Whatever gathers while one commit is under way becomes the next:
at low load a request waits for one sync, at high load batches grow by themselves; there is no timer in it.

The thread is a `runner`, which calls `Committer.step`: a simulator runs the same steps one by one when it likes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

from presenced.storage.files import DiskFull
from presenced.storage.jobs import Job, Jobs
from presenced.storage.journal import Journal
from presenced.storage.pending import Pending, Submission, joined
from presenced.storage.runner import Runner, ThreadRunner

IDLE_SEAL_S = 0.25
RETRY_FULL_S = 1.0
"""Between two looks whether a full disk has room again, whatever comes meanwhile: each is a write and a sync."""

Policy = Literal["always", "interval", "os"]
"""When a commit counts as done: synced; written, and synced every so often; written, and left to the system."""

State = Literal["ok", "full", "gone", "failed", "closed"]

GONE_LOOK_S = 0.5
"""Between two looks whether the data directory is still there."""


class Committer:
    """Runs a `Journal`. All methods are for the loop's thread but for those that say so; `wake` is called from the
    other."""

    def __init__(
        self,
        journal: Journal,
        wake: Callable[[], None],
        *,
        policy: Policy,
        interval_s: float,
        clock: Callable[[], float],
        observe: Callable[[int], object] = lambda ns: None,
        runner: Runner | None = None,
    ) -> None:
        """`observe` is told on the thread how many nanoseconds each commit took, and each sync of its own. `runner`
        runs the steps; by default a thread."""
        self.journal = journal
        self.error: BaseException | None = None
        """What made the state `failed`."""
        self.lost = ""
        """What is gone, in words, while the state is `gone`."""
        self.losses = 0
        """How often facts were dropped that nobody waited for; they are in memory alone until a snapshot begun after
        that is finished."""
        self._made_up = 0
        self._wake = wake
        self._policy = policy
        self._interval_s = interval_s
        self._clock = clock
        self._observe = observe
        self._synced_s = clock()
        self._retry_s = 0.0
        """While the disk is full: when it is asked for room again."""
        self._look_s = clock() + GONE_LOOK_S
        """When it is looked again whether the directory is there."""
        self._state: State = "ok"
        self._told: tuple[State, bool] = ("ok", False)
        """State and `busy` as the loop last saw or was woken for."""
        self._has_news = False
        """Something has come to `take_done` that the loop was not woken for."""
        self._changed = threading.Condition()
        self._pending = Pending()
        self._done: list[Any] = []
        self._refused: list[Any] = []
        self._jobs = Jobs()
        self._closing = False
        self._runner = runner if runner is not None else ThreadRunner("committer")

    def start(self) -> None:
        """Start the thread."""
        self._runner.start(self.step)

    # --- for the loop's thread --------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """`full`, `gone` (the directory is): nothing can be made durable for now; `failed`: nothing ever again in this
        process."""
        return self._state

    @property
    def busy(self) -> bool:
        """Whether so much is waiting that no more should be promised."""
        return self._pending.is_too_much

    @property
    def idle(self) -> bool:
        """Whether everything handed in has been dealt with."""
        return not self._pending.facts and not self._jobs

    @property
    def pending_facts(self) -> int:
        """Facts handed in and not dealt with."""
        return self._pending.facts

    @property
    def pending_bytes(self) -> int:
        """Their bytes."""
        return self._pending.bytes

    @property
    def lost_facts(self) -> bool:
        """Whether there are facts that were dropped and that no snapshot holds: one is needed."""
        return self.losses > self._made_up

    def note_loss(self) -> None:
        """Facts that were never handed in are in memory alone."""
        with self._changed:
            self.losses += 1

    def make_up(self, losses: int) -> None:
        """A finished snapshot holds what was lost when `losses` was this number. From either thread."""
        with self._changed:
            self._made_up = max(self._made_up, losses)

    def submit(self, facts: bytes, count: int, waiting: tuple[Any, ...]) -> None:
        """Hand in facts; `waiting` comes out of `take_done` or `take_refused`."""
        with self._changed:
            self._pending.add(Submission(facts, count, waiting))
            if self._state in ("full", "gone"):
                self._refuse_pending()
            # The turn that this comes from looks right behind it.
            self._told = (self._state, self.busy)
            self._changed.notify()

    def run(self, job: Iterator[None], done: Callable[[BaseException | None], None]) -> None:
        """Run a job on the thread step by step, with commits between the steps, and not before what was submitted
        so far is written. `done` is called on the thread, with what the job raised or None."""
        with self._changed:
            self._jobs.add(Job(self._pending.submitted, job, done))
            self._changed.notify()

    def take_done(self) -> list[Any]:
        """What has become as durable as promised."""
        if not self._done:
            return []
        with self._changed:
            done, self._done = self._done, []
        return done

    def take_refused(self) -> list[Any]:
        """What could not be made durable because the disk is full, or gone."""
        if not self._refused:
            return []
        with self._changed:
            refused, self._refused = self._refused, []
        return refused

    def close(self, version: int) -> None:
        """Write what is pending, seal, mark the store clean, end the thread. Blocks for as long as that takes.

        If that fails, or if facts are lost, `error` says why and the store is left as after a crash: the next start
        must not take what is in it for everything that clients have seen.
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
                    raise DiskFull("what changed while there was no room is in memory alone")
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
            # Also a bug of ours: a log that has stopped must never look as if it went on.
            self.error = error
            self._state = "failed"
        self._tell()
        return goes_on

    def _tell(self) -> None:
        """Wake the loop if anything is not as it last saw it: the one place that does. Whether requests are refused
        hangs on the state and on `busy`, so that a change of either matters also if nobody waits for an answer."""
        with self._changed:
            now = (self._state, self.busy)
            if now == self._told and not self._has_news:
                return
            self._told, self._has_news = now, False
        self._wake()

    def _step(self) -> bool:
        """Commit what is pending, or do the next step of a job, or wait; False when there is nothing left to do."""
        if self._clock() >= self._look_s:
            self._look_for_directory()
        with self._changed:
            if self._state == "gone":
                self._jobs.give_up(FileNotFoundError(self.lost))
            batch = self._take_pending()
            if not batch and not self._jobs.is_due(self._pending.settled):
                if self._closing:
                    return False
                if self._runner.wait(self._changed, self._patience()) or self._pending:
                    return True
        if batch:
            self._commit(batch)
            # Before anything that takes the disk's time again.
            self._tell()
            self._sync_in_time()
        if self._jobs.is_due(self._pending.settled):
            self._jobs.advance(self._is_gone)
        elif not batch:
            self._tidy()
        return True

    def _take_pending(self) -> list[Submission]:
        if self._state == "gone":
            return []
        if self._state == "full" and not self._closing and self._clock() < self._retry_s:
            return []
        return self._pending.take()

    def _patience(self) -> float:
        """How long to wait for something to do before `_tidy`, or before it is looked for the directory."""
        if self._state == "full":
            return max(0.0, self._retry_s - self._clock())
        if self._policy == "interval" and self.journal.unsynced:
            return min(self._interval_s, GONE_LOOK_S)
        if self._policy == "always" and self.journal.unsealed:
            return IDLE_SEAL_S
        return GONE_LOOK_S

    def _look_for_directory(self) -> None:
        """Where the files are no longer found, nothing counts as kept, though writing and syncing them goes on."""
        self._look_s = self._clock() + GONE_LOOK_S
        lost = self.journal.lost()
        with self._changed:
            self.lost = lost
            if lost and self._state in ("ok", "full"):
                self._state = "gone"
                self._refuse_pending()
            elif not lost and self._state == "gone":
                # It was moved away and is back: nothing was written meanwhile.
                self._state = "ok"

    def _is_gone(self, error: BaseException) -> bool:
        """Whether an error is that the directory is gone, before it was looked for. Only of a name that is missing:
        after any other error what was written may be lost, wherever the directory is."""
        if isinstance(error, FileNotFoundError):
            self._look_for_directory()
        return self._state == "gone"

    def _tidy(self) -> None:
        """Nothing came for a while: leave a witness, which syncs as well."""
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
            self._pending.settle(batch)
            for submission in batch:
                if submission.waiting:
                    self._done.extend(submission.waiting)
                    self._has_news = True

    def _sync_in_time(self) -> None:
        """With the policy `interval` the acks do not wait for the sync, which comes after them."""
        if self._state == "ok" and self._policy == "interval" and self._clock() - self._synced_s >= self._interval_s:
            self._timed(self.journal.sync)
            self._synced_s = self._clock()

    def _timed(self, work: Callable[[], None]) -> None:
        began_ns = time.monotonic_ns()
        work()
        self._observe(time.monotonic_ns() - began_ns)

    def _hold_back(self, batch: list[Submission], state: State) -> None:
        """The disk is full, or gone: keep the facts, answer those who wait, and try again in a while."""
        with self._changed:
            self._pending.give_back(batch)
            self._state = state
            self._retry_s = self._clock() + RETRY_FULL_S
            self._refuse_pending()
            if self._closing:
                self._pending.end()
                self._state = "failed"
                self.error = DiskFull("the disk was full until the end")

    def _refuse_pending(self) -> None:
        self._refused.extend(self._pending.refuse())
        if self.busy:
            self._pending.drop()
            self.losses += 1
