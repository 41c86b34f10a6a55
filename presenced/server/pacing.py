"""When turns run: the one place that runs them, and the one timer that wakes the loop for the next.

Input asks for a turn by `begin`; a deadline asks for one through the timer. Either way the turn runs once everything
that is readable at that moment has been read, so that no link is taken for silent whose bytes lie in a socket buffer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from presenced import limits
from presenced.core import invariants
from presenced.core.engine import Engine
from presenced.server.clocks import Clocks
from presenced.server.collector import Collector
from presenced.server.fact_log import Log, MemoryLog
from presenced.server.memory_guard import MemoryGuard
from presenced.server.report import Report
from presenced.server.stats import Stats
from presenced.server.turn import run_turn

logger = logging.getLogger("presenced")

CATCH_UP_S = 0.001
"""After the process stood still the loop makes one pass over its sockets in this time, before a turn runs."""


class Waiting(Protocol):
    """What is to be served or checked before the engine's part of a turn: the queues of the links."""

    def run_due(self, now_ms: int) -> None:
        """Serve and check everything whose time has come."""

    @property
    def next_ms(self) -> int | None:
        """When `run_due` should be called next; 0 = at once, None = nothing waits."""


class Pacing:
    """Runs the turns of one server. For links it is their `links.Host`."""

    def __init__(
        self,
        engine: Engine,
        guard: MemoryGuard,
        stats: Stats,
        report: Report,
        clocks: Clocks,
        *,
        log: Log | None = None,
        check: bool = False,
        collector: Collector | None = None,
    ) -> None:
        """`check`: hold the state against the core's invariants after each turn. `collector` collects garbage between
        turns."""
        self.log: Log = log if log is not None else MemoryLog()
        """Where the facts of each turn go."""
        self.failure: BaseException | None = None
        """What the server cannot go on from; no state is changed after it."""
        self.monotonic_ns = clocks.monotonic_ns
        """The builtin itself: every heartbeat calls it."""
        self._clocks = clocks
        self._engine = engine
        self._guard = guard
        self._stats = stats
        self._report = report
        self._check = check
        self._collector = collector
        self._began_ns = 0
        """When the input of the coming turn began to be read."""
        self._is_scheduled = False
        """A turn is in the loop's queue."""
        self._look_at_bytes = 0
        """Memory is looked at once replies of so many bytes have been made in all."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        """When the timer is due."""
        self._is_catching_up = False
        """The turn has been put off once because the process stood still."""
        self._time_stands = False
        """Deadlines are not looked at: links are being closed, and nobody is to be announced as gone for that."""
        self._may_run: Callable[[int], bool] | None = None
        self._is_held = False
        """No turn runs until `go_on`."""
        self._is_over = False
        """The last turn has run. What still happens to links is told to nobody."""

    # --- start and end ----------------------------------------------------------------------------------------

    def start(self, waiting: Waiting, *, on_failure: Callable[[BaseException], object]) -> None:
        """Turns may run from here on, on the running loop. `on_failure` is called with what broke a turn; none runs
        after it."""
        self._loop = asyncio.get_running_loop()
        self._waiting = waiting
        self._on_failure = on_failure

    def use_log(self, log: Log) -> None:
        """Give the facts of each turn to another log from now on. Between two turns, before links are served."""
        self.log = log

    def run_first(self) -> None:
        """Apply what came due while the server was not running, before any client can ask."""
        now_ms = self._clocks.monotonic_ms()
        self._arm(now_ms, run_turn(self._engine, self.log, now_ms))

    def stop_time(self) -> None:
        """Run turns for input alone from now on: no deadline of the core passes."""
        self._time_stands = True

    def stop_timer(self) -> None:
        """Wake for no deadline from now on. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()

    def run_last(self) -> None:
        """Apply what has come in, with no time passing. No turn follows."""
        run_turn(self._engine, self.log, self._clocks.monotonic_ms(), stopping=True)
        self._is_over = True

    def end(self) -> None:
        """Run no turn from now on. Idempotent."""
        self._time_stands = self._is_over = True
        self.stop_timer()

    def fail(self, error: BaseException) -> None:
        """The server cannot go on from this: run no turn, and change no state. The first error stays."""
        self.failure = self.failure or error
        self._time_stands = True

    @property
    def is_broken(self) -> bool:
        """Whether the state is not to be changed any further."""
        return self.failure is not None

    def ask_before_turns(self, may_run: Callable[[int], bool]) -> None:
        """Ask this before each turn, with the time: if it says no, none runs, and so nothing is told to anybody, until
        `go_on`."""
        self._may_run = may_run

    def go_on(self) -> None:
        """Run turns again, if they are held."""
        if self._is_held:
            self._is_held = False
            self._loop.call_soon(self._run)

    # --- the turn ---------------------------------------------------------------------------------------------

    def begin(self) -> int:
        """The time in milliseconds, and a turn once everything that is readable now has been read.

        The time is read anew in each call: with that of the first call, what is read after the process stood still
        would be dated before it.
        """
        now_ns = self.monotonic_ns()
        if not self._is_scheduled:
            self._is_scheduled = True
            self._began_ns = now_ns
            self._loop.call_soon(self._run if self._may_run is None else self._run_after_tasks)
        return now_ns // 1_000_000

    def _run_after_tasks(self) -> None:
        """What this node has just been told by the others is handed over by a task, which is behind this in the loop's
        queue: one turn is for both. Without it answers come a turn later, which costs half of a delivery where each
        turn tells much."""
        self._loop.call_soon(self._run)

    def _run(self) -> None:
        if self._is_over or self.failure is not None or self._is_held:
            return
        began_ns = self.monotonic_ns()
        now_ms = began_ns // 1_000_000
        if self._may_run is not None and not self._may_run(now_ms):
            # A turn that is asked for meanwhile waits, since one is scheduled.
            self._is_held = True
            return
        waited_ms = (began_ns - self._began_ns) // 1_000_000
        if waited_ms > limits.STALL_MS and not self._is_catching_up:
            # As in `_wake`, but the process stood still between reading and this turn. Once in a row: a pass may really
            # take that long, and then the turn must run all the same.
            self._is_catching_up = True
            self._note_stall(now_ms, waited_ms)
            self._loop.call_later(CATCH_UP_S, self._run)
            return
        self._is_catching_up = False
        engine, stats = self._engine, self._stats
        reply_bytes = engine.outboxes.reply_bytes
        if now_ms >= self._guard.next_ms or reply_bytes >= self._look_at_bytes:
            # Many short turns make as many replies as a long one, in less time than passes between two looks.
            self._guard.check_process(now_ms)
            self._look_at_bytes = reply_bytes + limits.REPLY_BYTES_PER_TURN
        deliveries = engine.outboxes.deliveries
        try:
            self._waiting.run_due(now_ms)
            # From here on input belongs to the next turn.
            self._is_scheduled = False
            # What was served above took time, by which the wall clock has gone on since `now_ms`.
            engine.set_wall(now_ms, now_ms + self._clocks.wall_offset_ms())
            next_ms = run_turn(engine, self.log, now_ms, stopping=self._time_stands)
            if self._check and not self._is_scheduled:
                invariants.check(engine)
        except Exception as error:
            # Half a turn leaves no state to trust. No link caused this: links catch their own exceptions.
            logger.critical("a turn failed; stopping", exc_info=True)
            self.fail(error)
            self._on_failure(error)
            return
        ended_ns = self.monotonic_ns()
        stats.turn.add(ended_ns - began_ns)
        if self._collector is not None and self._collector.due:
            self._collector.collect()
        if engine.outboxes.deliveries != deliveries:
            stats.reaction.add(ended_ns - self._began_ns)
        self._arm(now_ms, next_ms)

    # --- the timer --------------------------------------------------------------------------------------------

    def _arm(self, now_ms: int, next_ms: int | None) -> None:
        """Have a turn run at `next_ms`, or when the first link that waits is due, whichever is first."""
        waiting_ms = self._waiting.next_ms
        if waiting_ms == 0 or next_ms == 0:
            self.begin()
            return
        if waiting_ms is not None and (next_ms is None or waiting_ms < next_ms):
            next_ms = waiting_ms
        if next_ms is None:
            return
        # Left-over work is overdue already. Without this it would count as a stall.
        next_ms = max(next_ms, now_ms)
        if self._timer is not None:
            if self._timer_ms <= next_ms:
                # The timer fires earlier than needed, which costs one empty turn. Moving it would cost more.
                return
            self._timer.cancel()
        self._timer_ms = next_ms
        self._timer = self._loop.call_later((next_ms - now_ms) / 1000, self._wake)

    def _wake(self) -> None:
        self._timer = None
        now_ns = self.monotonic_ns()
        now_ms = now_ns // 1_000_000
        self._stats.lag.add(max(0, now_ns - self._timer_ms * 1_000_000))
        if now_ms - self._timer_ms > limits.STALL_MS:
            # The process stood still. What clients sent meanwhile lies in the socket buffers: it is read in the loop
            # pass between this call and the next, before any link is taken for silent.
            self._note_stall(now_ms, now_ms - self._timer_ms)
            self._timer_ms = now_ms
            self._timer = self._loop.call_later(CATCH_UP_S, self._wake)
            return
        self.begin()

    def _note_stall(self, now_ms: int, stood_ms: int) -> None:
        self._stats.stalls += 1
        self._report.event(now_ms, "stall", f"the process stood still for {stood_ms} ms")
