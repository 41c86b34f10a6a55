"""Weekly windows in time zones, against a clock that is read minute by minute."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from presenced.core.claims import Opening
from presenced.core.model import Schedule
from presenced.server import zones
from presenced.server.zones import calendar
from presenced.wire.messages import Window

DAILY = 127
MONDAY, SATURDAY, SUNDAY = 1, 32, 64
MINUTE_MS = 60_000

WINDOWS = {
    "the night": [Window(DAILY, 18 * 60, 8 * 60)],
    "office hours": [Window(31, 9 * 60, 17 * 60 + 30)],
    "within the missing and the repeated hour": [Window(DAILY, 2 * 60 + 15, 2 * 60 + 45)],
    "over the missing and the repeated hour": [Window(SUNDAY, 90, 200)],
    "a start in the missing hour": [Window(DAILY, 150, 400)],
    "an end in the missing hour": [Window(SATURDAY, 23 * 60, 150)],
    "from and to midnight": [Window(DAILY, 0, 60), Window(MONDAY, 22 * 60, 0)],
    "a whole day in two halves": [Window(SUNDAY, 0, 720), Window(SUNDAY, 720, 0)],
    "several that touch and overlap": [Window(DAILY, 60, 150), Window(DAILY, 150, 180), Window(SUNDAY, 100, 240)],
    "one minute": [Window(SUNDAY, 119, 120)],
}

WEEKS = [
    ("Europe/Berlin", datetime(2024, 3, 31)),
    ("Europe/Berlin", datetime(2024, 10, 27)),
    ("America/New_York", datetime(2024, 3, 10)),
    ("America/New_York", datetime(2024, 11, 3)),
    ("Australia/Lord_Howe", datetime(2024, 4, 7)),
    ("Australia/Lord_Howe", datetime(2024, 10, 6)),
    ("America/Santiago", datetime(2024, 9, 8)),
    ("Africa/Casablanca", datetime(2024, 4, 14)),
    ("Asia/Kathmandu", datetime(2024, 6, 2)),
    ("UTC", datetime(2024, 6, 2)),
]
"""A zone, and a day on which its clocks are changed, if they ever are."""


def at_ms(zone: str, *date: int, fold: int = 0) -> int:
    return int(datetime(*date, tzinfo=ZoneInfo(zone), fold=fold).timestamp()) * 1000  # type: ignore[arg-type,misc]


def opening(windows: list[Window], zone: str, wall_ms: int) -> Opening:
    return calendar(Schedule(zone, windows, "dnd"), wall_ms)


@cache
def minutes(zone: str, day: datetime) -> list[tuple[int, int, int]]:
    """Each minute from five days before that day to twelve after: wall time, weekday and local minute of the day."""
    first = day.replace(tzinfo=UTC) - timedelta(days=5)
    local_zone = ZoneInfo(zone)
    read = []
    for number in range(17 * 24 * 60):
        moment = first + timedelta(minutes=number)
        local = moment.astimezone(local_zone)
        read.append((int(moment.timestamp()) * 1000, local.weekday(), local.hour * 60 + local.minute))
    return read


def shows(windows: list[Window], weekday: int, minute: int) -> bool:
    """Whether a wall clock that shows this stands within a window, by going back to each possible start."""
    for window in windows:
        length = (window.end_min - window.start_min) % 1440
        back = (minute - window.start_min) % 1440
        began = weekday if minute >= window.start_min else (weekday - 1) % 7
        if back < length and window.days >> began & 1:
            return True
    return False


@pytest.mark.parametrize("words", WINDOWS)
@pytest.mark.parametrize("zone, day", WEEKS, ids=lambda value: str(value)[:20])
def test_every_opening_and_closing_is_where_the_clock_on_the_wall_shows_it(
    words: str, zone: str, day: datetime
) -> None:
    windows = WINDOWS[words]
    read = minutes(zone, day)
    truth = [(moment, shows(windows, weekday, minute)) for moment, weekday, minute in read]
    edges = [(later[0], later[1]) for before, later in pairwise(truth) if before[1] != later[1]]
    state, here, found = truth[0][1], truth[0][0], []
    # From edge to edge, as a schedule waits for them, for as long as the next is within the nine days of its view.
    while here < read[-1][0] - 9 * 24 * 60 * MINUTE_MS:
        answer = opening(windows, zone, here)
        assert answer.is_open == state
        if not answer.changes_ms:
            # A week without an edge: the one window of the week fell into the missing hour.
            assert not state and not [edge for edge, _ in edges if here < edge < here + 7 * 24 * 60 * MINUTE_MS]
            break
        before = opening(windows, zone, answer.changes_ms - 1)
        assert before == Opening(state, answer.changes_ms)
        here, state = answer.changes_ms, not state
        found.append((here, state))
    assert found == edges[: len(found)]
    assert len(found) >= 2 or words == "one minute"


def test_the_night_is_an_hour_shorter_in_spring_and_an_hour_longer_in_autumn() -> None:
    windows = WINDOWS["the night"]
    lengths = []
    for month, day in ((3, 30), (10, 26), (6, 1)):
        start_ms = at_ms("Europe/Berlin", 2024, month, day, 18)
        lengths.append((opening(windows, "Europe/Berlin", start_ms).changes_ms - start_ms) // (60 * MINUTE_MS))
    assert lengths == [13, 15, 14]


def test_a_window_in_the_repeated_hour_is_open_in_both() -> None:
    windows = [Window(DAILY, 130, 140)]
    first, second = (at_ms("Europe/Berlin", 2024, 10, 27, 2, 10, fold=fold) for fold in (0, 1))
    assert second - first == 60 * MINUTE_MS
    assert opening(windows, "Europe/Berlin", first) == Opening(True, first + 10 * MINUTE_MS)
    assert opening(windows, "Europe/Berlin", first + 10 * MINUTE_MS) == Opening(False, second)
    assert opening(windows, "Europe/Berlin", second) == Opening(True, second + 10 * MINUTE_MS)


def test_windows_that_cover_the_week_never_change() -> None:
    windows = [Window(DAILY, 0, 720), Window(DAILY, 720, 0)]
    assert opening(windows, "Europe/Berlin", at_ms("Europe/Berlin", 2024, 3, 31, 1)) == Opening(True, 0)


def test_a_window_on_one_day_lasts_into_the_next_and_not_into_the_one_after() -> None:
    windows = [Window(SUNDAY, 22 * 60, 6 * 60)]
    sunday_ms = at_ms("UTC", 2024, 6, 2, 22)
    assert opening(windows, "UTC", sunday_ms) == Opening(True, at_ms("UTC", 2024, 6, 3, 6))
    assert opening(windows, "UTC", at_ms("UTC", 2024, 6, 3, 22)) == Opening(False, at_ms("UTC", 2024, 6, 9, 22))


@pytest.mark.parametrize(
    "zone",
    ["", "Nowhere/Town", "europe", "Europe", "../etc/passwd", "/etc/localtime", "Europe/../Europe/Berlin", "a\0b",
     "tzdata.zi", "x" * 300, "Zürich", "."],
)  # fmt: skip
def test_what_names_no_zone_is_a_lookup_error(zone: str) -> None:
    with pytest.raises(LookupError):
        opening(WINDOWS["the night"], zone, 1_700_000_000_000)


def test_answers_that_are_kept_are_the_same_as_fresh_ones_in_whatever_order_they_are_asked() -> None:
    dice = random.Random(1)
    start_ms = at_ms("Europe/Berlin", 2024, 10, 24)
    windows = WINDOWS["several that touch and overlap"]
    for _ in range(300):
        wall_ms = start_ms + dice.randrange(7 * 24 * 60) * MINUTE_MS + dice.choice((-1, 0, 1))
        zone = dice.choice(("Europe/Berlin", "UTC"))
        kept = opening(windows, zone, wall_ms)
        assert kept == opening([*windows, windows[dice.randrange(len(windows))]], zone, wall_ms)
        if dice.random() < 0.3:
            zones._answers.clear()
        assert kept == opening(windows, zone, wall_ms)


def test_the_answers_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones, "ANSWERS_MAX", 10)
    zones._answers.clear()
    for minute in range(50):
        opening([Window(DAILY, minute, minute + 1)], "UTC", 1_700_000_000_000)
        assert len(zones._answers) <= 10
