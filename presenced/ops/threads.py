"""Work that may have to wait for a reader or a network file system, away from the event loop.

Each piece gets a thread of its own, which dies with the process. asyncio's executor is no way out: it is waited for at
the end, so that a single read that never returns would keep the daemon from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def in_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Do the work on another thread. The future has its result or its exception; cancelling it only ends the wait.
    Costs about 0.1 ms."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only if T is.

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        # RuntimeError: the loop is closed, so that nothing waits for the result.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
