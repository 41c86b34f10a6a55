"""Weekly windows in time zones, against a clock that is read minute by minute."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from presenced.core.model import Schedule
from presenced.core.parts.schedules import Opening
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
    "a whole day in one": [Window(SUNDAY, 0, 0)],
    "a whole day from noon": [Window(SUNDAY, 720, 720)],
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
        length = (window.end_min - window.start_min) % 1440 or 1440
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


# --- the same as the plain way, at a fraction of the work -------------------------------------------------------


def plain_opening(windows: list[Window], zone: tzinfo, wall_ms: int) -> Opening:
    """The obvious way: all moments at which anything may open or close, and a look at the clock at each."""
    is_open = plainly_open(windows, zone, wall_ms)
    for edge_ms in edges(windows, zone, wall_ms):
        if plainly_open(windows, zone, edge_ms) != is_open:
            return Opening(is_open, edge_ms)
    return Opening(is_open, 0)


def plainly_open(windows: list[Window], zone: tzinfo, wall_ms: int) -> bool:
    local = datetime.fromtimestamp(wall_ms // 1000, zone)
    return shows(windows, local.weekday(), local.hour * 60 + local.minute)


def edges(windows: list[Window], zone: tzinfo, wall_ms: int) -> list[int]:
    """Starts and ends of all windows on each day from yesterday on, and each minute in which the offset changes."""
    start = datetime.fromtimestamp(wall_ms // 1000, zone)
    times = {minute for window in windows for minute in (window.start_min, window.end_min)}
    found = set()
    for day in range(-1, zones.AHEAD_DAYS):
        date = start.date() + timedelta(days=day)
        for minute in times:
            for fold in (0, 1):
                local = datetime(date.year, date.month, date.day, minute // 60, minute % 60, tzinfo=zone, fold=fold)
                found.add(int(local.timestamp()) * 1000)
        midnight = datetime(date.year, date.month, date.day, tzinfo=UTC)
        offsets = [(midnight + timedelta(minutes=n)).astimezone(zone).utcoffset() for n in (0, 24 * 60)]
        if offsets[0] != offsets[1]:
            for n in range(1, 24 * 60 + 1):
                moment = midnight + timedelta(minutes=n)
                if moment.astimezone(zone).utcoffset() != (moment - timedelta(minutes=1)).astimezone(zone).utcoffset():
                    found.add(int(moment.timestamp()) * 1000)
    return sorted(edge_ms for edge_ms in found if edge_ms > wall_ms)


@pytest.mark.parametrize("zone, day", WEEKS, ids=lambda value: str(value)[:20])
def test_any_windows_open_and_close_as_the_plain_way_says(zone: str, day: datetime) -> None:
    dice = random.Random(zone + str(day))
    middle_ms = int(day.replace(tzinfo=UTC).timestamp()) * 1000
    for _ in range(40):
        windows = []
        for _ in range(dice.choice((1, 1, 2, 3, 6))):
            # Rarely long or everywhere, and often near the hours in which clocks are changed.
            start, length = (
                dice.choice((dice.randrange(1440), dice.randrange(240))),
                dice.choice((1, 30, 90, 700, 1430)),
            )
            windows.append(Window(dice.choice((127, 31, 1 << dice.randrange(7))), start, (start + length) % 1440))
        wall_ms = middle_ms + dice.randrange(-3 * 86_400_000, 2 * 86_400_000)
        plain, told = plain_opening(windows, ZoneInfo(zone), wall_ms), opening(windows, zone, wall_ms)
        # The last day that both look at need not be the same one.
        horizon_ms = wall_ms + (zones.AHEAD_DAYS - 1) * 86_400_000
        if min(plain.changes_ms or horizon_ms, told.changes_ms or horizon_ms) < horizon_ms:
            assert told == plain, (windows, wall_ms)
        assert told.is_open == plain.is_open


class CountedWindows(list[Window]):
    """Windows that count how often one of them is looked at."""

    looks = 0

    def __iter__(self) -> Iterator[Window]:
        for window in super().__iter__():
            self.looks += 1
            yield window


class CountedZone(tzinfo):
    """A zone that counts how often a time is converted."""

    def __init__(self, name: str) -> None:
        self.zone = ZoneInfo(name)
        self.conversions = 0

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        self.conversions += 1
        return self.zone.utcoffset(when)

    def dst(self, when: datetime | None) -> timedelta | None:
        return self.zone.dst(when)

    def fromutc(self, when: datetime) -> datetime:
        self.conversions += 1
        return self.zone.fromutc(when.replace(tzinfo=self.zone)).replace(tzinfo=self)


def test_the_worst_schedule_takes_some_looks_at_each_window_and_few_conversions() -> None:
    windows = [Window(DAILY, 0, 720), Window(DAILY, 720, 0)]
    windows += [Window(DAILY, 720 + 17 * number, 19 * number + 1) for number in range(26)]
    for day in ((2024, 3, 30), (2024, 6, 1)):
        counted, zone = CountedWindows(windows), CountedZone("Europe/Berlin")
        assert zones._opening(counted, zone, at_ms("Europe/Berlin", *day)) == Opening(True, 0)
        assert counted.looks <= 8 * len(windows)
        assert zone.conversions <= 100


def test_a_schedule_that_changes_soon_is_looked_at_no_further_than_that() -> None:
    windows = CountedWindows([Window(DAILY, 60 * number, 60 * number + 30) for number in range(24)])
    zone = CountedZone("Europe/Berlin")
    noon_ms = at_ms("Europe/Berlin", 2024, 6, 1, 12)
    assert zones._opening(windows, zone, noon_ms) == Opening(True, noon_ms + 30 * MINUTE_MS)
    assert windows.looks <= 2 * len(windows)
    assert zone.conversions <= 10


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


# --- a database that changes --------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's database, with a zone of our own in it."""
    monkeypatch.setattr(zones, "TZPATH", (str(tmp_path), *zones.TZPATH))
    (tmp_path / "Our").mkdir()
    yield tmp_path / "Our" / "Town"
    zones._zones.pop("Our/Town", None)
    zones._answers.clear()


def rules_of(zone: str) -> bytes:
    data = zones._from_system(zone)
    assert data is not None
    return data


def test_new_rules_are_seen_and_hold_once_they_are_adopted(database: Path) -> None:
    windows, noon_ms = [Window(DAILY, 720, 721)], at_ms("Etc/GMT-1", 2024, 6, 1, 12)
    database.write_bytes(rules_of("Etc/GMT-1"))
    assert opening(windows, "Our/Town", noon_ms).is_open
    assert zones.read_anew() == zones.Others({}, [])
    database.write_bytes(rules_of("Etc/GMT-2"))
    assert opening(windows, "Our/Town", noon_ms).is_open, "nobody has asked for the new ones"
    others = zones.read_anew()
    assert ([*others.changed], others.gone) == (["Our/Town"], [])
    assert opening(windows, "Our/Town", noon_ms).is_open, "looking changes nothing"
    zones.adopt(others)
    assert not opening(windows, "Our/Town", noon_ms).is_open
    assert zones.read_anew() == zones.Others({}, [])


def test_a_zone_that_is_gone_is_a_lookup_error_from_then_on(database: Path) -> None:
    database.write_bytes(rules_of("Etc/GMT-1"))
    opening([Window(DAILY, 720, 721)], "Our/Town", 1_700_000_000_000)
    database.write_bytes(b"damaged")
    assert zones.read_anew().gone == ["Our/Town"]
    database.unlink()
    others = zones.read_anew()
    assert others.gone == ["Our/Town"]
    zones.adopt(others)
    with pytest.raises(LookupError):
        opening([Window(DAILY, 720, 721)], "Our/Town", 1_700_000_000_000)


def test_every_zone_of_the_package_is_read_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones, "TZPATH", ())
    for name in files("tzdata").joinpath("zones").read_text().split():
        ours = zones._read(name).zone
        assert ours.key == name
        assert ours.utcoffset(datetime(2024, 6, 1)) == ZoneInfo(name).utcoffset(datetime(2024, 6, 1))
