"""What ends at one moment for thousands is applied over many turns, none of them long, and each user as a whole: the
work is counted here, so that no test depends on how fast a machine is."""

from __future__ import annotations

import pytest

from presenced.core.model import CONNECTED, GONE, GRACE, Device, User
from presenced.core.parts import expiry, releases
from presenced.core.parts.claims import Claims
from presenced.core.parts.leases import Leases
from presenced.limits import CLAIMS_PER_USER_MAX, GRACE_MS
from presenced.wire.messages import AddClaim, Attach, Join, Watch, WatchChannel
from tests.core.world import TICK_MS, FakeLink, World


def counted(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[int]:
    """How often a method is called, in each turn: the caller begins a new one by appending 0."""
    calls = [0]
    plain = getattr(owner, name)

    def method(*args: object, **named: object) -> object:
        calls[-1] += 1
        return plain(*args, **named)

    monkeypatch.setattr(owner, name, method)
    return calls


def turns(world: World, *calls: list[int]) -> int:
    """Run the turns that are wanted at once; gives how many."""
    count = 0
    while count == 0 or (world.next_ms is not None and world.next_ms <= world.now_ms):
        for each in calls:
            each.append(0)
        world.turn()
        count += 1
    return count


def service(world: World, devices: int, users: int) -> FakeLink:
    """A service with so many devices, of so many users."""
    app = world.open("app", role="service")
    for number in range(devices):
        app.say(Attach(1_000 + number, 1 + number, f"user{number % users}", f"web{number // users}"))
    turns(world)
    return app


def test_a_device_that_is_gone_by_the_end_of_a_call_at_the_same_moment_is_not_looked_at_for_ever() -> None:
    """The end of the call is input on the device, and sets it a deadline anew, while its entry is taken out already."""
    world = World()
    desk, phone = world.open("alice/desk"), world.open("alice/phone")
    phone.done(AddClaim(phone.next_id(), "meeting", "call", "dnd", GRACE_MS))
    desk.lose()
    world.advance(GRACE_MS + TICK_MS)
    assert world.device("alice/desk").state == GONE and not world.device("alice/desk").scheduled
    world.advance_beating(200_000, phone)


# --- claims -----------------------------------------------------------------------------------------------------


def test_claims_that_end_at_one_wall_time_end_over_many_turns_and_as_one_change_of_each_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.checks = False
    app = service(world, 600, 600)
    end_ms = world.wall_ms + 10_000
    for number in range(600):
        for claim in range(CLAIMS_PER_USER_MAX):
            app.say(AddClaim(9_000 + claim, f"c{claim}", "calendar", "dnd", 0, end_ms, f"user{number}"))
    turns(world)
    watcher = world.open("watcher", role="service")
    for start in range(0, 600, 200):
        watcher.watch(*[f"user{number}" for number in range(start, start + 200)])
    world.advance(10_000 - TICK_MS)
    watcher.forget()
    ends = counted(monkeypatch, Claims, "due")
    world.now_ms += 2 * TICK_MS
    assert turns(world, ends) > 5
    assert sum(ends) == 600 and max(ends) * 16 <= expiry.TICK_COST_MAX
    assert len(watcher.pushes) == 600 and {record.status for record in watcher.pushes} == {"online"}
    world.check()


def test_all_that_ends_of_a_user_at_one_moment_is_one_change_however_many_end_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three devices, whose graces end together with those of two hundred others, four at a time."""
    monkeypatch.setattr(expiry, "TICK_ENTRIES", 1)
    monkeypatch.setattr(expiry, "TICK_COST_MAX", 40)
    world = World()
    app = service(world, 300, 100)
    watcher = world.open("watcher", role="service")
    watcher.watch(*[f"user{number}" for number in range(100)])
    watcher.forget()
    app.lose()
    assert all(device.state == GRACE for device in world.user("user7").devices.values())
    states: list[set[int]] = []
    world.checks = False
    world.now_ms += GRACE_MS + TICK_MS
    while not states or world.next_ms == 0 or (world.next_ms is not None and world.next_ms <= world.now_ms):
        world.turn()
        states.append({sum(device.state == GONE for device in user.devices.values()) for user in users(world)})
    assert len(states) > 5
    assert all(seen <= {0, 3} for seen in states), "a user of whom some devices had ended and some not"
    assert len(watcher.pushes) == 100


def users(world: World) -> list[User]:
    return [world.user(f"user{number}") for number in range(100)]


# --- a service that is lost --------------------------------------------------------------------------------------


def test_a_service_with_very_many_devices_is_let_go_of_in_slices_and_all_graces_count_from_its_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    world.checks = False
    app = service(world, 3 * releases.SLICE + 10, 1_000)
    losses = counted(monkeypatch, Leases, "lose")
    lost_ms = world.now_ms
    app.break_off()
    assert losses == [releases.SLICE]
    world.check()
    for _ in range(4):
        losses.append(0)
        world.now_ms += 20
        world.turn()
        world.check()
    assert losses == [releases.SLICE, releases.SLICE, releases.SLICE, 10, 0]
    devices = [device for user in world.engine.users.values() for device in user.devices.values()]
    assert {device.grace_until_ms for device in devices} == {lost_ms + GRACE_MS}
    assert app.session.refs is None


def test_what_another_takes_before_its_turn_stays_with_the_other_and_what_is_left_goes_with_the_first() -> None:
    world = World()
    app = service(world, releases.SLICE + 2, releases.SLICE + 2)
    other = world.open("other", role="service")
    app.break_off()
    kept = [device for device in devices_of(world) if device.state == CONNECTED]
    assert len(kept) == 2
    first, second = kept
    other.attach(7, f"{first.user.name}/{first.id}")
    assert first.session is other.session and first.state == CONNECTED
    assert second.state == GRACE
    world.advance_beating(GRACE_MS + TICK_MS, other, every_ms=5_000)
    assert first.state == CONNECTED and second.state == GONE


def devices_of(world: World) -> list[Device]:
    return [device for user in list(world.engine.users.values()) for device in user.devices.values()]


def test_a_device_that_is_still_to_be_let_go_of_may_be_had_by_whoever_wants_it_if_it_is_free() -> None:
    world = World()
    world.checks = False
    app = service(world, releases.SLICE + 1, releases.SLICE + 1)
    app.break_off()
    (left,) = [device for device in devices_of(world) if device.state == CONNECTED]
    other = world.open(
        "other",
        role="service",
    )
    world.engine.holders.refuse_if_held(left, other.session)


def test_a_session_that_watches_very_many_is_let_go_of_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "SLICE", 100)
    world = World()
    count = 5 * releases.SLICE
    watcher = world.open("watcher", role="service")
    for start in range(0, count, 250):
        watcher.say(Watch(watcher.next_id(), [f"user{number}" for number in range(start, start + 250)]))
    for number in range(count):
        watcher.say(WatchChannel(watcher.next_id(), f"room{number}", 0))
    world.turn()
    alice = world.open("user3/laptop")
    alice.say(Join(1, "room3"))
    world.turn()
    watcher.break_off()
    world.check()
    alice.set_status("dnd")
    sizes = [world.engine.watches.count]
    while world.next_ms == 0:
        world.turn()
        world.check()
        sizes.append(world.engine.watches.count)
    assert sizes[0] > 0 and all(
        before - after <= releases.SLICE for before, after in zip(sizes, sizes[1:], strict=False)
    )
    assert world.engine.watches.count == 0
    assert [name for name in world.engine.users] == ["user3"], "nobody is left who is only watched"
    assert list(world.engine.channels.by_name) == ["room3"]


def test_a_stop_lets_go_of_all_at_once() -> None:
    world = World()
    world.checks = False
    app = service(world, 3 * releases.SLICE, 1_000)
    app.break_off()
    world.engine.stop()
    assert all(device.state == GRACE for device in devices_of(world))
