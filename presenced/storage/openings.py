"""What one opening of a store after another means for versions and graces. Pure."""

from __future__ import annotations

from presenced.limits import VERSION_GAP

STARTS_MAX = 16
"""How many times of consecutive openings a store keeps."""


def version_gap(starts: tuple[int, ...], now_ms: int, *, is_clean: bool) -> int:
    """By how much the version counter goes on further than a store says that was there before.

    After a kill it must be above all that was told since that was written. The counter runs with the clock, so that is
    what passed since the last start, and `VERSION_GAP` for a wall clock that was set back meanwhile."""
    if is_clean:
        return 0
    return VERSION_GAP + max(0, now_ms - starts[-1] if starts else 0)


def starts_with(before: tuple[int, ...], now_ms: int, close_ms: int) -> tuple[int, ...]:
    """The times of the consecutive openings with this one: the first, and the newest up to a bound."""
    if not before or not 0 <= now_ms - before[-1] < close_ms:
        return (now_ms,)
    starts = (*before, now_ms)
    return starts if len(starts) <= STARTS_MAX else (starts[0], *starts[-STARTS_MAX + 1 :])
