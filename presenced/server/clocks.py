"""The two clocks of the machine, as one value that is handed in: a simulator has its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple


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


SYSTEM_CLOCKS = Clocks(time.monotonic_ns, time.time_ns)
"""The clocks of this machine."""
