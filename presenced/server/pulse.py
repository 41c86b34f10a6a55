"""What the server checks in each second by itself: memory, held-back lines, the disk, the clock, time zones.

The server does this alone, because it is what keeps it healthy: without an operator's side it still gives memory back,
ends the links that are owed most, and follows a clock that was set.
"""

from __future__ import annotations

import asyncio
import logging

from presenced.core.parts.schedules import Schedules
from presenced.server.clocks import Clocks
from presenced.server.memory_guard import MemoryGuard
from presenced.server.pacing import Pacing
from presenced.server.report import Report
from presenced.server.shedding import Shedding
from presenced.server.stats import Stats

PULSE_S = 1.0

WALL_JUMP_MS = 500
"""If the wall clock gains or loses this much against the monotonic one within a beat, somebody has set it."""

log = logging.getLogger("presenced")


class Pulse:
    """The timer for what has no deadline of its own. A beat is O(1) in links and users, but for `shedding` while memory
    is short."""

    def __init__(
        self,
        pacing: Pacing,
        guard: MemoryGuard,
        shedding: Shedding,
        schedules: Schedules,
        stats: Stats,
        report: Report,
        clocks: Clocks,
    ) -> None:
        self._pacing = pacing
        self._guard = guard
        self._shedding = shedding
        self._schedules = schedules
        self._stats = stats
        self._report = report
        self._clocks = clocks
        self._timer: asyncio.TimerHandle | None = None
        self._wall_offset_ms = 0
        self._zones_told: dict[str, None] = {}

    @property
    def is_beating(self) -> bool:
        """Whether another beat follows."""
        return self._timer is not None

    def start(self) -> None:
        """Beat from now on, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._wall_offset_ms = self._clocks.wall_offset_ms()
        self._timer = self._loop.call_later(PULSE_S, self._beat)

    def stop(self) -> None:
        """Beat no longer. Idempotent, and allowed before `start`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        # First, so that a fault below costs one beat and not all of them.
        self._timer = self._loop.call_later(PULSE_S, self._beat)
        now_ms = self._clocks.monotonic_ms()
        self._report.flush(now_ms)
        self._guard.check(now_ms)
        self._shedding.check(now_ms)
        self._pacing.log.look()
        self._check_clock()
        self._check_zones()

    def _check_clock(self) -> None:
        """Count and tell of a system clock that was set since the last beat."""
        stats, offset_ms = self._stats, self._clocks.wall_offset_ms()
        if abs(offset_ms - self._wall_offset_ms) > WALL_JUMP_MS:
            stats.wall_jumps += 1
            stats.wall_jump_ms = offset_ms - self._wall_offset_ms
            log.warning(
                "clock: the system's clock was set by %+d ms; what is displayed and what ends at a wall time follow it",
                stats.wall_jump_ms,
            )
            # A turn tells the engine, also where no client sends anything.
            self._pacing.begin()
        self._wall_offset_ms = offset_ms

    def _check_zones(self) -> None:
        """Tell once of a time zone that the machine no longer knows, and once when it knows the zone again."""
        missing = self._schedules.zones_missing
        if missing == self._zones_told:
            return
        for name in sorted(missing.keys() - self._zones_told.keys()):
            log.warning(
                "zone: this machine knows no time zone %s, so schedules there are off; install the system's tzdata, "
                "then reload",
                name,
            )
        for name in sorted(self._zones_told.keys() - missing.keys()):
            log.info("zone: the time zone %s is known again", name)
        self._zones_told = dict(missing)
