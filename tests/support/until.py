"""Waiting for a condition. Nothing sleeps for a time and looks then: a condition that holds is seen at once, and one
that never holds fails the test when the patience is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""How long a test waits for what takes milliseconds on an idle machine. Only a test that fails waits this long."""

LOOK_EVERY_S = 0.005


def until(condition: Callable[[], object], what: str | Callable[[], str], wait_s: float = PATIENCE_S) -> None:
    """Return as soon as `condition` holds. `what` is a clause that says what is waited for, or a function that makes
    the whole complaint, with what only the end of the wait shows. Fails after `wait_s`."""
    deadline_s = time.monotonic() + wait_s
    while not condition():
        if time.monotonic() >= deadline_s:
            raise AssertionError(f"it did not come about that {what}" if isinstance(what, str) else what())
        time.sleep(LOOK_EVERY_S)


async def eventually(condition: Callable[[], object]) -> None:
    """The same for a test on an event loop, which goes on meanwhile. Raises `TimeoutError`."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.001)
