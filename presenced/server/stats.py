"""What the server counts: plain integers, added up where things happen and read by whoever asks.

A counter is an attribute that is added to (45 ns) and never an object that is called: one from a metrics library
costs from 300 to 1,500 ns. What can be computed from the state when somebody asks is not counted at all.
"""

from __future__ import annotations

from collections import Counter

BUCKETS = 24
"""Buckets of a `Times`: up to 1, 2, 4, ... microseconds; the last takes what is longer than 4 s."""


class Times:
    """A histogram of durations in powers of two: `add` costs about 0.1 us, and a quantile is right to a factor 2."""

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
        """Upper edge of the bucket below which `share` (0 to 1) of the durations lie; 0 if there are none.

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
    """The server's own counters since it started. Those of the core stand in the core (`Publisher`, `Leases`)."""

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
        """From the start of the server to its first accepted link being possible."""
        self.accepted = 0
        """Connections taken."""
        self.hellos = 0
        """Hellos answered with a welcome."""
        self.goodbyes: Counter[str] = Counter()
        """Links ended, or refused, by the server, by code."""
        self.frames_in = 0
        self.stalls = 0
        """Times the process stood still for more than `limits.STALL_MS`."""
        self.turn = Times()
        """How long a turn took."""
        self.reaction = Times()
        """From the first read input of a turn to the last write of what it brought about: change to write."""
        self.lag = Times()
        """How much later than it was due a deadline of the wheel was looked at."""
        self.fsync = Times()
        """How long a commit to the log took. Written by the committer's thread alone."""
        self.wall_jumps = 0
        self.wall_jump_ms = 0
        """The last jump of the wall clock against the monotonic one."""
        self.reloads = 0
        self.reloaded_wall_ms = 0
        """When the configuration in force was read by a reload; 0 = at the start."""
        self.failed_reloads = 0
        self.reload_faults: list[str] = []
        """Why the last reload was refused; empty if it was not."""
        self.reload_failed_ms = 0
        """Since when reloads are refused, on the monotonic clock; 0 = the last one was not."""
        self.accept_failures = 0
        """Times the system had nothing left for another connection."""
        self.handshakes_failed = 0
        """TLS handshakes of admitted connections that came to nothing."""
        self.cut_off = 0
        """TLS connections that there was no room for, not even to be told so."""
