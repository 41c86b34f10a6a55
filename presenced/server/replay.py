"""The replay of a data directory on a thread of its own. With a million users it takes many seconds, and meanwhile the
loop answers operators and signals.

Until it is over the engine is the thread's alone: nothing on the loop's thread may touch it, and nothing has to,
because no link is taken before. The loop is idle but for operators, so the thread has the interpreter nearly to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from presenced.server.clocks import Clocks
from presenced.server.data_directory import Restored
from presenced.storage.meter import Progress

log = logging.getLogger("presenced")

TELL_EVERY_MS = 500
LOG_EVERY_MS = 2_000


class StartAbandoned(Exception):
    """The server was stopped before its start was over."""


class Replay:
    """One replay: `run` it once. `read` does the work on the thread, and is given what to call with the bytes read and
    in all; `tell` is called with the percentage now and then, on the loop's thread."""

    def __init__(self, read: Callable[[Progress], Restored], tell: Callable[[int], object], clocks: Clocks) -> None:
        self.reason: BaseException | None = None
        """Why the replay was abandoned; None while it is wanted."""
        self._read = read
        self._tell = tell
        self._clocks = clocks
        self._told_ms = self._logged_ms = clocks.monotonic_ms()

    async def run(self) -> Restored:
        """Return once the thread has ended, with what it has read. Raises what `read` raises, and the reason for which
        it was abandoned if it ended early for that; if it came to its end all the same, `reason` is set."""
        self._loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, "replay") as pool:
            reading = self._loop.run_in_executor(pool, self._read, self._progress)
            try:
                return await asyncio.shield(reading)
            except asyncio.CancelledError as error:
                self.abandon(error)
                return await self._over(reading)
            except StartAbandoned:
                assert self.reason is not None
                raise self.reason from None

    def abandon(self, reason: BaseException) -> None:
        """End the reading at its next piece, or at its end if no piece is left."""
        self.reason = self.reason or reason

    async def _over(self, reading: asyncio.Future[Restored]) -> Restored:
        """Wait for the thread, even after a cancellation: until it ends, nobody may release what it works on."""
        while not reading.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([reading])
        if reading.exception() is not None:
            assert self.reason is not None
            raise self.reason from None
        return reading.result()

    def _progress(self, done_bytes: int, total_bytes: int) -> None:
        """On the thread."""
        if self.reason is not None:
            raise StartAbandoned
        now_ms = self._clocks.monotonic_ms()
        if now_ms - self._told_ms < TELL_EVERY_MS:
            return
        self._told_ms = now_ms
        # The last byte is read before the state is complete.
        percent = min(99, 100 * done_bytes // max(total_bytes, 1))
        self._loop.call_soon_threadsafe(self._tell, percent)
        if now_ms - self._logged_ms >= LOG_EVERY_MS:
            self._logged_ms = now_ms
            log.info("reading the saved state: %d %%", percent)
