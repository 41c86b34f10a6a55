"""Runs the steps of the `committer`: on a thread of its own in the daemon, under control of a simulator in tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol


class Runner(Protocol):
    """Runs one piece of work beside the event loop, step by step."""

    def start(self, step: Callable[[], bool]) -> None:
        """Call `step` again and again, beside the caller, until it returns False."""

    def wait(self, changed: threading.Condition, seconds: float) -> bool:
        """Wait inside a step, with the lock of `changed` held, until it is notified (True) or the time is over
        (False)."""

    def join(self) -> None:
        """Return once `step` has returned False."""


class ThreadRunner:
    """A thread of this process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None

    def start(self, step: Callable[[], bool]) -> None:
        """See `Runner.start`. A daemon thread: it never keeps the process from ending."""
        self._thread = threading.Thread(target=_run, args=(step,), name=self._name, daemon=True)
        self._thread.start()

    def wait(self, changed: threading.Condition, seconds: float) -> bool:
        """See `Runner.wait`."""
        return changed.wait(seconds)

    def join(self) -> None:
        """See `Runner.join`. Blocks; nothing happens if it was never started."""
        if self._thread is not None:
            self._thread.join()


def _run(step: Callable[[], bool]) -> None:
    while step():
        pass
