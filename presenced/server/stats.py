"""The server's counters: plain integers that are increased where things happen, and read for the status.

A counter is an attribute, and adding to it takes 45 ns. A counter object of a metrics library takes 300 to 1,500 ns for
each call. A figure that can be computed from the state is computed when it is asked for, and not counted.
"""

from __future__ import annotations

from collections import Counter

BUCKETS = 24
"""Buckets of a `Times`: up to 1, 2, 4, ... microseconds. The last bucket is for durations of more than 4 s."""


class Times:
    """A histogram of durations in powers of two. `add` takes about 0.1 us. A quantile is exact to a factor of 2."""

    __slots__ = ("buckets", "count", "sum_ns", "max_ns")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.count = 0
        self.sum_ns = 0
        self.max_ns = 0

    def add(self, ns: int) -> None:
        """Count one duration."""
        index = (ns // 1000).bit_length()
        self.buckets[index if index < BUCKETS else BUCKETS - 1] += 1
        self.count += 1
        self.sum_ns += ns
        if ns > self.max_ns:
            self.max_ns = ns

    def quantile_us(self, share: float) -> float:
        """The upper edge of the bucket that `share` (0 to 1) of the durations lie below; 0 if there are none.

        O(buckets).
        """
        wanted = share * self.count
        below = 0
        for index, number in enumerate(self.buckets):
            below += number
            if number and below >= wanted:
                return float(min(1 << index, max(1, self.max_ns // 1000)))
        return 0.0


class Stats:
    """The server's own counters since its start. The core has counters of its own (`Publisher`, `Leases`)."""

    __slots__ = (
        "started_wall_ms", "started_ms", "accepted", "hellos", "goodbyes", "frames_in",
        "stalls", "turn", "reaction", "lag", "fsync", "wall_jumps", "wall_jump_ms", "reloads", "reloaded_wall_ms",
        "failed_reloads", "reload_faults", "reload_failed_ms", "accept_failures", "handshakes_failed", "cut_off",
        "ready_took_ms",
    )  # fmt: skip

    def __init__(self, now_ms: int, wall_ms: int) -> None:
        self.started_ms = now_ms
        self.started_wall_ms = wall_ms
        self.ready_took_ms = 0
        """How long it took from the start of the server until it accepted links."""
        self.accepted = 0
        """Connections accepted."""
        self.hellos = 0
        """Hellos answered with a welcome."""
        self.goodbyes: Counter[str] = Counter()
        """Links that the server ended or refused, by code."""
        self.frames_in = 0
        self.stalls = 0
        """How many times the process stalled for more than `limits.STALL_MS`."""
        self.turn = Times()
        """How long turns took."""
        self.reaction = Times()
        """Time from the first input that a turn reads to the last write that results from it."""
        self.lag = Times()
        """How late the deadlines of the wheel were handled."""
        self.fsync = Times()
        """How long commits to the log took. Only the committer's thread writes this."""
        self.wall_jumps = 0
        self.wall_jump_ms = 0
        """The last jump of the wall clock, measured against the monotonic clock."""
        self.reloads = 0
        self.reloaded_wall_ms = 0
        """When a reload read the configuration in force; 0 = the start read it."""
        self.failed_reloads = 0
        self.reload_faults: list[str] = []
        """Why the last reload was refused; empty if it was not."""
        self.reload_failed_ms = 0
        """Since when reloads are refused, on the monotonic clock; 0 = the last reload was not refused."""
        self.accept_failures = 0
        """How many times the system had no resources for another connection."""
        self.handshakes_failed = 0
        """TLS handshakes of admitted connections that failed."""
        self.cut_off = 0
        """TLS connections that were closed without a message, because there was no room even for a refusal."""

    def note_reload(self, read_wall_ms: int) -> int:
        """A configuration that was read at `read_wall_ms` is in force. Returns since when reloads had been refused
        until now (0 = the last one was not)."""
        self.reloads += 1
        self.reloaded_wall_ms = read_wall_ms
        failed_ms, self.reload_failed_ms, self.reload_faults = self.reload_failed_ms, 0, []
        return failed_ms

    def note_refused_reload(self, now_ms: int, faults: list[str]) -> None:
        """A reload was refused for these faults, and nothing has changed."""
        self.failed_reloads += 1
        self.reload_faults = faults
        self.reload_failed_ms = self.reload_failed_ms or now_ms

    def note_broken_reload(self) -> None:
        """A reload failed while it was applied."""
        self.failed_reloads += 1
