"""The server's log: one line for each event, and never more lines than a person can read.

Events of a cause that comes too often are counted instead of written, so that a hostile client cannot fill the disk.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("presenced")

BURST_LINES = 10
WINDOW_MS = 10_000


class Report:
    """Writes events: for each cause at most `BURST_LINES` in each window of `WINDOW_MS`."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[int, int, int]] = {}
        """Cause → when its window started, the number of events in it, and the level of the last one."""

    def event(self, now_ms: int, cause: str, text: str, *, level: int = logging.INFO, exc: bool = False) -> None:
        """Write `text`, unless `cause` has used up its lines in this window. `cause` is one of a few fixed words, and
        never input of a client."""
        began_ms, count, _ = self._windows.get(cause, (now_ms, 0, level))
        if now_ms - began_ms >= WINDOW_MS:
            _tell_held_back(cause, count, level)
            began_ms, count = now_ms, 0
        self._windows[cause] = (began_ms, count + 1, level)
        if count < BURST_LINES:
            logger.log(level, "%s: %s", cause, text, exc_info=exc)

    def flush(self, now_ms: int) -> None:
        """Write how many lines were held back in windows that are over: the next event may never come. O(causes)."""
        for cause, (began_ms, count, level) in list(self._windows.items()):
            if now_ms - began_ms >= WINDOW_MS:
                del self._windows[cause]
                _tell_held_back(cause, count, level)


def _tell_held_back(cause: str, count: int, level: int) -> None:
    if count > BURST_LINES:
        logger.log(level, "%s: %d more lines in the last 10 s were not written", cause, count - BURST_LINES)
