"""Decides from the memory in use how much load to shed, before the kernel kills the daemon.

There are three levels. Within the budget nothing is refused. Over the budget, the server refuses what needs more
memory: links, and requests that make new state. Far over the budget it also refuses requests with long answers. It then
ends the links that are owed most, a few at a time (`shedding`); the same happens if it stays over the budget for long.
The server leaves each level by itself, at a somewhat lower use than where it entered the level.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import cache
from typing import Final

from presenced.limits import (
    MEMORY_AUTO_PERCENT,
    MEMORY_ENDING_PERCENT,
    MEMORY_GLANCE_MS,
    MEMORY_PATIENCE_MS,
    MEMORY_RELIEF_PERCENT,
    MEMORY_RETRY_MS,
)
from presenced.server import cgroup
from presenced.server.clocks import SYSTEM_CLOCKS

OK: Final = 0
REFUSING: Final = 1
ENDING: Final = 2
LEVELS = ("ok", "refusing", "ending")
"""The names of the levels, for people and programs."""

LIMIT_EVERY_MS = 10_000
"""How often the limits of the control groups are read. `systemctl set-property` can change them at any time."""

NEVER_MS = 1 << 62

REFUSAL = "the server is short of memory and takes no new links; come back after the given delay"
"""The sentence for a client whose link is refused because memory is short."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """The resident memory of this process. Takes about 5 us. Only the first call opens a file descriptor."""
    return int(os.pread(_statm(), 128, 0).split()[1]) * _PAGE_BYTES


def retry_ms() -> int:
    """The delay after which a refused client may come back. It is random, so that not all clients come at once."""
    return random.randint(MEMORY_RETRY_MS, 4 * MEMORY_RETRY_MS)


@cache
def _statm() -> int:
    # The file stays open, because memory is often short when no descriptor is left.
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def level_of(level: int, used_bytes: int, budget_bytes: int) -> int:
    """The next level after `level`. A level is left well below the use at which it is entered. Pure."""
    if budget_bytes <= 0:
        return OK
    percent = used_bytes * 100 // budget_bytes
    if percent >= MEMORY_ENDING_PERCENT:
        return ENDING
    if level == ENDING and percent >= MEMORY_ENDING_PERCENT - MEMORY_RELIEF_PERCENT:
        return ENDING
    if percent >= 100 or (level != OK and percent >= 100 - MEMORY_RELIEF_PERCENT):
        return REFUSING
    return OK


class Memory:
    """The memory in use, the budget, and the resulting level. It only measures: `MemoryGuard` and `shedding` act."""

    def __init__(
        self,
        wanted_bytes: int | None,
        *,
        resident: Callable[[], int] = resident_bytes,
        charged: Callable[[], int] = cgroup.charged_bytes,
        limit: Callable[[], int] = cgroup.tightest_limit,
        wall_ms: Callable[[], int] = SYSTEM_CLOCKS.wall_ms,
    ) -> None:
        """`wanted_bytes` is the setting: None = a share of the control groups' limit, 0 = no budget."""
        self.level = OK
        self.used_bytes = resident()
        """The use at the last look. The first look is now, while there still are file descriptors."""
        self.budget_bytes = 0
        """0 = none."""
        self.since_wall_ms = 0
        """When the use went over the budget, as wall time; 0 = it is within the budget."""
        self.next_ms = 0
        """When `glance` is due."""
        self.give_back_ms = 0
        """When free memory may be given back to the kernel again."""
        self.given_back_bytes = 0
        """How much of the C library's free memory has already been given back to the kernel."""
        self.free_look_ms = 0
        """When to ask the C library for its free memory again."""
        self.refused_links = 0
        self.refused_hellos = 0
        self.ended_links = 0
        self._wanted_bytes = wanted_bytes
        self._resident = resident
        self._charged = charged
        self._limit = limit
        self._wall_ms = wall_ms
        self.since_ms = 0
        """When the use last went over the budget, on the clock of the loop. The end of the shortage does not reset
        it."""
        self._limit_ms = 0
        """When to read the control groups' limit again."""
        self._beside_bytes = 0
        """Bytes charged to the control group besides the process's own memory, at the last `look`."""

    def set_wanted(self, wanted_bytes: int | None) -> None:
        """Change the setting. The next look uses it."""
        self._wanted_bytes = wanted_bytes
        self._limit_ms = self.next_ms = 0

    def look(self, now_ms: int) -> bool:
        """Measure everything; returns whether the level has changed. Reads a few small files: call it once a second."""
        if now_ms >= self._limit_ms:
            self._limit_ms = now_ms + LIMIT_EVERY_MS
            self.budget_bytes = self._budget()
        resident = self._resident()
        try:
            self._beside_bytes = max(0, self._charged() - resident) if self.budget_bytes else 0
        except OSError:
            # No file descriptor is left to read the figure with, so the last figure stays.
            pass
        return self._judge(now_ms, resident)

    def glance(self, now_ms: int) -> bool:
        """Measure only the process's own memory; returns whether the level has changed. Reads one small file: call it
        every `MEMORY_GLANCE_MS`."""
        if self._limit_ms == 0:
            return self.look(now_ms)
        return self._judge(now_ms, self._resident())

    def wants_room(self, now_ms: int) -> bool:
        """Whether links must be ended: the use is far over the budget, or has been over it for long."""
        return self.level == ENDING or (self.level == REFUSING and now_ms - self.since_ms >= MEMORY_PATIENCE_MS)

    def _budget(self) -> int:
        if self._wanted_bytes is not None:
            return self._wanted_bytes
        try:
            return self._limit() * MEMORY_AUTO_PERCENT // 100
        except OSError:
            # As in `look`, the last figure stays. Without control groups it is 0 from the start.
            return self.budget_bytes

    def _judge(self, now_ms: int, resident: int) -> bool:
        # Without a budget the level is always `OK`, so no glance is needed.
        self.next_ms = now_ms + MEMORY_GLANCE_MS if self.budget_bytes else NEVER_MS
        self.used_bytes = resident + self._beside_bytes
        before, self.level = self.level, level_of(self.level, self.used_bytes, self.budget_bytes)
        if before == OK and self.level != OK:
            self.since_wall_ms = self._wall_ms()
            self.since_ms = now_ms
        elif self.level == OK:
            self.since_wall_ms = 0
        return self.level != before
