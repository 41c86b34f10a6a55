"""The server's log: one line an event, on stderr, and not more lines than somebody can read.

A cause that comes too often is counted instead of written, so that a hostile client cannot fill the disk.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("presenced")

BURST_LINES = 10
WINDOW_MS = 10_000


class Report:
    """Writes events; per cause at most `BURST_LINES` in each window of `WINDOW_MS`."""

    def __init__(self) -> None:
        self._windows: dict[str, tuple[int, int]] = {}

    def event(self, now_ms: int, cause: str, text: str, *, level: int = logging.INFO, exc: bool = False) -> None:
        """Write `text`, unless `cause` has had its lines for now. `cause` is one of a fixed few, never input."""
        began_ms, count = self._windows.get(cause, (now_ms, 0))
        if now_ms - began_ms >= WINDOW_MS:
            if count > BURST_LINES:
                logger.log(level, "%s: %d more lines in the last 10 s were not written", cause, count - BURST_LINES)
            began_ms, count = now_ms, 0
        self._windows[cause] = (began_ms, count + 1)
        if count < BURST_LINES:
            logger.log(level, "%s: %s", cause, text, exc_info=exc)
