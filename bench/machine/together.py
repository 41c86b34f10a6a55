"""Several processes that are one server: what all of them use, and when all of them rest."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bench.errors import BenchError
from bench.machine.meter import Measured
from bench.machine.process import START_TIMEOUT_S

REST_NS_MAX = 100_000
"""Processes that used less CPU than this in one look at all have nothing left to do but their timers."""

RESTS = 3
"""So many looks in a row find them so: what one waits for may be a moment old in another."""


class Together:
    """A `meter.Measured` of several. What is counted is that of `counted`; `others` belong to it and have to rest."""

    def __init__(self, counted: Sequence[Measured], others: Sequence[Measured] = ()) -> None:
        self._counted = counted
        self._all = [*counted, *others]

    @property
    def pid(self) -> int:
        """That of the first."""
        return self._counted[0].pid

    def cpu_ns(self) -> int:
        """CPU time so far of those that count."""
        return sum(one.cpu_ns() for one in self._counted)

    def settled_cpu_ns(self) -> int:
        """CPU time once all rest."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        before, rests = sum(one.settled_cpu_ns() for one in self._all), 0
        while rests < RESTS:
            if time.monotonic() > deadline_s:
                raise BenchError("the nodes and their engine do not come to rest; nothing can be measured")
            now = sum(one.settled_cpu_ns() for one in self._all)
            rests = rests + 1 if now - before < REST_NS_MAX else 0
            before = now
        return self.cpu_ns()

    def waited_ns(self) -> int:
        """The longest time that one of them was kept from its core."""
        return max(one.waited_ns() for one in self._counted)

    def resident_bytes(self) -> int:
        """Resident memory of those that count."""
        return sum(one.resident_bytes() for one in self._counted)

    def pause(self) -> None:
        """Stop all where they are."""
        for one in self._all:
            one.pause()

    def resume(self) -> None:
        """Let all go on."""
        for one in self._all:
            one.resume()
