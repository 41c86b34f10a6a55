"""Moves entries between the cluster's log and a node: one task reads, one appends, one renews the lease, and one does
slow work in slices.

No rule of the cluster is in here (`cluster.log.node`). What the backplane cannot do now is tried again until it can,
and no call is cancelled half way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Final, TypeVar

from presenced.backplane.errors import BackplaneError, Emptied, Fenced, Refused, Rewound
from presenced.backplane.port import Backplane, Entry, Renewed
from presenced.cluster.levels import NotUnderstood
from presenced.cluster.log.log_reader import LogReader
from presenced.cluster.log.node import Node
from presenced.server.clocks import Clocks
from presenced.server.clustering.engine_calls import EngineCalls
from presenced.server.clustering.lag import Lag
from presenced.server.clustering.mender import Mender
from presenced.server.clustering.reach import Reach
from presenced.server.links import Host

log = logging.getLogger("presenced")

APPLY_NS: Final = 3_000_000
"""How long entries are applied before links are served again."""

LEAVE_S: Final = 5.0
"""How long a node that stops waits for the engine."""

NONCE_BITS: Final = 52

MENDS_MAX: Final = 20
MENDS_S: Final = 10.0
"""A log that has to be mended more than so many times within so many seconds is given up."""

_T = TypeVar("_T")


class _Anew(Exception):
    """The log has changed: whoever made the call has to look at it anew."""


class Pump:
    """The tasks for one life of the node."""

    def __init__(
        self,
        node: Node,
        reader: LogReader,
        backplane: Backplane,
        host: Host,
        clocks: Clocks,
        *,
        renew_ms: int,
        linger_ms: int,
        saved: Callable[[], object],
        away: Callable[[bool], object],
        on_failure: Callable[[Exception], object],
    ) -> None:
        """`saved` is called when facts of other nodes were applied. `away` is called with whether the backplane is
        away, each time that this changes. `on_failure` is called when this life of the node has ended."""
        self._node = node
        self._reader = reader
        self._backplane = backplane
        self._host = host
        self._clocks = clocks
        self._renew_s = renew_ms / 1000
        self._linger_s = linger_ms / 1000
        self._saved = saved
        self._on_failure = on_failure
        self._calls = EngineCalls(clocks, away)
        self._mender = Mender(
            node,
            reader,
            backplane,
            host,
            self._calls,
            apply=lambda entries: self._apply(entries, nullcontext()),
            draw=partial(secrets.randbits, NONCE_BITS),
        )
        self.renewed: Renewed | None = None
        """The answer to the last renewal."""
        self.renewed_ms = 0
        self._lag = Lag()
        self._trouble: Rewound | Emptied | None = None
        """What was wrong with the log in a command; the task that reads has it mended."""
        self._recovered = asyncio.Event()
        self._mends_s: deque[float] = deque(maxlen=MENDS_MAX)
        """When the last mends began."""
        self._to_append = asyncio.Event()
        self._to_work = asyncio.Event()
        self.failure: Exception | None = None
        """Why this life of the node has ended."""
        self._proofs: list[Callable[[], object]] = []
        """To be called after the next renewal that is sent from now on."""
        self._hurry = asyncio.Event()
        """The next renewal is due at once."""
        self._ready = asyncio.Event()
        self._over = asyncio.Event()
        self._commands = asyncio.Lock()
        """The connection for commands has one user at a time."""
        self._tasks: list[asyncio.Task[None]] = []

    # --- start and end ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Read, append and renew from here on."""
        self._node.batches.wake_by(self.wake)
        if self._reader.slices.has_work:
            self._to_work.set()
        for job in (self._read_on, self._append_on, self._renew_on, self._work_on):
            self._tasks.append(asyncio.get_running_loop().create_task(self._guarded(job)))

    async def wait_ready(self) -> None:
        """Return once the node serves: it knows all users, and all nodes know that."""
        await self._ready.wait()

    async def wait_over(self) -> None:
        """Return once this life of the node has ended; `failure` says why."""
        await self._over.wait()

    def prove(self, then: Callable[[], object]) -> None:
        """Call `then` once the backplane has confirmed that this node lives; never, if it does not."""
        self._proofs.append(then)
        self._hurry.set()

    def wake(self) -> None:
        """There is something to append."""
        self._to_append.set()

    @property
    def reach(self) -> Reach:
        """Whether the backplane can be reached."""
        return self._calls.reach

    @property
    def entries_read(self) -> int:
        """Entries of the log that were applied."""
        return self._reader.entries_read

    @property
    def lag_ms(self) -> int:
        """For how long the log is known to have entries that this node has not applied; 0 = it has applied all."""
        return self._lag.behind_ms(self._node.position, self._clocks.monotonic_ms())

    async def settle(self, until_ms: int) -> None:
        """Wait until everything is appended and read back, or until this time."""
        batches = self._node.batches
        while batches.confirmed < batches.added and not self._calls.is_over and self._clocks.monotonic_ms() < until_ms:
            self.wake()
            await asyncio.sleep(0.005)

    async def leave(self) -> None:
        """End the tasks, and tell all nodes that this one leaves. A backplane that is away is not waited for, and one
        that does not answer only for `LEAVE_S`."""
        self._calls.end()
        for event in (self._to_append, self._to_work, self._hurry, self._recovered):
            event.set()
        try:
            async with asyncio.timeout(LEAVE_S):
                await self._leave()
        except TimeoutError:
            log.warning("the cluster's Redis is not told that this node leaves: a call is not answered")
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._backplane.close()

    async def _leave(self) -> None:
        async with self._commands:
            with contextlib.suppress(BackplaneError):
                await self._backplane.leave()
            # The call that waits for new entries ends by this.
            await self._backplane.close()
        await asyncio.gather(*self._tasks)

    async def _guarded(self, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except (BackplaneError, NotUnderstood) as error:
            self._fail(error)
        except Exception as error:
            log.critical("the cluster's part of the server failed; stopping", exc_info=True)
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._calls.is_over:
            self._calls.end()
            self.failure = error
            self._over.set()
            self._on_failure(error)

    # --- the tasks --------------------------------------------------------------------------------------------

    async def _read_on(self) -> None:
        node = self._node
        while not self._calls.is_over:
            try:
                if self._trouble is not None:
                    raise self._trouble
                entries = await self._calls.read(lambda: self._backplane.read(node.position, node.tag))
            except (Rewound, Emptied) as error:
                await self._recover(error)
                continue
            if entries:
                await self._apply(entries)

    async def _recover(self, error: Rewound | Emptied) -> None:
        """The log is not the one that was read: append again what it has lost, or join the one that began anew."""
        now_s, begun_s = self._clocks.monotonic_s(), self._mends_s
        if not self._node.is_ready:
            raise error
        if len(begun_s) == MENDS_MAX and now_s - begun_s[0] < MENDS_S:
            raise BackplaneError(f"the log was mended {MENDS_MAX} times within {MENDS_S:g} s: {error}") from error
        begun_s.append(now_s)
        async with self._commands:
            await self._mender.mend(error, is_of_command=error is self._trouble)
            self._trouble = None
        self._lag.forget()
        self._recovered.set()
        self._to_append.set()

    async def _apply(self, entries: list[Entry], under: AbstractAsyncContextManager[object] | None = None) -> None:
        """`under`: what a command has to hold meanwhile; None = as every command."""
        node, reader = self._node, self._reader
        began_ns = self._clocks.monotonic_ns()
        for entry in entries:
            parcels: dict[int, bytes] = {}
            for number in reader.wanted(entry):
                data = await self._command(partial(self._backplane.take_parcel, node.me, number))
                if data is None:
                    raise Refused("parcel_lost", "what this node was to be told is gone")
                parcels[number] = data
            if self._calls.is_over:
                return
            reader.take(entry, self._host.begin(), parcels)
            if node.is_outdone:
                raise BackplaneError("nodes have come back that know more than the disk from which this one has begun")
            if node.is_fenced:
                # The answer says whether another daemon has the name now.
                async with under or self._commands:
                    await self._calls.write(lambda: self._backplane.renew(node.position, node.tag))
                raise Fenced(0)
            if node.is_ready and not self._ready.is_set():
                self._calls.note_serving()
                self._ready.set()
            if self._clocks.monotonic_ns() - began_ns > APPLY_NS:
                self._saved()
                await asyncio.sleep(0)
                began_ns = self._clocks.monotonic_ns()
        self._saved()
        if reader.slices.has_work:
            self._to_work.set()
        if node.batches.has_more:
            self._to_append.set()

    async def _append_on(self) -> None:
        batches, appended_s = self._node.batches, 0.0
        while not self._calls.is_over:
            await self._to_append.wait()
            self._to_append.clear()
            while not self._calls.is_over and batches.has_more:
                # The first batch after a pause goes at once, and no timer is set behind the last. Timers have 1 ms.
                if (rest_s := appended_s + self._linger_s - self._clocks.monotonic_s()) > 0.0005:
                    await asyncio.sleep(rest_s)
                    continue
                appended_s = self._clocks.monotonic_s()
                with contextlib.suppress(_Anew):
                    await self._append()
                if self._reader.slices.has_work:
                    self._to_work.set()

    async def _append(self) -> None:
        node = self._node
        closed = node.batches.close()
        assert closed is not None
        for stored in closed.stored:
            await self._command(partial(self._backplane.put_parcel, *stored))
        await self._command(lambda: self._backplane.append(closed.number, node.position, node.tag, closed.data))
        if node.batches.appended(closed.number):
            self._host.begin()

    async def _renew_on(self) -> None:
        while not self._calls.is_over:
            self._hurry.clear()
            # A renewal that is under way proves nothing for calls of `prove` after it was sent.
            proofs, self._proofs = self._proofs, []
            try:
                self.renewed = await self._command(lambda: self._backplane.renew(*self._reader.droppable))
            except _Anew:
                self._proofs += proofs
                continue
            self.renewed_ms = self._clocks.monotonic_ms()
            self._lag.note_end(self.renewed.end_n, self.renewed_ms)
            for proof in proofs:
                proof()
            self._reader.tick(self._clocks.monotonic_ms())
            if self._node.batches.has_more:
                self._to_append.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), self._renew_s)

    async def _work_on(self) -> None:
        while not self._calls.is_over:
            await self._to_work.wait()
            self._to_work.clear()
            while not self._calls.is_over and self._reader.slices.has_work:
                self._reader.slices.go_on(self._host.begin())
                self.wake()
                await asyncio.sleep(0)

    # --- calls ------------------------------------------------------------------------------------------------

    async def _command(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Raises `_Anew` if the log was not the one that was read. By then it is mended."""
        async with self._commands:
            try:
                return await self._calls.write(call)
            except (Rewound, Emptied) as error:
                if self._calls.is_over:
                    # The reader mends nothing any more.
                    raise Refused("stopped", "this node stops") from None
                self._trouble = error
                self._recovered.clear()
        # The reader has the connection for reading, and knows what was read.
        await self._recovered.wait()
        raise _Anew
