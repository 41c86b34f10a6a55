"""When the windows of a weekly schedule open and close: local time, zone rules, daylight saving.

The core asks `calendar` and knows nothing of zones. A window is open at a moment if the zone's local clock then shows
a time within it. So on the night when clocks go forward a window that starts within the missing hour opens at its
end, and on the night when they go back one that is in the repeated hour is open in both.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from presenced.core.claims import Opening
from presenced.core.model import Schedule
from presenced.wire.messages import Window

DAY_MIN = 24 * 60
AHEAD_DAYS = 9
"""A weekly schedule changes within a week; a transition can push that over its edge."""

ANSWERS_MAX = 4_096
_answers: dict[tuple[str, tuple[Window, ...]], tuple[int, Opening]] = {}
"""By zone and windows: the wall time of the question, and the answer, which holds from then to its change."""


def calendar(schedule: Schedule, wall_ms: int) -> Opening:
    """Whether the schedule is open at `wall_ms`, and when that changes.

    Raises `LookupError` for a zone that is not known. Some hundred conversions: 0.1 ms for one window, 2 ms for 28. So
    the last answers are kept while they hold: thousands may have the same hours, and all ask at the same moment.
    """
    key = (schedule.zone, tuple(schedule.windows))
    known = _answers.get(key)
    if known is not None and known[0] <= wall_ms < known[1].changes_ms:
        return known[1]
    opening = _opening(schedule.windows, _zone(schedule.zone), wall_ms)
    if len(_answers) >= ANSWERS_MAX:
        _answers.clear()
    _answers[key] = (wall_ms, opening)
    return opening


def _opening(windows: list[Window], zone: ZoneInfo, wall_ms: int) -> Opening:
    is_open = _is_open(windows, zone, wall_ms)
    for edge_ms in _edges(windows, zone, wall_ms):
        if _is_open(windows, zone, edge_ms) != is_open:
            return Opening(is_open, edge_ms)
    return Opening(is_open, 0)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        # ValueError: a path that leaves the database; OSError: the name of a directory in it.
        raise LookupError(f"unknown time zone: {error}") from None


def _is_open(windows: list[Window], zone: ZoneInfo, wall_ms: int) -> bool:
    local = datetime.fromtimestamp(wall_ms / 1000, zone)
    minute = local.hour * 60 + local.minute
    today = 1 << local.weekday()
    yesterday = 1 << (local.weekday() - 1) % 7
    for window in windows:
        if window.start_min < window.end_min:
            if window.days & today and window.start_min <= minute < window.end_min:
                return True
        elif (window.days & today and minute >= window.start_min) or (
            window.days & yesterday and minute < window.end_min
        ):
            return True
    return False


def _edges(windows: list[Window], zone: ZoneInfo, wall_ms: int) -> list[int]:
    """The moments after `wall_ms` at which a window may open or close, in order."""
    start = datetime.fromtimestamp(wall_ms / 1000, zone)
    minutes = sorted({minute for window in windows for minute in (window.start_min, window.end_min)})
    edges: dict[int, None] = {}
    for day in range(-1, AHEAD_DAYS):
        date = start.date() + timedelta(days=day)
        for minute in minutes:
            for fold in (0, 1):
                local = datetime(date.year, date.month, date.day, minute // 60, minute % 60, tzinfo=zone, fold=fold)
                edges[int(local.timestamp()) * 1000] = None
        # A change of the zone's offset is an edge, too: local time jumps there, into or out of a window.
        transition_ms = _transition(zone, datetime(date.year, date.month, date.day, tzinfo=UTC))
        if transition_ms:
            edges[transition_ms] = None
    return sorted(edge_ms for edge_ms in edges if edge_ms > wall_ms)


def _transition(zone: ZoneInfo, day: datetime) -> int:
    """The moment in the 24 hours from `day` (UTC) at which the zone's offset changes, to the minute; 0 = none."""
    low, high = 0, DAY_MIN
    before = (day).astimezone(zone).utcoffset()
    if (day + timedelta(minutes=high)).astimezone(zone).utcoffset() == before:
        return 0
    while high - low > 1:
        middle = (low + high) // 2
        if (day + timedelta(minutes=middle)).astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return int((day + timedelta(minutes=high)).timestamp()) * 1000
