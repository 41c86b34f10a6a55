"""Numbers as people read them: counts, sizes, durations."""

from __future__ import annotations

from datetime import UTC, datetime


def count(value: float) -> str:
    """A count: whole with separators up to 99,999, beyond that three digits and a letter: `1.25 M`."""
    if value < 100_000:
        return f"{value:,.0f}"
    for unit in ("k", "M"):
        value /= 1000
        if value < 999.5:
            return f"{value:.3g} {unit}"
    return f"{value / 1000:.3g} G"


def counted(number: int, noun: str) -> str:
    """A number of things: `1 user`, `2 users`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(value: float) -> str:
    """Bytes in the largest unit of which there is at least one: `63.2 MiB`."""
    if value < 1024:
        return f"{value:.0f} B"
    for unit in ("KiB", "MiB"):
        value /= 1024
        if value < 1023.5:
            return f"{value:.1f} {unit}" if value < 99.95 else f"{value:.0f} {unit}"
    return f"{value / 1024:.1f} GiB"


def micros(value: float) -> str:
    """A short duration given in microseconds: `85 us`, `1.2 ms`, `3.4 s`."""
    if value < 999.5:
        return f"{value:.0f} \u00b5s"
    if value < 999_500:
        return f"{value / 1000:.3g} ms"
    return f"{value / 1_000_000:.3g} s"


def span(ms: float) -> str:
    """A long duration given in milliseconds, in its two largest units: `3 d 4 h`."""
    seconds = int(ms) // 1000
    if seconds < 1:
        return f"{int(ms)} ms"
    if seconds < 60:
        return f"{seconds} s"
    for unit_s, unit, below_s, below in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit_s:
            return f"{seconds // unit_s} {unit} {seconds % unit_s // below_s} {below}"
    return f"{seconds} s"


def moment(wall_ms: int) -> str:
    """A moment as the log writes it, to the second: `2026-12-01 12:35:20 UTC`."""
    return f"{datetime.fromtimestamp(wall_ms // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def percent(permille: float) -> str:
    """A share given in thousandths."""
    return f"{permille / 10:.1f} %"
