"""The replay of a data directory on a thread of its own. With a million users it takes many seconds, and meanwhile the
loop answers operators and signals.

Until it is over the engine is the thread's alone: nothing on the loop's thread may touch it, and nothing has to,
because no link is taken before. The loop is idle but for operators, so the thread has the interpreter nearly to itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from presenced.server.data_directory import Restored
from presenced.storage.meter import Progress

log = logging.getLogger("presenced")

TELL_EVERY_S = 0.5
LOG_EVERY_S = 2.0


class StartAbandoned(Exception):
    """The server was stopped before its start was over."""


class Replay:
    """One replay: `run` it once. `read` does it, and is given what to call with the bytes read and in all; `tell` hears
    the percentage now and then, on the loop's thread."""

    def __init__(self, read: Callable[[Progress], Restored], tell: Callable[[int], object]) -> None:
        self.reason: BaseException | None = None
        """Why nobody wants it any more."""
        self._read = read
        self._tell = tell
        self._told_s = self._logged_s = time.monotonic()

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
        """Let it end at the next piece that it reads, or when it is over if it reads no more."""
        self.reason = self.reason or reason

    async def _over(self, reading: asyncio.Future[Restored]) -> Restored:
        """Whoever cancels this waits for the thread too: nobody may give back what it works on before."""
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
        now_s = time.monotonic()
        if now_s - self._told_s < TELL_EVERY_S:
            return
        self._told_s = now_s
        # All is read before all is done.
        percent = min(99, 100 * done_bytes // max(total_bytes, 1))
        self._loop.call_soon_threadsafe(self._tell, percent)
        if now_s - self._logged_s >= LOG_EVERY_S:
            self._logged_s = now_s
            log.info("reading the data directory: %d %%", percent)
