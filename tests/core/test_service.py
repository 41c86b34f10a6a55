"""A service speaks for many: attaching, heartbeats, grace, and taking over."""

from __future__ import annotations

from presenced.core.model import CONNECTED, GONE, GRACE
from presenced.core.policy import Policy
from presenced.limits import GRACE_MS
from presenced.wire.messages import (
    AddActivity,
    Attach,
    Beats,
    Detach,
    DeviceList,
    Done,
    Error,
    GetDevices,
    SetStatus,
    Taken,
    Unwatch,
    WatchAll,
)
from tests.core.world import TICK_MS, FakeLink, World

TIMEOUT_MS = Policy().timeout_ms


def services(count: int = 2) -> tuple[World, FakeLink, list[FakeLink]]:
    """A world, somebody who watches alice and bob, and some services."""
    world = World()
    watcher = world.open("watcher", role="service")
    watcher.watch("alice", "bob")
    return world, watcher, [world.open(f"backend{number}", role="service") for number in range(count)]


def pass_beating(world: World, ms: int, *links: FakeLink, refs: int = 1) -> None:
    end_ms = world.now_ms + ms
    while world.now_ms < end_ms:
        world.advance(min(20_000, end_ms - world.now_ms))
        for link in links:
            link.beats(*(part for ref in range(1, refs + 1) for part in (ref, -1)))


# --- coming and going -----------------------------------------------------------------------------------------


def test_what_a_service_attaches_is_seen_like_any_device() -> None:
    world, watcher, (app, _) = services()
    app.attach(1, "alice/web", kind="browser", name="Firefox", status="chat")
    assert watcher.statuses("alice") == ["chat"] and watcher.view["alice"].device == "web"
    info = app.expect(GetDevices(app.next_id(), "alice"), DeviceList).devices[0]
    assert (info.device, info.kind, info.name, info.state, info.primary) == (
        "web", "browser", "Firefox", "connected", True,
    )  # fmt: skip


def test_one_that_leaves_is_gone_at_once_and_one_that_is_lost_only_after_grace() -> None:
    world, watcher, (app, _) = services()
    app.attach(1, "alice/web")
    app.attach(2, "bob/web")
    app.release(1)
    app.release(2, lost=True)
    assert watcher.statuses("alice") == ["online", "offline"] and watcher.statuses("bob") == ["online"]
    world.advance(GRACE_MS - 1)
    assert watcher.statuses("bob") == ["online"]
    world.advance(1 + TICK_MS)
    assert watcher.statuses("bob") == ["online", "offline"]


def test_a_ref_that_is_not_held_cannot_be_detached_and_neither_twice() -> None:
    _, _, (app, other) = services()
    app.attach(1, "alice/web")
    assert other.refused(Detach(other.next_id(), 1)) == "no_such_device"
    app.release(1)
    assert app.refused(Detach(app.next_id(), 1)) == "no_such_device"


def test_ten_thousand_devices_of_a_lost_service_are_taken_over_by_another_and_nothing_is_told() -> None:
    world = World()
    world.checks = False
    watcher = world.open("watcher", role="service")
    watcher.done(WatchAll(watcher.next_id()))
    app = world.open("backend", role="service")
    for ref in range(1, 10_001):
        app.say(Attach(ref, ref, f"user{ref % 5_000}", f"web{ref}"))
    world.turn()
    assert sum(isinstance(message, Done) for message in app.messages) == 10_000
    assert len(watcher.view) == 5_000
    app.forget()
    watcher.forget()
    app.lose()
    assert world.engine.leases.live == 10_000
    assert all(device.state == GRACE for user in world.engine.users.values() for device in user.devices.values())
    world.advance(GRACE_MS - 1_000)
    heir = world.open("backend", role="service")
    for ref in range(1, 10_001):
        heir.say(Attach(ref, 20_000 + ref, f"user{ref % 5_000}", f"web{ref}"))
    world.turn()
    for start in range(0, 10_000, 4_000):
        refs = range(20_001 + start, min(20_001 + start + 4_000, 30_001))
        heir.say(Beats([part for ref in refs for part in (ref, 0)]))
    world.advance(GRACE_MS * 2)
    watcher.beat()
    heir.beat()
    assert watcher.pushes == [] and world.engine.leases.live == 10_000
    world.check()
    # The heir stays and its devices fall silent: all of them are lost, spread over turns, each told once.
    world.standing_max = 100
    for _ in range(5):
        world.advance(20_000)
        heir.beat()
        watcher.beat()
    assert heir.open and world.engine.leases.live == 0
    assert len(watcher.pushes) == 5_000 and {record.status for record in watcher.pushes} == {"offline"}
    world.check()


def test_two_services_hold_different_devices_of_one_user_and_the_last_to_go_takes_them_offline() -> None:
    world, watcher, (east, west) = services()
    east.attach(1, "alice/web")
    west.attach(1, "alice/phone", status="dnd")
    assert watcher.statuses("alice") == ["online", "dnd"]
    west.lose()
    pass_beating(world, GRACE_MS + 1_000, east)
    assert watcher.statuses("alice") == ["online", "dnd", "online"]
    east.release(1)
    assert watcher.statuses("alice")[-1] == "offline"


def test_one_of_three_tabs_closes_and_nothing_is_told_and_the_last_is_one_leave() -> None:
    world, watcher, (app, _) = services()
    for ref in (1, 2, 3):
        app.attach(ref, f"alice/tab{ref}")
    watcher.forget()
    app.release(2)
    app.release(3, lost=True)
    pass_beating(world, GRACE_MS * 2, app)
    assert watcher.pushes == []
    app.release(1, lost=True)
    world.advance(GRACE_MS + TICK_MS)
    assert watcher.statuses("alice") == ["offline"]


# --- taking over ----------------------------------------------------------------------------------------------


def test_a_service_takes_a_device_from_another_and_what_that_one_says_of_it_counts_no_more() -> None:
    world, watcher, (old, new) = services()
    old.attach(1, "alice/web")
    old.attach(2, "bob/web")
    watcher.forget()
    new.attach(7, "alice/web")
    assert watcher.pushes == [] and old.open
    assert old.refused(Detach(old.next_id(), 1)) == "no_such_device"
    for _ in range(4):
        world.advance(TIMEOUT_MS // 2)
        old.beats(1, 0, 2, 0)
        new.beat()
    # The old one's heartbeats hold only what it still has.
    assert world.device("alice/web").state != CONNECTED and world.device("bob/web").state == CONNECTED
    old.lose()
    assert world.device("bob/web").state == GRACE


def test_a_user_link_is_replaced_by_a_service_and_a_service_by_a_user_link_without_a_word() -> None:
    world, watcher, (app, _) = services()
    laptop = world.open("alice/laptop")
    watcher.forget()
    app.attach(1, "alice/laptop")
    assert laptop.ended == "replaced" and world.device("alice/laptop").state == CONNECTED
    laptop = world.open("alice/laptop")
    assert app.open and laptop.open and watcher.pushes == []
    assert app.refused(Detach(app.next_id(), 1)) == "no_such_device"
    app.lose()
    assert world.device("alice/laptop").state == CONNECTED
    laptop.bye()
    assert watcher.statuses("alice") == ["offline"]


def test_attaching_again_what_is_attached_describes_it_anew_and_is_no_transition() -> None:
    world, watcher, (app, _) = services()
    app.attach(1, "alice/web", name="one")
    watcher.forget()
    app.attach(2, "alice/web", name="two")
    assert world.device("alice/web").name == "two" and watcher.pushes == []
    assert list((app.session.refs or {}).keys()) == [2]
    app.attach(2, "alice/web", status="away")
    assert watcher.statuses("alice") == ["away"]


def test_a_ref_that_is_used_again_lets_go_of_the_device_before() -> None:
    world, watcher, (app, _) = services()
    app.attach(1, "alice/web")
    app.attach(1, "bob/web")
    assert world.device("alice/web").state == GONE and world.device("bob/web").state == CONNECTED
    app.attach(1, "bob/phone")
    assert world.device("bob/web").state == GONE and world.device("bob/phone").state == CONNECTED
    assert watcher.statuses("alice") == ["online", "offline"]
    assert watcher.view["bob"].status == "online"


def test_a_service_may_have_a_device_of_its_own_beside_those_that_it_holds() -> None:
    world, watcher, _ = services(0)
    app = world.open("bob/console", role="service")
    app.attach(1, "alice/web")
    app.done(AddActivity(app.next_id(), "message", user="alice"))
    app.done(SetStatus(app.next_id(), "dnd", user="alice"))
    app.set_status("away")
    assert (watcher.view["alice"].status, watcher.view["bob"].status) == ("dnd", "away")
    app.bye()
    assert world.device("bob/console").state == GONE and world.device("alice/web").state == GRACE


# --- heartbeats -----------------------------------------------------------------------------------------------


def test_beats_renew_each_lease_and_the_link_itself_lives_by_any_frame() -> None:
    world, watcher, (app, _) = services()
    app.attach(1, "alice/web")
    app.attach(2, "bob/web")
    for _ in range(6):
        world.advance(TIMEOUT_MS // 2)
        app.beats(1, -1)
        watcher.beat()
    assert app.open and watcher.statuses("alice") == ["online"]
    assert watcher.statuses("bob") == ["online", "offline"]
    assert world.device("bob/web").state == GONE and app.refused(Detach(app.next_id(), 2)) == "no_such_device"


def test_a_silent_service_loses_its_link_and_its_devices_go_into_grace() -> None:
    world, watcher, (app, _) = services()
    app.attach(1, "alice/web")
    world.advance(TIMEOUT_MS // 2)
    watcher.beat()
    world.advance(TIMEOUT_MS // 2 + TICK_MS)
    assert app.ended == "lease_expired" and world.device("alice/web").state == GRACE
    world.advance(GRACE_MS + TICK_MS)
    assert watcher.statuses("alice") == ["online", "offline"]


def test_beats_carry_how_idle_each_device_is() -> None:
    world, watcher, (app, _) = services()
    app.attach(1, "alice/web")
    app.attach(2, "bob/web")
    app.beats(1, 299_000, 2, -1)
    assert watcher.statuses("alice") == ["online"]
    world.advance(1_000 + TICK_MS)
    assert watcher.statuses("alice") == ["online", "away"] and watcher.statuses("bob") == ["online"]
    app.beats(1, 0, 2, 3_600_000)
    assert watcher.statuses("alice")[-1] == "online" and watcher.statuses("bob") == ["online", "offline"]
    app.beats(2, 5)
    assert watcher.statuses("bob")[-1] == "online"


def test_beats_for_refs_that_nobody_holds_are_answered_once_and_the_others_count() -> None:
    world, watcher, (app, other) = services()
    app.attach(1, "alice/web")
    app.forget()
    for _ in range(3):
        app.beats(2, 0, 3, -1, 1, 400_000)
        other.beats(1, 0)
    assert watcher.statuses("alice") == ["online", "away"]
    assert app.messages == [Taken(2, "not_held"), Taken(3, "not_held")] and other.messages == [Taken(1, "not_held")]


def test_beats_with_a_ref_and_no_idle_time_are_refused_as_a_whole() -> None:
    world, watcher, (app, _) = services()
    app.attach(1, "alice/web")
    app.say(Beats([1, 400_000, 2]))
    world.turn()
    assert isinstance(app.messages[-1], Error) and (app.messages[-1].id, app.messages[-1].code) == (0, "bad_request")
    assert watcher.statuses("alice") == ["online"]


def test_a_reconnect_of_a_service_is_not_activity() -> None:
    world, watcher, (app, heir) = services()
    app.attach(1, "alice/web", idle_ms=290_000)
    app.lose()
    world.advance(5_000)
    heir.attach(1, "alice/web")
    world.advance(5_000 + TICK_MS)
    assert watcher.statuses("alice") == ["online", "away"]


# --- watching everybody ---------------------------------------------------------------------------------------


def test_who_watches_everybody_is_told_each_change_once_until_it_stops() -> None:
    world, _, (app, all_seeing) = services()
    all_seeing.watch("alice")
    all_seeing.done(WatchAll(all_seeing.next_id()))
    app.attach(1, "alice/web")
    app.attach(2, "carol/web")
    assert [(record.user, record.status) for record in all_seeing.pushes] == [("alice", "online"), ("carol", "online")]
    all_seeing.done(WatchAll(all_seeing.next_id(), False))
    app.release(1)
    app.release(2)
    assert [(record.user, record.status) for record in all_seeing.pushes[2:]] == [("alice", "offline")]
    all_seeing.done(WatchAll(all_seeing.next_id()))
    all_seeing.lose()
    assert all_seeing.session not in world.engine.outboxes.everyone


def test_who_watches_everybody_and_reads_slowly_gets_the_latest_of_each_also_of_those_it_stops_watching() -> None:
    world, _, (app, all_seeing) = services()
    all_seeing.watch("alice")
    all_seeing.done(WatchAll(all_seeing.next_id()))
    all_seeing.fill()
    app.attach(1, "alice/web")
    app.attach(2, "carol/web")
    app.attach(1, "alice/web", status="dnd")
    all_seeing.say(Unwatch(all_seeing.next_id(), ["alice"]))
    all_seeing.drain()
    assert [(record.user, record.status) for record in all_seeing.pushes] == [("alice", "dnd"), ("carol", "online")]


def test_when_a_services_token_ends_its_devices_go_into_grace_like_those_of_a_lost_link() -> None:
    world, watcher, _ = services(0)
    app = world.open("backend", role="service", expires_ms=world.now_ms + 10_000)
    app.attach(1, "alice/web")
    world.advance(10_000 + TICK_MS)
    assert app.ended == "token_expired" and world.device("alice/web").state == GRACE
    assert watcher.statuses("alice") == ["online"]


def test_what_a_service_says_of_a_device_is_a_sign_that_it_was_there() -> None:
    world, watcher, (backend, _) = services()
    backend.ask(Attach(1, 1, "alice", "web"))
    world.advance(4_000)
    said_ms = world.wall_ms
    backend.ask(SetStatus(2, "dnd", user="alice", device="web"))
    backend.lose()
    world.advance(GRACE_MS + TICK_MS)
    record = watcher.view["alice"]
    assert (record.status, record.last_seen_ms) == ("offline", said_ms)
    devices = watcher.ask(GetDevices(9, "alice"))
    assert isinstance(devices, DeviceList)
    assert devices.devices[0].last_seen_ms == devices.devices[0].last_active_ms == said_ms
