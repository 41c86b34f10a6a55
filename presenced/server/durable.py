"""The data directory as the server uses it: open it into an engine, log every turn, take snapshots while serving.

This is where the loop's thread and the committer's meet. Facts are encoded on the loop's thread, because that takes
the interpreter either way, and handed over as bytes; nothing of the state is ever touched from the other thread.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from presenced import limits
from presenced.core.engine import Engine
from presenced.core.facts import facts_of
from presenced.core.records import Fact
from presenced.core.restore import Restorer
from presenced.server.settings import Durability
from presenced.server.turn import Ack
from presenced.storage.committer import Committer, array_of
from presenced.storage.files import Directory
from presenced.storage.journal import Journal
from presenced.storage.recovery import Findings
from presenced.storage.snapshot import SnapshotWriter
from presenced.storage.store import claim, open_store
from presenced.wire.messages import encode

log = logging.getLogger("presenced")

SNAPSHOT_LOG_BYTES = 64 << 20
SNAPSHOT_EVERY_S = 900.0
"""A snapshot is taken when this much log (or as much as the last snapshot, if that is more) has been written since
the last, or after this time if anything was."""

SNAPSHOT_RETRY_S = 1.0
"""The least time between two snapshots that make up for facts that the log did not take."""

SLICE_USERS = 256
SLICE_S = 0.0003
"""How much of a snapshot is made between two looks at the sockets, whichever is first."""

SLICE_GAP_S = 0.001
"""Between two slices, so that a turn that has become due never waits for more than one: with none, the median time
from change to watcher went from 0.4 to 1.5 ms while a snapshot of a million users was taken."""

FACTS_PER_FRAME_MAX = 8_192
"""Facts in one frame of the log at most: some kilobytes each at worst, so that a frame stays below its cap."""

SWITCH_INTERVAL_S = 0.0005

JOBS_AHEAD = 4
"""Pieces that may wait for the disk: bounds the memory that a snapshot takes."""

PROGRESS_EVERY_S = 2.0


class LogFailed(Exception):
    """The disk failed under the log. What was not acknowledged may be lost, and nothing may be acknowledged."""


class DurableLog:
    """A `turn.Log` on disk. `open_into`, then `start` on the loop; `close` at the end."""

    def __init__(self, directory: Directory, durability: Durability) -> None:
        self._directory = directory
        self._durability = durability
        self._engine: Engine | None = None
        self._journal: Journal | None = None
        self._committer: Committer | None = None
        self._snapshot: _Snapshot | None = None
        self._immediate: list[Ack] = []
        self._snapshot_s = 0.0
        self._dropped = False
        """With durability off: whether there are facts since the last snapshot."""
        self._makes_up = False
        """Whether the snapshot under way is to hold what a full disk kept out of the log."""

    # --- opening ----------------------------------------------------------------------------------------------

    def open_into(self, engine: Engine, now_ms: int) -> Findings:
        """Claim the directory and bring the engine to the state that is in it.

        Raises what `storage.store` raises; the engine is then of no use.
        """
        claim(self._directory)
        # The wheel stood still since it was made: brought to now, it takes what is due by now for overdue.
        engine.wheel.advance(now_ms, 1)
        restorer = Restorer(engine, now_ms)
        # Everything that is read stays: looking for garbage in it again and again would double the time.
        gc.disable()
        try:
            self._journal, recovered = open_store(
                self._directory,
                restorer.apply,
                sync_each=self._durability.policy == "always",
                new_id=lambda: (secrets.token_hex(16), engine.publisher.epoch),
                salts=lambda: secrets.randbits(32),
                wall_ms=lambda: time.time_ns() // 1_000_000,
                progress=_Progress(),
            )
        finally:
            gc.enable()
        report = recovered.report
        manifest = recovered.manifest
        if manifest is not None:
            engine.publisher.epoch = manifest.epoch
            engine.publisher.version = manifest.version
        restorer.finish(
            grace_ms=max(engine.policy.grace_ms, limits.RESTART_GRACE_MS),
            spread_ms=limits.RESTART_SPREAD_MS,
            version_gap=limits.VERSION_GAP if manifest is not None and not report.clean else 0,
            stopped_wall_ms=report.last_wall_ms,
        )
        # All that came due while nobody was running, however much, before anybody can ask.
        while (next_ms := engine.next_ms) is not None and next_ms <= now_ms:
            engine.tick(now_ms)
        self._engine = engine
        return report

    def start(
        self, loop: asyncio.AbstractEventLoop, wake: Callable[[], object], on_failure: Callable[[], object]
    ) -> None:
        """Start writing. `wake` runs on the loop when acks have come due, `on_failure` when the disk has failed."""
        assert self._journal is not None and self._engine is not None
        self._loop = loop
        self._wake = wake
        self._on_failure = on_failure
        self._committer = Committer(
            self._journal,
            self._woken,
            policy="os" if self._durability.policy == "off" else self._durability.policy,
            interval_s=self._durability.interval_ms / 1000,
            clock=time.monotonic,
        )
        self._snapshot_s = time.monotonic()
        # The committer's thread takes the interpreter for checksums and lists; by default it may keep it for 5 ms
        # while the loop has something to send.
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        self._committer.start()

    def close(self, version: int) -> None:
        """Write what is left, and mark the store as stopped in order. Blocks."""
        if self._committer is None:
            return
        if self._durability.policy == "off" and (self._dropped or self._snapshot is not None):
            # Also if one is under way: its slices are made by the loop, which runs no more.
            self._begin_snapshot().run_to_end()
        self._committer.close(version)
        if self._committer.error is not None:
            log.error("the log did not close in order: %s", self._committer.error)

    # --- turn.Log ---------------------------------------------------------------------------------------------

    @property
    def refusal(self) -> str:
        """`read_only` on a full disk, `log_busy` on one that does not keep up."""
        assert self._committer is not None
        if self._committer.state == "full":
            return "read_only"
        return "log_busy" if self._committer.busy else ""

    def append(self, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        """Hand the facts of a turn to the disk."""
        assert self._committer is not None
        if self._durability.policy == "off":
            self._dropped = self._dropped or bool(facts)
            self._immediate.extend(acks)
        elif facts or not self._committer.idle:
            # In pieces, because one turn can bring about more than a frame may hold; the acks wait for the last.
            for at in range(0, len(facts), FACTS_PER_FRAME_MAX):
                piece = facts[at : at + FACTS_PER_FRAME_MAX]
                last = at + FACTS_PER_FRAME_MAX >= len(facts)
                self._committer.submit(b"".join(map(encode, piece)), len(piece), tuple(acks) if last else ())
            if not facts:
                self._committer.submit(b"", 0, tuple(acks))
        else:
            self._immediate.extend(acks)
        self._consider_snapshot()

    def take_durable(self) -> Sequence[Ack]:
        """The acks that are due."""
        assert self._committer is not None
        done: list[Ack] = self._committer.take_done()
        if self._immediate:
            done.extend(self._immediate)
            self._immediate = []
        return done

    def take_refused(self) -> Sequence[Ack]:
        """The acks that a full disk stands in the way of."""
        assert self._committer is not None
        refused: list[Ack] = self._committer.take_refused()
        return refused

    def _woken(self) -> None:
        """On the committer's thread."""
        try:
            self._loop.call_soon_threadsafe(self._look)
        except RuntimeError:
            # The loop has been closed: nobody is left to tell.
            return

    def _look(self) -> None:
        assert self._committer is not None
        if self._committer.state == "failed":
            self._on_failure()
        else:
            self._wake()

    @property
    def error(self) -> BaseException | None:
        """What ended the log, if anything did."""
        return self._committer.error if self._committer is not None else None

    # --- snapshots --------------------------------------------------------------------------------------------

    def _consider_snapshot(self) -> None:
        assert self._journal is not None and self._committer is not None
        if self._snapshot is not None:
            return
        written = self._journal.bytes_since_snapshot
        last = self._journal.manifest.snapshots[0].bytes if self._journal.manifest.snapshots else 0
        waited_s = time.monotonic() - self._snapshot_s
        if (
            written > max(SNAPSHOT_LOG_BYTES, last)
            or (waited_s > SNAPSHOT_EVERY_S and (written or self._dropped))
            or (self._committer.lost_facts and self._committer.state == "ok" and waited_s > SNAPSHOT_RETRY_S)
        ):
            self.take_snapshot()

    def take_snapshot(self) -> None:
        """Begin a snapshot now, unless one is under way. The server goes on meanwhile."""
        if self._snapshot is None:
            self._snapshot = self._begin_snapshot()
            self._loop.call_soon(self._snapshot.begin)

    @property
    def snapshot_running(self) -> bool:
        """Whether a snapshot is under way."""
        return self._snapshot is not None

    def _begin_snapshot(self) -> _Snapshot:
        assert self._journal is not None and self._engine is not None and self._committer is not None
        self._snapshot_s = time.monotonic()
        self._dropped = False
        self._makes_up = self._committer.lost_facts
        self._committer.lost_facts = False
        return _Snapshot(self._engine, self._journal, self._committer, self._snapshot_ended)

    def _snapshot_ended(self, error: BaseException | None) -> None:
        """On the committer's thread."""
        if error is not None:
            off = self._durability.policy == "off"
            kept = "what changed since the last one is in memory alone" if off else "the log still has everything"
            log.warning("the snapshot was given up (%s); %s", error, kept)
            self._dropped = off
            if self._makes_up and self._committer is not None:
                self._committer.lost_facts = True
        try:
            self._loop.call_soon_threadsafe(self._snapshot_over)
        except RuntimeError:
            return

    def _snapshot_over(self) -> None:
        self._snapshot = None


class _Snapshot:
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
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """Start, on the loop."""
        self._loop = asyncio.get_running_loop()
        self._next = len(self._engine.users.order) - 1
        self._run(self._open())

    def run_to_end(self) -> None:
        """All at once, for the end of a process. The committer does the file's part as it closes."""
        self._next = len(self._engine.users.order) - 1
        self._committer.run(self._open(), self._job_done)
        while self._next >= 0:
            self._add_slice(float("inf"))
        self._finish()

    def _slice(self) -> None:
        """Dump some users, then let the loop look at its sockets."""
        assert self._loop is not None
        if self._waiting_jobs >= JOBS_AHEAD:
            self._loop.call_later(SLICE_GAP_S, self._slice)
            return
        self._add_slice(time.perf_counter() + SLICE_S)
        if self._next >= 0:
            self._loop.call_later(SLICE_GAP_S, self._slice)
        else:
            self._finish()

    def _add_slice(self, until_s: float) -> None:
        order = self._engine.users.order
        offset_ms = self._engine.publisher.wall_offset_ms
        parts: list[bytes] = []
        # Users may have been dropped since the last slice; what took their places has been seen already.
        at = min(self._next, len(order) - 1)
        stop = at - SLICE_USERS
        while at >= 0 and at > stop:
            parts.extend(map(encode, facts_of(order[at], offset_ms)))
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


class _Progress:
    """Says now and then how far a long replay has come."""

    def __init__(self) -> None:
        self._said_s = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s >= PROGRESS_EVERY_S:
            self._said_s = now_s
            log.info("reading the data directory: %d %%", 100 * done // max(total, 1))
