"""A wall clock that is wrong for a while and then set: ends, activities and devices go by what it shows afterwards."""

from __future__ import annotations

import pytest

from presenced.core import clock
from presenced.core.clock import WALL_TRUST_MS
from presenced.core.model import User
from presenced.core.part import Jump
from presenced.core.parts import clock_jumps
from presenced.core.parts.claims import Claims
from presenced.core.records import ActivityAdded
from presenced.limits import (
    ACTIVITIES_PER_USER_MAX,
    ACTIVITY_AGE_MS_MAX,
    ACTIVITY_AHEAD_MS_MAX,
    GRACE_MS,
    PRIMARY_HYSTERESIS_MS,
)
from presenced.wire.messages import (
    ActivityInfo,
    ActivityList,
    AddActivity,
    ClaimInfo,
    ClaimList,
    DeviceList,
    GetActivity,
    GetClaims,
    GetDevices,
    SetStatus,
)
from tests.core.world import TICK_MS, FakeLink, World

DAY_MS = 24 * 3_600_000
MINUTE_MS = 60_000


def stage() -> tuple[World, FakeLink]:
    world = World()
    app = world.open("app", role="service")
    app.watch("alice")
    app.attach(1, "alice/web")
    return world, app


def back(world: World, down_ms: int, *, from_snapshot: bool) -> tuple[World, FakeLink]:
    """Restarted after `down_ms` by the wall clock, which may be less than nothing."""
    after = world.restarted(down_ms, facts=world.snapshot() if from_snapshot else None)
    app = after.open("app", role="service")
    app.watch("alice")
    app.attach(1, "alice/web")
    return after, app


def claims_of(app: FakeLink) -> list[ClaimInfo]:
    return app.expect(GetClaims(app.next_id(), "alice"), ClaimList).claims


# --- ends -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_what_was_to_end_by_now_ends_when_a_clock_that_was_behind_at_the_start_is_set(from_snapshot: bool) -> None:
    world, app = stage()
    app.done(SetStatus(app.next_id(), "dnd", "back soon", for_ms=5_000, user="alice"))
    app.claim("alice", "meeting", "calendar", "away", until_ms=world.wall_ms + 2 * DAY_MS)
    right_ms = world.wall_ms
    world, app = back(world, -DAY_MS, from_snapshot=from_snapshot)
    app.forget()
    world.advance(10_000)
    assert world.record("alice").status == "dnd" and app.pushes == []
    world.set_clock(right_ms + 10_000)
    world.advance(TICK_MS)
    assert (world.record("alice").status, world.record("alice").text) == ("away", "")
    assert [claim.claim for claim in claims_of(app)] == ["meeting"]
    world.advance_beating(2 * DAY_MS, app, every_ms=30_000)
    assert claims_of(app) == []


def test_an_end_that_an_application_said_as_a_wall_time_follows_the_wall_clock_to_and_fro() -> None:
    world, app = stage()
    until_ms = world.wall_ms + 60 * MINUTE_MS
    app.claim("alice", "meeting", "calendar", "dnd", until_ms=until_ms)
    app.claim("alice", "sooner", "calendar", "away", for_ms=90 * MINUTE_MS, until_ms=until_ms)
    world.set_clock(world.wall_ms - 60 * MINUTE_MS)
    world.set_clock(until_ms - MINUTE_MS)
    assert [claim.until_ms for claim in claims_of(app)] == [until_ms] * 2
    world.advance(MINUTE_MS - 1)
    assert len(claims_of(app)) == 2
    world.advance(1 + TICK_MS)
    assert claims_of(app) == []


@pytest.mark.parametrize("jump_ms", [DAY_MS, -DAY_MS])
def test_what_holds_for_a_time_holds_that_long_and_its_end_is_told_anew_and_survives_a_restart(jump_ms: int) -> None:
    world, app = stage()
    app.done(SetStatus(app.next_id(), "dnd", "lunch", for_ms=30 * MINUTE_MS, user="alice"))
    app.claim("alice", "focus", "call", "xa", for_ms=20 * MINUTE_MS)
    world.set_clock(world.wall_ms + jump_ms)
    left_ms = [claim.until_ms - world.wall_ms for claim in claims_of(app)]
    assert left_ms == [20 * MINUTE_MS, 30 * MINUTE_MS]
    assert world.user("alice").text_until_ms - world.wall_ms == 30 * MINUTE_MS
    world, app = back(world, 19 * MINUTE_MS, from_snapshot=False)
    assert (world.record("alice").status, len(claims_of(app))) == ("xa", 2)
    world.advance(MINUTE_MS + TICK_MS)
    app.beats(1, -1)
    assert (world.record("alice").status, world.record("alice").text) == ("dnd", "lunch")
    world.advance_beating(10 * MINUTE_MS, app)
    assert claims_of(app) == [] and world.record("alice").text == ""


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_what_counted_before_the_clock_was_set_back_counts_after_a_restart(from_snapshot: bool) -> None:
    """The older claim has an end, which is written down anew. It is no newer for that."""
    world, app = stage()
    app.claim("alice", "focus", "manual", "dnd", for_ms=60 * MINUTE_MS)
    app.done(SetStatus(app.next_id(), "away", user="alice"))
    world.set_clock(world.wall_ms - 60 * MINUTE_MS)
    before = [(claim.claim, claim.status) for claim in claims_of(app)]
    assert before == [("manual", "away"), ("focus", "dnd")]
    world, app = back(world, 0, from_snapshot=from_snapshot)
    assert [(claim.claim, claim.status) for claim in claims_of(app)] == before
    assert world.record("alice").status == "away"


def test_of_two_ends_the_earlier_one_counts_whichever_that_is_by_the_clock_of_now() -> None:
    world, app = stage()
    right_ms = world.wall_ms
    until_ms = right_ms + 60 * MINUTE_MS
    app.claim("alice", "meeting", "calendar", "dnd", for_ms=20 * MINUTE_MS, until_ms=until_ms)
    app.claim("alice", "trip", "calendar", "away", for_ms=90 * MINUTE_MS, until_ms=until_ms)

    def ends() -> list[int]:
        return [(claim.until_ms - world.wall_ms) // MINUTE_MS for claim in claims_of(app)]

    assert ends() == [60, 20]
    world.set_clock(until_ms - 10 * MINUTE_MS)
    assert ends() == [10, 10]
    world.set_clock(right_ms)
    assert ends() == [60, 20]
    world.set_clock(right_ms - 60 * MINUTE_MS)
    assert ends() == [90, 20]
    world.set_clock(until_ms - 10 * MINUTE_MS)
    world.advance_beating(10 * MINUTE_MS - 1, app)
    assert len(claims_of(app)) == 2
    world.advance(1 + TICK_MS)
    assert claims_of(app) == []


def test_all_users_are_looked_at_after_a_jump_and_not_many_in_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    plain = Claims.clock_jumped

    def counted(claims: Claims, user: User, jump: Jump, now_ms: int) -> None:
        looked[-1] += 1
        plain(claims, user, jump, now_ms)

    monkeypatch.setattr(Claims, "clock_jumped", counted)
    monkeypatch.setattr(clock_jumps, "SLICE_COST_MAX", 30)
    world, app = stage()
    for number in range(35):
        app.claim(f"user{number}", "meeting", "calendar", "dnd", until_ms=world.wall_ms + DAY_MS)
    world.engine.set_wall(world.now_ms, world.wall_ms + DAY_MS + 1)
    for _ in range(5):
        looked.append(0)
        world.turn()
    assert max(looked) == 10 and sum(looked) >= 35
    world.advance(TICK_MS)
    assert not any(user.claims for user in world.engine.users.values())


def test_a_clock_that_only_drifts_makes_nobody_look(monkeypatch: pytest.MonkeyPatch) -> None:
    def unwanted(claims: Claims, user: User, jump: Jump, now_ms: int) -> None:
        raise AssertionError("nothing was set")

    monkeypatch.setattr(Claims, "clock_jumped", unwanted)
    world, app = stage()
    app.claim("alice", "meeting", "calendar", "dnd", for_ms=DAY_MS)
    for _ in range(9):
        world.set_clock(world.wall_ms + clock.WALL_JUMP_MS // 10)
        assert world.next_ms is not None and world.next_ms > world.now_ms


# --- activities -----------------------------------------------------------------------------------------------


def recent(app: FakeLink) -> list[ActivityInfo]:
    return app.expect(GetActivity(app.next_id(), "alice", 100), ActivityList).activities


@pytest.mark.parametrize("restart", ["none", "before it is set", "after it is set"])
def test_activities_of_tomorrow_do_not_keep_out_those_of_today(restart: str) -> None:
    world, app = stage()
    right_ms = world.wall_ms
    world.set_clock(right_ms + DAY_MS)
    for number in range(ACTIVITIES_PER_USER_MAX):
        app.done(AddActivity(app.next_id(), "message", payload=f"ahead{number}", user="alice"))
    if restart == "before it is set":
        world, app = back(world, -DAY_MS, from_snapshot=False)
    else:
        world.set_clock(right_ms)
    app.done(AddActivity(app.next_id(), "message", payload="now", user="alice"))
    world.advance(1_000)
    app.done(AddActivity(app.next_id(), "message", payload="later", user="alice"))
    if restart == "after it is set":
        world, app = back(world, 0, from_snapshot=False)
    found = recent(app)
    assert [done.payload for done in found[:4]] == ["later", "now", "ahead99", "ahead98"]
    assert len(found) == ACTIVITIES_PER_USER_MAX
    assert max(done.at_ms for done in found) <= world.wall_ms
    times = [done.at_ms for done in found]
    assert times == sorted(times, reverse=True)


def test_activities_of_tomorrow_are_told_as_of_now_and_those_a_little_ahead_as_they_are() -> None:
    world, app = stage()
    right_ms = world.wall_ms
    app.done(AddActivity(app.next_id(), "message", at_ms=right_ms + ACTIVITY_AHEAD_MS_MAX, user="alice"))
    app.done(AddActivity(app.next_id(), "message", at_ms=right_ms - 5, user="alice"))
    world.set_clock(right_ms + DAY_MS)
    app.done(AddActivity(app.next_id(), "tomorrow", user="alice"))
    world.set_clock(right_ms)
    assert [(done.activity, done.at_ms - right_ms) for done in recent(app)] == [
        ("message", ACTIVITY_AHEAD_MS_MAX), ("tomorrow", 0), ("message", -5),
    ]  # fmt: skip


# --- devices --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_device_that_was_used_tomorrow_does_not_stay_primary_for_a_day(from_snapshot: bool) -> None:
    world, app = stage()
    world.set_clock(world.wall_ms + DAY_MS)
    app.attach(2, "alice/phone", idle_ms=0)
    app.release(1)
    assert world.record("alice").device == "phone"
    world, app = back(world, -DAY_MS, from_snapshot=from_snapshot)
    app.attach(2, "alice/phone")
    for device in world.user("alice").devices.values():
        assert device.active_ms <= world.now_ms and device.heard_ms <= world.now_ms
    world.advance(PRIMARY_HYSTERESIS_MS // 2 + 1)
    app.beats(1, -1, 2, -1)
    world.advance(PRIMARY_HYSTERESIS_MS // 2)
    app.beats(1, 0, 2, -1)
    assert world.record("alice").device == "web"


def times_of(world: World, user: str) -> tuple[int, int]:
    return world.record(user).since_ms, world.record(user).last_seen_ms


@pytest.mark.parametrize("restart", ["none", "from the log", "from a snapshot"])
def test_what_was_told_by_a_clock_that_was_ahead_is_told_as_it_was_once_the_clock_is_right(restart: str) -> None:
    world = World()
    right_ms = world.wall_ms
    app = world.open("app", role="service")
    app.watch("alice", "bob", "carol")
    world.set_clock(right_ms + 3 * DAY_MS)
    world.open("alice/web", idle_ms=0)
    world.open("bob/web").bye()
    world.open("carol/web").set_status("offline", text="holiday")
    app.claim("alice", "trip", "calendar", "away")
    world.advance(60_000)
    app.beat()
    world.set_clock(right_ms + 60_000)
    for user in ("alice", "bob", "carol"):
        assert app.view[user] == world.record(user)
        assert times_of(world, user) == (right_ms, 0 if user == "alice" else right_ms), user
    assert claims_of(app)[0].since_ms == right_ms
    if restart != "none":
        world = world.restarted(facts=world.snapshot() if restart == "from a snapshot" else None)
    assert times_of(world, "alice") == (right_ms, 0)
    assert times_of(world, "bob") == times_of(world, "carol") == (right_ms, right_ms)


def test_nothing_is_told_of_a_time_to_come_if_the_clock_was_set_while_nobody_ran() -> None:
    world = World()
    right_ms = world.wall_ms
    world.set_clock(right_ms + 3 * DAY_MS)
    world.open("alice/web")
    world.open("bob/web").bye()
    world = world.restarted(-3 * DAY_MS)
    assert times_of(world, "alice") == (right_ms, 0) and times_of(world, "bob") == (right_ms, right_ms)
    world.set_clock(right_ms + 4 * DAY_MS)
    assert times_of(world, "bob") == (right_ms + 3 * DAY_MS,) * 2, "it was this clock that had been wrong"


def test_a_clock_that_is_wrong_for_a_moment_leaves_no_trace() -> None:
    world = World()
    app = world.open("app", role="service")
    world.open("alice/web")
    world.open("bob/web").bye()
    before = times_of(world, "alice"), times_of(world, "bob")
    world.advance(5_000)
    for jump_ms in (-DAY_MS, DAY_MS, DAY_MS, -DAY_MS, -60_000, 60_000):
        world.set_clock(world.wall_ms + jump_ms)
        for user in ("alice", "bob"):
            assert max(times_of(world, user)) <= world.wall_ms
    assert (times_of(world, "alice"), times_of(world, "bob")) == before
    assert app.get("alice").since_ms == before[0][0]


def seen(link: FakeLink, user: str) -> dict[str, tuple[int, int]]:
    devices = link.expect(GetDevices(link.next_id(), user), DeviceList).devices
    return {info.device: (info.last_active_ms, info.last_seen_ms) for info in devices}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("jump_ms", [3 * DAY_MS, -3 * DAY_MS, 60_000, -60_000])
def test_the_times_of_a_device_that_is_gone_stay_when_the_clock_is_set(jump_ms: int, restart: bool) -> None:
    world = World()
    world.set_clock(world.wall_ms - 30 * DAY_MS)
    web = world.open("alice/web", idle_ms=7_000)
    world.advance(9_000)
    web.bye()
    world.advance(5_000)
    world.open("alice/tab", idle_ms=4_000).lose()
    down_ms = 4 * DAY_MS
    if restart:
        # Both are what the disk says when the daemon starts with a clock that is wrong.
        world = world.restarted(down_ms)
    else:
        world.advance(GRACE_MS + TICK_MS)
        world.advance(down_ms)
    app = world.open("app", role="service")
    before = seen(app, "alice")
    assert before["web"] == (world.wall_ms - down_ms - 21_000, world.wall_ms - down_ms - 5_000) or not restart
    world.set_clock(world.wall_ms + jump_ms)
    world.advance(TICK_MS)
    assert seen(app, "alice") == before
    world.advance_beating(60_000, app)
    assert seen(app, "alice") == before
    assert world.record("alice").last_seen_ms == before["tab"][1]


def test_a_device_that_goes_while_all_are_looked_at_after_a_jump_is_not_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock_jumps, "SLICE_COST_MAX", 1)
    world = World()
    links = {name: world.open(f"{name}/web") for name in ("alice", "bob", "carol", "dave")}
    for jump_ms in (DAY_MS, DAY_MS, -DAY_MS):
        world.engine.set_wall(world.now_ms, world.wall_ms + jump_ms)
        if jump_ms > 0:
            world.turn()
    world.engine.sessions.bye(world.now_ms + 1, links["alice"].session)
    world.advance(5_000)
    app = world.open("app", role="service")
    assert seen(app, "alice")["web"][1] == world.wall_ms - 5_000 + 1


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_who_was_there_tomorrow_and_does_not_come_back_was_last_seen_today(from_snapshot: bool) -> None:
    world, _ = stage()
    world.set_clock(world.wall_ms + DAY_MS)
    world.open("bob/web")
    after = world.restarted(-DAY_MS, facts=world.snapshot() if from_snapshot else None)
    after.advance(MINUTE_MS)
    assert after.record("bob").status == "offline"
    assert 0 < after.record("bob").last_seen_ms <= after.wall_ms


@pytest.mark.parametrize("meanwhile", ["ask", "record", "snapshot"])
def test_a_clock_that_is_wrong_for_a_moment_destroys_no_activity(meanwhile: str) -> None:
    world = World()
    app = world.open("app", role="service")
    for number in range(5):
        app.done(AddActivity(app.next_id(), f"done-{number}", user="alice"))
        world.advance(10)

    def told() -> list[str]:
        answer = app.expect(GetActivity(app.next_id(), "alice"), ActivityList)
        return [done.activity for done in answer.activities]

    before = told()
    world.set_clock(world.wall_ms + 2 * ACTIVITY_AGE_MS_MAX)
    if meanwhile == "ask":
        assert told() == [], "by the clock of now all are too old"
    elif meanwhile == "record":
        app.done(AddActivity(app.next_id(), "by-a-wrong-clock", user="alice"))
    else:
        assert len([fact for fact in world.snapshot() if isinstance(fact, ActivityAdded)]) == 5
    world.advance(2_000)
    world.set_clock(world.wall_ms - 2 * ACTIVITY_AGE_MS_MAX)
    assert [name for name in told() if name != "by-a-wrong-clock"] == before


def test_a_clock_that_stays_ahead_drops_what_is_too_old_after_a_while() -> None:
    world = World()
    app = world.open("app", role="service")
    app.done(AddActivity(app.next_id(), "done", user="alice"))
    world.set_clock(world.wall_ms + 2 * ACTIVITY_AGE_MS_MAX)
    world.advance_beating(WALL_TRUST_MS, app)
    world.set_clock(world.wall_ms)
    world.snapshot()
    assert "alice" not in world.engine.users
