"""Schedules in the engine: do-not-disturb through clock changes, restarts, downtime and a wall clock that is set."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from presenced.core.model import Schedule
from presenced.core.parts.schedules import READ_COST, SCHEDULE_CHECK_MS, TICK_COST_MAX, Opening
from presenced.server.zones import calendar
from presenced.wire.messages import (
    ClaimList,
    Command,
    CommandReply,
    DeviceStatus,
    GetClaims,
    SetSchedule,
    Status,
    Window,
)
from tests.core.world import TICK_MS, FakeLink, World

DAILY = 127
NIGHT = [Window(DAILY, 18 * 60, 8 * 60)]
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
BERLIN = "Europe/Berlin"


def at_ms(*date: int) -> int:
    return int(datetime(*date, tzinfo=ZoneInfo(BERLIN)).timestamp()) * 1000  # type: ignore[arg-type,misc]


def stage(wall_ms: int, windows: list[Window] = NIGHT, status: DeviceStatus = "dnd") -> tuple[World, FakeLink]:
    """At that wall time: a service that watches alice, alice's laptop on it, and her schedule."""
    world = World(calendar=calendar, wall_ms=wall_ms)
    app = world.open("app", role="service")
    app.watch("alice")
    app.attach(1, "alice/laptop")
    app.done(SetSchedule(app.next_id(), BERLIN, windows, status, "alice"))
    return world, app


def pass_until(world: World, app: FakeLink, wall_ms: int) -> None:
    while world.wall_ms < wall_ms:
        world.advance(min(MINUTE_MS, wall_ms - world.wall_ms))
        app.beats(1, -1)


def changes_of(world: World, app: FakeLink) -> list[tuple[str, str]]:
    """When alice's status changed and to what, by the clock in Berlin."""
    seen = []
    for record in app.pushes:
        local = datetime.fromtimestamp(record.since_ms / 1000, ZoneInfo(BERLIN))
        seen.append((f"{local:%d %H:%M}", record.status))
    return seen


def schedule_of(app: FakeLink) -> ClaimList:
    return app.expect(GetClaims(app.next_id(), "alice"), ClaimList)


@pytest.mark.parametrize("day, hours", [((2024, 3, 30), 13), ((2024, 10, 26), 15), ((2024, 6, 1), 14)])
def test_do_not_disturb_from_18_to_8_holds_across_both_clock_changes(day: tuple[int, int, int], hours: int) -> None:
    world, app = stage(at_ms(*day, 17))
    app.forget()
    begun_ms = world.wall_ms
    pass_until(world, app, begun_ms + 30 * HOUR_MS)
    today, tomorrow = day[2], day[2] + 1
    assert changes_of(world, app)[:3] == [
        (f"{today:02} 18:00", "dnd"), (f"{tomorrow:02} 08:00", "online"), (f"{tomorrow:02} 18:00", "dnd"),
    ]  # fmt: skip
    first, second = app.pushes[:2]
    assert abs(second.since_ms - first.since_ms - hours * HOUR_MS) <= TICK_MS


def test_a_window_never_opens_early_and_at_most_a_tick_late() -> None:
    world, app = stage(at_ms(2024, 6, 1, 17, 59))
    world.advance(MINUTE_MS - 1)
    assert world.record("alice").status == "online"
    world.advance(1 + TICK_MS)
    assert world.record("alice").status == "dnd"


def test_a_schedule_that_is_set_within_its_window_claims_at_once_and_ends_with_it() -> None:
    world, app = stage(at_ms(2024, 6, 1, 7))
    assert world.record("alice").status == "dnd"
    claim = schedule_of(app).claims[0]
    assert (claim.claim, claim.source, claim.until_ms) == ("schedule", "schedule", at_ms(2024, 6, 1, 8))
    pass_until(world, app, at_ms(2024, 6, 1, 8, 1))
    assert world.record("alice").status == "online" and schedule_of(app).claims == []


def test_what_a_person_says_and_a_calendar_stand_above_the_schedule_and_it_shows_again_after_them() -> None:
    world, app = stage(at_ms(2024, 6, 1, 20), status="xa")
    app.claim("alice", "concert", "calendar", "dnd", for_ms=2 * MINUTE_MS)
    app.claim("alice", "manual", "manual", "chat", for_ms=MINUTE_MS)
    assert world.record("alice").status == "chat"
    pass_until(world, app, world.wall_ms + 4 * MINUTE_MS)
    assert app.statuses("alice")[-3:] == ["chat", "dnd", "xa"]


def test_quiet_hours_stand_above_an_available_status_that_was_set_before_them_and_below_one_set_in_them() -> None:
    world, app = stage(at_ms(2024, 6, 1, 17))
    for status in ("online", "chat"):
        app.claim("alice", "manual", "manual", status)
        pass_until(world, app, world.wall_ms - world.wall_ms % (24 * HOUR_MS) + 16 * HOUR_MS + MINUTE_MS)
        assert world.record("alice").status == "dnd", f"{status} was set before the quiet hours"
        assert schedule_of(app).claims[0].claim == "schedule"
        app.claim("alice", "manual", "manual", status)
        assert world.record("alice").status == status, "set while they last it says that they do not hold today"
        pass_until(world, app, world.wall_ms + 15 * HOUR_MS)
        assert world.record("alice").status == status
    pass_until(world, app, world.wall_ms + 9 * HOUR_MS)
    assert world.record("alice").status == "dnd", "and the next evening they hold again"


@pytest.mark.parametrize("status", ["away", "xa", "offline"])
def test_quiet_hours_are_weaker_than_any_other_manual_status(status: Status) -> None:
    world, app = stage(at_ms(2024, 6, 1, 17))
    app.claim("alice", "manual", "manual", status)
    pass_until(world, app, at_ms(2024, 6, 1, 19))
    assert world.record("alice").status == status


def test_a_schedule_that_says_something_else_than_dnd_is_no_quiet_hours() -> None:
    world, app = stage(at_ms(2024, 6, 1, 17), status="xa")
    app.claim("alice", "manual", "manual", "online")
    pass_until(world, app, at_ms(2024, 6, 1, 19))
    assert world.record("alice").status == "online"


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_what_was_set_in_the_quiet_hours_stands_above_them_after_a_restart_and_a_set_clock(from_snapshot: bool) -> None:
    world, app = stage(at_ms(2024, 6, 1, 19))
    app.claim("alice", "manual", "manual", "online")
    world.set_clock(world.wall_ms + 5 * MINUTE_MS)
    world.advance(1_000)
    after, app = back(world, 5_000, from_snapshot=from_snapshot)
    assert after.record("alice").status == "online"


def test_a_schedule_is_replaced_by_the_next_and_dropped_by_one_without_windows() -> None:
    world, app = stage(at_ms(2024, 6, 1, 20))
    app.done(SetSchedule(app.next_id(), BERLIN, NIGHT, "xa", "alice"))
    assert world.record("alice").status == "xa"
    app.done(SetSchedule(app.next_id(), BERLIN, [Window(DAILY, 60, 120)], "xa", "alice"))
    assert world.record("alice").status == "online"
    assert schedule_of(app).windows == [Window(DAILY, 60, 120)]
    app.done(SetSchedule(app.next_id(), BERLIN, NIGHT, "dnd", "alice"))
    app.done(SetSchedule(app.next_id(), "", [], "dnd", "alice"))
    assert world.record("alice").status == "online"
    assert (schedule_of(app).zone, schedule_of(app).windows) == ("", [])
    assert world.user("alice").scheduled is False


def test_several_windows_open_and_close_each_at_its_time() -> None:
    world, app = stage(at_ms(2024, 6, 3, 8), [Window(31, 12 * 60, 12 * 60 + 30), Window(1, 15 * 60, 16 * 60)])
    app.forget()
    pass_until(world, app, at_ms(2024, 6, 4, 13))
    assert [when for when, _ in changes_of(world, app)] == [
        "03 12:00", "03 12:30", "03 15:00", "03 16:00", "04 12:00", "04 12:30",
    ]  # fmt: skip


def test_a_whole_day_of_two_halves_is_told_as_one() -> None:
    world, app = stage(at_ms(2024, 6, 1, 22), [Window(64, 0, 720), Window(64, 720, 0)])
    app.forget()
    pass_until(world, app, at_ms(2024, 6, 3, 1))
    assert changes_of(world, app) == [("02 00:00", "dnd"), ("03 00:00", "online")]


def test_a_whole_day_is_one_window_and_windows_may_differ_in_status() -> None:
    windows = [Window(31, 9 * 60, 10 * 60, "xa"), Window(31, 8 * 60, 17 * 60, "chat"), Window(64, 0, 0)]
    world, app = stage(at_ms(2024, 6, 1, 22), windows)
    app.forget()
    pass_until(world, app, at_ms(2024, 6, 3, 18))
    assert changes_of(world, app) == [
        ("02 00:00", "dnd"), ("03 00:00", "online"), ("03 08:00", "chat"), ("03 09:00", "xa"), ("03 10:00", "chat"),
        ("03 17:00", "online"),
    ]  # fmt: skip
    assert schedule_of(app).windows == windows
    restarted = world.restarted(31 * HOUR_MS // 2, facts=world.snapshot())
    assert [claim.status for claim in restarted.user("alice").claims] == ["xa"]


@pytest.mark.parametrize("zone", ["", "Nowhere/Town", "Europe/../Europe/Berlin", "Europe", "x" * 1_000, "a\0"])
def test_a_zone_that_is_not_known_is_refused_and_makes_nobody_known(zone: str) -> None:
    world, app = stage(at_ms(2024, 6, 1, 20))
    assert app.refused(SetSchedule(app.next_id(), zone, NIGHT, "dnd", "alice")) == "bad_schedule"
    assert app.refused(SetSchedule(app.next_id(), zone, NIGHT, "dnd", "ghost")) == "bad_schedule"
    assert world.record("alice").status == "dnd" and "ghost" not in world.engine.users


# --- restarts -------------------------------------------------------------------------------------------------


def back(world: World, down_ms: int, *, from_snapshot: bool) -> tuple[World, FakeLink]:
    """Restarted after `down_ms`; the service attaches the laptop again."""
    after = world.restarted(down_ms, facts=world.snapshot() if from_snapshot else None)
    app = after.open("app", role="service")
    app.watch("alice")
    app.attach(1, "alice/laptop")
    return after, app


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_restart_in_the_middle_of_the_window_changes_nothing_and_the_window_ends_in_time(from_snapshot: bool) -> None:
    world, app = stage(at_ms(2024, 10, 26, 17, 30))
    pass_until(world, app, at_ms(2024, 10, 27, 1))
    shown = world.record("alice")
    after, app = back(world, 5_000, from_snapshot=from_snapshot)
    assert after.record("alice") == shown and app.pushes == []
    pass_until(after, app, at_ms(2024, 10, 27, 8, 1))
    assert changes_of(after, app) == [("27 08:00", "online")]


@pytest.mark.parametrize("from_snapshot", [False, True])
@pytest.mark.parametrize(
    "stopped, started, status",
    [
        ((2024, 6, 1, 17), (2024, 6, 1, 19), "dnd"),
        ((2024, 6, 1, 19), (2024, 6, 2, 9), "online"),
        ((2024, 6, 1, 19), (2024, 6, 2, 19), "dnd"),
        ((2024, 6, 1, 17), (2024, 6, 2, 9), "online"),
    ],
)
def test_after_downtime_over_an_edge_the_status_is_that_of_now(
    stopped: tuple[int, ...], started: tuple[int, ...], status: str, from_snapshot: bool
) -> None:
    world, _ = stage(at_ms(*stopped))
    after, app = back(world, at_ms(*started) - world.wall_ms, from_snapshot=from_snapshot)
    assert after.record("alice").status == status
    assert len(schedule_of(app).claims) == (status == "dnd")
    pass_until(after, app, at_ms(*started[:2], started[2] + 1, 8, 1) if status == "dnd" else after.wall_ms)
    assert after.record("alice").status == "online"


def test_an_ended_schedule_does_not_come_back_with_a_restart() -> None:
    world, app = stage(at_ms(2024, 6, 1, 19))
    app.done(SetSchedule(app.next_id(), "", [], "dnd", "alice"))
    after, app = back(world, 1_000, from_snapshot=False)
    assert after.record("alice").status == "online" and schedule_of(app).zone == ""


def test_a_zone_that_the_system_has_no_more_after_a_restart_keeps_nobody_from_starting() -> None:
    world, _ = stage(at_ms(2024, 6, 1, 19))

    def forgetful(schedule: Schedule, wall_ms: int) -> Opening:
        raise LookupError("unknown time zone")

    world.calendar = forgetful
    after, app = back(world, 1_000, from_snapshot=True)
    assert after.record("alice").status == "online"
    assert schedule_of(app).zone == BERLIN
    after.advance_beating(3 * SCHEDULE_CHECK_MS, app, every_ms=60_000)


# --- a wall clock that is set ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [1, 5, 24 * 30])
def test_a_wall_clock_that_is_set_forward_over_an_edge_is_noticed_within_the_hour(hours: int) -> None:
    world, app = stage(at_ms(2024, 6, 1, 17, 30))
    world.set_clock(world.wall_ms + hours * HOUR_MS)
    pass_until(world, app, world.wall_ms + SCHEDULE_CHECK_MS)
    assert world.record("alice").status == "dnd"


def test_a_wall_clock_that_is_set_back_over_an_edge_is_noticed_within_the_hour_and_the_edge_comes_again() -> None:
    world, app = stage(at_ms(2024, 6, 1, 18, 30))
    world.set_clock(at_ms(2024, 6, 1, 16))
    pass_until(world, app, at_ms(2024, 6, 1, 17, 1))
    assert world.record("alice").status == "online"
    pass_until(world, app, at_ms(2024, 6, 1, 17, 59))
    assert world.record("alice").status == "online"
    pass_until(world, app, at_ms(2024, 6, 1, 18, 1))
    assert world.record("alice").status == "dnd"


def test_a_clock_that_is_slowed_a_little_before_an_edge_does_not_miss_it() -> None:
    world, app = stage(at_ms(2024, 6, 1, 17, 59))
    for _ in range(20):
        world.advance(MINUTE_MS // 10)
        world.set_clock(world.wall_ms - 500)
        app.beats(1, -1)
        assert world.record("alice").status == ("dnd" if world.wall_ms > at_ms(2024, 6, 1, 18) + TICK_MS else "online")
    assert world.record("alice").status == "dnd"


def test_a_clock_that_is_set_far_is_noticed_at_once() -> None:
    world, _ = stage(at_ms(2024, 6, 1, 17, 30))
    world.set_clock(at_ms(2024, 6, 1, 19))
    assert world.record("alice").status == "dnd"
    world.set_clock(at_ms(2024, 6, 1, 17))
    assert world.record("alice").status == "online"


# --- many schedules -------------------------------------------------------------------------------------------

CROWD = 300


class Looks:
    """A calendar that counts what it is asked for."""

    def __init__(self) -> None:
        self.count = 0
        self.cost = 0

    def __call__(self, schedule: Schedule, wall_ms: int) -> Opening:
        self.count += 1
        self.cost += READ_COST + len(schedule.windows)
        return calendar(schedule, wall_ms)


def crowd(windows: list[Window]) -> tuple[World, Looks]:
    """At 17:30: so many users with a device each and these windows."""
    looks = Looks()
    world = World(calendar=looks, wall_ms=at_ms(2024, 6, 1, 17, 30))
    world.standing_max = CROWD
    app = world.open("app", role="service")
    for number in range(CROWD):
        app.say(SetSchedule(1_000 + number, BERLIN, windows, "dnd", f"user{number}"))
    world.turn()
    looks.count = looks.cost = 0
    return world, looks


def test_looks_without_an_edge_are_spread_over_the_hour_and_each_user_has_one() -> None:
    world, looks = crowd([Window(DAILY, 0, 720), Window(DAILY, 720, 0)])
    counts = []
    for _ in range(60):
        world.advance(MINUTE_MS)
        counts.append(looks.count - sum(counts))
    assert looks.count == CROWD
    assert max(counts) <= CROWD // 10
    restarted = world.restarted(facts=world.snapshot())
    dues = {user.due_ms // MINUTE_MS for user in restarted.engine.users.values() if user.schedule is not None}
    assert len(dues) >= 50


@pytest.mark.parametrize("windows", [NIGHT, [*NIGHT, *(Window(DAILY, 1_100 + n, 1_101 + n) for n in range(27))]])
def test_windows_that_open_for_all_at_once_open_in_one_moment_and_in_turns_of_bounded_work(
    windows: list[Window],
) -> None:
    world, looks = crowd(windows)
    world.advance(30 * MINUTE_MS - 1)
    before, turns = looks.cost, 0
    world.now_ms += 1 + TICK_MS
    while turns == 0 or (world.next_ms is not None and world.next_ms <= world.now_ms):
        world.turn()
        turns += 1
        assert looks.cost - before < TICK_COST_MAX + READ_COST + len(windows)
        before = looks.cost
    assert turns > 1
    for number in range(CROWD):
        claims = world.user(f"user{number}").claims
        assert [(claim.name, claim.until_ms) for claim in claims] == [("schedule", at_ms(2024, 6, 2, 8))]


def test_a_schedule_that_is_dropped_or_set_anew_while_its_look_waits_is_what_it_was_set_to() -> None:
    world, _ = crowd(NIGHT)
    world.advance(30 * MINUTE_MS - 1)
    app = world.open("app", role="service")
    world.now_ms += 1 + TICK_MS
    world.turn()
    waiting = [f"user{number}" for number in range(CROWD) if not world.user(f"user{number}").claims]
    assert waiting and len(waiting) < CROWD
    app.say(SetSchedule(1, "", [], "dnd", waiting[0]))
    app.say(SetSchedule(2, BERLIN, NIGHT, "xa", waiting[1]))
    world.advance(TICK_MS)
    assert waiting[0] not in world.engine.users or not world.user(waiting[0]).claims
    assert [claim.status for claim in world.user(waiting[1]).claims] == ["xa"]
    assert all(world.user(name).claims for name in waiting[1:])


def test_a_chat_is_told_of_the_schedule_and_its_end() -> None:
    _, app = stage(at_ms(2024, 6, 1, 4))
    reply = app.expect(Command(app.next_id(), "auto", "alice"), CommandReply)
    assert reply.text == "What you set is ended, but your schedule says dnd for 4 h more: you are dnd"
    assert app.expect(Command(app.next_id(), "", "alice"), CommandReply).text == "You are dnd, for 4 h more"


def test_other_rules_of_a_zone_hold_at_once_when_they_are_told_and_a_zone_that_is_gone_is_known() -> None:
    """And no schedule waits for the hour at which it would be looked at anyway."""
    found: list[Opening | None] = [Opening(False, 0)]

    def asked(schedule: Schedule, wall_ms: int) -> Opening:
        if found[0] is None:
            raise LookupError(schedule.zone)
        return found[0]

    world = World(calendar=asked)
    app = world.open("app", role="service")
    app.watch("alice")
    app.attach(1, "alice/laptop")
    app.done(SetSchedule(app.next_id(), BERLIN, NIGHT, "dnd", "alice"))
    world.advance(TICK_MS)
    schedules = world.engine.schedules
    for rules, status in ((Opening(True, 0), "dnd"), (None, "online"), (Opening(True, 0), "dnd")):
        found[0] = rules
        schedules.rules_changed()
        world.advance(TICK_MS)
        assert app.pushes[-1].status == status
        assert [*schedules.zones_missing] == ([] if rules else [BERLIN])
    found[0] = None
    app.done(SetSchedule(app.next_id(), "", [], "dnd", "alice"))
    schedules.rules_changed()
    world.advance(TICK_MS)
    assert not schedules.zones_missing, "nobody has a schedule there"


def test_the_claim_of_a_schedule_that_replaces_another_is_made_then() -> None:
    world, app = stage(at_ms(2026, 3, 2, 19, 0))
    made_ms = world.wall_ms
    pass_until(world, app, made_ms + HOUR_MS)
    claims = app.expect(GetClaims(app.next_id(), "alice"), ClaimList).claims
    assert [(claim.status, claim.since_ms) for claim in claims] == [("dnd", made_ms)]
    for windows, status in ((NIGHT, "away"), ([Window(DAILY, 17 * 60, 9 * 60)], "away")):
        world.advance(1_000)
        app.done(SetSchedule(app.next_id(), BERLIN, windows, status, "alice"))
        claims = app.expect(GetClaims(app.next_id(), "alice"), ClaimList).claims
        assert [(claim.status, claim.since_ms) for claim in claims] == [("away", world.wall_ms)]
