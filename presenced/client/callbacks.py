"""The app's functions that a client calls: each on its own turn of the loop, never inside the read path.

So a callback may await any method of its client without blocking it. What a callback raises goes to the loop's
exception handler, and nothing else is disturbed. A client with a callback is in use, even if nothing else refers to it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from presenced.client.log_fields import fields

SLOW_S = 1.0
"""A plain function that holds the loop for this long is reported in the log."""

_log = logging.getLogger("presenced.client.callbacks")


class TakenFrom(Protocol):
    """A feed: what a callback is called with waits in it."""

    @property
    def is_over(self) -> bool: ...
    def take(self) -> object | None: ...


class Callbacks:
    """The callbacks of one client that are under way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Future[Any]] = set()
        self._uses: dict[object, object] = {}
        """What is kept alive as long as the client is open, by the use that keeps it."""

    def use(self, owner: object, callback: Any, called: list[Any]) -> Callable[[], None]:
        """Keep `owner` alive until the function that this returns is called, or the client ends; that function also
        removes `callback` from the list `called`. Idempotent."""
        use, uses = object(), self._uses
        uses[use] = owner

        def end() -> None:
            if uses.pop(use, None) is not None and callback in called:
                called.remove(callback)

        return end

    def release_uses(self) -> None:
        """The client has ended: nothing is kept alive for it."""
        self._uses.clear()

    def soon(self, what: str, callback: Callable[..., object], *args: object) -> None:
        """Call it in the next turn of the loop, in the order of these calls. `what` names it if it raises."""
        self._loop.call_soon(self._begin, what, callback, args)

    async def call(self, what: str, callback: Callable[..., object], *args: object) -> bool:
        """Call it now and await it if it is async. Returns False if it raised."""
        try:
            result = self._timed(what, callback, args)
            if inspect.isawaitable(result):
                await result
        except Exception as error:
            self._report(what, error)
            return False
        return True

    async def deliver(
        self, owner: object, what: str, feed: TakenFrom, wake: asyncio.Event, callback: Callable[[Any], object]
    ) -> None:
        """Call `callback` with each item of the feed, one after the other, until the feed is released; `owner` is in
        use until then. `wake` is set when there may be an item."""
        while not feed.is_over:
            item = feed.take()
            if item is None:
                wake.clear()
                await wake.wait()
            else:
                await self.call(what, callback, item)
                # A plain callback never yields to the loop, and there may be thousands of items.
                await asyncio.sleep(0)

    def keep(self, work: Awaitable[Any]) -> asyncio.Future[Any]:
        """Run `work` as a task that is not collected before its end."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _begin(self, what: str, callback: Callable[..., object], args: tuple[object, ...]) -> None:
        try:
            result = self._timed(what, callback, args)
        except Exception as error:
            self._report(what, error)
            return
        if inspect.isawaitable(result):
            self.keep(self._await(what, result))

    def _timed(self, what: str, callback: Callable[..., object], args: tuple[object, ...]) -> object:
        begun_s = self._loop.time()
        try:
            return callback(*args)
        finally:
            took_s = self._loop.time() - begun_s
            if took_s >= SLOW_S:
                name = getattr(callback, "__qualname__", repr(callback))
                advice = "heartbeats and everything else in the loop waited for it; make it async, or use a thread"
                extra = fields("slow_callback", callback=name, took_ms=int(took_s * 1000))
                _log.warning("%s (%s) held the event loop for %.1f s: %s", what, name, took_s, advice, extra=extra)

    async def _await(self, what: str, result: Awaitable[Any]) -> None:
        try:
            await result
        except Exception as error:
            self._report(what, error)

    def _report(self, what: str, error: Exception) -> None:
        self._loop.call_exception_handler({"message": f"{what} failed", "exception": error})
