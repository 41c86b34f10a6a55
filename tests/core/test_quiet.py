"""Until when somebody is not to be disturbed: what the server says now is what its own clock makes of it then."""

from __future__ import annotations

import random
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from presenced.core.model import User
from presenced.core.quiet import Quiet, quiet
from presenced.server.zones import calendar
from presenced.wire.messages import DeviceStatus, EndClaim, SetSchedule, Status, Window
from tests.core.world import TICK_MS, WALL_MS, World

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
NIGHT = [Window(127, 22 * 60, 7 * 60)]
BERLIN = ZoneInfo("Europe/Berlin")


def at(*moment: int, fold: int = 0) -> int:
    """A wall time by Berlin's clock."""
    year, month, day, hour, minute = moment
    return int(datetime(year, month, day, hour, minute, tzinfo=BERLIN, fold=fold).timestamp() * 1000)


def world_at(wall_ms: int) -> World:
    return World(calendar=calendar, wall_ms=wall_ms)


def of(world: World, name: str, *, calls: bool = True) -> Quiet | None:
    user = world.engine.users.get(name)
    assert user is not None
    return quiet(user, world.wall_ms, world.engine.schedules.opening_at, calls=calls)


def schedule(world: World, windows: list[Window], status: DeviceStatus = "dnd", name: str = "bob") -> None:
    app = world.open("app", role="service")
    app.done(SetSchedule(app.next_id(), "Europe/Berlin", windows, status, name))


# --- quiet hours -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now_ms", "until_ms"),
    [
        (at(2026, 1, 10, 23, 30), at(2026, 1, 11, 7, 0)),
        (at(2026, 3, 28, 22, 0), at(2026, 3, 29, 7, 0)),  # clocks go forward in this night
        (at(2026, 3, 29, 3, 1), at(2026, 3, 29, 7, 0)),
        (at(2026, 10, 24, 23, 59), at(2026, 10, 25, 7, 0)),  # and back in this one
        (at(2026, 10, 25, 2, 30), at(2026, 10, 25, 7, 0)),
        (at(2026, 10, 25, 2, 30, fold=1), at(2026, 10, 25, 7, 0)),
    ],
)
def test_of_somebody_who_is_offline_they_end_when_the_local_clock_says_so(now_ms: int, until_ms: int) -> None:
    world = world_at(now_ms)
    schedule(world, NIGHT)
    assert world.record("bob").status == "offline"
    assert of(world, "bob") == of(world, "bob", calls=False) == Quiet("quiet_hours", until_ms)


def test_a_night_in_which_clocks_change_is_an_hour_shorter_or_longer() -> None:
    lengths = {}
    for day in ((2026, 1, 10), (2026, 3, 28), (2026, 10, 24)):
        begins_ms = at(*day, 22, 0)
        world = world_at(begins_ms)
        schedule(world, NIGHT)
        found = of(world, "bob")
        assert found is not None
        lengths[day[1]] = (found.until_ms - begins_ms) // HOUR_MS
    assert lengths == {1: 9, 3: 8, 10: 10}


def test_outside_of_them_and_in_windows_of_another_status_nobody_is_kept_away() -> None:
    world = world_at(at(2026, 1, 10, 12, 0))
    schedule(world, NIGHT)
    schedule(world, [Window(127, 0, 0)], "away", "carol")
    assert of(world, "bob") is of(world, "carol") is None


def test_windows_that_touch_are_one_night_whatever_words_they_use() -> None:
    world = world_at(at(2026, 1, 10, 23, 0))
    schedule(
        world, [Window(127, 1320, 0), Window(127, 0, 120, "dnd"), Window(127, 120, 420), Window(127, 420, 480, "xa")]
    )
    assert of(world, "bob") == Quiet("quiet_hours", at(2026, 1, 11, 7, 0))


@pytest.mark.parametrize("windows", [[Window(127, 0, 0)], [Window(127, 0, 720), Window(127, 720, 0, "dnd")]])
def test_those_without_an_end_have_none(windows: list[Window]) -> None:
    world = world_at(at(2026, 1, 10, 23, 0))
    schedule(world, windows)
    assert of(world, "bob") == Quiet("quiet_hours", 0)


def test_a_zone_that_is_no_longer_known_keeps_nobody_away() -> None:
    world = world_at(at(2026, 1, 10, 12, 0))
    schedule(world, NIGHT)
    app = world.open("app", role="service")
    app.claim("bob", "nap", "calendar", "dnd", for_ms=11 * HOUR_MS)
    user = world.engine.users["bob"]
    assert user.schedule is not None
    user.schedule.zone = "Europe/Atlantis"
    assert of(world, "bob") == Quiet("dnd", at(2026, 1, 10, 23, 0))


# --- claims ------------------------------------------------------------------------------------------------------


def claimed(*claims: tuple[str, str, Status, int]) -> World:
    world = world_at(at(2026, 1, 10, 12, 0))
    app = world.open("app", role="service")
    for name, source, status, for_ms in claims:
        app.claim("bob", name, source, status, for_ms=for_ms)  # type: ignore[arg-type]
    return world


def in_minutes(world: World, *, calls: bool = True) -> tuple[str, int] | None:
    found = of(world, "bob", calls=calls)
    return found and (found.reason, (found.until_ms - world.wall_ms) // MINUTE_MS if found.until_ms else -1)


def test_they_hold_until_the_last_one_that_says_so_has_ended() -> None:
    world = claimed(
        ("manual", "manual", "dnd", 60 * MINUTE_MS),
        ("focus", "calendar", "dnd", 90 * MINUTE_MS),
        ("lunch", "calendar", "away", 0),
    )
    assert in_minutes(world) == ("dnd", 60), "then the newest of the calendar shows, which is away"
    world = claimed(("lunch", "calendar", "away", 0), ("focus", "calendar", "dnd", 90 * MINUTE_MS))
    assert in_minutes(world) == ("dnd", 90)
    world = claimed(("manual", "manual", "dnd", 90 * MINUTE_MS), ("manual", "manual", "dnd", 20 * MINUTE_MS))
    assert in_minutes(world) == ("dnd", 20), "said anew with another end"
    world = claimed(("manual", "manual", "dnd", 90 * MINUTE_MS), ("manual", "manual", "away", 20 * MINUTE_MS))
    assert in_minutes(world) is None, "away covers it for now"


def test_the_quiet_hours_of_the_evening_follow_a_meeting() -> None:
    world = claimed(("meeting", "calendar", "dnd", 11 * 60 * MINUTE_MS))
    schedule(world, NIGHT)
    assert of(world, "bob") == Quiet("dnd", at(2026, 1, 11, 7, 0))


def test_what_was_said_before_the_quiet_hours_begin_does_not_count_in_them() -> None:
    world = claimed(("manual", "manual", "online", 0), ("call", "call", "dnd", 11 * 60 * MINUTE_MS))
    schedule(world, NIGHT)
    assert of(world, "bob") == Quiet("call", at(2026, 1, 11, 7, 0))
    assert of(world, "bob", calls=False) is None


def test_a_window_goes_on_through_another_that_says_the_same() -> None:
    """So what was said after it began is newer than it for all of it, also behind a call."""
    world = world_at(at(2026, 1, 10, 11, 0))
    schedule(world, [Window(127, 0, 720), Window(127, 720, 0, "dnd")])
    app = world.open("app", role="service")
    app.claim("bob", "manual", "manual", "chat")
    app.claim("bob", "call", "call", "away", for_ms=2 * HOUR_MS)
    assert of(world, "bob") == Quiet("call", at(2026, 1, 10, 13, 0))


def test_a_call_keeps_from_what_calls_keep_from_whatever_it_says() -> None:
    world = claimed(("call", "call", "dnd", 30 * MINUTE_MS))
    assert (in_minutes(world), in_minutes(world, calls=False)) == (("call", 30), None)
    world = claimed(("call", "call", "away", 0))
    assert (in_minutes(world), in_minutes(world, calls=False)) == (("call", -1), None)
    world = claimed(("manual", "manual", "dnd", 20 * MINUTE_MS), ("call", "call", "away", 30 * MINUTE_MS))
    assert (in_minutes(world), in_minutes(world, calls=False)) == (("dnd", 30), ("dnd", 20))


def test_to_appear_offline_is_no_wish_to_be_left_alone_and_ends_none() -> None:
    assert in_minutes(claimed(("manual", "manual", "offline", 0))) is None
    hidden = claimed(("focus", "calendar", "dnd", 20 * MINUTE_MS), ("manual", "manual", "offline", 0))
    assert in_minutes(hidden) == ("dnd", 20)
    covered = claimed(("manual", "manual", "dnd", 0), ("manual", "manual", "offline", 20 * MINUTE_MS))
    assert in_minutes(covered) == ("dnd", -1)


def test_said_on_a_device_it_has_no_end() -> None:
    world = world_at(WALL_MS)
    world.open("bob/laptop", status="dnd", idle_ms=0)
    assert in_minutes(world) == ("dnd", -1)
    world.open("app", role="service").claim("bob", "trip", "calendar", "away")
    assert in_minutes(world) is None, "a claim speaks for the user"


# --- in random lives ---------------------------------------------------------------------------------------------

LATE_MS = 2 * TICK_MS
"""How late a claim may end, and the schedule be read that it uncovers."""

STATUSES: tuple[Status, ...] = ("online", "chat", "away", "xa", "dnd", "offline")
SCHEDULES = (
    NIGHT,
    [Window(31, 9 * 60, 12 * 60, "dnd"), Window(31, 12 * 60, 17 * 60)],
    [Window(127, 0, 0, "away")],
    [Window(127, 0, 720), Window(127, 700, 0, "dnd")],
    [Window(96, 0, 0), Window(31, 22 * 60, 6 * 60, "xa")],
)


def kept_away(user: User, *, calls: bool) -> bool:
    """The same question about this moment, by the words of the document: a call; or `dnd` as what the user would show
    if no claim of a call and none of `offline` were there."""
    others = tuple(claim for claim in user.claims if claim.source != "call" and claim.status != "offline")
    in_call = any(claim.source == "call" for claim in user.claims)
    ranks = {"manual": 3, "calendar": 2, "schedule": 1}
    night = max(
        (place for place, one in enumerate(others) if one.source == "schedule" and one.status == "dnd"), default=-1
    )
    best, best_key = None, (-1, -1)
    uppermost = max((place for place, one in enumerate(others) if one.name == "manual"), default=-1)
    for place, one in enumerate(others):
        if one.name == "manual" and place != uppermost:
            continue
        is_quieted = one.source == "manual" and one.status in ("online", "chat") and place < night
        key = (0 if is_quieted else ranks[one.source], place)
        if key > best_key:
            best, best_key = one, key
    return (best is not None and best.status == "dnd") or (calls and in_call)


@pytest.mark.parametrize("seed", range(12))
def test_in_random_lives_the_end_is_what_then_happens(seed: int) -> None:
    """Each user is asked about once and left alone: everybody is kept away until the end, and nobody from then on."""
    dice = random.Random(seed)
    world = world_at(at(2026, 3, 27, 20, 0) + dice.randrange(48 * 60) * MINUTE_MS)
    world.checks = False
    users = [f"user{number}" for number in range(25)]
    for _ in range(4):
        app = world.open("app", role="service")
        for user in users:
            for _ in range(dice.randrange(3)):
                source = dice.choice(("call", "manual", "calendar"))
                name = "manual" if source == "manual" else dice.choice(("a", "b"))
                statuses = STATUSES if source == "manual" else STATUSES[:-1]
                status, for_ms = dice.choice(statuses), dice.choice((0, 1, 45, 200, 900, 3_000)) * MINUTE_MS
                app.claim(user, name, source, status, for_ms)  # type: ignore[arg-type]
            if dice.random() < 0.2:
                app.done(EndClaim(app.next_id(), dice.choice(("a", "b", "manual")), user))
            if dice.random() < 0.3:
                windows, status = dice.choice((*SCHEDULES, [])), dice.choice(("dnd", "dnd", "away"))
                app.done(SetSchedule(app.next_id(), "Europe/Berlin", windows, status, user))  # type: ignore[arg-type]
        world.advance(dice.randrange(300) * MINUTE_MS)
    said = {(user, calls): of(world, user, calls=calls) for user in world.engine.users for calls in (False, True)}
    asked_ms = world.wall_ms
    ends = sorted({found.until_ms for found in said.values() if found is not None and found.until_ms})
    moments = sorted(
        {asked_ms, asked_ms + 96 * HOUR_MS, *(end_ms + near_ms for end_ms in ends for near_ms in (-1_000, LATE_MS))}
    )
    for moment_ms in moments:
        if moment_ms < asked_ms:
            continue
        world.advance(moment_ms - world.wall_ms)
        for (name, calls), found in said.items():
            user = world.engine.users.get(name)
            is_kept = user is not None and kept_away(user, calls=calls)
            if found is None:
                assert moment_ms > asked_ms or not is_kept, (name, calls)
            elif not found.until_ms or moment_ms < found.until_ms:
                assert is_kept, (name, calls, found, moment_ms)
            elif moment_ms == found.until_ms + LATE_MS:
                assert not is_kept, (name, calls, found, moment_ms)
