"""A user's own state on the user's own devices: pushed, acknowledged, accounted for."""

from __future__ import annotations

from presenced.limits import GRACE_MS
from presenced.wire.messages import Applied, GetSync, OwnState, Sync, SyncInfo, SyncState, Touch
from tests.core.world import TICK_MS, FakeLink, World


def sync_of(link: FakeLink, user: str = "") -> SyncState:
    return link.expect(GetSync(link.next_id(), user), SyncState)


def apply(link: FakeLink, version: int | None = None) -> None:
    link.say(Applied(link.told.own[-1].version if version is None else version))
    link.world.turn()


def stage() -> tuple[World, FakeLink, FakeLink, FakeLink]:
    """A world, a service, and alice's laptop and phone, both of which want the own state."""
    world = World()
    app = world.open("app", role="service")
    return world, app, world.open("alice/laptop", sync=True), world.open("alice/phone", sync=True)


def test_it_comes_with_the_hello_to_those_that_asked_and_to_nobody_else() -> None:
    world, app, laptop, phone = stage()
    tablet = world.open("alice/tablet")
    bob = world.open("bob/laptop", sync=True)
    assert [device.device for device in laptop.told.own[-1].devices] == ["laptop", "phone", "tablet"]
    assert phone.told.own[-1] == laptop.told.own[-1]
    assert tablet.told.own == app.told.own == []
    assert {state.user for state in bob.told.own} == {"bob"}


def test_it_tells_what_only_the_user_may_know() -> None:
    world, app, laptop, _ = stage()
    laptop.set_status("offline", text="lunch", for_ms=60_000)
    app.claim("alice", "trip", "calendar", "dnd")
    state = laptop.told.own[-1]
    assert state.record == world.record("alice") and state.record.status == "offline"
    assert [(claim.claim, claim.status, claim.until_ms) for claim in state.claims] == [
        ("manual", "offline", world.wall_ms + 60_000), ("trip", "dnd", 0),
    ]  # fmt: skip
    assert state.text_until_ms == world.wall_ms + 60_000
    laptop.set_status(text="reading", emoji="*")
    own = laptop.told.own[-1]
    assert (own.record.text, own.text, own.emoji) == ("lunch", "reading", "*"), "what others do not see is told as well"
    assert [(device.device, device.status) for device in state.devices] == [("laptop", "online"), ("phone", "online")]


def test_each_change_is_pushed_once_to_each_device_with_a_newer_version() -> None:
    world, app, laptop, phone = stage()
    counts = [len(laptop.told.own), len(phone.told.own)]
    versions = [laptop.told.own[-1].version]
    for change in (
        lambda: laptop.set_status("dnd", text="lunch", emoji="*"),
        lambda: app.claim("alice", "trip", "calendar", "away"),
        lambda: app.end_claim("alice", "trip"),
        lambda: phone.set_device("xa"),
        lambda: world.open("alice/tablet"),
    ):
        change()
        counts = [count + 1 for count in counts]
        assert [len(laptop.told.own), len(phone.told.own)] == counts
        versions.append(laptop.told.own[-1].version)
        assert phone.told.own[-1] == laptop.told.own[-1]
    assert versions == sorted(set(versions))
    app.done(Touch(app.next_id(), "alice", "phone"))
    app.attach(9, "bob/web")
    laptop.beat()
    assert [len(laptop.told.own), len(phone.told.own)] == counts


def test_a_device_of_negative_priority_is_told_as_it_comes_and_goes_and_is_listed_until_then() -> None:
    world, _, laptop, _ = stage()
    count = len(laptop.told.own)
    tool = world.open("alice/tool", priority=-1)
    assert len(laptop.told.own) == count + 1
    assert [device.device for device in laptop.told.own[-1].devices] == ["laptop", "phone", "tool"]
    tool.bye()
    assert len(laptop.told.own) == count + 2
    assert [device.device for device in laptop.told.own[-1].devices] == ["laptop", "phone"]


def test_its_versions_are_counted_for_each_user_and_move_no_number_of_others() -> None:
    world, _, laptop, _ = stage()
    bob = world.open("bob/laptop", sync=True)
    before = world.engine.publisher.changed
    version = laptop.told.own[-1].version
    for priority in (1, 2, 3):
        laptop.set_device(None, priority)
    assert laptop.told.own[-1].version == version + 3
    bob.set_device(None, 1)
    assert world.engine.publisher.changed == before and bob.told.own[-1].version <= 3


def test_synced_and_total_count_the_devices_that_show_the_latest_version() -> None:
    world, app, laptop, phone = stage()
    world.open("alice/tablet")
    state = sync_of(app, "alice")
    assert (state.synced, state.total, state.last_sync_ms) == (0, 2, 0)
    apply(laptop)
    world.advance(1_000)
    apply(phone)
    version = laptop.told.own[-1].version
    assert sync_of(app, "alice") == SyncState(
        app._next_id, "alice", version, 2, 2, world.wall_ms, [SyncInfo("laptop", version), SyncInfo("phone", version)]
    )
    laptop.set_status("dnd")
    state = sync_of(laptop)
    assert (state.synced, state.total, state.last_sync_ms) == (0, 2, 0)
    assert [info.applied for info in state.devices] == [version, version]
    apply(phone)
    assert [(info.device, info.applied == state.version) for info in sync_of(phone).devices] == [
        ("laptop", False), ("phone", True),
    ]  # fmt: skip


def test_an_older_and_an_unknown_version_change_nothing() -> None:
    world, app, laptop, phone = stage()
    first = laptop.told.own[0].version
    apply(laptop)
    apply(laptop, first)
    apply(laptop, laptop.told.own[-1].version + 1)
    apply(laptop, 2**53)
    assert sync_of(laptop).synced == 1
    apply(phone, phone.told.own[-1].version + 1)
    assert sync_of(laptop).synced == 1
    app.say(Applied(5))
    world.turn()


def test_sync_pushes_the_same_again_to_all_devices_of_the_user() -> None:
    world, app, laptop, phone = stage()
    apply(laptop)
    before = (laptop.told.own[-1], len(laptop.told.own))
    app.done(Sync(app.next_id(), "alice"))
    laptop.done(Sync(laptop.next_id()))
    assert len(laptop.told.own) == before[1] + 2 and laptop.told.own[-1] == before[0]
    assert phone.told.own[-2:] == laptop.told.own[-2:]
    assert sync_of(laptop).synced == 1


def test_it_ends_with_the_link() -> None:
    world, app, laptop, phone = stage()
    phone.lose()
    assert (sync_of(app, "alice").total, len(sync_of(app, "alice").devices)) == (1, 1)
    laptop.set_status("dnd")
    assert laptop.told.own[-1].devices[1].state == "grace"
    phone = world.open("alice/phone", sync=True)
    assert sync_of(app, "alice").total == 2
    again = world.open("alice/phone")
    assert phone.ended == "replaced" and sync_of(app, "alice").total == 1
    app.attach(1, "alice/laptop")
    assert laptop.ended == "replaced" and sync_of(app, "alice").total == 0
    assert world.user("alice").own is None
    again.bye()
    world.advance(GRACE_MS + TICK_MS)


def test_a_slow_device_gets_the_latest_once_when_it_reads_again_and_the_others_nothing_more() -> None:
    world, app, laptop, phone = stage()
    phone.fill()
    for status in ("dnd", "away", "xa"):
        laptop.set_status(status)  # type: ignore[arg-type]
    before = (len(phone.told.own), len(laptop.told.own))
    phone.drain()
    assert len(phone.told.own) == before[0] + 1
    assert phone.told.own[-1] == laptop.told.own[-1] and phone.told.own[-1].record.status == "xa"
    assert len(laptop.told.own) == before[1]
    phone.fill()
    phone.drain()
    assert len(phone.told.own) == before[0] + 1, "nothing was missed"


def test_a_change_in_the_same_turn_as_the_draining_is_told_once() -> None:
    world, app, laptop, phone = stage()
    phone.fill()
    laptop.set_status("dnd")
    count = len(phone.told.own)
    world.engine.manual_status.set(
        world.now_ms, world.user("alice"), None, status="away", text=None, emoji=None, for_ms=0
    )
    phone.drain()
    assert len(phone.told.own) <= count + 2
    assert phone.told.own[-1].record.status == "away" and isinstance(phone.told.own[-1], OwnState)
