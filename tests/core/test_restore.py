"""From facts back to the state: whatever was so before a restart is so after it, from the log, a snapshot, or both."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from presenced.core.model import GONE, Device, User
from presenced.core.parts.own_state import claim_infos
from presenced.core.records import ClaimSet, DeviceForgotten, DeviceSet, Fact, MembershipSet, ScheduleSet
from presenced.limits import GRACE_MS
from presenced.server.zones import calendar
from presenced.storage.openings import STARTS_MAX, starts_with
from presenced.wire.messages import (
    AddActivity,
    AddClaim,
    Attach,
    EndClaim,
    Forget,
    Join,
    Leave,
    SetDevice,
    SetSchedule,
    SetStatus,
    Touch,
    Window,
)
from tests.core.world import TICK_MS, FakeLink, World

CHANNELS = ("general", "random", "side")
WINDOWS = ([Window(127, 0, 720)], [Window(127, 720, 0)], [Window(127, 0, 720), Window(127, 720, 0)], [])


def device_state(device: Device, *, times: bool, offset_ms: int) -> tuple[Any, ...]:
    seen = (device.heard_ms + offset_ms, device.active_ms + offset_ms) if times else ()
    return (
        device.kind, device.name, device.meta, device.priority, device.status, device.state != GONE,
        device.idle_level, sorted(device.channels or ()), *seen,
    )  # fmt: skip


def user_state(world: World, user: User, *, times: bool) -> dict[str, Any]:
    offset_ms = world.engine.clock.offset_ms
    record = user.record
    schedule = user.schedule
    return {
        # Which device is the primary goes by the times of input, and those of heartbeats are not logged.
        "record": record if times else msgspec.structs.replace(record, device="", version=0),
        "claims": claim_infos(user),
        "text": (user.text, user.emoji, user.text_until_ms),
        "seen": user.seen_ms if times else 0,
        "schedule": (schedule.zone, schedule.windows, schedule.status) if schedule is not None else None,
        "activities": list(user.activities or ()),
        "devices": {
            name: device_state(device, times=times, offset_ms=offset_ms) for name, device in user.devices.items()
        },
        "channels": user.channels,
    }  # fmt: skip


def state(world: World, *, times: bool) -> dict[str, Any]:
    """Everything that a restart must keep."""
    channels = world.engine.channels.by_name
    return {
        "users": {user.name: user_state(world, user, times=times) for user in world.engine.users.values()},
        "online": list(world.engine.publisher.online),
        "channels": {
            channel.name: (sorted(channel.members), list(channel.online), channel.counts)
            for channel in channels.values()
            if channel.members
        },
    }


class Life:
    """A random life of a few users, all through one service's messages."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World(calendar=calendar)
        self.app = self.world.open("app", role="service")

    def step(self) -> None:
        dice, app = self.dice, self.app
        ref = dice.randrange(1, 13)
        user, device = f"user{ref % 5}", f"device{ref}"
        at = app.next_id() + 1_000
        name = dice.choice(("manual", "a", "b", "c"))
        source = "manual" if name == "manual" else dice.choice(("call", "calendar"))
        for_ms = dice.choice((0, 0, 3_000, 60_000))
        status = dice.choice(("online", "dnd", "away", "chat", "xa"))
        choices: list[Any] = [
            Attach(at, ref, user, device, dice.choice(("", "web")), dice.choice("xy"), dice.choice((0, 0, 5, -1)),
                   status, dice.choice((None, 0, 200_000, 400_000, 4_000_000)), meta=dice.choice((None, "", "m", "n"))),
            SetStatus(at, dice.choice((status, "auto", "offline", None)), dice.choice((None, "", "lunch")), None,
                      for_ms, user),
            AddClaim(at, name, source, dice.choice((status, "offline")), for_ms, 0, user),
            EndClaim(at, name, user),
            SetSchedule(at, dice.choice(("UTC", "Europe/Berlin")), dice.choice(WINDOWS), status, user),
            AddActivity(at, dice.choice("pqr"), "", dice.choice((0, self.world.wall_ms - dice.randrange(9_000))), "{}",
                        user),
            Touch(at, f"user{dice.randrange(8)}"),
            Join(at, dice.choice(CHANNELS), user, device),
            Join(at, dice.choice(CHANNELS), user, device),
            Leave(at, dice.choice(CHANNELS), user, device),
            SetDevice(at, status, dice.choice((None, 0, -1)), dice.choice((None, "z")), user, device,
                      dice.choice((None, None, "", "o"))),
            SetDevice(at, user=user, device=device, meta="p"),
            Forget(at, device, user),
        ]  # fmt: skip
        app.say(dice.choice(choices))
        if dice.random() < 0.15 and ref in (app.session.refs or {}):
            app.release(ref, lost=dice.random() < 0.5)
        if dice.random() < 0.6:
            self.world.turn()
        if dice.random() < 0.15:
            self.world.advance(dice.choice((100, 2_000, GRACE_MS)))
        app.beats(*(part for held in range(1, 13) if self.dice.random() < 0.8 for part in (held, -1)))

    def run(self, steps: int) -> World:
        for _ in range(steps):
            self.step()
        self.world.turn()
        return self.world


SEEDS = range(8)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_snapshot_brings_back_everything(seed: int) -> None:
    world = Life(seed).run(150)
    before = state(world, times=True)
    after = world.restarted(facts=world.snapshot())
    assert state(after, times=True) == before
    again = after.restarted(facts=after.snapshot(), now_ms=5_000_000)
    assert state(again, times=True) == before


@pytest.mark.parametrize("seed", SEEDS)
def test_the_log_brings_back_everything_that_is_logged(seed: int) -> None:
    world = Life(seed).run(150)
    after = world.restarted()
    assert state(after, times=False) == state(world, times=False)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_snapshot_taken_while_things_happen_and_the_log_since_its_start_bring_back_everything(seed: int) -> None:
    life = Life(seed)
    world = life.run(60)
    start = len(world.log.facts)
    facts: list[Fact] = []
    order = world.engine.users.order
    at = len(order) - 1
    while at >= 0:
        life.run(12)
        at = min(at, len(order) - 1)
        facts.extend(world.engine.dump(world.now_ms, order[at]))
        at -= 1
    life.run(20)
    after = world.restarted(facts=[*facts, *world.log.facts[start:]])
    assert state(after, times=False) == state(world, times=False)


@pytest.mark.parametrize("seed", SEEDS)
def test_facts_applied_twice_are_the_same_as_once(seed: int) -> None:
    world = Life(seed).run(100)
    twice = world.restarted(facts=[*world.log.facts, *world.log.facts])
    assert state(twice, times=False) == state(world, times=False)


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_claims_that_ended_while_nobody_was_running_are_ended_and_the_one_below_shows(from_snapshot: bool) -> None:
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "alice/web")
    app.claim("alice", "trip", "calendar", "xa")
    app.claim("alice", "lunch", "calendar", "away", for_ms=120_000)
    app.claim("alice", "meeting", "call", "dnd", for_ms=60_000)
    for down_ms, status in ((1_000, "dnd"), (61_000, "away"), (121_000, "xa")):
        after = world.restarted(down_ms, facts=world.snapshot() if from_snapshot else None)
        assert after.record("alice").status == status
        after.advance(120_000 + TICK_MS)
        assert after.record("alice").status == "offline"


def test_however_much_ended_while_nobody_was_running_is_over_before_anybody_asks() -> None:
    world = World()
    app = world.open("app", role="service")
    app.claim("alice", "trip", "calendar", "xa")
    app.claim("alice", "meeting", "call", "dnd", for_ms=60_000)
    users = [f"u{number}" for number in range(1_500)]
    claims = [fact for fact in world.log.facts if isinstance(fact, ClaimSet)]
    after = world.restarted(
        61_000, facts=[msgspec.structs.replace(fact, user=user) for user in users for fact in claims]
    )
    assert not [user for user in users if [info.claim for info in claim_infos(after.user(user))] != ["trip"]]
    next_ms = after.engine.next_ms
    assert next_ms is None or next_ms > after.now_ms


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_claim_that_was_made_anew_is_the_newest_after_a_restart_as_well(from_snapshot: bool) -> None:
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "alice/web")
    app.claim("alice", "one", "calendar", "dnd")
    app.claim("alice", "two", "calendar", "away")
    app.claim("alice", "one", "calendar", "xa")
    after = world.restarted(facts=world.snapshot() if from_snapshot else None)
    assert after.record("alice") == world.record("alice") and after.record("alice").status == "xa"
    assert claim_infos(after.user("alice")) == claim_infos(world.user("alice"))


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_members_who_come_back_within_grace_stay_members_and_the_others_leave(from_snapshot: bool) -> None:
    world = World()
    app = world.open("app", role="service")
    for ref, name in enumerate(("alice", "bob"), start=1):
        app.attach(ref, f"{name}/web")
        app.join(f"{name}/web", "room")
    after = world.restarted(5_000, facts=world.snapshot() if from_snapshot else None, grace_ms=30_000)
    app = after.open("app", role="service")
    page = app.watch_channel("room")
    assert [record.user for record in page.records] == ["alice", "bob"]
    app.attach(1, "alice/web")
    after.advance(30_000 + TICK_MS)
    assert app.told.room_events == [("room", "leave", "bob")]


def test_of_users_of_whom_nothing_is_left_nothing_is_kept_after_a_restart() -> None:
    world = World()
    app = world.open("app", role="service")
    app.claim("ghost", "meeting", "call", "dnd")
    app.end_claim("ghost", "meeting")
    app.done(SetSchedule(app.next_id(), "UTC", WINDOWS[2], "dnd", "spirit"))
    app.done(SetSchedule(app.next_id(), "UTC", [], "dnd", "spirit"))
    assert dict(world.engine.users) == {}
    assert len(world.log.facts) >= 4
    assert dict(world.restarted().engine.users) == {}


def test_facts_about_what_is_not_there_are_no_error() -> None:
    world = World()
    facts: list[Fact] = [
        ClaimSet("ghost", "", 0, 0, "a", "call"),
        DeviceForgotten("ghost", "web"),
        MembershipSet("ghost", "web", "room", True),
        MembershipSet("ghost", "web", "room", False),
        ScheduleSet("ghost", "", [], "dnd"),
        DeviceSet("bob", "web", "", "", 0, "online", False, world.wall_ms, world.wall_ms, 0),
        MembershipSet("bob", "web", "room", False),
    ]
    after = world.restarted(facts=facts)
    assert list(after.engine.users) == ["bob"] and after.engine.channels.by_name == {}


def test_a_claim_of_a_schedule_that_is_not_there_any_more_ends_with_the_restart() -> None:
    world = World(calendar=calendar)
    app = world.open("app", role="service")
    app.attach(1, "alice/web")
    app.done(SetSchedule(app.next_id(), "UTC", WINDOWS[2], "dnd", "alice"))
    after = world.restarted(facts=[fact for fact in world.snapshot() if not isinstance(fact, ScheduleSet)])
    assert after.record("alice").status == "online"


def test_whose_devices_are_lost_with_the_log_was_last_seen_when_they_came() -> None:
    world = World()
    world.open("alice/web")
    facts: list[Fact] = [fact for fact in world.snapshot() if not isinstance(fact, DeviceSet)]
    after = world.restarted(600_000, facts=facts)
    record = after.record("alice")
    assert (record.status, record.since_ms, record.last_seen_ms) == ("offline", after.wall_ms, world.wall_ms)


def test_a_restart_is_told_to_nobody_who_comes_back(seed: int = 3) -> None:
    world = Life(seed).run(120)
    after = world.restarted(facts=world.snapshot())
    app: FakeLink = after.open("app", role="service")
    names = list(after.engine.users)
    app.watch(*names)
    app.forget()
    for ref, user in enumerate(list(after.engine.users.values()), start=1):
        for number, device in enumerate(user.devices.values()):
            if device.state != GONE:
                app.attach(
                    ref * 100 + number, f"{user.name}/{device.id}", kind=device.kind, name=device.name,
                    priority=device.priority, status=device.status,
                )  # fmt: skip
    assert app.pushes == []


@pytest.mark.parametrize("now_ms", [1, 900_000])
@pytest.mark.parametrize("from_snapshot", [False, True])
def test_who_stays_away_after_a_stop_was_last_seen_when_the_last_word_came(from_snapshot: bool, now_ms: int) -> None:
    """Who was connected was there until the stop; who was in grace was not, and who was gone went when they went. The
    machine may have been started anew meanwhile."""
    world = World()
    start_ms = world.wall_ms
    bob = world.open("bob/web")
    world.open("carol/web").lose()
    world.open("dave/web").bye()
    world.advance(9_000)
    bob.beat()
    world.engine.stop()
    stopped_ms = world.wall_ms
    bob.lose()
    facts = world.snapshot() if from_snapshot else None
    after = world.restarted(600_000, facts=facts, now_ms=now_ms, stopped_wall_ms=stopped_ms)
    # A second stop while they are still in grace says the same, and a kill says at least who was heard in between.
    after.engine.stop()
    after.turn()
    facts = after.snapshot() if from_snapshot else None
    again = after.restarted(1_000, facts=facts, now_ms=now_ms, stopped_wall_ms=after.wall_ms)
    for later in (after, again):
        later.advance(60_000)
        last_seen = {name: later.record(name).last_seen_ms for name in ("bob", "carol", "dave")}
        assert last_seen["carol"] == last_seen["dave"] == start_ms
    assert after.record("bob").last_seen_ms == stopped_ms


def test_who_came_back_after_a_stop_in_grace_and_is_there_at_a_kill_was_seen_until_then() -> None:
    world = World()
    world.open("carol/web").lose()
    world.advance(9_000)
    world.engine.stop()
    world.turn()
    after = world.restarted(1_000, stopped_wall_ms=world.wall_ms)
    link = after.open("carol/web")
    after.advance_beating(900_000, link)
    killed_ms = after.wall_ms
    again = after.restarted(1_000, stopped_wall_ms=killed_ms)
    again.advance(60_000)
    assert (again.record("carol").status, again.record("carol").last_seen_ms) == ("offline", killed_ms)


# --- starts that follow each other closely ------------------------------------------------------------------------


@pytest.mark.parametrize("cycle_ms", [500, 4_000, 10_000, 25_000])
@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_daemon_that_is_killed_again_and_again_holds_nobody_online_for_ever(
    cycle_ms: int, from_snapshot: bool
) -> None:
    grace_ms = 30_000
    world = World()
    world.open("alice/laptop")
    world.open("bob/laptop")
    starts: tuple[int, ...] = ()
    while not starts or world.wall_ms - starts[0] < 2 * grace_ms:
        starts = starts_with(starts, world.wall_ms + cycle_ms // 2, grace_ms)
        facts = world.snapshot() if from_snapshot else None
        world = world.restarted(
            cycle_ms // 2, facts=facts, grace_ms=grace_ms, stopped_wall_ms=world.wall_ms, starts=starts
        )
        assert world.record("bob").status == "online", "who comes back each time has a grace of their own each time"
        if world.wall_ms - starts[0] < grace_ms:
            assert world.record("alice").status == "online"
        world.open("bob/laptop")
        world.advance(cycle_ms // 2)
    assert world.record("alice").status == "offline"
    assert world.record("alice").since_ms <= starts[0] + grace_ms + cycle_ms + TICK_MS


def test_starts_that_are_far_apart_give_a_whole_grace_each() -> None:
    assert starts_with((), 1_000, 100) == (1_000,)
    assert starts_with((1_000,), 1_099, 100) == (1_000, 1_099)
    assert starts_with((1_000, 1_099), 1_198, 100) == (1_000, 1_099, 1_198)
    assert starts_with((1_000, 1_099), 1_199, 100) == (1_199,)
    assert starts_with((1_000,), 999, 100) == (999,), "the clock was set back"
    starts: tuple[int, ...] = ()
    for number in range(1_000):
        starts = starts_with(starts, 1_000 + number, 100)
    assert len(starts) == STARTS_MAX and starts[0] == 1_000 and starts[-1] == 1_999
