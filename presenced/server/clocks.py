"""The two clocks of the machine, as one value that is handed in: a simulator has its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

OFFSET_WITHIN_NS = 100_000
"""Two looks at the monotonic clock with one at the wall clock between them take less, if the process runs."""

OFFSET_READS_MAX = 10
"""How often both clocks are read before the closest reading is taken: a traced process is slow at every one."""


class Clocks(NamedTuple):
    """The monotonic clock, by which deadlines are kept, and the wall clock, which somebody may set."""

    monotonic_ns: Callable[[], int]
    wall_ns: Callable[[], int]

    def monotonic_s(self) -> float:
        """The monotonic clock in seconds."""
        return self.monotonic_ns() / 1_000_000_000

    def monotonic_ms(self) -> int:
        """The monotonic clock in whole milliseconds."""
        return self.monotonic_ns() // 1_000_000

    def wall_ms(self) -> int:
        """The wall clock in whole milliseconds since 1970, UTC."""
        return self.wall_ns() // 1_000_000

    def wall_offset_ms(self) -> int:
        """How far the wall clock is ahead of the monotonic clock, in whole milliseconds.

        The process may be put aside between two looks at the clocks. Moments would be told and saved too late by that
        time, and another time with each turn, so a reading that took long is taken again.
        """
        within_ns, offset_ns = self._read_offset()
        for _ in range(OFFSET_READS_MAX - 1):
            if within_ns <= OFFSET_WITHIN_NS:
                break
            within_ns, offset_ns = min((within_ns, offset_ns), self._read_offset())
        return offset_ns // 1_000_000

    def _read_offset(self) -> tuple[int, int]:
        before_ns, wall_ns, after_ns = self.monotonic_ns(), self.wall_ns(), self.monotonic_ns()
        return after_ns - before_ns, wall_ns - after_ns


SYSTEM_CLOCKS = Clocks(time.monotonic_ns, time.time_ns)
"""The clocks of this machine."""
