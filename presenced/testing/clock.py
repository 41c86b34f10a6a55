"""A clock that stands still until a test moves it, under the event loop that the test runs on.

All that is not ready at once happens by the loop's timers, and the loop reads its time in one place. So the loop itself
stays: its time is replaced, and so is the place where it would sleep, since that is where it is known that nothing is
left to do at this moment. Time moves only there, from one timer to the next.

The loop's inside is touched in this file alone. It has to be asyncio's own: uvloop's clock cannot be moved.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from presenced.server.clocks import Clocks
from presenced.testing.chance import begin_chance, end_chance
from presenced.testing.errors import StandstillError, TestServerError

T = TypeVar("T")

START_NS = 1_000_000_000_000
"""The loop's time at the start: the same in each run, and small enough for exact milliseconds in a float."""

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
"""The wall time at the start unless a test says another: a Monday morning."""

PASSES_MAX = 200_000
"""Passes of the loop at one moment. Whoever is ready again and again lets no time pass."""

THREAD_S = 1.0
"""So long in real time a moment waits for threads that were asked for something; longer ones are left to themselves."""

BESIDE_OTHERS = 6
"""So many times the patience is had while sockets or threads of the application may bring something."""

SOCKET_S = 0.001
"""So long it waits where the application has sockets of its own, on which something may be under way."""

Connect = Callable[[Callable[[], asyncio.BaseProtocol]], tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]
"""Connects a protocol that it is given, or raises `OSError`."""

_clocks: WeakKeyDictionary[asyncio.AbstractEventLoop, VirtualClock]


class _Run:
    """A time to be reached, or a condition to come about before it."""

    def __init__(self, until_ns: int, is_over: Callable[[], bool], end: asyncio.Future[bool]) -> None:
        self.until_ns = until_ns
        self.is_over = is_over
        self.end = end
        self.passes = 0


class _Selector:
    """Stands in for the loop's selector."""

    def __init__(self, selector: Any, look: Callable[[float | None], list[Any]]) -> None:
        self._selector = selector
        self._look = look

    def select(self, timeout: float | None = None) -> list[Any]:
        return self._look(timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._selector, name)


class VirtualClock:
    """The clock of one loop, for all servers on it: `VirtualClock.enter()`, and `leave` for each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int, patience_s: float | None, outside_s: float) -> None:
        """`seed` is of all dice. `patience_s`: so long in real time everybody may wait while nothing moves the clock.
        `outside_s`: so long in real time a moment waits for programs outside, after something was sent to them or came
        from them."""
        self.now_ns = START_NS
        self.steps = 0
        """How often time has moved."""
        self.tester: asyncio.Task[Any] | None = None
        """Who has used a server last, and is told if everything stands still."""
        self.standstill = ""
        """Why the tester was interrupted; empty if that was not."""
        self._loop = loop
        self._inside = cast(Any, loop)
        self._seed = seed
        self._patience_s = patience_s
        self._outside_s = outside_s
        self._users = 0
        self._run: _Run | None = None
        self._connects: dict[tuple[str, int], Connect] = {}
        self._threads: dict[object, None] = {}
        """What threads were asked for and have not done."""
        self._outside_is_busy = False
        self._outside: list[Callable[[], bool]] = []
        self._own_files = 0

    # --- on a loop, and off it --------------------------------------------------------------------------------

    @staticmethod
    def enter(seed: int, patience_s: float | None, outside_s: float) -> VirtualClock:
        """The clock of the running loop; the first who asks lays it under the loop, as it says. Raises
        `TestServerError`."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise TestServerError(
                "no asyncio loop runs here; write `async with TestServer() as server:` in a coroutine, or use "
                "BlockingTestServer"
            ) from None
        clock = _clocks.get(loop)
        if clock is None:
            if not hasattr(loop, "_selector") or not hasattr(loop, "_scheduled"):
                raise TestServerError(
                    f"the clock of {type(loop).__module__}.{type(loop).__name__} cannot be moved; run tests that use "
                    "TestServer on asyncio's own loop (for pytest-asyncio: without a uvloop policy)"
                )
            clock = _clocks[loop] = VirtualClock(loop, seed, patience_s, outside_s)
            clock._lay()
        clock._users += 1
        return clock

    def leave(self) -> None:
        """Of who entered: the clock is not needed any longer. After the last the loop goes by real time again."""
        self._users -= 1
        if not self._users:
            self._lift()

    def _lay(self) -> None:
        loop = self._inside
        begin_chance(self._seed)
        self._selector, self._create_connection = loop._selector, loop.create_connection
        self._run_in_executor = loop.run_in_executor
        self._move_timers(START_NS / 1e9 - loop.time())
        # A nanosecond more: 1029.123 s times 1,000 are 1,029,122.99 ms, and clients cut that off; servers do not.
        loop.time = lambda: (self.now_ns + 1) / 1_000_000_000
        loop._selector = _Selector(self._selector, self._look)
        loop.create_connection = self._connect
        loop.run_in_executor = self._execute

    def _lift(self) -> None:
        loop = self._inside
        loop._selector = self._selector
        for name in ("time", "create_connection", "run_in_executor"):
            delattr(loop, name)
        self._move_timers(loop.time() - self.now_ns / 1e9)
        del _clocks[self._loop]
        end_chance()

    def _move_timers(self, by_s: float) -> None:
        """What was planned by the other clock keeps its distance. The order stays, so that the heap stays one."""
        for handle in self._inside._scheduled:
            handle._when += by_s

    # --- what it says -----------------------------------------------------------------------------------------

    def clocks(self, start: datetime | None) -> Clocks:
        """The two clocks of a server on this loop, whose wall clock shows `start` now, or runs on from `START`."""
        zero_ns, since_ns = (START, START_NS) if start is None else (start, self.now_ns)
        offset_ns = round(zero_ns.timestamp() * 1000) * 1_000_000 - since_ns
        return Clocks(lambda: self.now_ns, lambda: self.now_ns + offset_ns)

    def note_tester(self) -> None:
        """The running task, if there is one, uses a server."""
        if asyncio._get_running_loop() is self._loop:
            self.tester = asyncio.current_task()

    def standstill_error(self) -> StandstillError:
        """What the tester is told who was interrupted."""
        sentence, self.standstill = self.standstill, ""
        return StandstillError(sentence)

    # --- moving it --------------------------------------------------------------------------------------------

    async def advance(self, until_ns: int, is_over: Callable[[], bool] = lambda: False) -> bool:
        """Let everything happen that is due until then, in order, and all that follows from it; ends before if
        `is_over` says so at a moment at which everything is quiet. Returns whether it did. Raises `TestServerError` if
        somebody else is about it, and `StandstillError` if something is busy without end."""
        if self._run is not None:
            raise TestServerError("another task is moving the clock already; let one of them do it")
        run = self._run = _Run(until_ns, is_over, self._loop.create_future())
        try:
            return await run.end
        finally:
            self._run = None

    async def settle(self) -> None:
        """Let everything happen that needs no time; while another task moves the clock, what is ready now."""
        if self._run is None:
            await self.advance(self.now_ns)
        else:
            await asyncio.sleep(0)

    async def finish(self, work: Coroutine[Any, Any, T], within_s: float = 3600.0) -> T:
        """What comes of `work`, with as much time as it takes; while another task moves the clock, with that."""
        if self._run is not None:
            return await work
        task = self._loop.create_task(work)
        try:
            if not await self.advance(self.now_ns + round(within_s * 1e9), task.done):
                raise StandstillError(f"{work!r} did not come to an end within {within_s:g} s of the virtual clock")
            return await task
        finally:
            task.cancel()

    def due_s(self) -> float | None:
        """In how many seconds the next timer is due; None if there is none."""
        planned = [handle for handle in self._inside._scheduled if not handle.cancelled()]
        return heapq.nsmallest(1, planned)[0].when() - self._loop.time() if planned else None

    # --- in the loop, where it would sleep --------------------------------------------------------------------

    def _look(self, timeout_s: float | None) -> list[Any]:
        ready: list[Any] = self._selector.select(0)
        if ready or (timeout_s is not None and timeout_s <= 0):
            if self._run is not None:
                self._note_pass(self._run)
            return ready
        # Nothing is left to do at this moment.
        if self._run is None:
            return self._wait()
        if self._threads:
            ready = self._selector.select(THREAD_S)
            if not ready:
                self._threads.clear()
            return ready
        if self._outside_is_busy or any([is_busy() for is_busy in self._outside]):
            ready = self._selector.select(self._outside_s)
            self._outside_is_busy = bool(ready)
            return ready
        if self._has_files:
            ready = self._selector.select(SOCKET_S)
            if ready:
                return ready
        self._move(self._run, timeout_s)
        return []

    def _note_pass(self, run: _Run) -> None:
        run.passes += 1
        if run.passes > PASSES_MAX and not run.end.done():
            sentence = f"something is ready again in each of {PASSES_MAX:,} passes of the loop, and no time can pass"
            run.end.set_exception(StandstillError(f"{sentence}; is there a loop around asyncio.sleep(0)?"))

    def _move(self, run: _Run, timeout_s: float | None) -> None:
        run.passes = 0
        if run.end.done():
            return
        try:
            is_over = run.is_over()
        except Exception as error:
            run.end.set_exception(error)
            return
        due_ns = None if timeout_s is None else self.now_ns + round(timeout_s * 1e9)
        if is_over:
            run.end.set_result(True)
        elif due_ns is not None and due_ns <= run.until_ns:
            self.now_ns = due_ns
            self.steps += 1
        else:
            self.now_ns = max(self.now_ns, run.until_ns)
            run.end.set_result(False)

    @property
    def _has_files(self) -> bool:
        """Whether the loop has descriptors besides its own one and those of the servers."""
        return len(self._selector.get_map()) > 1 + self._own_files

    def _wait(self) -> list[Any]:
        """Until something comes from outside, since no time passes."""
        # Some descriptor or thread may bring something.
        is_alone = not self._threads and not self._has_files
        patience_s = self._patience_s if is_alone or self._patience_s is None else self._patience_s * BESIDE_OTHERS
        ready: list[Any] = self._selector.select(patience_s)
        if not ready:
            self._interrupt()
        return ready

    def _interrupt(self) -> None:
        due_s = self.due_s()
        next_due = "no timer is planned" if due_s is None else f"the next timer is due in {due_s:g} s"
        self.standstill = (
            f"everybody waits, and {next_due}; the clock stands still until the test moves it: "
            "`await server.advance(seconds=...)`, or `await server.until(...)`"
        )
        task = self.tester
        if task is not None and not task.done():
            task.cancel(self.standstill)
            return
        for task in asyncio.all_tasks(self._loop):
            if not task.get_name().startswith("presenced client"):
                task.cancel(self.standstill)

    # --- what the loop is asked for ---------------------------------------------------------------------------

    def answer_at(self, host: str, port: int, connect: Connect) -> None:
        """Whoever connects on this loop to this address is connected by `connect`, without a socket."""
        self._connects[host, port] = connect

    def answer_no_longer(self, host: str, port: int) -> None:
        """Who connects there takes the network again. Idempotent."""
        self._connects.pop((host, port), None)

    async def _connect(self, factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        connect = self._connects.get((host, port))
        if connect is None:
            return await self._create_connection(factory, host, port, **options)
        if options.get("ssl"):
            raise ConnectionResetError("a TestServer has no TLS; write presence://")
        await asyncio.sleep(0)
        return connect(factory)

    def _execute(self, executor: Any, function: Any, *args: Any) -> Any:
        future = self._run_in_executor(executor, function, *args)
        self.wait_for(future)
        return future

    def wait_for(self, future: Any) -> None:
        """Let no time pass until this future of a thread is done, or for a second of real time. On the loop's thread,
        or with a future that tells the loop before it tells this clock."""
        key = object()
        self._threads[key] = None
        future.add_done_callback(lambda _: self._threads.pop(key, None))

    def note_outside(self) -> None:
        """Something was sent to a program outside, or came from it: it may have an answer."""
        self._outside_is_busy = True

    def ask_outside(self, is_busy: Callable[[], bool]) -> None:
        """Ask this at each moment whether something was sent to a program outside since the last, or came from it."""
        self._outside.append(is_busy)

    def ask_no_longer(self, is_busy: Callable[[], bool]) -> None:
        """The end of that."""
        self._outside.remove(is_busy)

    def note_files(self, more: int) -> None:
        """So many descriptors more (or fewer) on the loop are the servers' own, and bring nothing by themselves."""
        self._own_files += more


_clocks = WeakKeyDictionary()
