"""What is counted for the operator is what happened: exactly, and without looking at anybody who is not concerned."""

from __future__ import annotations

import sys

import msgspec
import pytest

from presenced.core import invariants
from presenced.core.model import GRACE
from presenced.core.policy import Policy
from presenced.server.turn import run_turn
from presenced.wire.messages import Detach, SetDevice, Unwatch, Watch, WatchAll
from tests.core.world import FakeLink, World

POLICY = Policy(change_spacing_ms=0)


@pytest.fixture
def world() -> World:
    return World(POLICY)


def deliveries_of(world: World, *links: FakeLink) -> int:
    """What was counted since the start, once it has been held against the frames that arrived."""
    counted = world.engine.outboxes.deliveries
    arrived = sum(len(link.pushes) for link in links)
    assert counted == arrived, f"{arrived} presence frames arrived and {counted} are counted"
    return counted


# --- deliveries ---------------------------------------------------------------------------------------------------


def test_a_delivery_is_counted_for_each_watcher_of_each_change(world: World) -> None:
    watchers = [world.open(f"w{number}/pc") for number in range(5)]
    for watcher in watchers:
        watcher.watch("alice", "bob")
    alice = world.open("alice/pc")
    assert deliveries_of(world, *watchers) == 5
    alice.set_device("away")
    assert deliveries_of(world, *watchers) == 10
    alice.set_device("away")
    assert deliveries_of(world, *watchers) == 10, "no change, no delivery"
    watchers[0].unwatch("alice")
    alice.set_device("dnd")
    assert deliveries_of(world, *watchers) == 14


def test_a_change_that_nobody_watches_is_no_delivery_and_still_a_change(world: World) -> None:
    alice = world.open("alice/pc")
    alice.set_device("away")
    publisher = world.engine.publisher
    assert (publisher.changed, world.engine.outboxes.deliveries) == (2, 0)


def test_replies_are_no_deliveries(world: World) -> None:
    world.open("alice/pc")
    watcher = world.open("bob/pc")
    watcher.watch("alice")
    watcher.get("alice")
    watcher.who()
    assert deliveries_of(world, watcher) == 0


def test_what_is_held_for_a_slow_watcher_is_counted_when_it_is_sent_and_once_for_each_user(world: World) -> None:
    quick, slow = world.open("quick/pc"), world.open("slow/pc")
    for watcher in (quick, slow):
        watcher.watch("alice", "bob")
    alice, bob = world.open("alice/pc"), world.open("bob/pc")
    assert deliveries_of(world, quick, slow) == 4
    slow.fill()
    for _ in range(10):
        alice.set_device("away")
        alice.set_device("online")
    bob.set_device("dnd")
    assert world.engine.outboxes.deliveries == 4 + 21
    slow.drain()
    assert deliveries_of(world, quick, slow) == 4 + 21 + 2


def test_a_watch_that_was_given_up_while_slow_is_not_counted(world: World) -> None:
    slow = world.open("slow/pc")
    slow.watch("alice", "bob")
    slow.fill()
    world.open("alice/pc")
    world.open("bob/pc")
    slow.say(Unwatch(slow.next_id(), ["alice"]))
    slow.drain()
    assert deliveries_of(world, slow) == 1


def test_who_follows_everyone_is_counted_once_also_for_users_it_watches_besides(world: World) -> None:
    service = world.open("app", role="service")
    service.done(WatchAll(service.next_id(), True))
    service.watch("alice")
    plain = world.open("plain/pc")
    plain.watch("alice")
    before = deliveries_of(world, service, plain)
    world.open("alice/pc")
    assert deliveries_of(world, service, plain) == before + 2
    world.open("bob/pc")
    assert deliveries_of(world, service, plain) == before + 3


def test_who_follows_everyone_and_is_slow_is_counted_when_it_reads(world: World) -> None:
    service = world.open("app", role="service")
    service.done(WatchAll(service.next_id(), True))
    service.watch("alice")
    service.fill()
    links = [world.open(f"{name}/pc") for name in ("alice", "bob", "carol")]
    for link in links:
        link.set_device("away")
    assert world.engine.outboxes.deliveries == 0
    service.drain()
    assert deliveries_of(world, service) == 3


def test_a_spaced_user_is_counted_when_the_push_goes_out() -> None:
    world = World(Policy(change_spacing_ms=200, change_burst=1))
    watcher = world.open("w/pc")
    watcher.watch("alice")
    alice = world.open("alice/pc")
    for status in ("away", "dnd", "chat"):
        alice.set_device(status)  # type: ignore[arg-type]
    assert deliveries_of(world, watcher) == 1
    assert world.engine.publisher.changed == 5
    world.advance(250)
    assert deliveries_of(world, watcher) == 2


def test_bytes_are_counted_as_they_are_written(world: World) -> None:
    written = 0
    links = [world.open("w/pc"), world.open("v/pc")]
    for link in links:
        link.watch("alice")
        send = link.send

        def note(data: bytes, send: object = send) -> None:
            nonlocal written
            written += len(data)
            send(data)  # type: ignore[operator]

        link.send = note  # type: ignore[method-assign]
    before = world.engine.outboxes.bytes_out
    alice = world.open("alice/pc")
    alice.set_device("away")
    alices = sum(4 + len(payload) for payload in alice.raw)
    assert world.engine.outboxes.bytes_out - before == written + alices
    assert written > 100


# --- slow watchers ------------------------------------------------------------------------------------------------


def test_slow_watchers_appear_with_the_moment_and_disappear(world: World) -> None:
    slow, other = world.open("slow/pc"), world.open("other/pc")
    outboxes = world.engine.outboxes
    assert outboxes.slow == {}
    slow.fill()
    since_ms = world.now_ms
    world.advance(100)
    other.fill()
    slow.fill()
    assert outboxes.slow == {slow.session: since_ms, other.session: world.now_ms}, "still since the first time"
    slow.drain()
    assert list(outboxes.slow) == [other.session]
    other.lose()
    assert outboxes.slow == {}


@pytest.mark.parametrize("end", ["lease", "bye", "replaced"])
def test_a_slow_watcher_that_ends_is_slow_no_more(world: World, end: str) -> None:
    slow = world.open("slow/pc")
    slow.fill()
    if end == "lease":
        world.advance(POLICY.timeout_ms + 1_000)
    elif end == "bye":
        slow.bye()
    else:
        world.open("slow/pc")
    assert not slow.open
    assert world.engine.outboxes.slow == {}


# --- devices ------------------------------------------------------------------------------------------------------


def devices(world: World) -> tuple[int, int]:
    """Connected and in grace."""
    leases = world.engine.leases
    return leases.connected, leases.live - leases.connected


def test_devices_are_counted_through_loss_return_and_replacement(world: World) -> None:
    alice = world.open("alice/pc")
    world.open("alice/phone")
    assert devices(world) == (2, 0)
    alice.lose()
    assert devices(world) == (1, 1)
    back = world.open("alice/pc")
    assert devices(world) == (2, 0)
    world.open("alice/pc")
    assert not back.open, "replaced"
    assert devices(world) == (2, 0)
    world.device("alice/pc").session.edge.lose()  # type: ignore[union-attr]
    world.advance(POLICY.grace_ms + 1_000)
    assert devices(world) == (1, 0)
    world.open("alice/pc").bye()
    assert devices(world) == (1, 0)


def test_devices_that_a_service_speaks_for_are_counted_too(world: World) -> None:
    service = world.open("app", role="service")
    for ref in range(1, 6):
        service.attach(ref, f"user{ref}/web")
    assert devices(world) == (5, 0)
    service.attach(6, "user1/web")
    assert devices(world) == (5, 0), "the same device under another ref"
    service.release(2)
    assert devices(world) == (4, 0)
    service.release(3, lost=True)
    assert devices(world) == (3, 1)
    link = world.open("user4/web")
    assert devices(world) == (3, 1), "a link of its own takes it over"
    service.lose()
    assert devices(world) == (1, 3)
    link.bye()
    world.advance(POLICY.grace_ms + 1_000)
    assert devices(world) == (0, 0)


def test_a_ref_that_comes_to_stand_for_another_device_leaves_the_first_in_grace(world: World) -> None:
    service = world.open("app", role="service")
    service.attach(1, "alice/web")
    service.attach(1, "bob/web")
    alices = world.device("alice/web").state
    assert devices(world) == (1, 1 if alices == GRACE else 0)
    assert service.refused(Detach(service.next_id(), 9)) == "no_such_device"
    service.lose()
    assert devices(world)[0] == 0


def test_devices_in_grace_after_a_restart_are_counted(world: World) -> None:
    world.open("alice/pc")
    world.open("bob/pc")
    again = world.restarted()
    assert devices(again) == (0, 2)
    again.open("alice/pc")
    assert devices(again) == (1, 1)
    again.advance(60_000)
    assert devices(again)[1] == 0


def test_leases_that_run_out_are_counted_and_nothing_else(world: World) -> None:
    expiry = world.engine.expiry
    lost, gone = world.open("lost/pc"), world.open("gone/pc")
    lost.lose()
    gone.bye()
    world.advance(POLICY.grace_ms + 1_000)
    assert expiry.expired == 0, "a grace that ends is no lease that runs out"
    world.open("silent/pc")
    world.open("tool", role="service")
    beating = world.open("beating/pc")
    world.advance_beating(POLICY.timeout_ms + 1_000, beating)
    assert expiry.expired == 2
    service = world.open("app", role="service")
    service.attach(1, "alice/web")
    world.advance_beating(POLICY.timeout_ms + 1_000, beating, service)
    assert expiry.expired == 3, "the device's own lease"


# --- users and watches --------------------------------------------------------------------------------------------


def test_users_are_counted_by_what_they_show(world: World) -> None:
    publisher = world.engine.publisher
    alice, bob = world.open("alice/pc"), world.open("bob/pc", status="dnd")
    assert publisher.online.by_status == {"chat": 0, "online": 1, "away": 0, "xa": 0, "dnd": 1}
    alice.set_device("xa")
    bob.set_status("offline")
    assert publisher.online.by_status == {"chat": 0, "online": 0, "away": 0, "xa": 1, "dnd": 0}
    bob.set_status("chat")
    alice.bye()
    assert publisher.online.by_status == {"chat": 1, "online": 0, "away": 0, "xa": 0, "dnd": 0}
    assert sum(publisher.online.by_status.values()) == len(publisher.online)


def test_users_are_counted_after_a_restart(world: World) -> None:
    world.open("alice/pc")
    world.open("bob/pc", status="dnd")
    world.open("carol/pc").bye()
    again = world.restarted()
    assert again.engine.publisher.online.by_status == {"chat": 0, "online": 1, "away": 0, "xa": 0, "dnd": 1}


def test_watches_are_counted_once_each(world: World) -> None:
    watching = world.engine.watches
    alice, bob = world.open("alice/pc"), world.open("bob/pc")
    alice.watch("bob", "bob", "carol")
    alice.watch("bob")
    assert watching.count == 2
    bob.watch("alice")
    alice.unwatch("carol", "carol", "nobody")
    assert watching.count == 2
    alice.lose()
    assert watching.count == 1
    bob.bye()
    assert watching.count == 0


def test_a_refused_watch_counts_nothing() -> None:
    world = World(Policy(watch_users_max=2))
    alice = world.open("alice/pc")
    alice.watch("bob")
    assert alice.refused(Watch(alice.next_id(), ["carol", "dave"])) == "watch_limit"
    assert world.engine.watches.count == 1


# --- the invariants see a wrong count -----------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["connected", "live", "watches", "status", "slow"])
def test_the_invariants_find_a_wrong_count(world: World, wrong: str) -> None:
    alice = world.open("alice/pc")
    alice.watch("bob")
    engine = world.engine
    invariants.check(engine)
    if wrong == "connected":
        engine.leases.connected += 1
    elif wrong == "live":
        engine.leases.live -= 1
    elif wrong == "watches":
        engine.watches.count += 1
    elif wrong == "status":
        engine.publisher.online.by_status["dnd"] += 1
    else:
        engine.outboxes.slow[alice.session] = world.now_ms
    with pytest.raises(AssertionError, match=r"counted as|paused and not slow"):
        invariants.check(engine)


# --- another policy while it runs ---------------------------------------------------------------------------------


def test_another_grace_is_for_links_that_are_lost_from_now_on(world: World) -> None:
    watcher = world.open("w", role="service")
    watcher.watch("alice", "bob")
    alice, bob = world.open("alice/pc"), world.open("bob/pc")
    alice.lose()
    world.engine.set_policy(Policy(grace_ms=1_000, change_spacing_ms=0), world.now_ms)
    bob.lose()
    world.advance(1_200)
    assert watcher.view["bob"].status == "offline"
    assert watcher.view["alice"].status == "online", "hers was promised under the old grace"
    world.advance(POLICY.grace_ms - 1_000)
    assert watcher.view["alice"].status == "offline"


def test_an_engine_has_a_policy_of_its_own() -> None:
    given = Policy(grace_ms=1_000)
    one, other = World(given), World(given)
    one.engine.set_policy(Policy(grace_ms=60_000), one.now_ms)
    assert (given.grace_ms, other.engine.policy.grace_ms, one.engine.policy.grace_ms) == (1_000, 1_000, 60_000)


def test_every_part_reads_the_same_policy(world: World) -> None:
    """What would not is a copy that a reload leaves behind."""
    engine = world.engine
    holders = [part for part in vars(engine).values() if hasattr(part, "_policy")]
    assert {type(part).__name__ for part in holders} == {
        "Leases",
        "PrivacySettings",
        "Publisher",
        "RecordPushes",
        "Resumptions",
        "SessionLeases",
        "Watches",
        "Sleep",
    }
    assert all(part._policy is engine.policy for part in holders)
    engine.set_policy(Policy(grace_ms=1, change_spacing_ms=7), world.now_ms)
    assert all(part._policy is engine.policy for part in holders) and engine.policy.grace_ms == 1


def test_only_grace_and_spacing_change_while_it_runs(world: World) -> None:
    before = msgspec.structs.replace(world.engine.policy)
    other = Policy(grace_ms=1, change_spacing_ms=7, change_burst=3, heartbeat_ms=99, away_after_ms=5, watch_users_max=1)
    world.engine.set_policy(other, world.now_ms)
    after = world.engine.policy
    assert (after.grace_ms, after.change_spacing_ms, after.change_burst) == (1, 7, 3)
    assert (after.heartbeat_ms, after.away_after_ms) == (before.heartbeat_ms, before.away_after_ms)
    assert (after.timeout_ms, after.watch_users_max) == (before.timeout_ms, before.watch_users_max)


def flapping(world: World) -> tuple[FakeLink, FakeLink]:
    """A watcher, and a user whose latest change waits."""
    watcher = world.open("w", role="service")
    watcher.watch("alice")
    alice = world.open("alice/pc")
    alice.set_device("dnd")
    assert watcher.view["alice"].status == "online", "it waits"
    return watcher, alice


@pytest.mark.parametrize("spacing_ms", [0, 50, 60_000])
def test_what_waits_under_the_old_spacing_goes_out_when_it_changes(spacing_ms: int) -> None:
    world = World(Policy(change_spacing_ms=10_000, change_burst=1))
    watcher, alice = flapping(world)
    world.engine.set_policy(Policy(change_spacing_ms=spacing_ms, change_burst=1), world.now_ms)
    world.turn()
    assert watcher.view["alice"].status == "dnd"
    alice.set_device("chat")
    world.advance(spacing_ms + 100)
    assert watcher.view["alice"].status == "chat", "under the new one nothing is forgotten"


def test_the_same_spacing_releases_nothing() -> None:
    policy = Policy(change_spacing_ms=10_000, change_burst=1)
    world = World(policy)
    watcher, _ = flapping(world)
    world.engine.set_policy(Policy(change_spacing_ms=10_000, change_burst=1, grace_ms=5), world.now_ms)
    world.turn()
    assert watcher.view["alice"].status == "online"


def test_another_burst_is_for_everybody() -> None:
    world = World(Policy(change_spacing_ms=10_000, change_burst=1))
    watcher, alice = flapping(world)
    world.engine.set_policy(Policy(change_spacing_ms=1_000, change_burst=3), world.now_ms)
    world.turn()
    watcher.forget()
    world.advance(5_000)
    for status in ("away", "chat", "xa", "online"):
        alice.set_device(status)  # type: ignore[arg-type]
    assert watcher.statuses("alice") == ["away", "chat", "xa"]
    world.advance(1_100)
    assert watcher.statuses("alice")[-1] == "online"


# --- cost ---------------------------------------------------------------------------------------------------------


def test_a_turn_with_one_change_looks_at_nobody_else(world: World) -> None:
    """Counting is not done by walking: a turn's calls are the same with ten users as with two thousand."""

    def calls_of(users: int) -> int:
        crowded = World(POLICY)
        crowded.checks = False
        links = [crowded.open(f"u{number}/pc") for number in range(users)]
        links[0].say(SetDevice(2, "away"))
        calls = 0

        def count(frame: object, event: str, arg: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            run_turn(crowded.engine, crowded.log, crowded.now_ms)
        finally:
            sys.setprofile(None)
        return calls

    few, many = calls_of(10), calls_of(2_000)
    assert many <= few + 20, "SortedList may take some more"
