"""Promises that a run must keep, `--slo p99=50ms`, and the sentence that says which it did not.

    p50=2ms  p90=5ms  p99=50ms  p99.9=100ms  max=1s    from a change to its watchers
    cpu=5us                                            the main figure, where that is CPU time
    rss_growth=1MiB                                    of soak: what resident memory grows by in a minute
    ratio.redis=1.0                                    presenced's main figure over Redis's, or over any other server's

Everything is at most; times are `ns`, `us`, `ms` or `s`, sizes `bytes`, `KiB`, `MiB` or `GiB`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench.catalog import PEERS
from bench.report.table import PERCENTILES
from bench.results.outcome import CHANGE_TO_WATCHER, LIMIT, OURS, Outcome
from bench.results.units import BYTES, TIMES_US, number, show_bytes, show_us, shown_name, unit_of

_KEYS = dict(PERCENTILES)
GROWTH = "rss_growth"
_LIMIT = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)")
GRAMMAR = (
    "p50, p90, p99, p99.9 or max=TIME (50ms), cpu=TIME (5us), rss_growth=BYTES a minute (1MiB), "
    "ratio.SERVER=NUMBER (ratio.redis=1.0)"
)


class BadPromise(ValueError):
    """The text is not a promise; its sentence says what is."""


@dataclass(frozen=True)
class Promise:
    """One of `--slo`."""

    text: str
    key: str
    most: float
    """A time in microseconds, or a ratio."""


def promise_of(text: str) -> Promise:
    """What `text` promises; `BadPromise` if that cannot be told."""
    key, equals, limit = text.replace(" ", "").partition("=")
    key, limit = key.lower(), limit.lower()
    found = _LIMIT.fullmatch(limit)
    if not equals or not found:
        raise BadPromise(f"{text!r} is not of the form NAME=LIMIT; there are {GRAMMAR}")
    value, unit = float(found[1]), found[2]
    if key.startswith("ratio."):
        server = key.removeprefix("ratio.")
        if server not in (LIMIT, *PEERS):
            raise BadPromise(f"{text!r} names no server; there are {', '.join((LIMIT, *PEERS))}")
        if unit:
            raise BadPromise(f"{text!r}: a ratio has no unit, such as {key}={found[1]}")
        return Promise(text, key, value)
    if key == GROWTH:
        if unit not in BYTES:
            raise BadPromise(f"{text!r} needs a unit of size: bytes, KiB, MiB or GiB, such as {key}={found[1]}MiB")
        return Promise(text, key, value * BYTES[unit])
    if key not in (*_KEYS, "cpu"):
        raise BadPromise(f"{text!r} names nothing that can be promised; there are {GRAMMAR}")
    if unit not in TIMES_US:
        raise BadPromise(f"{text!r} needs a unit of time: {', '.join(TIMES_US)}, such as {key}={found[1]}ms")
    return Promise(text, key, value * TIMES_US[unit])


def broken(promises: Sequence[Promise], outcomes: Sequence[Outcome]) -> list[str]:
    """A sentence for each promise that one of `outcomes` breaks, or that none of them can be held to."""
    found = []
    for promise in promises:
        told = [_judge(promise, outcome) for outcome in outcomes]
        if all(each is None for each in told):
            found.append(f"--slo {promise.text} cannot be judged: {_why_not(promise, outcomes)}")
        found += [each for each in told if each]
    return found


def _judge(promise: Promise, outcome: Outcome) -> str | None:
    """The sentence if it is broken, nothing if it is kept, None if the outcome does not have what it is about."""
    value = _value(promise.key, outcome)
    if value is None:
        return None
    if value <= promise.most:
        return ""
    is_ratio = promise.key.startswith("ratio.")
    shown = number(value) if is_ratio else show_bytes(value) if promise.key == GROWTH else show_us(value)
    return f"{outcome.profile} breaks --slo {promise.text}: it is {shown}"


def _value(key: str, outcome: Outcome) -> float | None:
    ours = outcome.servers.get(OURS)
    if ours is None:
        return None
    if key in _KEYS:
        latency = ours.latency.get(CHANGE_TO_WATCHER)
        return float(getattr(latency, _KEYS[key])) if latency and latency.count else None
    if key == GROWTH:
        grown = ours.figures.get("rss_growth_bytes_per_min")
        return median(grown) if grown else None
    if key == "cpu":
        values = ours.figures.get(outcome.main_figure)
        unit = unit_of(outcome.main_figure)
        if not values or "cpu" not in outcome.main_figure.split("_") or unit not in TIMES_US:
            return None
        return median(values) * TIMES_US[unit]
    ratio = outcome.ratios().get(key.removeprefix("ratio."))
    return ratio["median"] if ratio else None


def _why_not(promise: Promise, outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return "no profile was completed"
    profiles = ", ".join(outcome.profile for outcome in outcomes)
    if promise.key in _KEYS:
        return f"{profiles} has no latency from a change to its watchers"
    if promise.key == GROWTH:
        return f"{profiles} does not look at the growth of memory; soak does"
    if promise.key == "cpu":
        figures = ", ".join(outcome.main_figure for outcome in outcomes)
        return f"the main figure of {profiles} is not CPU time but {figures}"
    server = promise.key.removeprefix("ratio.")
    why = next((outcome.missing[server] for outcome in outcomes if server in outcome.missing), "")
    return f"{profiles} was not compared with {shown_name(server)}" + (f" ({why})" if why else "")
