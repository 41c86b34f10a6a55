"""The open loop: what is to be sent has its time beforehand and is sent then, whatever the server does meanwhile.

A closed loop waits for the server and so never meets it at its worst; its latencies leave out the very requests that a
slow moment held up (coordinated omission). Here every latency counts from the time that was planned. The generator is
one thread that reads and sends: by how much it sent late is recorded too, for a latency below that says more
of the generator than of the server.
"""

from __future__ import annotations

import gc
import select
from collections.abc import Callable

from bench.load.agenda import Agenda, Arrivals, now_ns
from bench.machine.server import Server
from bench.results.histogram import Histogram

EVENTS_AT_ONCE = 32
"""Links read between two looks at the clock: what is due waits at most for so many reads."""

SENDS_AT_ONCE = 64
"""What is sent in one go by a generator that is late, before it reads again."""

QUIET_S = 0.3
"""Nothing has arrived for so long: everything has."""

DRAIN_S = 10.0
DRAINED_S = 0.05
"""The same for a server that rests."""

LATE_US = 1000
BUSY_MAX = 0.95


class OpenLoop:
    """Does what an agenda says on time and reads what arrives."""

    def __init__(self, poller: select.epoll, read: Callable[[int], None], *, spin: bool) -> None:
        self.lag = Histogram()
        """By how much it was late in this round, for each thing that it did."""
        self.idle_ns = self.taken_ns = 0
        """Time of this round in which nothing was due and nothing arrived, of all."""
        self.span_ns = 0
        """From the start of the last run to the last thing that was done or arrived in it: without the quiet end."""
        self._lag_before = Histogram()
        self._before_ns = (0, 0)
        self._poller = poller
        self._read = read
        self._spin = spin

    def new_round(self) -> None:
        """What is measured from here on is of another round; `notes` are of all."""
        self._lag_before.add(self.lag)
        idle_ns, taken_ns = self._before_ns
        self._before_ns = idle_ns + self.idle_ns, taken_ns + self.taken_ns
        self.lag, self.idle_ns, self.taken_ns = Histogram(), 0, 0
        gc.collect()  # here, as it may take longer than the first things that are due could wait

    def run(self, agenda: Agenda, *, quiet_s: float = QUIET_S) -> None:
        """Until the agenda is done and nothing has arrived for `quiet_s` (or something still does after 10 s)."""
        poll, clock, read, lag = self._poller.poll, now_ns, self._read, self.lag.record
        gc.disable()
        started_ns = before_ns = last_ns = clock()
        ended_ns = 0
        try:
            while True:
                due_ns = agenda.next_ns
                events = poll(self._patience_s(due_ns, before_ns), EVENTS_AT_ONCE)
                for fd, _ in events:
                    read(fd)
                time_ns = clock()
                if events:
                    last_ns = time_ns
                elif due_ns is not None:
                    self.idle_ns += time_ns - before_ns
                for _ in range(SENDS_AT_ONCE):
                    due_ns = agenda.next_ns
                    if due_ns is None or due_ns > time_ns:
                        break
                    lag(time_ns - due_ns)
                    agenda.act()
                    time_ns = clock()
                before_ns = time_ns
                if due_ns is None:
                    if not ended_ns:
                        ended_ns = last_ns = time_ns
                    if time_ns - last_ns > quiet_s * 1e9 or time_ns - ended_ns > DRAIN_S * 1e9:
                        return
        finally:
            gc.enable()
            self.taken_ns += (ended_ns or clock()) - started_ns
            self.span_ns = max(last_ns, ended_ns) - started_ns

    def drain(self, server: Server) -> None:
        """Wait until the server rests, and read what it has sent: one that is kept from its core for a while looks as
        if it had nothing more to say."""
        server.settled_cpu_ns()
        self.run(Arrivals(0, 0, lambda due_ns: None), quiet_s=DRAINED_S)

    @property
    def busy(self) -> float:
        """The share of the round's time in which it had something to do."""
        return 1 - self.idle_ns / self.taken_ns if self.taken_ns else 0.0

    def notes(self) -> list[str]:
        """For the outcome: a sentence if the generator was the limit, and one if it shares the server's core."""
        shared = (
            [] if self._spin else ["server and generator share a core: waits have the generator's own work in them"]
        )
        return self._limits() + shared

    def _limits(self) -> list[str]:
        self.new_round()
        lag_us = self._lag_before.percentile_ns(99) / 1000
        idle_ns, taken_ns = self._before_ns
        busy = 1 - idle_ns / taken_ns if taken_ns else 0.0
        if lag_us > LATE_US:
            return [f"the generator was the limit: one in a hundred times it was {lag_us:,.0f} us late or more"]
        if busy > BUSY_MAX and self._spin:
            return [f"the generator was the limit: it was busy {busy:.0%} of the time"]
        return []

    def _patience_s(self, due_ns: int | None, time_ns: int) -> float:
        if self._spin:
            return 0.0
        return QUIET_S / 10 if due_ns is None else max(0.0, min(QUIET_S, (due_ns - time_ns) / 1e9))
