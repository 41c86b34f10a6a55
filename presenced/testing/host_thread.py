"""The thread in which a blocking test server and all clients without `await` have one loop, on a virtual clock."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from presenced.client.loop_thread import LoopThread
from presenced.client.worker import Worker
from presenced.testing.clock import VirtualClock
from presenced.testing.errors import StandstillError

T = TypeVar("T")


class _ClockedWorker(Worker):
    """A thread for callbacks: no time passes while one runs."""

    def __init__(self, name: str, host: HostThread) -> None:
        super().__init__(name)
        self._host = host

    def call(self, function: Callable[..., Any], *args: Any) -> concurrent.futures.Future[Any]:
        future = super().call(function, *args)
        # In the next pass: who awaits the future is told first, and only then may time pass.
        self._host.loop.call_soon(self._host.wait_for, future)
        return future


class ClientThread(LoopThread):
    """What a client takes for a thread of its own is the server's."""

    def __init__(self, host: HostThread) -> None:
        self._host = host
        super().__init__()
        host.threads.append(self)
        self.callbacks = _ClockedWorker("presenced callbacks", host)
        self.tokens = _ClockedWorker("presenced tokens", host)

    def _begin(self) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        return self._host.loop, self._host.thread

    def _end(self) -> None:
        """The loop goes on for the others."""

    def _leave_loop(self) -> None:
        """The loop goes on for the others."""

    def _result(self, future: concurrent.futures.Future[T]) -> T:
        return self._host.result(future)


class HostThread:
    """The loop of a server and its clients, in its thread."""

    def __init__(self, patience_s: float | None) -> None:
        own = LoopThread()
        self.loop, self.thread = own.loop, own._thread
        self._own = own
        self._patience_s = patience_s
        self._tester = threading.current_thread()
        self.clock: VirtualClock | None = None
        self.threads: list[ClientThread] = []
        """Of all clients."""

    def set_clock(self, clock: VirtualClock) -> None:
        """The loop goes by this clock."""
        self.clock = clock

    def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """What comes of it, however long that takes."""
        return self._own.do(work)

    def call(self, function: Callable[[], T]) -> T:
        """Call it on the loop."""

        async def work() -> T:
            return function()

        return self._own.do(work)

    def result(self, future: concurrent.futures.Future[T]) -> T:
        """What a client was asked for. The test is not left waiting for what only the clock could bring; other threads
        of the application may wait."""
        if threading.current_thread() is not self._tester:
            # The thread may say something when it goes on, however late it wakes up: the loop knows of it before it
            # moves the clock.
            future.add_done_callback(lambda _: self.note_outside())
            return future.result()
        try:
            return future.result(self._patience_s)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise
            raise StandstillError(
                f"nothing came for {self._patience_s:g} s, and the clock stands still until the test moves it: "
                "`server.advance(seconds=...)`"
            ) from None

    def wait_for(self, future: concurrent.futures.Future[Any]) -> None:
        """Let no time pass before it is done; on the loop."""
        if self.clock is not None:
            self.clock.wait_for(asyncio.wrap_future(future, loop=self.loop))

    def note_outside(self) -> None:
        """Another thread of the application has something to do. Does nothing once the loop is closed."""
        if self.clock is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.clock.note_outside)

    def stop(self) -> None:
        """End the loop and the thread. Clients are closed then, whoever has them."""
        for thread in self.threads:
            thread.stop()
        self._own.stop()
