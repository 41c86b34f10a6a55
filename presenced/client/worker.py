"""A thread that calls an application's functions, one after the other, for the synchronous face of the client.

They do not run in the connection's thread: one that takes its time would hold up the heartbeats, and the server would
take everybody for gone whom this client speaks for.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

STATES_WAITING_MAX = 100
"""Changes of state that wait for one callback; of more the oldest are left out."""

JOIN_S = 1.0
"""How long a function that is under way may keep whoever closes the connection."""

_Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class Worker:
    """The thread; it starts with the first call, and does not keep a program alive."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_stopped = False

    def call(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call it after those asked for before. For one thread at a time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        future: Future[Any] = Future()
        self._jobs.put((future, function, args))
        return future

    def stop(self, *, wait: bool = True) -> None:
        """Call nothing more. What is under way has a second to end, and is left to itself then. Idempotent."""
        self._is_stopped = True
        if self._thread is not None:
            self._jobs.put(None)
            if wait and threading.current_thread() is not self._thread:
                self._thread.join(JOIN_S)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None and not self._is_stopped:
            future, function, args = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = function(*args)
            except BaseException as error:
                # SystemExit, too: of this thread nothing is to be ended by it.
                future.set_exception(error)
            else:
                future.set_result(result)
            # Not kept until the next one comes: it may refer to the connection.
            del job, future, function, args


def awaited(worker: Worker, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as one to be awaited in the loop's thread, run by the worker. If it is async, it goes on in the loop.
    Who awaits it asks for one call at a time, so that no more of them wait than there are functions."""

    @functools.wraps(function)
    async def called(*args: Any) -> Any:
        result = await asyncio.wrap_future(worker.call(function, *args))
        return await result if inspect.isawaitable(result) else result

    return called


class Told:
    """A state callback, run by the worker: told everything in order, but for what piles up while it does not return."""

    def __init__(self, worker: Worker, loop: asyncio.AbstractEventLoop, function: Callable[..., Any]) -> None:
        self._worker = worker
        self._loop = loop
        self._function = function
        self._waiting: deque[tuple[Any, ...]] = deque(maxlen=STATES_WAITING_MAX)
        self._is_asked = False

    def __call__(self, *args: Any) -> None:
        """In the loop's thread."""
        self._waiting.append(args)
        if not self._is_asked:
            self._is_asked = True
            self._worker.call(self._tell)

    def _tell(self) -> None:
        # First: what comes while this looks for the last time is told by another call.
        self._is_asked = False
        while self._waiting:
            try:
                result = self._function(*self._waiting.popleft())
            except Exception as error:
                context = {"message": "a state callback failed", "exception": error}
                self._loop.call_soon_threadsafe(self._loop.call_exception_handler, context)
                continue
            if inspect.iscoroutine(result):
                asyncio.run_coroutine_threadsafe(result, self._loop)
