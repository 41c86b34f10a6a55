"""The log on disk as the server uses it: facts of every turn, acknowledgements, snapshots while serving.

This is where the loop's thread and the committer's meet. Facts are encoded on the loop's thread, because that takes
the interpreter either way, and handed over as bytes; nothing of the state is ever touched from the other thread.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence

from presenced import limits
from presenced.config.settings import Durability
from presenced.core.engine import Engine
from presenced.core.records import Fact
from presenced.server.clocks import SYSTEM_CLOCKS, Clocks
from presenced.server.data_directory import Restored
from presenced.server.fact_log import Ack
from presenced.server.log_frames import frames_of
from presenced.server.snapshots import Snapshotting
from presenced.server.status import LogStatus
from presenced.server.trouble import Trouble
from presenced.storage.committer import Committer
from presenced.storage.runner import Runner
from presenced.wire.codec import encode

log = logging.getLogger("presenced")

SNAPSHOT_RETRY_S = 1.0
"""The least time between two snapshots that make up for facts that the log did not take."""

ERASURE_SNAPSHOT_S = 60.0
"""The least time between two snapshots that are taken to be rid of erased users: those of a minute share one."""

SWITCH_INTERVAL_S = 0.0005

LOOK_S = 0.01


class DurableLog:
    """A `fact_log.Log` on disk, over a data directory that was read. `start` it on the loop; `close` it at the end."""

    def __init__(
        self,
        engine: Engine,
        restored: Restored,
        durability: Durability,
        *,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[[], object],
        on_failure: Callable[[BaseException | None], object],
        observe: Callable[[int], object] = lambda ns: None,
        clocks: Clocks = SYSTEM_CLOCKS,
        runner: Runner | None = None,
    ) -> None:
        """`wake` runs on the loop when acks have come due, and `on_failure` with what ended the log when the disk has
        failed. `observe` is told how many nanoseconds each commit took, on the committer's thread. `runner` runs the
        committer; by default a thread."""
        self.snapshots = 0
        """Finished since the start."""
        self.snapshot_took_ms = 0
        self.snapshot_wall_ms = restored.snapshot_wall_ms
        """When the newest one was taken; 0 = there is none."""
        self.erased_until = 0
        """See `fact_log.Log`."""
        self.is_over = False
        """The thread has ended, and nothing is written to the directory any more."""
        self._engine = engine
        self._place = restored.place
        self._journal = restored.journal
        self._durability = durability
        if durability.policy == "off":
            engine.positions.distrust()
            engine.sleep.keep_pairs_awake()
        self._loop = loop
        self._clocks = clocks
        self._wake = wake
        self._on_failure = on_failure
        self._committer = Committer(
            self._journal,
            self._woken,
            policy="os" if durability.policy == "off" else durability.policy,
            interval_s=durability.interval_ms / 1000,
            clock=clocks.monotonic_s,
            observe=observe,
            runner=runner,
        )
        self._snapshot_log_bytes = limits.SNAPSHOT_LOG_BYTES
        self._snapshot_every_s = limits.SNAPSHOT_EVERY_MS / 1000
        self._snapshot: Snapshotting | None = None
        self._snapshot_s = self._clocks.monotonic_s()
        """When the newest one was begun; before the first, when this was made."""
        self._handed_in = engine.erasures.latest
        """The newest erasure that the committer was given the facts of, as it has those that were read."""
        self._covers = 0
        """The newest of which the snapshot under way and all that is written after its beginning hold nothing."""
        self._erasure_s = self._snapshot_s - ERASURE_SNAPSHOT_S
        """When a snapshot was last begun to be rid of erased users."""
        self._immediate: list[Ack] = []
        self._has_waiting = False
        """Acks may wait that `take_late` has not seen."""
        self._trouble = Trouble("log")
        self._dropped = False
        """With durability off: whether there are facts since the last snapshot."""
        self._closing = False

    def start(self) -> None:
        """Start writing."""
        # The committer's thread takes the interpreter for checksums and lists; by default it may keep it for 5 ms
        # while the loop has something to send.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._committer.start()

    async def close(self, version: int) -> None:
        """Write what is left, and mark the store as stopped in order; `error` tells if that failed, or if something
        is in memory alone. The loop goes on meanwhile, however long the disk takes: signals are handled, and systemd
        hears that this process lives."""
        if self._closing:
            return
        if self._durability.policy == "off":
            await self._save_all()
            if self._dropped:
                self._committer.note_loss()
        self._closing = True
        if self._snapshot is not None:
            # The log has everything. What of it waits for the disk is still written before the thread ends.
            self._snapshot.stop()
        await self._loop.run_in_executor(None, self._committer.close, version)
        self.is_over = True
        if self._committer.error is not None:
            log.error("the log did not close in order: %s", self._committer.error)

    async def _save_all(self) -> None:
        """Without a log: the state as it is now into a snapshot, after the one under way, however long it takes."""
        for is_last in (False, True):
            if is_last and self._dropped:
                self.take_snapshot()
            self.hurry()
            while self._snapshot is not None and self._committer.state != "failed":
                await asyncio.sleep(LOOK_S)

    # --- fact_log.Log -----------------------------------------------------------------------------------------

    @property
    def refusal(self) -> str:
        """`read_only` on a full disk, or one without our directory, `log_busy` on one that does not keep up, or an
        engine that is away."""
        if self._committer.state in ("full", "gone") and not self._journal.is_late:
            return "read_only"
        return "log_busy" if self._committer.busy else ""

    def append(self, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        """Hand the facts of a turn to the disk."""
        if self._durability.policy == "off":
            self._dropped = self._dropped or bool(facts)
            self._immediate.extend(acks)
        elif facts or not self._committer.idle:
            # In pieces, because one turn can bring about more than a frame may hold; the acks wait for the last.
            for piece, is_last in frames_of(facts):
                self._committer.submit(b"".join(map(encode, piece)), len(piece), tuple(acks) if is_last else ())
            if not facts:
                self._committer.submit(b"", 0, tuple(acks))
        else:
            self._immediate.extend(acks)
        self._handed_in = self._engine.erasures.latest
        self._has_waiting = self._has_waiting or bool(acks)
        if self._committer.state != "ok" or self._committer.busy:
            self.look()
        self._consider_snapshot()

    def take_durable(self) -> Sequence[Ack]:
        """The acks that are due."""
        done: list[Ack] = self._committer.take_done() + self._immediate
        self._immediate = []
        return done

    def take_refused(self) -> Sequence[Ack]:
        """The acks that a disk stands in the way of that is full, or gone."""
        return self._committer.take_refused()

    def take_late(self) -> Sequence[Ack]:
        """Those that wait for an engine which is away for too long. A disk that does not keep up is waited for, and
        nothing more is taken meanwhile. O(facts that wait) where there are any."""
        if not self._has_waiting or not self._journal.is_late:
            return ()
        self._has_waiting = False
        return self._committer.give_up(lambda ack: ack[0] is not None)

    def _woken(self) -> None:
        """On the committer's thread."""
        try:
            self._loop.call_soon_threadsafe(self._look)
        except RuntimeError:
            # The loop has been closed: nobody is left to tell.
            return

    def _look(self) -> None:
        if self._closing:
            # Whoever closes it hears of it from `close`.
            return
        if self._committer.state == "failed":
            self._on_failure(self._committer.error)
        else:
            self.look()
            self._wake()

    def look(self) -> None:
        """Tell of a disk that does not take what it is given, and of its end. Once a second, and when it changes."""
        state, busy = self._committer.state, self._committer.busy
        kind, text = "", ""
        if self._journal.trouble:
            kind, text = "away", self._journal.trouble
        elif state == "full":
            what = f"the disk under {self._place} is full"
            kind, text = state, f"{what}: nothing can be saved (read_only), presence goes on"
        elif state == "gone":
            what = f"{self._committer.lost}: nothing can be saved (read_only), presence goes on"
            kind, text = state, f"{what}; move it back, or start on a backup"
        elif busy and state == "ok":
            waiting = f"{self._committer.pending_facts:,} facts wait"
            what = f"the disk under {self._place} does not keep up: {waiting}, and more are refused (log_busy)"
            kind, text = "busy", what
        if kind or self._trouble.is_on:
            self._trouble.see(self._clocks.monotonic_ms(), kind, text, for_ms=self._journal.trouble_ms)
        if self._is_erasure_due() or self._is_loss_due():
            # Also where no turn hands in anything.
            self.take_snapshot()

    @property
    def error(self) -> BaseException | None:
        """What ended the log, if anything did."""
        return self._committer.error

    def status(self) -> LogStatus:
        """For the operator. O(1)."""
        state = self._committer.state
        return LogStatus(
            directory=self._place,
            durability=self._durability.policy,
            state="busy" if state == "ok" and self._committer.busy else state,
            pending_facts=self._committer.pending_facts,
            pending_bytes=self._committer.pending_bytes,
            log_bytes=self._journal.bytes_since_snapshot,
            snapshot_running=self.snapshot_running,
            snapshot_wall_ms=self.snapshot_wall_ms,
            snapshot_bytes=self._journal.snapshot_bytes,
            snapshot_took_ms=self.snapshot_took_ms,
            snapshots=self.snapshots,
        )

    # --- snapshots --------------------------------------------------------------------------------------------

    def plan_snapshots(self, *, every_ms: int, log_bytes: int) -> None:
        """Take one by itself once this much log (or as much as the last snapshot, if that is more) has been written
        since the last, or after this time (0 = never for that) if anything was."""
        self._snapshot_every_s = every_ms / 1000
        self._snapshot_log_bytes = log_bytes

    def _consider_snapshot(self) -> None:
        if self._snapshot is not None:
            return
        written = self._journal.bytes_since_snapshot
        last = self._journal.snapshot_bytes
        waited_s = self._clocks.monotonic_s() - self._snapshot_s
        if (
            written > max(self._snapshot_log_bytes, last)
            or (0 < self._snapshot_every_s < waited_s and (written or self._dropped))
            or self._is_loss_due()
            or self._is_erasure_due()
        ):
            self.take_snapshot()

    def _is_erasure_due(self) -> bool:
        """Whether a snapshot is to be taken to be rid of erased users, if none is under way. O(1)."""
        if self._handed_in <= self.erased_until or self._snapshot is not None:
            return False
        return self._committer.state == "ok" and self._clocks.monotonic_s() - self._erasure_s >= ERASURE_SNAPSHOT_S

    def _is_loss_due(self) -> bool:
        """Whether a snapshot is to be taken to make up for what is in memory alone, if none is under way. O(1)."""
        if not self._committer.lost_facts or self._committer.state != "ok" or self._snapshot is not None:
            return False
        return self._clocks.monotonic_s() - self._snapshot_s > SNAPSHOT_RETRY_S

    @property
    def has_news(self) -> bool:
        """Whether a snapshot would hold anything that the last one does not."""
        return bool(self._journal.bytes_since_snapshot or self._dropped or self._committer.lost_facts)

    @property
    def snapshot_running(self) -> bool:
        """Whether one is being taken."""
        return self._snapshot is not None

    def hurry(self) -> None:
        """Nobody is served any more: what is left of the snapshot under way may take the loop for itself."""
        if self._snapshot is not None:
            self._snapshot.hurry()

    def take_snapshot(self) -> None:
        """Begin a snapshot now, unless one is under way. The server goes on meanwhile."""
        if self._snapshot is None and not self._closing:
            log.info("snapshot: begun")
            self._snapshot = self._begin_snapshot()
            self._loop.call_soon(self._snapshot.begin)

    def _begin_snapshot(self) -> Snapshotting:
        self._snapshot_s = self._clocks.monotonic_s()
        self._covers = self._handed_in
        if self._covers > self.erased_until:
            self._erasure_s = self._snapshot_s
        self._dropped = False
        is_logged = self._durability.policy != "off"
        return Snapshotting(
            self._loop,
            self._engine,
            self._journal,
            self._committer,
            self._snapshot_ended,
            is_logged=is_logged,
            alone=self._covers > self.erased_until,
            monotonic_ns=self._clocks.monotonic_ns,
        )

    def _note_erased(self) -> None:
        """A snapshot has ended well: what it took the place of is gone, and so is what that held of erased users."""
        if self._covers <= self.erased_until or self._journal.has_leftovers:
            return
        # Without names: they would be kept where the log is kept.
        log.info("erased: %s holds nothing more of users: %d", self._place, self._covers - self.erased_until)
        self.erased_until = self._covers
        self._wake()

    def _snapshot_ended(self, error: BaseException | None) -> None:
        self._snapshot = None
        if error is None:
            self.snapshots += 1
            self.snapshot_wall_ms = self._clocks.wall_ms()
            self.snapshot_took_ms = round((self._clocks.monotonic_s() - self._snapshot_s) * 1000)
            size_bytes = self._journal.snapshot_bytes
            log.info("snapshot: finished, %d bytes in %d ms", size_bytes, self.snapshot_took_ms)
            self._note_erased()
            return
        # Facts since its beginning, and those before it that it should have held.
        self._dropped = self._durability.policy == "off"
        is_lost = self._dropped or self._committer.lost_facts
        kept = "what changed since the last one is in memory alone" if is_lost else "the log still has everything"
        log.warning("the snapshot was given up (%s); %s", error, kept)
