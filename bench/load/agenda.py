"""What is to be done, each thing at its time: arrivals at a rate, what comes of something else, and several as one."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable
from typing import Protocol

now_ns = time.monotonic_ns
"""The clock of all that is planned and all that arrives."""


class Agenda(Protocol):
    """What is to be done, each thing at its time."""

    @property
    def next_ns(self) -> int | None:
        """When the next is due, by `now_ns`; None = nothing more."""

    def act(self) -> None:
        """Do the next, and look for the one after it."""


class Arrivals:
    """Times at which something is due, at a steady rate: as evenly as can be, or as independent people do (Poisson).

    An agenda by itself: `do(due_ns)` is called for each.
    """

    def __init__(
        self,
        rate_per_s: float,
        seconds: float,
        do: Callable[[int], None],
        *,
        seed: int | None = None,
        delay_s: float = 0,
    ) -> None:
        """Begins after `delay_s`. With a `seed` the gaps are exponential, chosen by it; without one all are equal."""
        self._gap_ns = 1e9 / rate_per_s if rate_per_s else 0.0
        self._draw = random.Random(seed).expovariate if seed is not None else None
        self._at_ns = now_ns() + delay_s * 1e9
        self._until_ns = self._at_ns + seconds * 1e9
        self._do = do
        self.next_ns: int | None = None
        self._advance()

    def act(self) -> None:
        """Do what is due."""
        due_ns = self.next_ns
        if due_ns is not None:
            self._advance()
            self._do(due_ns)

    def _advance(self) -> None:
        self._at_ns += self._draw(1.0) * self._gap_ns if self._draw else self._gap_ns
        self.next_ns = int(self._at_ns) if self._gap_ns and self._at_ns <= self._until_ns else None


class Returns:
    """An agenda of what is done once some time has passed. Times may be added while it runs."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, Callable[[int], None]]] = []
        self._count = 0

    def add(self, due_ns: int, do: Callable[[int], None]) -> None:
        """Call `do(due_ns)` then."""
        self._count += 1
        heapq.heappush(self._waiting, (due_ns, self._count, do))

    def shift(self, by_ns: int) -> None:
        """Everything is due so much later: time stood still between two rounds."""
        self._waiting = [(due_ns + by_ns, count, do) for due_ns, count, do in self._waiting]

    @property
    def next_ns(self) -> int | None:
        """When the first is due."""
        return self._waiting[0][0] if self._waiting else None

    def act(self) -> None:
        """Do the first."""
        due_ns, _, do = heapq.heappop(self._waiting)
        do(due_ns)


class Merged:
    """Several agendas as one: the earliest first."""

    def __init__(self, *agendas: Agenda) -> None:
        self._agendas = agendas
        self._first: Agenda | None = None
        self.next_ns: int | None = None
        self._choose()

    def act(self) -> None:
        """Do what is due first."""
        if self._first is not None:
            self._first.act()
        self._choose()

    def _choose(self) -> None:
        first: Agenda | None = None
        for agenda in self._agendas:
            due_ns = agenda.next_ns
            if due_ns is not None and (first is None or first.next_ns is None or due_ns < first.next_ns):
                first = agenda
        self._first = first
        self.next_ns = first.next_ns if first is not None else None


class Until:
    """An agenda that ends at a time: who will be back only later stays away until the next round."""

    def __init__(self, end_ns: int, merged: Merged) -> None:
        self._end_ns = end_ns
        self._merged = merged

    @property
    def next_ns(self) -> int | None:
        """When the next is due; None if that is after the end."""
        due_ns = self._merged.next_ns
        return due_ns if due_ns is not None and due_ns <= self._end_ns else None

    def act(self) -> None:
        """Do the next."""
        self._merged.act()
