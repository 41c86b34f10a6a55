"""The list of a user's devices, what is said of each, and how long each may be idle."""

from __future__ import annotations

import pytest

from presenced.core.model import GONE
from presenced.core.policy import Policy
from presenced.limits import GRACE_MS, OFFLINE_AFTER_MS
from presenced.wire.messages import DeviceInfo, DeviceList, Forget, GetDevices, Record, SetDevice, Touch
from tests.core.world import TICK_MS, WALL_MS, FakeLink, World

HOUR_MS = 3_600_000
BY_KIND = {"phone": (60_000, 120_000), "kiosk": (0, 0), "tv": (0, 300_000)}


def devices(link: FakeLink, user: str = "") -> dict[str, DeviceInfo]:
    return {info.device: info for info in link.expect(GetDevices(link.next_id(), user), DeviceList).devices}


def test_the_list_tells_of_each_device_what_it_is_and_how_it_stands() -> None:
    world = World()
    laptop = world.open("alice/laptop", kind="desktop", priority=3, status="dnd", idle_ms=0)
    world.advance(1_000)
    phone = world.open("alice/phone", kind="phone", idle_ms=400_000)
    world.advance(1_000)
    phone.lose()
    tool = world.open("alice/tool", priority=-1)
    world.advance(1_000)
    assert devices(laptop) == {
        "laptop": DeviceInfo(
            "laptop", "desktop", "", "dnd", "connected", 3, WALL_MS, world.wall_ms, primary=True
        ),
        "phone": DeviceInfo(
            "phone", "phone", "", "away", "grace", 0, WALL_MS + 1_000 - 400_000, WALL_MS + 1_000, primary=False
        ),
        "tool": DeviceInfo(
            "tool", "", "", "offline", "connected", -1, WALL_MS + 2_000, WALL_MS + 2_000, primary=False
        ),
    }  # fmt: skip
    world.advance(GRACE_MS)
    tool.bye()
    listed = devices(laptop)
    assert (listed["phone"].state, listed["phone"].status) == ("gone", "offline")
    assert "tool" not in listed


def test_a_device_is_renamed_by_its_user_and_by_a_service_and_that_is_no_input() -> None:
    world = World()
    app = world.open("app", role="service")
    laptop = world.open("alice/laptop", idle_ms=250_000)
    phone = world.open("alice/phone")
    app.watch("alice")
    phone.done(SetDevice(phone.next_id(), name="My laptop", device="laptop"))
    app.done(SetDevice(app.next_id(), name="My phone", user="alice", device="phone"))
    assert [info.name for info in devices(laptop).values()] == ["My laptop", "My phone"]
    assert devices(laptop)["laptop"].last_active_ms == WALL_MS - 250_000
    assert phone.refused(SetDevice(phone.next_id(), name="a\nb")) == "bad_text"
    assert phone.refused(SetDevice(phone.next_id(), name="x" * 65)) == "bad_text"
    assert app.pushes == []
    laptop.done(SetDevice(laptop.next_id(), status="dnd", device="phone"))
    assert app.statuses("alice") == ["dnd"]


def test_a_device_that_is_gone_is_forgotten_on_demand_and_a_live_one_is_not() -> None:
    world = World()
    laptop = world.open("alice/laptop")
    phone = world.open("alice/phone")
    assert laptop.refused(Forget(laptop.next_id(), "phone")) == "bad_request"
    phone.lose()
    assert laptop.refused(Forget(laptop.next_id(), "phone")) == "bad_request"
    world.advance(GRACE_MS + TICK_MS)
    laptop.done(Forget(laptop.next_id(), "phone"))
    assert list(devices(laptop)) == ["laptop"]
    assert laptop.refused(Forget(laptop.next_id(), "phone")) == "no_such_device"
    assert laptop.refused(Forget(laptop.next_id(), "")) == "bad_request"
    assert list(world.restarted().user("alice").devices) == ["laptop"]


def test_a_device_that_is_gone_is_not_renamed() -> None:
    world = World()
    laptop = world.open("alice/laptop")
    phone = world.open("alice/phone")
    laptop.done(SetDevice(laptop.next_id(), name="Phone", device="phone"))
    phone.bye()
    for change in ({"name": "Old phone"}, {"status": "dnd"}, {"priority": 3}, {"name": "Old", "priority": 3}):
        assert laptop.refused(SetDevice(laptop.next_id(), device="phone", **change)) == "no_such_device"  # type: ignore[arg-type]
    assert devices(laptop)["phone"].name == "Phone"


def test_a_user_whose_last_device_is_forgotten_keeps_their_record() -> None:
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "alice/web")
    app.release(1)
    before = app.get("alice")
    app.done(Forget(app.next_id(), "web", "alice"))
    assert app.get("alice") == before and devices(app, "alice") == {}


def test_idle_limits_go_by_the_kind_of_the_device() -> None:
    world = World(Policy(idle_by_kind=BY_KIND))
    app = world.open("app", role="service")
    for ref, kind in enumerate(("phone", "kiosk", "tv", "desktop"), start=1):
        app.attach(ref, f"{kind}/device", kind=kind, idle_ms=0)
        app.watch(kind)
    changes: dict[str, list[tuple[int, str]]] = {}
    for _ in range(62):
        for record in app.pushes:
            changes.setdefault(record.user, []).append(((record.since_ms - WALL_MS) // 60_000, record.status))
        app.forget()
        world.advance(60_000)
        app.beats(*(part for ref in range(1, 5) for part in (ref, -1)))
    assert changes == {
        "phone": [(1, "away"), (2, "offline")],
        "tv": [(5, "offline")],
        "desktop": [(5, "away"), (60, "offline")],
    }


def test_a_device_that_comes_back_as_another_kind_has_the_limits_of_that() -> None:
    world = World(Policy(idle_by_kind=BY_KIND))
    app = world.open("app", role="service")
    app.watch("alice")
    app.attach(1, "alice/web", kind="kiosk", idle_ms=90_000)
    assert app.view["alice"].status == "online"
    app.attach(1, "alice/web", kind="phone", idle_ms=90_000)
    assert app.view["alice"].status == "away"
    app.attach(1, "alice/web", kind="kiosk", idle_ms=90_000)
    assert app.view["alice"].status == "online"


# --- last seen ------------------------------------------------------------------------------------------------


def test_a_touch_updates_last_seen_of_somebody_offline_and_tells_their_watchers() -> None:
    world = World()
    app = world.open("app", role="service")
    app.watch("alice", "ghost")
    app.attach(1, "alice/web")
    app.release(1)
    app.forget()
    world.advance(5_000)
    app.done(Touch(app.next_id(), "alice", "web"))
    app.done(Touch(app.next_id(), "ghost"))
    assert [(record.user, record.status, record.last_seen_ms) for record in app.pushes] == [
        ("alice", "offline", WALL_MS + 5_000), ("ghost", "offline", WALL_MS + 5_000),
    ]  # fmt: skip
    assert devices(app, "alice")["web"].last_seen_ms == WALL_MS + 5_000
    assert world.device("alice/web").state == GONE
    again = world.restarted()
    assert again.record("ghost").last_seen_ms == WALL_MS + 5_000


def test_a_touch_of_somebody_online_changes_nothing_that_is_seen() -> None:
    world = World()
    app = world.open("app", role="service")
    alice = world.open("alice/laptop", idle_ms=290_000)
    app.watch("alice")
    before = app.get("alice")
    alice.done(Touch(alice.next_id()))
    app.done(Touch(app.next_id(), "alice", "laptop"))
    assert app.get("alice") == before and app.pushes == []
    world.advance(10_000 + TICK_MS)
    assert app.statuses("alice") == ["away"], "a touch is no input"


def test_a_touch_keeps_no_silent_link_alive() -> None:
    world = World()
    app = world.open("app", role="service")
    alice = world.open("alice/laptop")
    phone = world.open("alice/phone", priority=-1)
    for _ in range(3):
        world.advance(25_000)
        app.done(Touch(app.next_id(), "alice", "laptop"))
        phone.done(Touch(phone.next_id(), device="laptop"))
        assert devices(app, "alice")["laptop"].last_seen_ms == WALL_MS
    world.advance(TICK_MS)
    assert alice.ended == "lease_expired", "what others say of a device is no sign of life from it"


def test_in_grace_a_touch_is_the_last_contact_and_the_grace_no_longer() -> None:
    world = World()
    app = world.open("app", role="service")
    app.watch("alice")
    world.open("alice/laptop").lose()
    app.forget()
    world.advance(5_000)
    app.done(Touch(app.next_id(), "alice", "laptop"))
    assert app.pushes == []
    world.advance(10_000 + TICK_MS)
    assert (app.view["alice"].status, app.view["alice"].last_seen_ms) == ("offline", WALL_MS + 5_000)


def test_after_a_touch_going_offline_is_told_with_the_last_contact() -> None:
    world = World()
    app = world.open("app", role="service")
    app.watch("alice")
    app.attach(1, "alice/web")
    world.advance(1_000)
    app.done(Touch(app.next_id(), "alice", "web"))
    world.advance(1_000)
    app.release(1, lost=True)
    world.advance(GRACE_MS + TICK_MS)
    record: Record = app.view["alice"]
    assert (record.status, record.last_seen_ms) == ("offline", WALL_MS + 1_000)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_touch_of_one_who_is_online_counts_when_they_go_offline(restarts: bool) -> None:
    world = World()
    app = world.open("app", role="service")
    world.open("alice/laptop")
    world.advance(20_000)
    version = app.get("alice").version
    app.done(Touch(app.next_id(), "alice"))
    assert (app.get("alice").last_seen_ms, app.get("alice").version) == (0, version)
    if restarts:
        world = world.restarted()
        assert world.record("alice").last_seen_ms == 0
    world.advance(200_000)
    assert (world.record("alice").status, world.record("alice").last_seen_ms) == ("offline", WALL_MS + 20_000)


@pytest.mark.parametrize("restarts", [False, True])
def test_last_seen_never_goes_back_behind_what_was_told(restarts: bool) -> None:
    """Somebody who was seen lately comes with a device that nobody has touched for longer."""
    world = World()
    app = world.open("app", role="service")
    world.open("alice/laptop").bye()
    world.advance(60_000)
    app.done(Touch(app.next_id(), "alice"))
    told_ms = app.get("alice").last_seen_ms
    assert told_ms == WALL_MS + 60_000
    world.advance(60_000)
    if restarts:
        world = world.restarted()
        app = world.open("app", role="service")
    world.open("alice/phone", idle_ms=OFFLINE_AFTER_MS - 1_000)
    assert app.get("alice").status == "away"
    world.advance(1_000 + TICK_MS)
    assert (app.get("alice").status, app.get("alice").last_seen_ms) == ("offline", told_ms)


def test_a_second_touch_within_a_millisecond_changes_nothing() -> None:
    world = World()
    app = world.open("app", role="service")
    world.open("alice/laptop").bye()
    world.advance(60_000)
    app.done(Touch(app.next_id(), "alice"))
    before = app.get("alice")
    app.done(Touch(app.next_id(), "alice"))
    assert app.get("alice") == before


def test_whom_a_service_detaches_was_last_seen_at_that_moment() -> None:
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "alice/web")
    app.attach(2, "bob/web")
    world.advance(29_000)
    app.release(1)
    app.attach(2, "carol/web")
    for user in ("alice", "bob"):
        assert (app.get(user).status, app.get(user).last_seen_ms) == ("offline", WALL_MS + 29_000)
        assert devices(app, user)["web"].last_seen_ms == WALL_MS + 29_000


@pytest.mark.parametrize("priority", [None, -1])
def test_what_a_service_sets_on_a_device_is_input_whatever_its_priority_is_then(priority: int | None) -> None:
    world = World(Policy(offline_after_ms=20_000))
    app = world.open("app", role="service")
    world.open("alice/laptop", idle_ms=0)
    world.open("alice/phone", idle_ms=0)
    world.advance(5_000)
    for device in ("laptop", "phone"):
        app.done(SetDevice(app.next_id(), "dnd", priority, None, "alice", device))
        world.advance(2_000)
    world.advance(20_000 + TICK_MS)
    assert (app.get("alice").status, app.get("alice").last_seen_ms) == ("offline", WALL_MS + 7_000)
