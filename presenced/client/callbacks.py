"""Calling an app's functions: each on its own turn of the loop, never inside the read path; nothing it raises hurts.

So a callback may await any method of its client without blocking it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any


class Callbacks:
    """The callbacks of one client that are under way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Future[Any]] = set()

    def soon(self, what: str, callback: Callable[..., object], *args: object) -> None:
        """Call it in the next turn, after those asked for before. `what` names it if it raises."""
        self._loop.call_soon(self._begin, what, callback, args)

    async def call(self, what: str, callback: Callable[..., object], *args: object) -> bool:
        """Call it now and await it if it is async; False if it raised, which the loop's exception handler is told."""
        try:
            result = callback(*args)
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            self._report(what, error)
            return False
        return True

    def keep(self, work: Awaitable[Any]) -> asyncio.Future[Any]:
        """Run `work` as a task that is not collected before its end."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin(self, what: str, callback: Callable[..., object], args: tuple[object, ...]) -> None:
        try:
            result = callback(*args)
        except Exception as error:
            self._report(what, error)
            return
        if inspect.isawaitable(result):
            self.keep(self._await(what, result))

    async def _await(self, what: str, result: Awaitable[Any]) -> None:
        try:
            await result
        except Exception as error:
            self._report(what, error)

    def _report(self, what: str, error: Exception) -> None:
        self._loop.call_exception_handler({"message": f"{what} failed", "exception": error})
