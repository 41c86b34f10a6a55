"""What an application keeps with a device, and what is on its screen: who says it, who is told, how long it holds."""

from __future__ import annotations

import pytest

from presenced.core.records import DeviceSet
from presenced.limits import GRACE_MS, META_BYTES_MAX
from presenced.wire.messages import (
    Bye,
    DeviceInfo,
    DeviceList,
    Error,
    Focus,
    GetDevices,
    OwnState,
    Presence,
    SetDevice,
    Taken,
)
from tests.core.world import TICK_MS, FakeLink, World

TOKEN = '{"push":"d9c7f0","app":"4.2.0"}'


def devices(link: FakeLink, user: str = "") -> dict[str, DeviceInfo]:
    return {info.device: info for info in link.expect(GetDevices(link.next_id(), user), DeviceList).devices}


def metas(link: FakeLink, user: str = "") -> dict[str, str]:
    return {name: info.meta for name, info in devices(link, user).items()}


def focuses(link: FakeLink, user: str = "") -> dict[str, str]:
    return {name: info.focus for name, info in devices(link, user).items()}


# --- meta --------------------------------------------------------------------------------------------------------


def test_a_hello_without_meta_keeps_it_and_an_empty_one_takes_it_away() -> None:
    world = World()
    app = world.open("app", role="service")
    world.open("alice/phone", meta=TOKEN).bye()
    assert metas(app, "alice") == {"phone": TOKEN}, "kept while the device is gone"
    phone = world.open("alice/phone")
    assert metas(app, "alice") == {"phone": TOKEN}
    phone.lose()
    world.open("alice/phone", meta="")
    assert metas(app, "alice") == {"phone": ""}


def test_coming_back_leaves_what_others_have_set_meanwhile() -> None:
    world = World()
    app = world.open("app", role="service")
    phone = world.open("alice/phone", meta="old", instance=7)
    app.done(SetDevice(app.next_id(), user="alice", device="phone", meta="new"))
    phone.lose()
    phone = world.open("alice/phone", meta="old", again=True, instance=7)
    assert metas(app, "alice") == {"phone": "new"}
    phone.bye()
    world.open("alice/phone", meta="old", again=True, instance=7)
    assert metas(app, "alice") == {"phone": "old"}, "it was gone: the hello counts"


def test_a_service_says_it_with_the_attach_and_sets_it_later() -> None:
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "alice/web", meta=TOKEN)
    app.attach(1, "alice/web")
    assert metas(app, "alice") == {"web": TOKEN}
    app.done(SetDevice(app.next_id(), user="alice", device="web", meta=""))
    assert metas(app, "alice") == {"web": ""}


def test_it_is_no_input_and_changes_a_device_that_is_gone() -> None:
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "alice/web", idle_ms=400_000)
    before = devices(app, "alice")["web"].last_active_ms
    app.done(SetDevice(app.next_id(), user="alice", device="web", meta="a"))
    app.done(SetDevice(app.next_id(), user="alice", device="web", name="Tab", meta="b"))
    assert devices(app, "alice")["web"].last_active_ms == before
    app.release(1)
    app.done(SetDevice(app.next_id(), user="alice", device="web", meta=""))
    assert metas(app, "alice") == {"web": ""}
    for change in ({"name": "Old"}, {"status": "dnd"}, {"priority": 3}):
        request = SetDevice(app.next_id(), user="alice", device="web", meta="x", **change)  # type: ignore[arg-type]
        assert app.refused(request) == "no_such_device"
    assert metas(app, "alice") == {"web": ""}, "nothing of a refused request is applied"
    request = SetDevice(app.next_id(), user="alice", device="other", meta="x")
    assert app.refused(request) == "no_such_device"


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_it_survives_a_restart_and_is_logged_once_for_each_change(from_snapshot: bool) -> None:
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "alice/phone", meta="a")
    app.attach(2, "alice/web")
    app.release(1)
    app.done(SetDevice(app.next_id(), user="alice", device="phone", meta="b"))
    facts = len(world.log.facts)
    app.done(SetDevice(app.next_id(), user="alice", device="phone", meta="b"))
    assert len(world.log.facts) == facts
    after = world.restarted(facts=world.snapshot() if from_snapshot else None)
    assert metas(after.open("app", role="service"), "alice") == {"phone": "b", "web": ""}


def test_a_log_from_before_there_was_any_reads_as_without() -> None:
    world = World()
    facts = [DeviceSet("bob", "web", "", "", 0, "online", True, world.wall_ms)]
    assert metas(world.restarted(facts=facts).open("app", role="service"), "bob") == {"web": ""}


def test_it_is_part_of_the_own_state_and_no_watcher_is_told() -> None:
    world = World()
    laptop = world.open("alice/laptop", sync=True)
    phone = world.open("alice/phone", sync=True)
    bob = world.open("bob/laptop")
    bob.watch("alice")
    for link in (laptop, phone, bob):
        link.forget()
    phone.done(SetDevice(phone.next_id(), meta=TOKEN))
    (state,) = [message for message in laptop.messages if isinstance(message, OwnState)]
    assert {info.device: info.meta for info in state.devices} == {"laptop": "", "phone": TOKEN}
    assert bob.messages == []


@pytest.mark.parametrize("meta", ["x" * (META_BYTES_MAX + 1), "\u20ac" * (META_BYTES_MAX // 3 + 1), "a\nb", "a\x00b"])
def test_a_bad_one_is_refused_and_nothing_of_the_request_applied(meta: str) -> None:
    world = World()
    laptop = world.open("alice/laptop", status="online")
    assert laptop.refused(SetDevice(laptop.next_id(), "dnd", meta=meta)) == "bad_text"
    assert world.record("alice").status == "online"
    laptop.done(SetDevice(laptop.next_id(), meta="x" * META_BYTES_MAX))


# --- focus -------------------------------------------------------------------------------------------------------


def test_it_is_told_to_its_user_and_services_and_ends_with_the_link() -> None:
    world = World()
    app = world.open("app", role="service")
    laptop = world.open("alice/laptop", focus="general")
    phone = world.open("alice/phone")
    assert focuses(app, "alice") == focuses(phone) == {"laptop": "general", "phone": ""}
    laptop.focus("side")
    assert focuses(phone) == {"laptop": "side", "phone": ""}
    laptop.focus("")
    assert focuses(phone) == {"laptop": "", "phone": ""}
    laptop.focus("side")
    laptop.lose()
    assert focuses(phone) == {"laptop": "", "phone": ""}, "in grace nobody reads"
    world.open("alice/laptop", focus="general")
    assert focuses(phone)["laptop"] == "general"
    world.open("alice/laptop")
    assert focuses(phone)["laptop"] == "", "each hello says it anew"


def test_it_is_no_input_no_change_and_nothing_that_is_kept_or_told() -> None:
    world = World()
    laptop = world.open("alice/laptop", sync=True, idle_ms=400_000)
    bob = world.open("bob/laptop")
    bob.watch("alice")
    laptop.forget()
    before = devices(laptop)["laptop"].last_active_ms, len(world.log.facts), world.engine.ledger.version
    laptop.forget()
    laptop.focus("general")
    assert laptop.messages == []
    assert not [message for message in bob.messages if isinstance(message, Presence)]
    assert (devices(laptop)["laptop"].last_active_ms, len(world.log.facts), world.engine.ledger.version) == before
    assert focuses(world.restarted().open("app", role="service"), "alice") == {"laptop": ""}


def test_a_service_says_it_of_the_devices_that_it_holds() -> None:
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "alice/web", focus="general")
    app.attach(2, "bob/web")
    app.focus("side", ref=2)
    assert (focuses(app, "alice"), focuses(app, "bob")) == ({"web": "general"}, {"web": "side"})
    app.attach(1, "alice/web")
    assert focuses(app, "alice") == {"web": ""}
    app.forget()
    app.focus("side", ref=9)
    app.focus("side", ref=9)
    assert app.messages == [Taken(9, "not_held")], "told once, as with beats"
    app.focus("side", ref=1)
    app.release(1, lost=True)
    assert focuses(app, "alice") == {"web": ""}
    other = world.open("other", role="service")
    app.focus("side", ref=2)
    other.attach(5, "bob/web")
    assert focuses(app, "bob") == {"web": ""}, "it was said by another link"


def refusals(link: FakeLink, message: Focus) -> list[tuple[int, str]]:
    link.forget()
    link.say(message)
    link.world.turn()
    return [(told.id, told.code) for told in link.messages if isinstance(told, Error)]


def test_bad_input_is_answered_with_the_id_0_and_changes_nothing() -> None:
    world = World()
    app = world.open("app", role="service")
    laptop = world.open("alice/laptop", focus="general")
    assert refusals(laptop, Focus(focus="x" * 129)) == [(0, "bad_name")]
    assert refusals(laptop, Focus(focus="a b")) == [(0, "bad_name")]
    assert refusals(laptop, Focus(1, "side")) == [(0, "forbidden")]
    assert refusals(app, Focus(focus="side")) == [(0, "no_device")]
    assert focuses(app, "alice") == {"laptop": "general"}


def test_a_link_that_only_reads_says_it_of_its_own_device() -> None:
    world = World()
    laptop = world.open("alice/laptop", rights={"only_read": True})
    laptop.focus("general")
    assert focuses(laptop) == {"laptop": "general"}
    answer = laptop.ask(SetDevice(laptop.next_id(), meta="x"))
    assert isinstance(answer, Error) and answer.code == "forbidden"


def test_a_device_that_is_gone_has_none() -> None:
    world = World()
    app = world.open("app", role="service")
    laptop = world.open("alice/laptop", focus="general")
    laptop.say(Bye())
    world.turn()
    assert focuses(app, "alice") == {"laptop": ""}
    lost = world.open("bob/laptop", focus="general")
    lost.lose()
    world.advance(GRACE_MS + TICK_MS)
    assert focuses(app, "bob") == {"laptop": ""}
