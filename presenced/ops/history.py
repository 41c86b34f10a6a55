"""The last five minutes, one sample a second, for the plots of the status page and of `presencectl top`.

A sample has rates instead of totals and quantiles instead of histograms, so that a plot needs nothing else. A restart
loses the history: Prometheus is for the long run.
"""

from __future__ import annotations

from collections import deque

from presenced.server.stats import BUCKETS
from presenced.server.status import Quantiles, ServerStatus

SAMPLES_MAX = 300

LOOK_BACK_MS = 300_000
MARK_EVERY_MS = 10_000

SERIES = (
    "at_ms",
    "deliveries_per_s",
    "changes_per_s",
    "frames_per_s",
    "links",
    "users_online",
    "turn_p99_us",
    "lag_p99_us",
    "rss_bytes",
    "cpu_permille",
)
"""The figures of a sample. `at_ms` is the uptime when it was taken, which does not change if the clock is set."""


class History:
    """The last `SAMPLES_MAX` samples: `series[name][i]` is the value of `name` at `series["at_ms"][i]`, oldest
    first."""

    __slots__ = ("series", "_before", "_marks")

    def __init__(self) -> None:
        self._marks: deque[ServerStatus] = deque()
        """Statuses of the last five minutes, one every ten seconds, and the last one before them."""
        self.series: dict[str, list[int]] = {name: [] for name in SERIES}
        self._before: _Totals | None = None

    def __len__(self) -> int:
        return len(self.series["at_ms"])

    def earlier(self, status: ServerStatus) -> ServerStatus | None:
        """The status of about five minutes before `status`, whose totals show what happened lately; None if the server
        has not run as long. O(marks)."""
        found = None
        for mark in self._marks:
            if status.uptime_ms - mark.uptime_ms < LOOK_BACK_MS:
                break
            found = mark
        return found

    def _mark(self, status: ServerStatus) -> None:
        if self._marks and status.uptime_ms - self._marks[-1].uptime_ms < MARK_EVERY_MS:
            return
        self._marks.append(status)
        while len(self._marks) > 1 and status.uptime_ms - self._marks[1].uptime_ms >= LOOK_BACK_MS:
            self._marks.popleft()

    def sample(self, status: ServerStatus) -> None:
        """Add what changed since the last call. The first call only remembers the totals. O(buckets)."""
        self._mark(status)
        now = _Totals(status)
        before, self._before = self._before, now
        if before is None or now.at_ms <= before.at_ms:
            return
        # Divided by the time that passed and not by a second: after a stall it is longer.
        passed_ms = now.at_ms - before.at_ms
        values = (
            now.at_ms,
            (now.deliveries - before.deliveries) * 1000 // passed_ms,
            (now.changes - before.changes) * 1000 // passed_ms,
            (now.frames - before.frames) * 1000 // passed_ms,
            status.links,
            status.users_online,
            quantile_us(now.turn, before.turn, status.turn.max_us),
            quantile_us(now.lag, before.lag, status.lag.max_us),
            status.rss_bytes,
            (now.cpu_ms - before.cpu_ms) * 1000 // passed_ms,
        )
        for name, value in zip(SERIES, values, strict=True):
            values_so_far = self.series[name]
            values_so_far.append(value)
            if len(values_so_far) > SAMPLES_MAX:
                del values_so_far[0]


class _Totals:
    """The totals that the next sample is compared with. The buckets are copies, because the server goes on counting."""

    __slots__ = ("at_ms", "deliveries", "changes", "frames", "cpu_ms", "turn", "lag")

    def __init__(self, status: ServerStatus) -> None:
        self.at_ms = status.uptime_ms
        self.deliveries = status.deliveries
        self.changes = status.changes
        self.frames = status.frames_in
        self.cpu_ms = status.cpu_ms
        self.turn = _copy(status.turn)
        self.lag = _copy(status.lag)


def _copy(quantiles: Quantiles) -> list[int]:
    return list(quantiles.buckets)


def quantile_us(now: list[int], before: list[int], max_us: int, share: float = 0.99) -> int:
    """The upper edge of the bucket that `share` of the durations between two states lie below; 0 if there are none.

    `max_us` is the longest duration ever, and no result is above it. O(buckets).
    """
    counts = [new - old for new, old in zip(now, before, strict=True)]
    wanted = share * sum(counts)
    below = 0
    for index, number in enumerate(counts):
        below += number
        if number and below >= wanted:
            edge_us = 1 << index if index < BUCKETS - 1 else max_us
            return min(edge_us, max(1, max_us))
    return 0
