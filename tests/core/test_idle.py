"""Heartbeats and idleness: levels that the person's input decides, and a heartbeat that costs nothing."""

from __future__ import annotations

import gc
import sys
from itertools import pairwise

import msgspec
import pytest

from presenced.core.model import UNTOLD
from presenced.core.policy import Policy
from presenced.core.records import DeviceSet
from presenced.wire.messages import Heartbeat, SetStatus, ShowTo, Source
from tests.core.world import TICK_MS, WALL_MS, FakeLink, World
from tests.support.requests import REQUESTS

AWAY_MS = Policy().away_after_ms
OFFLINE_MS = Policy().offline_after_ms
BEAT_MS = Policy().heartbeat_ms


def pass_time(world: World, ms: int, alice: FakeLink, *others: FakeLink, active_ms: int) -> None:
    """Let time pass while alice's device reports an input that was at `active_ms`."""
    end_ms = world.now_ms + ms
    while world.now_ms < end_ms:
        world.advance(min(BEAT_MS, end_ms - world.now_ms))
        alice.beat(world.now_ms - active_ms)
        for link in others:
            link.beat()


def watched(policy: Policy | None = None) -> tuple[World, FakeLink, FakeLink]:
    world = World(policy)
    alice = world.open("alice/laptop", idle_ms=0)
    watcher = world.open("app", role="service")
    watcher.watch("alice")
    return world, alice, watcher


# --- what a heartbeat costs -----------------------------------------------------------------------------------


def test_a_heartbeat_leaves_the_wheel_entry_where_it_is() -> None:
    world = World()
    alice = world.open("alice/laptop", idle_ms=0)
    device = world.device("alice/laptop")
    before = (device.due_ms, device._slot)
    for _ in range(20):
        world.now_ms += 1_000
        REQUESTS.handle(world.engine, alice.session, world.now_ms, Heartbeat(0))
        assert (device.due_ms, device._slot) == before
        assert not device.user.dirty
    assert device.heard_ms == device.active_ms == world.now_ms


def test_a_heartbeat_of_a_link_without_a_device_leaves_its_wheel_entry_as_well() -> None:
    world = World()
    app = world.open("app", role="service")
    before = (app.session.due_ms, app.session._slot)
    world.now_ms += 5_000
    REQUESTS.handle(world.engine, app.session, world.now_ms, Heartbeat())
    assert (app.session.due_ms, app.session._slot) == before
    assert app.session.heard_ms == world.now_ms


def test_the_entry_is_set_anew_when_it_comes_due_for_what_the_heartbeats_wrote() -> None:
    world = World()
    alice = world.open("alice/laptop")
    first_due_ms = world.device("alice/laptop").due_ms
    world.advance(BEAT_MS)
    alice.beat()
    world.advance(first_due_ms - world.now_ms + TICK_MS)
    assert world.device("alice/laptop").due_ms == first_due_ms + BEAT_MS


def test_heartbeats_allocate_nothing_that_outlives_them() -> None:
    world = World()
    links = [world.open(f"user{number}/d", idle_ms=0) for number in range(10)]
    sessions = [link.session for link in links]
    frame = Heartbeat(0)

    def beat(rounds: int) -> None:
        for _ in range(rounds):
            world.now_ms += 1
            for session in sessions:
                REQUESTS.handle(world.engine, session, world.now_ms, frame)

    # Once before counting: the first pass fills free lists and caches of the interpreter.
    beat(100)
    gc.collect()
    gc.disable()
    try:
        objects, blocks = len(gc.get_objects()), sys.getallocatedblocks()
        beat(1_000)
        blocks = sys.getallocatedblocks() - blocks
        objects = len(gc.get_objects()) - objects
    finally:
        gc.enable()
    # The counts themselves live in a few blocks and one list; 10,000 heartbeats that kept one object each would
    # show as 10,000.
    assert objects <= 2
    assert blocks <= 20


# --- levels ---------------------------------------------------------------------------------------------------


def test_a_device_is_away_when_its_person_has_not_touched_it_for_away_after_and_not_before() -> None:
    world, alice, watcher = watched()
    active_ms = world.now_ms
    pass_time(world, AWAY_MS - 1, alice, watcher, active_ms=active_ms)
    assert watcher.pushes == []
    world.advance(1 + TICK_MS)
    assert watcher.statuses("alice") == ["away"]


def test_a_device_idle_for_offline_after_is_offline_though_connected_and_last_seen_is_the_last_input() -> None:
    world, alice, watcher = watched()
    active_ms = world.now_ms
    pass_time(world, OFFLINE_MS - 1, alice, watcher, active_ms=active_ms)
    assert watcher.statuses("alice") == ["away"]
    world.advance(1 + TICK_MS)
    assert watcher.statuses("alice") == ["away", "offline"]
    assert watcher.view["alice"].last_seen_ms == WALL_MS
    assert alice.open and world.engine.leases.live == 1
    # Losing the link now is no news.
    alice.lose()
    world.advance(20_000)
    assert watcher.statuses("alice") == ["away", "offline"]


@pytest.mark.parametrize("now_ms", [1, 20_000, 7_000_003])
def test_last_seen_is_the_last_input_however_lately_the_machine_was_started(now_ms: int) -> None:
    """The monotonic clock begins at the boot, and the last input may have been before it."""
    world = World(Policy(offline_after_ms=300_000), now_ms=now_ms)
    start_ms = world.wall_ms
    app = world.open("app", role="service")
    link = world.open("alice/laptop", idle_ms=295_000)
    world.advance_beating(5_000 + TICK_MS, link)
    assert (app.get("alice").status, app.get("alice").last_seen_ms) == ("offline", start_ms - 295_000)
    # What was said on it since it came is later, though it is a moment after the boot as well.
    link.set_device("dnd")
    link = world.open("alice/laptop", idle_ms=295_000)
    world.advance_beating(5_000 + TICK_MS, link)
    assert app.get("alice").status == "online"


def test_input_brings_a_device_back_from_away_and_from_offline_at_once() -> None:
    world, alice, watcher = watched()
    pass_time(world, AWAY_MS + BEAT_MS, alice, watcher, active_ms=world.now_ms)
    alice.beat(1_000)
    assert watcher.statuses("alice") == ["away", "online"]
    watcher.forget()
    pass_time(world, OFFLINE_MS + BEAT_MS, alice, watcher, active_ms=world.now_ms)
    alice.beat(0)
    assert watcher.statuses("alice") == ["away", "offline", "online"]


def test_a_device_comes_back_from_offline_to_away_if_its_input_was_long_ago() -> None:
    world, alice, watcher = watched()
    pass_time(world, OFFLINE_MS + BEAT_MS, alice, watcher, active_ms=world.now_ms)
    alice.beat(AWAY_MS + 5_000)
    assert watcher.statuses("alice") == ["away", "offline", "away"]


def test_after_coming_back_the_next_away_is_as_punctual_as_the_first() -> None:
    world, alice, watcher = watched()
    pass_time(world, AWAY_MS + BEAT_MS, alice, watcher, active_ms=world.now_ms)
    # Back, but with an input that is only one second short of away again.
    alice.beat(AWAY_MS - 1_000)
    assert watcher.statuses("alice") == ["away", "online"]
    world.advance(999)
    assert watcher.statuses("alice") == ["away", "online"]
    world.advance(1 + TICK_MS)
    assert watcher.statuses("alice") == ["away", "online", "away"]


def test_an_explicit_call_is_input_and_the_next_away_comes_in_time_even_within_one_lease() -> None:
    world, alice, watcher = watched(Policy(away_after_ms=10_000))
    world.advance(10_000 + TICK_MS)
    assert watcher.statuses("alice") == ["away"]
    alice.set_device("online")
    assert watcher.statuses("alice") == ["away", "online"]
    world.advance(9_999)
    assert watcher.statuses("alice") == ["away", "online"]
    world.advance(1 + TICK_MS)
    assert watcher.statuses("alice") == ["away", "online", "away"]


def test_a_manual_status_counts_as_input_on_its_device() -> None:
    world, alice, watcher = watched()
    pass_time(world, AWAY_MS + BEAT_MS, alice, watcher, active_ms=world.now_ms)
    alice.set_status(text="back")
    assert watcher.view["alice"].status == "online"


def test_a_lost_heartbeat_heals_at_the_next_one() -> None:
    told, lossy = watched(), watched()
    for beat in range(1, 8):
        for world, alice, watcher in (told, lossy):
            world.advance(BEAT_MS)
            watcher.beat()
            if world is told[0] or beat % 2 == 0:
                alice.beat(500)
    assert lossy[0].device("alice/laptop").active_ms <= told[0].device("alice/laptop").active_ms
    for world, alice, _ in (told, lossy):
        world.advance(BEAT_MS)
        alice.beat(500)
    assert lossy[0].device("alice/laptop").active_ms == told[0].device("alice/laptop").active_ms
    assert lossy[2].pushes == told[2].pushes == []


def test_an_older_report_does_not_take_back_a_newer_one() -> None:
    world, alice, _ = watched()
    active_ms = world.device("alice/laptop").active_ms
    world.advance(1_000)
    alice.beat(400_000)
    assert world.device("alice/laptop").active_ms == active_ms
    assert world.record("alice").status == "online"


def test_reconnecting_is_not_activity() -> None:
    world, alice, watcher = watched()
    active_ms = world.now_ms
    pass_time(world, AWAY_MS - 10_000, alice, watcher, active_ms=active_ms)
    alice.lose()
    world.advance(5_000)
    alice = world.open("alice/laptop")
    world.advance(5_000 - 1)
    assert watcher.pushes == []
    world.advance(1 + TICK_MS)
    assert watcher.statuses("alice") == ["away"]
    alice.lose()
    world.open("alice/laptop")
    assert watcher.statuses("alice") == ["away"]


@pytest.mark.parametrize("state", ["in grace", "connected", "away", "offline"])
def test_idleness_does_not_outlive_the_program_that_told_it(state: str) -> None:
    """The next one tells none: nobody is taken for idle by what was told before, not even who was."""
    world = World()
    alice = world.open("alice/laptop", idle_ms=0, instance=1)
    watcher = world.open("app", role="service")
    watcher.watch("alice")
    idle_ms = {"away": AWAY_MS, "offline": OFFLINE_MS}.get(state, 60_000)
    pass_time(world, idle_ms, alice, watcher, active_ms=world.now_ms)
    input_ms = world.device("alice/laptop").active_ms
    if state != "connected":
        alice.lose()
        world.advance(5_000)
    bot = world.open("alice/laptop", idle_ms=None, instance=2)
    assert world.record("alice").status == "online"
    assert world.device("alice/laptop").active_ms == input_ms, "when the last input was is as true as before"
    for _ in range(2 * OFFLINE_MS // BEAT_MS):
        world.advance(BEAT_MS)
        bot.beat()
        watcher.beat()
    assert world.record("alice").status == "online"
    bot.beat(AWAY_MS)
    world.turn()
    assert world.record("alice").status == "away", "it tells by now"


@pytest.mark.parametrize("instance", [0, 1], ids=["no number", "the same number"])
@pytest.mark.parametrize("as_was", [False, True])
def test_idleness_goes_on_if_the_program_that_told_it_comes_back(instance: int, as_was: bool) -> None:
    world = World()
    alice = world.open("alice/laptop", idle_ms=0, instance=instance)
    pass_time(world, 60_000, alice, active_ms=world.now_ms)
    alice.lose()
    world.advance(5_000)
    back = world.open("alice/laptop", idle_ms=None, instance=instance, again=as_was)
    while world.now_ms - world.device("alice/laptop").active_ms < AWAY_MS:
        world.advance(BEAT_MS)
        back.beat()
    assert world.record("alice").status == "away"


def test_connecting_with_a_long_idle_time_shows_away_at_once() -> None:
    world = World()
    watcher = world.open("app", role="service")
    watcher.watch("alice")
    world.open("alice/laptop", idle_ms=AWAY_MS)
    assert watcher.statuses("alice") == ["away"]


def test_a_device_that_never_reports_idle_is_never_idle() -> None:
    world = World()
    alice = world.open("alice/laptop")
    watcher = world.open("app", role="service")
    watcher.watch("alice")
    world.advance_beating(OFFLINE_MS * 2, alice, watcher, every_ms=60_000)
    assert watcher.pushes == [] and world.record("alice").status == "online"


def test_a_device_that_was_gone_must_report_anew_before_it_is_taken_for_idle() -> None:
    world, alice, watcher = watched()
    alice.bye()
    alice = world.open("alice/laptop")
    world.advance_beating(OFFLINE_MS, alice, watcher)
    assert watcher.statuses("alice") == ["offline", "online"]


def test_the_first_report_is_believed_and_timed() -> None:
    world = World()
    alice = world.open("alice/laptop")
    world.advance(10_000)
    alice.beat(AWAY_MS - 2_000)
    assert world.record("alice").status == "online"
    world.advance(2_000 + TICK_MS)
    assert world.record("alice").status == "away"


@pytest.mark.parametrize("status", ["dnd", "xa"])
def test_idleness_takes_only_online_and_chat_to_away(status: str) -> None:
    world, alice, watcher = watched()
    alice.set_device(status)  # type: ignore[arg-type]
    watcher.forget()
    pass_time(world, AWAY_MS + BEAT_MS, alice, watcher, active_ms=world.now_ms)
    assert watcher.pushes == []


def test_zero_switches_the_levels_off() -> None:
    world, alice, watcher = watched(Policy(away_after_ms=0, offline_after_ms=0))
    pass_time(world, 7_200_000, alice, watcher, active_ms=world.now_ms)
    assert watcher.pushes == []


def test_idleness_goes_on_during_grace() -> None:
    world, alice, watcher = watched()
    pass_time(world, AWAY_MS - 5_000, alice, watcher, active_ms=world.now_ms)
    alice.lose()
    world.advance(5_000 + TICK_MS)
    assert watcher.statuses("alice") == ["away"]
    world.advance(10_000)
    assert watcher.statuses("alice") == ["away", "offline"]


def test_idle_transitions_get_versions_like_any_other() -> None:
    world, alice, watcher = watched()
    pass_time(world, OFFLINE_MS + BEAT_MS, alice, watcher, active_ms=world.now_ms)
    alice.beat(0)
    versions = [record.version for record in watcher.pushes]
    assert len(versions) == 3
    assert all(a < b for a, b in pairwise(versions))
    assert versions[-1] == world.record("alice").version <= world.engine.ledger.version


# --- calls ----------------------------------------------------------------------------------------------------


def test_somebody_in_a_call_without_a_touch_of_the_keyboard_stays_there() -> None:
    world, alice, watcher = watched()
    watcher.claim("alice", "meeting", "call", "dnd")
    pass_time(world, 2 * OFFLINE_MS, alice, watcher, active_ms=world.now_ms)
    assert watcher.statuses("alice") == ["dnd"]
    watcher.end_claim("alice", "meeting")
    assert watcher.statuses("alice") == ["dnd", "online"]
    ended_ms = world.now_ms
    pass_time(world, AWAY_MS - 1, alice, watcher, active_ms=0)
    assert world.record("alice").status == "online"
    world.advance(1 + TICK_MS)
    assert watcher.statuses("alice") == ["dnd", "online", "away"], "idleness runs on from the end of the call"
    assert world.device("alice/laptop").active_ms == ended_ms


def test_a_call_that_ends_by_itself_was_input_until_then() -> None:
    world, alice, watcher = watched(Policy(away_after_ms=10_000, offline_after_ms=20_000))
    watcher.claim("alice", "meeting", "call", "dnd", for_ms=60_000)
    world.advance_beating(60_000 + TICK_MS, alice, watcher)
    assert watcher.statuses("alice") == ["dnd", "online"]
    world.advance(10_000 + TICK_MS)
    assert watcher.statuses("alice") == ["dnd", "online", "away"]


def test_a_call_shows_on_the_device_that_was_used_last_if_all_are_idle() -> None:
    world, alice, watcher = watched()
    phone = world.open("alice/phone", idle_ms=0)
    world.advance_beating(OFFLINE_MS + BEAT_MS, alice, phone, watcher)
    phone.beat(OFFLINE_MS + 5_000)
    assert world.record("alice").status == "offline"
    watcher.forget()
    watcher.claim("alice", "meeting", "call", "dnd")
    assert watcher.statuses("alice") == ["dnd"]
    watcher.end_claim("alice", "meeting")
    assert [world.device(f"alice/{name}").idle_level for name in ("laptop", "phone")].count(0) == 1


def test_a_call_does_not_wake_a_device_that_nobody_has_touched_for_long() -> None:
    world, alice, watcher = watched()
    world.advance_beating(OFFLINE_MS + BEAT_MS, alice, watcher)
    phone = world.open("alice/phone", idle_ms=0)
    watcher.claim("alice", "meeting", "call", "dnd")
    world.advance_beating(OFFLINE_MS, alice, phone, watcher)
    watcher.end_claim("alice", "meeting")
    phone.bye()
    assert world.record("alice").status == "offline"


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_a_call_is_input_after_a_restart_as_well(from_snapshot: bool) -> None:
    world, alice, watcher = watched()
    watcher.claim("alice", "meeting", "call", "dnd")
    world.advance_beating(AWAY_MS, alice, watcher)
    after, alice, watcher = back(world, from_snapshot=from_snapshot)
    after.advance_beating(OFFLINE_MS + AWAY_MS, alice, watcher)
    assert watcher.pushes == []
    watcher.end_claim("alice", "meeting")
    assert watcher.statuses("alice") == ["online"]


@pytest.mark.parametrize("source", ["manual", "calendar"])
def test_no_other_claim_is_input(source: Source) -> None:
    world, alice, watcher = watched()
    watcher.claim("alice", "meeting", source, "dnd")
    pass_time(world, OFFLINE_MS + BEAT_MS, alice, watcher, active_ms=world.now_ms)
    assert watcher.statuses("alice") == ["dnd", "offline"]


def test_an_idle_devices_wish_not_to_be_disturbed_does_not_outrank_a_device_in_use() -> None:
    world, alice, watcher = watched()
    alice.set_device("dnd")
    world.advance_beating(AWAY_MS + BEAT_MS, alice, watcher)
    assert watcher.statuses("alice") == ["dnd"], "alone it speaks for its user however idle"
    phone = world.open("alice/phone", idle_ms=0)
    assert watcher.statuses("alice") == ["dnd", "online"]
    phone.set_device("xa")
    assert world.record("alice").status == "away", "the idle one lends away beside it"
    alice.beat(0)
    assert world.record("alice").status == "dnd"
    phone.bye()
    assert world.record("alice").status == "dnd"


# --- what other nodes are told ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [False, True], ids=["", "hidden"])
@pytest.mark.parametrize("shown", [False, True], ids=["", "shown"])
@pytest.mark.parametrize("shares", [False, True], ids=["", "a node"])
def test_inputs_are_told_of_those_alone_who_are_shown_while_they_appear_offline(
    shares: bool, shown: bool, hidden: bool
) -> None:
    """Once in the time in which two devices count as used at once, and of each device when it begins."""
    world = World()
    if shares:
        world.engine.leases.share_inputs()
    laptop, phone = (world.open(f"alice/{name}", idle_ms=0) for name in ("laptop", "phone"))
    if shown:
        laptop.done(ShowTo(laptop.next_id(), "bob"))
    before = len(world.log.facts)
    laptop.say(SetStatus(laptop.next_id(), "offline" if hidden else "dnd"))
    world.turn()
    told = [fact.device for fact in world.log.facts[before:] if isinstance(fact, DeviceSet)]
    is_told = shares and shown and hidden
    assert set(told) == ({"laptop", "phone"} if is_told else set())
    before, beats = len(world.log.facts), 60
    for _ in range(beats):
        world.advance(10_000)
        laptop.beat(0)
        phone.beat()
    told = [fact.device for fact in world.log.facts[before:] if isinstance(fact, DeviceSet) and not fact.idle_level]
    assert told == ["laptop"] * (beats * 10_000 // Policy().primary_hysteresis_ms if is_told else 0)


# --- over a restart -------------------------------------------------------------------------------------------


def back(world: World, down_ms: int = 5_000, *, from_snapshot: bool) -> tuple[World, FakeLink, FakeLink]:
    """Restarted, with alice's laptop on a link again that has told nothing of its idleness, and a watcher."""
    after = world.restarted(down_ms, facts=world.snapshot() if from_snapshot else None)
    watcher = after.open("app", role="service")
    watcher.watch("alice")
    watcher.forget()
    return after, after.open("alice/laptop"), watcher


@pytest.mark.parametrize("from_snapshot", [False, True])
@pytest.mark.parametrize("told", ["in the hello", "in a heartbeat"])
def test_the_time_since_the_last_input_runs_on_over_a_restart(told: str, from_snapshot: bool) -> None:
    world = World()
    alice = world.open("alice/laptop", idle_ms=0 if told == "in the hello" else None)
    alice.beat(0 if told == "in a heartbeat" else None)
    world.advance_beating(60_000, alice)
    after, alice, watcher = back(world, from_snapshot=from_snapshot)
    after.advance_beating(AWAY_MS - 1, alice, watcher)
    assert watcher.pushes == []
    after.advance(1 + TICK_MS)
    assert watcher.statuses("alice") == ["away"]
    after.advance_beating(OFFLINE_MS - AWAY_MS - 2 * TICK_MS, alice, watcher)
    assert watcher.statuses("alice") == ["away"]
    after.advance_beating(3 * TICK_MS, alice, watcher)
    assert watcher.statuses("alice") == ["away", "offline"]


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_that_a_program_tells_no_idleness_after_one_that_did_is_known_after_a_restart(from_snapshot: bool) -> None:
    """And of one that has come after the restart it is known as well."""
    world = World()
    world.open("alice/laptop", idle_ms=0, instance=1)
    for number in (2, 3):
        world = world.restarted(5_000, facts=world.snapshot() if from_snapshot else None)
        bot = world.open("alice/laptop", instance=number)
        assert world.device("alice/laptop").idle_known == UNTOLD
        world.advance_beating(2 * AWAY_MS, bot)
        assert world.record("alice").status == "online"


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_who_was_away_stays_so_after_a_restart_and_goes_offline_in_time(from_snapshot: bool) -> None:
    world, alice, _ = watched()
    start_ms = world.wall_ms
    world.advance_beating(AWAY_MS + BEAT_MS, alice)
    after, alice, watcher = back(world, from_snapshot=from_snapshot)
    after.advance_beating(start_ms + OFFLINE_MS - after.wall_ms - 1, alice, watcher)
    assert watcher.pushes == [] and after.record("alice").status == "away"
    after.advance(1 + TICK_MS)
    assert watcher.statuses("alice") == ["offline"]
    alice.beat(0)
    assert watcher.statuses("alice") == ["offline", "online"]


def test_the_first_report_after_a_restart_is_believed() -> None:
    world, _, _ = watched()
    after, alice, watcher = back(world, from_snapshot=False)
    after.advance(10_000)
    alice.beat(AWAY_MS - 2_000)
    assert watcher.pushes == []
    after.advance(2_000 + TICK_MS)
    assert watcher.statuses("alice") == ["away"]


def test_who_was_active_until_a_stop_that_saved_nothing_of_it_is_not_taken_for_idle() -> None:
    world, alice, watcher = watched()
    for _ in range(2 * OFFLINE_MS // BEAT_MS):
        world.advance(BEAT_MS)
        alice.beat(0)
        watcher.beat()
    after, alice, watcher = back(world, from_snapshot=False)
    after.advance_beating(BEAT_MS, alice, watcher)
    alice.beat(0)
    assert watcher.pushes == [] and after.record("alice").version == world.record("alice").version


def test_that_idleness_is_told_is_logged_once_and_not_again_after_a_restart() -> None:
    world = World()
    alice = world.open("alice/laptop")
    before = len(world.log.facts)
    for _ in range(3):
        alice.beat(0)
        world.advance(1_000)
    assert [type(fact) for fact in world.log.facts[before:]] == [DeviceSet]
    after = world.restarted()
    before = len(after.log.facts)
    alice = after.open("alice/laptop", idle_ms=0)
    alice.beat(0)
    assert after.log.facts[before:] == []


def test_a_device_of_an_older_store_reads_as_one_that_never_told_how_idle_it_is() -> None:
    world, _, _ = watched()
    facts = []
    for fact in world.snapshot():
        if isinstance(fact, DeviceSet):
            assert fact.idle_known
            older = msgspec.msgpack.decode(msgspec.msgpack.encode(fact))[:11]
            fact = msgspec.convert(older, DeviceSet)
        facts.append(fact)
    after = world.restarted(facts=facts)
    alice = after.open("alice/laptop")
    after.advance_beating(2 * OFFLINE_MS, alice, every_ms=60_000)
    assert after.record("alice").status == "online"


def test_the_policy_knows_which_kinds_with_times_of_their_own_have_come() -> None:
    policy = Policy(idle_by_kind={"mobile": (600_000, 0), "tv": (60_000, 0)})
    world = World(policy)
    world.open("alice/laptop", kind="phone")
    assert not world.engine.policy.kinds_met
    world.open("alice/handset", kind="mobile")
    world.open("bob/tv", kind="screen")
    assert list(world.engine.policy.kinds_met) == ["mobile"]


def test_what_was_said_on_a_device_counts_before_its_first_idle_report() -> None:
    """Who set a status a moment ago is not away because the client's first report is of an older input."""
    world = World()
    alice = world.open("alice/laptop")
    world.advance(60_000)
    alice.done(SetStatus(alice.next_id(), text="here"))
    world.advance(BEAT_MS)
    alice.beat(AWAY_MS + BEAT_MS)
    assert world.record("alice").status == "online"


def test_a_reconnect_that_reports_idle_for_the_first_time_is_logged() -> None:
    """Otherwise a restart would take the device for one that never reports, which is never idle."""
    world = World()
    alice = world.open("alice/laptop")
    before = len(world.log.facts)
    alice.lose()
    world.open("alice/laptop", idle_ms=0)
    assert DeviceSet in [type(fact) for fact in world.log.facts[before:]]
