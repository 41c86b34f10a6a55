"""Acts when memory runs short: tells the core the level, logs it, and gives free memory back to the kernel.

By the level, the core refuses requests, `Admission` and the hello refuse links, and `shedding` ends links.
"""

from __future__ import annotations

import logging

from presenced.core.engine import Engine
from presenced.durations import format_duration
from presenced.server import heap
from presenced.server.clocks import Clocks
from presenced.server.memory import OK, REFUSING, Memory
from presenced.server.report import Report

GIVE_BACK_REST = 50
"""After giving memory back, the daemon waits this many times as long as that took. So it takes at most 2 % of the
time."""

FREE_BYTES_MAX = 32 << 20
FREE_SHARE = 8
FREE_CHECK_MS = 10_000
"""The C library may hold `FREE_BYTES_MAX` free bytes, or one part in `FREE_SHARE` of the memory in use if that is more.
It is asked every `FREE_CHECK_MS`."""


class MemoryGuard:
    """Measures memory and acts on the level. Only the ending of links is left to `shedding`."""

    def __init__(self, memory: Memory, engine: Engine, report: Report, clocks: Clocks) -> None:
        self._memory = memory
        self._engine = engine
        self._report = report
        self._clocks = clocks

    @property
    def next_ms(self) -> int:
        """When `check_process` is due."""
        return self._memory.next_ms

    def check_process(self, now_ms: int) -> None:
        """In a turn: measure only the process, because it may grow by hundreds of megabytes in a second."""
        if self._memory.glance(now_ms):
            self._on_level(now_ms)

    def check(self, now_ms: int) -> None:
        """Once a second: measure everything, and give memory back if much of it is free."""
        memory = self._memory
        if memory.look(now_ms):
            self._on_level(now_ms)
        if now_ms >= memory.give_back_ms and (memory.level or self._holds_much(now_ms)):
            began_ms = self._clocks.monotonic_ms()
            heap.give_back()
            memory.give_back_ms = now_ms + (self._clocks.monotonic_ms() - began_ms) * GIVE_BACK_REST

    def _holds_much(self, now_ms: int) -> bool:
        """Whether the C library holds much free memory, such as after many links that did not read have ended."""
        memory = self._memory
        if now_ms < memory.free_look_ms:
            return False
        memory.free_look_ms = now_ms + FREE_CHECK_MS
        free = heap.free_bytes()
        # Memory that was given back still counts as free, so only what has become free since then is worth the time.
        memory.given_back_bytes = min(memory.given_back_bytes, free)
        if free - memory.given_back_bytes < max(FREE_BYTES_MAX, memory.used_bytes // FREE_SHARE):
            return False
        memory.given_back_bytes = free
        return True

    def _on_level(self, now_ms: int) -> None:
        memory = self._memory
        self._engine.set_memory_level(memory.level)
        used, budget = memory.used_bytes >> 20, memory.budget_bytes >> 20
        if memory.level == OK:
            lasted = format_duration(now_ms - memory.since_ms)
            text = f"{used:,} of {budget:,} MiB: there is room again after {lasted}, and nothing is refused"
            level = logging.INFO
        elif memory.level == REFUSING:
            text = f"{used:,} of {budget:,} MiB: refusing new links and requests that need more memory"
            # The shortage begins with this level, or it is getting better.
            level = logging.ERROR if memory.since_ms == now_ms else logging.WARNING
        else:
            text, level = f"{used:,} of {budget:,} MiB: also ending the links that are owed most", logging.ERROR
        self._report.event(now_ms, "memory", text, level=level)
