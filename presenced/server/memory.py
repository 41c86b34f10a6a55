"""How much memory the daemon may use, how much it does, and what follows: load is shed before the kernel ends it all.

Three levels. Within the budget all is well. Over it, whatever would need more memory is refused: links, and requests
that make new state. Far over it, so is whatever has long answers. Then, or if being over it does not pass, the links
that are owed most are ended, few at a time (`shedding`). It ends by itself when the memory is there again, a little
later than it began.
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
"""The names of the levels, as people and programs are told them."""

LIMIT_EVERY_MS = 10_000
"""How often the limits of the control groups are read: `systemctl set-property` changes them while we run."""

NEVER_MS = 1 << 62

REFUSAL = "the server is short of memory and takes no new links; come back after the delay it gives"
"""What a client is told that is refused for want of memory."""

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """The memory of this process that is resident. About 5 us, and no file descriptor more than the first time."""
    return int(os.pread(_statm(), 128, 0).split()[1]) * _PAGE_BYTES


def retry_ms() -> int:
    """When a client that is turned away may come back: at random, so that not all come at once."""
    return random.randint(MEMORY_RETRY_MS, 4 * MEMORY_RETRY_MS)


@cache
def _statm() -> int:
    # Kept open: when no descriptor is left, memory is as likely to be short.
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)


def level_of(level: int, used_bytes: int, budget_bytes: int) -> int:
    """The level that follows on `level`. Each is left a good way below where it is entered. Pure."""
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
    """What is used, what may be, and the level that follows. Knows no links: `server` does what is to be done."""

    def __init__(
        self,
        wanted_bytes: int | None,
        *,
        resident: Callable[[], int] = resident_bytes,
        charged: Callable[[], int] = cgroup.charged_bytes,
        limit: Callable[[], int] = cgroup.tightest_limit,
        wall_ms: Callable[[], int] = SYSTEM_CLOCKS.wall_ms,
    ) -> None:
        """`wanted_bytes` is the setting: None = a share of what the control groups allow, 0 = no budget."""
        self.level = OK
        self.used_bytes = resident()
        """At the last look. The first is now, while there are descriptors to be had."""
        self.budget_bytes = 0
        """0 = none."""
        self.since_wall_ms = 0
        """When it went over the budget; 0 = it is within."""
        self.next_ms = 0
        """When `glance` is due."""
        self.give_back_ms = 0
        """When free memory may be given back to the kernel again."""
        self.given_back_bytes = 0
        """Of what the C library holds that is free, how much it has given back already."""
        self.free_look_ms = 0
        """When the C library is to be asked again how much of it there is."""
        self.refused_links = 0
        self.refused_hellos = 0
        self.ended_links = 0
        self._wanted_bytes = wanted_bytes
        self._resident = resident
        self._charged = charged
        self._limit = limit
        self._wall_ms = wall_ms
        self.since_ms = 0
        """As that, on the clock of the loop; left as it was when it is over."""
        self._limit_ms = 0
        """When the control groups' limit is to be read again."""
        self._beside_bytes = 0
        """What the control group was charged with beside the process's own memory, at the last `look`."""

    def set_wanted(self, wanted_bytes: int | None) -> None:
        """Another setting from now on; the next look goes by it."""
        self._wanted_bytes = wanted_bytes
        self._limit_ms = self.next_ms = 0

    def look(self, now_ms: int) -> bool:
        """Look at everything; gives whether the level has changed. A few small files: once a second."""
        if now_ms >= self._limit_ms:
            self._limit_ms = now_ms + LIMIT_EVERY_MS
            self.budget_bytes = self._budget()
        resident = self._resident()
        try:
            self._beside_bytes = max(0, self._charged() - resident) if self.budget_bytes else 0
        except OSError:
            # No descriptor is left to read it with: it is what it was.
            pass
        return self._judge(now_ms, resident)

    def glance(self, now_ms: int) -> bool:
        """As `look`, at nothing but the process's own memory. One small file: `MEMORY_GLANCE_MS` apart."""
        if self._limit_ms == 0:
            return self.look(now_ms)
        return self._judge(now_ms, self._resident())

    def wants_room(self, now_ms: int) -> bool:
        """Whether links are to be ended: it is far over the budget, or over it for long."""
        return self.level == ENDING or (self.level == REFUSING and now_ms - self.since_ms >= MEMORY_PATIENCE_MS)

    def _budget(self) -> int:
        if self._wanted_bytes is not None:
            return self._wanted_bytes
        try:
            return self._limit() * MEMORY_AUTO_PERCENT // 100
        except OSError:
            # As above; where there are no control groups it is none from the beginning.
            return self.budget_bytes

    def _judge(self, now_ms: int, resident: int) -> bool:
        # Without a budget nothing follows from it.
        self.next_ms = now_ms + MEMORY_GLANCE_MS if self.budget_bytes else NEVER_MS
        self.used_bytes = resident + self._beside_bytes
        before, self.level = self.level, level_of(self.level, self.used_bytes, self.budget_bytes)
        if before == OK and self.level != OK:
            self.since_wall_ms = self._wall_ms()
            self.since_ms = now_ms
        elif self.level == OK:
            self.since_wall_ms = 0
        return self.level != before
