"""What the server sees to each second, also where nobody says anything: memory, held-back lines, the disk, the clock.

The server runs it by itself, because it is what keeps it healthy: with no operator's side at all it still gives memory
back, ends the links that are owed most, and follows a clock that was set.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from presenced.server.shedding import look as look_at_memory

if TYPE_CHECKING:
    from presenced.server.server import Server

PULSE_S = 1.0

WALL_JUMP_MS = 500
"""The wall clock is set this much forward or back against the monotonic one: it jumped."""

log = logging.getLogger("presenced")


class Pulse:
    """The one timer for what has no deadline of its own. O(1) in links and users, but for `shedding` while memory is
    short."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._timer: asyncio.TimerHandle | None = None
        self._wall_offset_ms = 0
        self._zones_told: dict[str, None] = {}

    def start(self) -> None:
        """Beat from now on, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._wall_offset_ms = _wall_offset_ms()
        self._timer = self._loop.call_later(PULSE_S, self._beat)

    def stop(self) -> None:
        """Beat no longer. Idempotent, and allowed before `start`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        # First, so that a fault below costs one beat and not all of them.
        self._timer = self._loop.call_later(PULSE_S, self._beat)
        server = self._server
        now_ms = _monotonic_ms()
        server.report.flush(now_ms)
        look_at_memory(server, now_ms)
        server.log.look()
        self._look_at_clock()
        self._look_at_zones()

    def _look_at_clock(self) -> None:
        """Count and tell of a system clock that was set since the last beat."""
        server, offset_ms = self._server, _wall_offset_ms()
        if abs(offset_ms - self._wall_offset_ms) > WALL_JUMP_MS:
            server.stats.wall_jumps += 1
            server.stats.wall_jump_ms = offset_ms - self._wall_offset_ms
            log.warning(
                "clock: the system's clock was set by %+d ms; what is displayed and what ends at a wall time follow it",
                server.stats.wall_jump_ms,
            )
            # A turn tells the engine, also where nobody says anything.
            server.begin()
        self._wall_offset_ms = offset_ms

    def _look_at_zones(self) -> None:
        """Tell once of a time zone that the machine no longer knows, and once when it does."""
        missing = self._server.engine.claims.zones_missing
        if missing == self._zones_told:
            return
        for name in sorted(missing.keys() - self._zones_told.keys()):
            log.warning(
                "zone: this machine knows no time zone %s, so schedules there are off; install the system's tzdata, "
                "then reload",
                name,
            )
        for name in sorted(self._zones_told.keys() - missing.keys()):
            log.info("zone: the time zone %s is not missing any more", name)
        self._zones_told = dict(missing)


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall_offset_ms() -> int:
    return (time.time_ns() - time.monotonic_ns()) // 1_000_000
