"""The committer's way to a store in Redis: a `storage.port.FactPlace`.

It blocks the committer's thread while the engine is away, so facts wait in the committer's queue. Nothing is lost by
that: what is acknowledged is in the engine. What the engine itself loses is made up for by a snapshot of everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from presenced.backplane.errors import Emptied, EngineFull, Refused, Rewound, Unreachable
from presenced.backplane.store_engine import (
    STORE_LEASE_MS,
    StoreBroken,
    StoreClaim,
    StoreEngine,
    StoreHolder,
    StoreTaken,
)
from presenced.storage.files import DiskFull
from presenced.storage.port import FactHost, TakenOver
from presenced.storage.snapshot import SnapshotError

log = logging.getLogger("presenced")

LATE_S = 5.0
"""After so long without the engine durable requests are refused."""

RENEW_S = 1.0
"""So often the engine hears of this daemon."""

CLOSE_S = 3.0
"""So long a daemon that ends waits for an engine that is away."""

PAUSES_S = (0.05, 0.1, 0.2, 0.5)
"""Between two attempts to reach it; the last one again and again."""

_LOST = (Emptied, Rewound, StoreBroken)
"""What was saved is not all there any more."""

_T = TypeVar("_T")


class EngineJournal:
    """Writes to a store that was claimed, under the name by which that was done."""

    def __init__(
        self,
        store: StoreEngine,
        claimed: StoreClaim,
        holder: str,
        nonce: str,
        *,
        wall_ms: Callable[[], int],
        monotonic_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.bytes_since_snapshot = claimed.log_bytes
        self.has_leftovers = False
        self.is_late = False
        self.trouble = ""
        self._snapshot_bytes = claimed.snapshot_bytes
        self._store = store
        self._claimed = claimed
        self._holder = holder
        self._nonce = nonce
        self._wall_ms = wall_ms
        self._monotonic_s = monotonic_s
        self._sleep = sleep
        self._snapshot = claimed.snapshot
        self._loop: asyncio.AbstractEventLoop | None = None
        """Of the committer's thread: each call runs in it to its end."""
        self._host: FactHost | None = None
        self._away_s = 0.0
        """Since when the engine does not answer; 0 = it does."""
        self._closing_s = 0.0
        self._attempts = 0
        self._heard_s = monotonic_s()
        """When the engine has answered last."""
        self._loss: Exception | None = None
        """What was found, until the store is claimed again."""
        self._takes_back = False
        """See `_note_loss`."""
        self.losses = 0
        """How many times the store has lost something."""

    @property
    def trouble_ms(self) -> int:
        """See `FactPlace`. For the loop, too, while the committer's thread waits."""
        away_s = self._away_s
        return round((self._monotonic_s() - away_s) * 1000) if away_s else 0

    @property
    def snapshot_bytes(self) -> int:
        """See `FactPlace`."""
        return self._snapshot_bytes

    def attach(self, host: FactHost) -> None:
        """See `FactPlace`."""
        self._host = host

    # --- facts ------------------------------------------------------------------------------------------------

    def commit(self, batches: Sequence[tuple[bytes, int]]) -> None:
        """See `FactPlace`. Raises `DiskFull` if too many facts wait for an engine that is away."""
        for payload, _ in batches:
            self._insist(lambda payload=payload: self._store.write(payload, self._wall_ms()))  # type: ignore[misc]
            self.bytes_since_snapshot += len(payload)

    unsynced = False
    unsealed = False
    """What is written is as durable as it will be."""

    def sync(self) -> None:
        """See `FactPlace`."""

    def witness(self) -> None:
        """See `FactPlace`: whether the engine can be written to again. Raises `DiskFull` if not."""
        self._insist(self._store.renew)

    def lost(self) -> str:
        """See `FactPlace`. Lets the engine know that this daemon lives."""
        if self._monotonic_s() - self._heard_s >= RENEW_S:
            try:
                try:
                    self._attempt(self._store.renew)
                except _LOST as error:
                    self._note_loss(error)
                    self._attempt(self._store.renew)
            except (Unreachable, Refused) as error:
                self._note_away(error)
            except _LOST as error:
                self._note_loss(error)
        return ""

    # --- snapshots --------------------------------------------------------------------------------------------

    def begin_snapshot(self) -> EngineSnapshot:
        """See `FactPlace`. What the engine has lost by now is in it."""
        self._insist(self._store.renew)
        self.bytes_since_snapshot = 0
        return EngineSnapshot(self, self._snapshot + 1, self._store.n, self._store.bytes)

    def write_piece(self, writer: EngineSnapshot, payload: bytes) -> None:
        """Add a piece to a snapshot. Raises `SnapshotError` if the engine has lost something since its beginning."""
        self._require_whole(writer)
        self._insist(lambda: self._store.write_piece(writer.number, writer.pieces, payload), is_of_snapshot=True)

    def finish_snapshot(self, writer: EngineSnapshot, version: int, *, alone: bool = False) -> Iterator[None]:
        """See `FactPlace`. Nothing from before it ever stays."""
        yield
        self._require_whole(writer)
        told = (writer.number, writer.pieces, writer.bytes, writer.from_n, writer.from_bytes, version, self._wall_ms())
        self._insist(lambda: self._store.finish(*told), is_of_snapshot=True)
        self._snapshot, self._snapshot_bytes = writer.number, writer.bytes

    def drop_snapshot(self, number: int) -> None:
        """Drop the pieces of a snapshot that is given up, if the engine can be reached: the next one does so too."""
        if self._loss is None:
            with contextlib.suppress(Unreachable, Refused, TakenOver, *_LOST):
                self._run(lambda: self._store.drop(number))

    def _require_whole(self, writer: EngineSnapshot) -> None:
        """Entries behind its beginning may be gone, and it was made of a state that takes them for saved."""
        if writer.losses != self.losses:
            raise SnapshotError("the engine has lost what was written since its beginning")

    # --- the end ----------------------------------------------------------------------------------------------

    def close(self, *, version: int) -> None:
        """See `FactPlace`. The store is free for another daemon from then on. Raises `OSError`, also if the engine has
        lost some of it: nobody is left who would save it anew."""
        losses = self.losses
        try:
            self._insist(self._store.renew)
            if self.losses > losses:
                raise OSError(f"the store at {self._store.place} has lost what was saved in it, just before the end")
            self._insist(lambda: self._store.release(version))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """See `FactPlace`."""
        if self._loop is not None:
            self._loop.run_until_complete(self._store.close())
            self._loop.close()
            self._loop = None

    # --- calls ------------------------------------------------------------------------------------------------

    def _run(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """One attempt."""

        async def awaited() -> _T:
            return await call()

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        try:
            result = self._loop.run_until_complete(awaited())
        except StoreTaken as error:
            raise TakenOver(str(error)) from None
        self._heard_s = self._monotonic_s()
        if self._away_s:
            self._away_s, self._attempts, self.is_late, self.trouble = 0.0, 0, False, ""
            self._tell()
        return result

    def _insist(self, call: Callable[[], Awaitable[_T]], *, is_of_snapshot: bool = False) -> _T:
        """Repeat a call until the engine has answered it. Raises `TakenOver`, `DiskFull` if too much waits, `OSError`
        if this daemon is to end, and `SnapshotError` if a snapshot was lost on the way or has no room."""
        has_lost = False
        while True:
            try:
                return self._attempt(call)
            except (Unreachable, Refused) as error:
                if is_of_snapshot and isinstance(error, EngineFull):
                    # The log may have room still, at the latest once the pieces of this snapshot are dropped.
                    raise SnapshotError(str(error)) from None
                self._note_away(error)
                self._give_up_in_time(error)
                self._sleep(PAUSES_S[min(self._attempts, len(PAUSES_S)) - 1])
            except _LOST as error:
                self._note_loss(error)
                if is_of_snapshot:
                    raise SnapshotError("the engine has lost the beginning of it") from None
                if has_lost:
                    # Somebody goes on and on deleting.
                    self._give_up_in_time(error)
                    self._sleep(PAUSES_S[-1])
                has_lost = True

    def _note_away(self, error: Exception) -> None:
        now_s = self._monotonic_s()
        self._away_s = self._away_s or now_s
        self._attempts += 1
        if now_s - self._away_s >= LATE_S:
            self.trouble = f"{error}: nothing can be saved (log_busy), presence goes on"
            if not self.is_late:
                self.is_late = True
                self._tell()

    def _give_up_in_time(self, error: Exception) -> None:
        host = self._host
        if host is None:
            return
        if host.is_closing():
            self._closing_s = self._closing_s or self._monotonic_s()
            if self._monotonic_s() - self._closing_s >= CLOSE_S:
                raise OSError(str(error))
        elif host.is_full_up():
            raise DiskFull(str(error))

    def _tell(self) -> None:
        if self._host is not None:
            self._host.tell()

    def _attempt(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """One attempt, once the store is claimed again of which something is lost."""
        if self._loss is not None:
            self._claim_again(self._loss)
        return self._run(call)

    def _note_loss(self, error: Exception) -> None:
        """What was written is not all there: have a snapshot taken, and claim what there is with the next call.
        Another daemon may have taken it for a free one. It is taken back while this one was heard of within its lease:
        until then the store was its own, and nobody else has what was saved in it."""
        log.warning("the store at %s has lost what was saved in it (%s); all is saved anew", self._store.place, error)
        if self._loss is None:
            self._takes_back = self._monotonic_s() - self._heard_s < STORE_LEASE_MS / 1000
        self._loss = error
        self.losses += 1
        if self._host is not None:
            self._host.note_loss()

    def _claim_again(self, loss: Exception) -> None:
        """One attempt, over a new connection, so that the engine is looked at: by now it may be set to drop keys."""

        async def claim() -> StoreClaim | StoreHolder:
            await self._store.close()
            return await self._store.claim(
                self._nonce,
                self._holder,
                new_id=self._claimed.store_id,
                new_epoch=self._claimed.epoch,
                has_lost=True,
                is_broken=isinstance(loss, StoreBroken),
                takes_over=self._takes_back,
            )

        claimed = self._run(claim)
        if isinstance(claimed, StoreHolder):
            raise TakenOver(f"its store was taken by {claimed.name}, when the engine had lost it")
        self._run(lambda: self._store.renew(self._claimed.version, self._claimed.starts))
        self._snapshot, self._snapshot_bytes, self._loss = claimed.snapshot, claimed.snapshot_bytes, None


class EngineSnapshot:
    """A snapshot that is being written to the engine, piece by piece."""

    def __init__(self, journal: EngineJournal, number: int, from_n: int, from_bytes: int) -> None:
        self.number = number
        self.from_n = from_n
        """The log goes on behind this entry."""
        self.from_bytes = from_bytes
        self.pieces = 0
        self.bytes = 0
        self.losses = journal.losses
        self._journal = journal

    def add(self, payload: bytes, count: int) -> None:
        """See `SnapshotFile`."""
        self._journal.write_piece(self, payload)
        self.pieces += 1
        self.bytes += len(payload)

    def abandon(self) -> None:
        """See `SnapshotFile`."""
        self._journal.drop_snapshot(self.number)
