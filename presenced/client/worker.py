"""A thread that calls an application's functions, one after the other, for the synchronous client.

They do not run in the connection's thread: a slow function would delay the heartbeats there, and the server would count
every device of this client as gone.
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
"""Changes of state that wait for one callback. Beyond it the oldest are dropped."""

JOIN_S = 1.0
"""How long a function that is running may delay the caller who closes the connection."""

_Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class Worker:
    """The thread; it starts with the first call, and does not keep a program alive."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_stopped = False

    def call(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Call it after the functions that were asked for before. Only one thread may use this at a time."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        future: Future[Any] = Future()
        self._jobs.put((future, function, args))
        return future

    def stop(self, *, wait: bool = True) -> None:
        """Call no further function. One that is running has a second to end, and is left to itself then. Idempotent."""
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
                # SystemExit, too: it must not end this thread.
                future.set_exception(error)
            else:
                future.set_result(result)
            # Not kept until the next job comes: it may refer to the connection.
            del job, future, function, args


def awaited(worker: Worker, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as one to be awaited in the loop's thread, run by the worker. An async function continues in the loop.
    A caller awaits one call before the next, so that at most one call of each function waits."""

    @functools.wraps(function)
    async def called(*args: Any) -> Any:
        result = await asyncio.wrap_future(worker.call(function, *args))
        return await result if inspect.isawaitable(result) else result

    return called


class StateRelay:
    """A state callback, run by the worker. It is told every change in order, except for the oldest ones that pile up
    while it does not return."""

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
        # First, so that a change which comes during the last look is told by another call.
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
