"""What a server used while something was done to it, from rest to rest."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol

from bench.results.outcome import ServerOutcome


class Measured(Protocol):
    """A process under measurement."""

    @property
    def pid(self) -> int:
        """The process that we started."""

    def cpu_ns(self) -> int:
        """CPU time so far."""

    def settled_cpu_ns(self) -> int:
        """CPU time once it is at rest."""

    def waited_ns(self) -> int:
        """Time that it was kept from its core."""

    def resident_bytes(self) -> int:
        """Resident memory."""

    def pause(self) -> None:
        """Stop it where it is."""

    def resume(self) -> None:
        """Let it go on."""


class Meter:
    """A context manager: what the server used inside it, and how long that took. Waits for the server to rest before
    and after, which does not count as time."""

    def __init__(self, server: Measured) -> None:
        self.cpu_ns = self.waited_ns = self.taken_ns = 0
        self._server = server
        self._started = (0, 0, 0)

    def __enter__(self) -> Meter:
        server = self._server
        self._started = (server.settled_cpu_ns(), server.waited_ns(), time.monotonic_ns())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cpu_ns, waited_ns, started_ns = self._started
        self.taken_ns = time.monotonic_ns() - started_ns
        if error is None:
            self.cpu_ns = self._server.settled_cpu_ns() - cpu_ns
            self.waited_ns = self._server.waited_ns() - waited_ns

    def cpu_us_per(self, count: int) -> float:
        """Microseconds of CPU for each of `count`; 0 if there were none."""
        return self.cpu_ns / 1000 / count if count else 0.0

    def note(self, outcome: ServerOutcome) -> None:
        """Add how busy the server's core was with it, and how much of that core something else took."""
        add_figure(outcome, "server_core_busy", round(self.cpu_ns / max(1, self.taken_ns), 3))
        add_figure(outcome, "core_taken_by_others", round(self.waited_ns / max(1, self.taken_ns), 3))


def add_figure(outcome: ServerOutcome, name: str, value: float) -> None:
    """Add the value of one more round."""
    outcome.figures.setdefault(name, []).append(value)
