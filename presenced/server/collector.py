"""Collects garbage between turns, a little at a time, while the process serves.

By default the interpreter examines all objects whenever their number has grown by a quarter: with a million users that
is a pause of 0.3 to 0.4 s. Here young objects are collected as usual. Those that survive are examined once more, after
a turn, before they are many, and are then frozen, so that the collector does not see them. So each object is examined
three times and not again, however many there are.

The price is that garbage in cycles is found only if it becomes garbage while it is young. What comes and goes with
links and users therefore has no cycles (`tests/server/test_collector.py`); what is dropped otherwise is freed at once,
as everything is that nobody refers to.
"""

from __future__ import annotations

import gc
from typing import Any, Final

from presenced.server.clocks import SYSTEM_CLOCKS, Clocks
from presenced.server.stats import Times

MIDDLE_COLLECTIONS: Final = 4
"""Collections of the middle generation, each of up to 7,000 objects, until the old one is looked at: about 2 ms."""

NEVER: Final = 1 << 30


class Collector:
    """The interpreter's collector while serving. One a process; `begin` changes the whole process."""

    def __init__(self, clocks: Clocks = SYSTEM_CLOCKS) -> None:
        self._monotonic_ns = clocks.monotonic_ns
        self.due = False
        """Whether `collect` is to be called after this turn."""
        self.pauses = Times()
        """How long collections took, of whatever generation."""
        self._middle = 0
        self._began_ns = 0

    def begin(self) -> None:
        """From now on the old generation is collected by `collect` alone."""
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, NEVER)
        gc.callbacks.append(self._collecting)
        gc.freeze()

    def end(self) -> None:
        """The interpreter does it by itself again. Idempotent."""
        if self._collecting in gc.callbacks:
            gc.callbacks.remove(self._collecting)
            gc.set_threshold(*gc.get_threshold()[:2], 10)

    def collect(self) -> None:
        """Look at what has outlived the young and the middle generation, and keep it out of sight from now on."""
        self.due = False
        self._middle = 0
        gc.collect()
        gc.freeze()

    def _collecting(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began_ns = self._monotonic_ns()
            return
        self.pauses.add(self._monotonic_ns() - self._began_ns)
        if info["generation"] == 1:
            self._middle += 1
            self.due = self.due or self._middle >= MIDDLE_COLLECTIONS
