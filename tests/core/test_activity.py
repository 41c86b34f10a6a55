"""What applications record of users: order, bounds, times, and that it counts as input."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from presenced.core.records import ActivityAdded
from presenced.limits import (
    ACTIVITIES_PER_USER_MAX,
    ACTIVITY_AGE_MS_MAX,
    ACTIVITY_AHEAD_MS_MAX,
    LABEL_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
)
from presenced.wire.messages import ActivityInfo, ActivityList, AddActivity, Command, CommandReply, Error, GetActivity
from tests.core.world import TICK_MS, WALL_MS, FakeLink, World
from tests.support.tiers import samples

DAY_MS = 24 * 3_600_000


def stage() -> tuple[World, FakeLink]:
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "alice/web")
    app.watch("alice")
    return world, app


def record(app: FakeLink, activity: str, at_ms: int = 0, user: str = "alice") -> None:
    app.done(AddActivity(app.next_id(), activity, at_ms=at_ms, user=user))


def recent(app: FakeLink, limit: int = 100, since_ms: int = 0, user: str = "alice") -> list[ActivityInfo]:
    return app.expect(GetActivity(app.next_id(), user, limit, since_ms), ActivityList).activities


def names(found: list[ActivityInfo]) -> list[str]:
    return [done.activity for done in found]


def test_an_activity_is_told_with_all_that_was_said_of_it() -> None:
    world, app = stage()
    app.done(AddActivity(app.next_id(), "message", "general", WALL_MS - 5, '{"id":7}', "alice", "web"))
    assert recent(app) == [ActivityInfo("message", "general", "web", WALL_MS - 5, '{"id":7}')]
    alice = world.open("alice/phone")
    alice.done(AddActivity(alice.next_id(), "typing"))
    assert recent(alice, user="")[0] == ActivityInfo("typing", "", "phone", WALL_MS, "")


def test_the_newest_by_their_times_come_first_whatever_the_order_of_recording() -> None:
    _, app = stage()
    for name, ago_ms in (("c", 30), ("a", 50), ("d", 20), ("b", 40), ("e", 20)):
        record(app, name, WALL_MS - ago_ms)
    assert names(recent(app)) == ["e", "d", "c", "b", "a"]


def test_limit_and_since_bound_what_is_told() -> None:
    _, app = stage()
    for number in range(10):
        record(app, f"a{number}", WALL_MS - 100 + number)
    assert names(recent(app, limit=3)) == ["a9", "a8", "a7"]
    assert names(recent(app, since_ms=WALL_MS - 93)) == ["a9", "a8", "a7"]
    assert names(recent(app, limit=2, since_ms=WALL_MS - 93)) == ["a9", "a8"]
    assert recent(app, since_ms=WALL_MS + 1) == []
    assert names(app.expect(GetActivity(app.next_id(), "alice"), ActivityList).activities) == [
        f"a{number}" for number in reversed(range(10))
    ]


def test_the_oldest_make_room() -> None:
    world, app = stage()
    for number in range(ACTIVITIES_PER_USER_MAX + 5):
        record(app, f"a{number}", WALL_MS - 1_000 + number)
    record(app, "ancient", WALL_MS - DAY_MS)
    found = names(recent(app))
    assert len(found) == ACTIVITIES_PER_USER_MAX and found[-1] == "a5" and found[0] == "a104"
    assert len(world.user("alice").activities or ()) == ACTIVITIES_PER_USER_MAX


def test_activities_that_become_too_old_are_dropped_and_with_the_last_their_user() -> None:
    world, app = stage()
    record(app, "early", WALL_MS - ACTIVITY_AGE_MS_MAX, "ghost")
    record(app, "later", WALL_MS - ACTIVITY_AGE_MS_MAX + 10_000, "ghost")
    assert names(recent(app, user="ghost")) == ["later", "early"]
    world.advance(1)
    assert names(recent(app, user="ghost")) == ["later"]
    world.advance(10_000)
    assert recent(app, user="ghost") == []
    assert "ghost" not in world.engine.users


def test_activities_that_nobody_asks_for_are_in_no_snapshot_once_they_are_too_old_and_keep_nobody() -> None:
    world, app = stage()
    record(app, "first", user="ghost")
    world.now_ms += DAY_MS
    world.turn()
    app = world.open("app", role="service")
    record(app, "second", user="ghost")
    record(app, "other", user="alice")
    assert [fact.activity for fact in world.snapshot() if isinstance(fact, ActivityAdded)].count("first") == 1
    world.now_ms += ACTIVITY_AGE_MS_MAX - DAY_MS + 1
    world.turn()
    saved = [(fact.user, fact.activity) for fact in world.snapshot() if isinstance(fact, ActivityAdded)]
    assert sorted(saved) == [("alice", "other"), ("ghost", "second")]
    world.now_ms += DAY_MS
    world.turn()
    assert [fact for fact in world.snapshot() if isinstance(fact, ActivityAdded)] == []
    world.turn()
    assert not world.engine.users.knows("ghost") and world.engine.users.knows("alice")


def test_a_new_activity_drops_those_that_are_too_old() -> None:
    world, app = stage()
    for name in ("first", "second"):
        record(app, name, user="ghost")
        world.now_ms += 1_000
    world.now_ms += ACTIVITY_AGE_MS_MAX - 1_500
    app = world.open("app", role="service")
    record(app, "third", user="ghost")
    assert [done.activity for done in world.user("ghost").activities or ()] == ["second", "third"]


def test_a_restart_keeps_nobody_for_activities_that_have_become_too_old() -> None:
    world, app = stage()
    record(app, "old", user="ghost")
    record(app, "older", WALL_MS - DAY_MS, user="ghost")
    assert "ghost" in world.restarted(ACTIVITY_AGE_MS_MAX - DAY_MS).engine.users
    again = world.restarted(ACTIVITY_AGE_MS_MAX + 1)
    assert "ghost" not in again.engine.users


def test_asking_in_a_chat_lets_go_of_whom_there_is_nothing_to_tell() -> None:
    world, app = stage()
    record(app, "message", user="ghost")
    world.now_ms += ACTIVITY_AGE_MS_MAX + 1
    app = world.open("app", role="service")
    reply = app.expect(Command(app.next_id(), "/presence activity", "ghost"), CommandReply)
    assert reply.activities == [] and "ghost" not in world.engine.users


@pytest.mark.parametrize("at_ms", [1, WALL_MS - ACTIVITY_AGE_MS_MAX - 1, WALL_MS + ACTIVITY_AHEAD_MS_MAX + 1, 2**53])
def test_a_time_out_of_bounds_is_refused_and_nothing_is_kept(at_ms: int) -> None:
    world, app = stage()
    facts = len(world.log.facts)
    assert app.refused(AddActivity(app.next_id(), "message", at_ms=at_ms, user="alice", device="web")) == "bad_time"
    assert app.refused(AddActivity(app.next_id(), "message", at_ms=at_ms, user="ghost")) == "bad_time"
    assert recent(app) == [] and len(world.log.facts) == facts and "ghost" not in world.engine.users


def test_the_bounds_of_time_themselves_are_within() -> None:
    _, app = stage()
    record(app, "first", WALL_MS - ACTIVITY_AGE_MS_MAX)
    record(app, "last", WALL_MS + ACTIVITY_AHEAD_MS_MAX)
    assert names(recent(app)) == ["last", "first"]


@pytest.mark.parametrize(
    "activity, channel, payload, code",
    [
        ("", "", "", "bad_activity"),
        ("two words", "", "", "bad_activity"),
        ("x" * (LABEL_BYTES_MAX + 1), "", "", "bad_activity"),
        ("\u00e4" * (LABEL_BYTES_MAX // 2 + 1), "", "", "bad_activity"),
        ("message", "two words", "", "bad_channel"),
        ("message", "x" * 129, "", "bad_channel"),
        ("message", "", "x" * (PAYLOAD_BYTES_MAX + 1), "bad_activity"),
        ("message", "", "a\0b", "bad_activity"),
    ],
)
def test_what_breaks_the_bounds_is_refused(activity: str, channel: str, payload: str, code: str) -> None:
    world, app = stage()
    assert app.refused(AddActivity(app.next_id(), activity, channel, 0, payload, "alice", "web")) == code
    assert recent(app) == []


def test_recording_counts_as_input_on_the_device_and_without_one_on_none() -> None:
    world, app = stage()
    app.beats(1, 400_000)
    assert app.view["alice"].status == "away"
    record(app, "message")
    assert app.view["alice"].status == "away"
    app.done(AddActivity(app.next_id(), "message", at_ms=WALL_MS - DAY_MS, user="alice", device="web"))
    assert app.view["alice"].status == "online"
    alice = world.open("alice/phone", idle_ms=0)
    world.advance(31_000)
    app.done(AddActivity(app.next_id(), "message", user="alice", device="web"))
    assert app.view["alice"].device == "web" and alice.open
    for _ in range(10):
        world.advance(30_000)
        app.beats(1, -1)
    world.advance(TICK_MS)
    assert app.view["alice"].status == "away"


def test_the_same_activity_said_twice_is_kept_once() -> None:
    _, app = stage()
    record(app, "message", WALL_MS - 5)
    record(app, "other", WALL_MS - 5)
    record(app, "message", WALL_MS - 5)
    assert names(recent(app)) == ["other", "message"]


@given(
    times=st.lists(st.integers(0, 40), max_size=ACTIVITIES_PER_USER_MAX + 30),
    limit=st.integers(1, 100),
    since=st.integers(0, 41),
)
@settings(max_examples=samples(40), deadline=None)
def test_any_activities_in_any_order_are_told_as_by_sorting(times: list[int], limit: int, since: int) -> None:
    world = World()
    world.checks = False
    app = world.open("app", role="service")
    kept: list[tuple[int, int]] = []
    for number, time in enumerate(times):
        app.say(AddActivity(1_000 + number, f"a{number}", at_ms=WALL_MS - 40 + time, user="alice"))
        kept = sorted([*kept, (time, number)])[-ACTIVITIES_PER_USER_MAX:]
    world.turn()
    wanted = [f"a{number}" for time, number in reversed(kept) if time >= since][:limit]
    assert names(recent(app, limit, WALL_MS - 40 + since)) == wanted


def test_an_empty_type_is_told_the_limit_of_types() -> None:
    _, app = stage()
    error = app.expect(AddActivity(app.next_id(), "", "", 0, "", "alice", "web"), Error)
    assert error.message == f"the activity type is empty; give it 1 to {LABEL_BYTES_MAX} bytes"


@pytest.mark.parametrize("start", ["none", "from the log", "from a snapshot", "from a snapshot and the log again"])
def test_as_many_of_one_millisecond_as_are_recorded_are_kept(start: str) -> None:
    world, app = stage()
    for _ in range(50):
        app.say(AddActivity(app.next_id(), "message", "general", user="alice"))
    world.turn()
    for _ in range(2):
        app.done(AddActivity(app.next_id(), "edit", "general", at_ms=WALL_MS, user="alice"))
    if start == "from the log":
        world = world.restarted()
    elif start != "none":
        world = world.restarted(facts=world.snapshot() + world.log.facts * start.endswith("again"))
    app = world.open("app", role="service")
    found = recent(app)
    assert (
        found
        == [ActivityInfo("edit", "general", "", WALL_MS, "")]
        + [ActivityInfo("message", "general", "", WALL_MS, "")] * 50
    )


def test_one_more_without_a_time_is_one_more_though_the_same_was_said_with_its_time() -> None:
    _, app = stage()
    record(app, "message", WALL_MS)
    record(app, "message")
    record(app, "message", WALL_MS)
    assert names(recent(app)) == ["message"] * 2
