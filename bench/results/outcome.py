"""What a profile found, as one value: figures of each server by round, checks, latencies, ratios.

Every profile returns an `Outcome`; the terminal table, JSON, CSV, the report and `compare` are made from it and
from nothing else. A profile is called as

    run(*, its own options, rounds, cores, peers, place, progress) -> Outcome

with those of the last five that its entry in `bench.catalog` says it takes. `peers` is None for all that are
installed, or the names asked for, `()` for none; one that is asked for and missing is a `BenchError` with the command
that installs it. `progress(what, done, total)` may be called as often as a round ends, and costs nothing when nobody
looks.

The counted rounds stand in a `with partial() as cut:`, so that Ctrl-C ends them and not the run: what is there by then
makes the outcome, with `interrupted=cut.happened`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

OURS = "presenced"
LIMIT = "limit"
"""The bare C loop."""

CHANGE_TO_WATCHER = "change_to_watcher"
"""The name of the latency that every profile with watchers has: from the change to its arrival."""

Progress = Callable[[str, int, int], None]
"""What is being done, how much of it is, and how much there is."""


def no_progress(what: str, done: int, total: int) -> None:
    """Nobody looks."""


@dataclass
class Cut:
    """Whether the rounds were ended by a signal."""

    happened: bool = False


@contextmanager
def partial() -> Iterator[Cut]:
    """Let Ctrl-C or SIGTERM end what is inside; what comes after it still runs."""
    cut = Cut()
    try:
        yield cut
    except KeyboardInterrupt:
        cut.happened = True


@dataclass
class Checks:
    """What went wrong on the way to the watchers. Any fault makes the run fail: its figures mean nothing."""

    deliveries: int = 0
    """Notifications that arrived and were due."""
    lost: int = 0
    duplicated: int = 0
    misordered: int = 0
    """An older state of a user after a newer one."""
    ghost: int = 0
    """A user shown as there who is not, or as gone who is."""
    stale: int = 0
    """After everything came to rest, a watcher's last word on a user is not that user's last word."""
    wrong: int = 0
    """Told to somebody who does not watch, or with another content than was said."""

    grown: int = 0
    """Resources (memory, descriptors) that grew beyond their bound."""

    def add(self, other: Checks) -> None:
        """Add what another part of the run found."""
        for name, count in asdict(other).items():
            setattr(self, name, getattr(self, name) + count)

    @property
    def faults(self) -> dict[str, int]:
        """The faults that occurred, by name."""
        return {name: count for name, count in asdict(self).items() if name != "deliveries" and count}


@dataclass
class Latency:
    """Times of one server in microseconds; `points` are (percentile, microseconds) of the whole distribution."""

    count: int
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float
    points: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def of_ns(cls, values_ns: Iterable[int]) -> Latency:
        """From times in nanoseconds, in any order. O(n log n)."""
        ordered = sorted(values_ns)
        if not ordered:
            return cls(0, 0.0, 0.0, 0.0, 0.0, 0.0)

        def at_us(percent: float) -> float:
            return round(percentile(ordered, percent) / 1000, 1)

        points = [(percent, at_us(percent)) for percent in curve_percents(len(ordered))]
        return cls(len(ordered), at_us(50), at_us(90), at_us(99), at_us(99.9), at_us(100), points)


@dataclass
class ServerOutcome:
    """One server in one profile."""

    version: str = ""
    figures: dict[str, list[float]] = field(default_factory=dict)
    """By name, one value for each counted round; the name ends in its unit: `server_cpu_us_per_delivery`,
    `rss_bytes_per_device`, `deliveries_per_s`, `server_core_busy`."""
    checks: Checks = field(default_factory=Checks)
    latency: dict[str, Latency] = field(default_factory=dict)
    """By what is timed: `change_to_watcher`, `login`."""
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Points (x, y) for plots, such as cost against scale; the name is `y_by_x` with their units:
    `server_cpu_us_per_delivery_by_links`, `rss_bytes_by_s`."""


@dataclass
class Outcome:
    """One run of one profile."""

    profile: str
    title: str
    main_figure: str
    """The figure that the ratios are taken of: lower is better."""
    options: dict[str, Any] = field(default_factory=dict)
    servers: dict[str, ServerOutcome] = field(default_factory=dict)
    """`presenced`, `limit`, `redis`, `nats`, `mosquitto`, `ejabberd`, `prosody`, in the order of the table."""
    missing: dict[str, str] = field(default_factory=dict)
    """Peers that did not take part, and the sentence that says what installs or mends them."""
    notes: list[str] = field(default_factory=list)
    """What a reader must know: settings of the peers, spacing off, the generator was the limit."""
    interrupted: bool = False

    def ratios(self) -> dict[str, dict[str, float]]:
        """Ours divided by each other server's main figure: the median of the rounds' ratios, the smallest and the
        largest. Rounds are paired: both were made within seconds of each other."""
        ours = self.servers.get(OURS)
        if ours is None:
            return {}
        mine = ours.figures.get(self.main_figure, [])
        found = {}
        for name, server in self.servers.items():
            theirs = server.figures.get(self.main_figure, [])
            pairs = [one / other for one, other in zip(mine, theirs, strict=False) if other]
            if name != OURS and pairs:
                found[name] = {"median": median(pairs), "min": round(min(pairs), 3), "max": round(max(pairs), 3)}
        return found

    def faults(self) -> dict[str, dict[str, int]]:
        """The faults of each server that has any."""
        return {name: server.checks.faults for name, server in self.servers.items() if server.checks.faults}

    def as_json(self) -> dict[str, Any]:
        """The form of `--json`: figures as median, min, max and rounds."""
        servers = {}
        for name, server in self.servers.items():
            servers[name] = {
                "version": server.version,
                **{
                    key: {"median": median(values), "min": min(values), "max": max(values), "rounds": values}
                    for key, values in server.figures.items()
                    if values
                },
                "checks": asdict(server.checks),
                "latency": {what: asdict(latency) for what, latency in server.latency.items()},
                "series": server.series,
            }
        return {
            "profile": self.profile,
            "title": self.title,
            "main_figure": self.main_figure,
            "options": self.options,
            "servers": servers,
            "ratio": self.ratios(),
            "missing": self.missing,
            "notes": self.notes,
            "interrupted": self.interrupted,
        }


def median(values: Sequence[float]) -> float:
    """The median, to three decimals."""
    return round(statistics.median(values), 3)


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The nearest-rank percentile of sorted values; 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0


def curve_percents(count: int) -> list[float]:
    """The percentiles of a curve through `count` values: each half of what is left above in five steps, as long as
    there is a value above, and 100."""
    percents, left = [], 100.0
    while left * count / 100 >= 1 and left > 1e-5:
        percents += [round(100 - left + left / 10 * number, 7) for number in range(5)]
        left /= 2
    return [*(percent for percent in percents if (100 - percent) * count / 100 > 0.999), 100.0]
