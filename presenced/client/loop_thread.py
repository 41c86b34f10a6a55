"""The thread in which the client without `await` has its loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from presenced.client import forks
from presenced.client.client_base import ConnectedClient
from presenced.client.worker import Worker
from presenced.errors import ConnectionLost

T = TypeVar("T")


class LoopThread:
    """A loop in a thread. It does not keep a program alive that forgets to close."""

    def __init__(self) -> None:
        self.callbacks = Worker("presenced callbacks")
        self.tokens = Worker("presenced tokens")
        self.is_forked = False
        self._lock = threading.Lock()
        self._is_stopping = False
        forks.tell_if_forked(self)
        self.loop, self._thread = self._begin()

    def _begin(self) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
        """The loop and its thread, running."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_run, args=(loop,), name="presenced", daemon=True)
        thread.start()
        return loop, thread

    def _end(self) -> None:
        """End the loop and the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    @property
    def is_stopping(self) -> bool:
        return self._is_stopping

    def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run it there and wait; what interrupts the wait (Ctrl-C) ends the work too."""
        if self.is_forked:
            # Before the lock, which another thread may have held when the process was forked.
            raise forks.error()
        if threading.current_thread() is self._thread:
            raise RuntimeError("an async callback cannot wait for its own connection; make it a plain function")

        async def run() -> T:
            return await work()

        with self._lock:
            if self._is_stopping:
                raise _closed()
            future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(run(), self.loop)
        try:
            return self._result(future)
        except concurrent.futures.CancelledError:
            raise _closed() from None
        except BaseException:
            future.cancel()
            raise

    def _result(self, future: concurrent.futures.Future[T]) -> T:
        """What comes of it; waits."""
        return future.result()

    def stop(self) -> None:
        """End the loop and the threads; every caller who still waits is released. Idempotent."""
        with self._lock:
            is_first, self._is_stopping = not self._is_stopping, True
        if is_first:
            self._end()
            self.callbacks.stop()
            self.tokens.stop()

    def abandon(self, client: ConnectedClient) -> None:
        """Nobody can use the client any longer: let it leave, and end. From any thread, also from this one."""

        async def leave() -> None:
            try:
                await client.close()
            finally:
                self._leave_loop()

        with self._lock:
            if not self._is_stopping:
                self._is_stopping = True
                asyncio.run_coroutine_threadsafe(leave(), self.loop)
                self.callbacks.stop(wait=False)
                self.tokens.stop(wait=False)

    def _leave_loop(self) -> None:
        """The last client of the loop has left; called there."""
        self.loop.stop()

    def in_child(self) -> None:
        """See `forks`."""
        self.is_forked = True


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        # A call that was begun before `stop` is a task now; its caller is released with it.
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


_threads: list[Callable[[], LoopThread]] = [LoopThread]
"""What gives a client its thread; the last one counts."""


def new_thread() -> LoopThread:
    """The thread of a client that is about to be connected."""
    return _threads[-1]()


def begin_threads(make: Callable[[], LoopThread]) -> None:
    """Clients that are connected from now on live in threads that `make` gives; for tests."""
    _threads.append(make)


def end_threads(make: Callable[[], LoopThread]) -> None:
    """The same no longer."""
    _threads.remove(make)


def _closed() -> ConnectionLost:
    return ConnectionLost("closed", "this connection is closed; connect again", temporary=False)
