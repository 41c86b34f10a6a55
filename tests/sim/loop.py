"""An event loop on a clock that moves only when told, and the disk's thread beside it: who runs next is a choice."""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from presenced.server.clocks import Clocks

START_NS = 5_000_017_000_000
WALL_NS = 1_700_000_000_000_000_000
STEPS_MAX = 20_000


class Handle:
    """Something that the loop will call, unless it is cancelled."""

    __slots__ = ("arguments", "call")

    def __init__(self, call: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
        self.call = call
        self.arguments = arguments

    def cancel(self) -> None:
        self.call = None

    def run(self) -> None:
        if self.call is not None:
            self.call(*self.arguments)


class Finished:
    """What is awaited has happened already."""

    def __await__(self) -> Generator[None]:
        return iter(())  # type: ignore[return-value]  # nothing is ever sent to it


class Time:
    """The machine's two clocks. They outlive every process on it."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.wall_offset_ns = WALL_NS - START_NS
        self.clocks = Clocks(lambda: self.now_ns, lambda: self.now_ns + self.wall_offset_ns)

    @property
    def now_ms(self) -> int:
        return self.now_ns // 1_000_000

    @property
    def wall_ms(self) -> int:
        return (self.now_ns + self.wall_offset_ns) // 1_000_000


class Loop:
    """The part of `asyncio.AbstractEventLoop` that a server uses, of one process."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[int, int, Handle]] = []
        self._serial = 0

    # --- the port -----------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self._time.now_ns / 1_000_000_000

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> Handle:
        handle = Handle(call, arguments)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay_s: float, call: Callable[..., object], *arguments: Any) -> Handle:
        handle = Handle(call, arguments)
        self._serial += 1
        heapq.heappush(self._timers, (self._time.now_ns + round(delay_s * 1e9), self._serial, handle))
        return handle

    def run_in_executor(self, executor: None, call: Callable[..., object], *arguments: Any) -> Finished:
        call(*arguments)
        return Finished()

    # --- what moves it ------------------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether something is to be called now."""
        return bool(self._ready) or bool(self._timers) and self._timers[0][0] <= self._time.now_ns

    @property
    def next_ns(self) -> int | None:
        """When the next timer is due."""
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def run_pass(self) -> None:
        """What is ready at this moment, and no more: as one pass of a loop."""
        while self._timers and self._timers[0][0] <= self._time.now_ns:
            self._ready.append(heapq.heappop(self._timers)[2])
        for _ in range(len(self._ready)):
            self._ready.popleft().run()


class StepRunner:
    """The committer's thread, one step at a time (`storage.runner.Runner`)."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._step: Callable[[], bool] | None = None
        self._until_ns = 0
        """Until when it waits for something to do; 0 = it does not wait."""
        self._is_late = False
        """It waited, and nothing came."""

    def start(self, step: Callable[[], bool]) -> None:
        self._step = step

    def wait(self, changed: threading.Condition, seconds: float) -> bool:
        if self._is_late:
            return False
        # Nobody waits in truth: a notice makes it ready again.
        changed.notify = self._notified  # type: ignore[method-assign]
        self._until_ns = self._time.now_ns + max(1, round(seconds * 1e9))
        return True

    def join(self) -> None:
        for _ in range(STEPS_MAX):
            if self._step is None or not self._step():
                return
        raise AssertionError("the committer does not come to an end")

    def _notified(self, n: int = 1) -> None:
        self._until_ns = 0

    @property
    def is_ready(self) -> bool:
        """Whether it has something to do now."""
        return self._step is not None and self._until_ns <= self._time.now_ns

    @property
    def next_ns(self) -> int | None:
        """When it wakes by itself, if it waits."""
        return self._until_ns or None

    def run_step(self) -> None:
        """Do the next step."""
        assert self._step is not None
        self._is_late, self._until_ns = self._until_ns > 0, 0
        if not self._step():
            self._step = None
