"""What people say: manual status, text, invisibility; and what several devices of one user come to."""

from __future__ import annotations

import msgspec
import pytest

from presenced.core.policy import Policy
from presenced.core.publisher import Publisher
from presenced.limits import DURATION_MS_MAX
from presenced.wire.messages import DeviceStatus, Record, SetStatus, encode
from tests.core.world import TICK_MS, WALL_MS, FakeLink, World

GRACE_MS = Policy().grace_ms


def watched() -> tuple[World, FakeLink, FakeLink]:
    world = World()
    alice = world.open("alice/laptop")
    watcher = world.open("app", role="service")
    watcher.watch("alice")
    return world, alice, watcher


# --- manual status --------------------------------------------------------------------------------------------


def test_a_manual_status_shows_at_once_and_auto_uncovers_what_the_devices_say() -> None:
    world, alice, watcher = watched()
    world.open("alice/phone", status="chat")
    alice.set_status("xa")
    alice.set_status("auto")
    alice.set_status("auto")
    assert watcher.statuses("alice") == ["chat", "xa", "chat"]


def test_a_manual_status_shows_only_while_a_device_is_live() -> None:
    world, alice, watcher = watched()
    alice.set_status("dnd")
    alice.bye()
    assert watcher.statuses("alice") == ["dnd", "offline"]
    world.open("alice/phone")
    assert watcher.statuses("alice") == ["dnd", "offline", "dnd"]


def test_a_manual_status_ends_at_its_expiry_and_not_before() -> None:
    world, alice, watcher = watched()
    alice.set_status("dnd", for_ms=60_000)
    world.advance_beating(59_999, alice, watcher)
    assert watcher.statuses("alice") == ["dnd"]
    world.advance(1 + TICK_MS)
    assert watcher.statuses("alice") == ["dnd", "online"]


def test_an_expiry_holds_while_nobody_is_there() -> None:
    world, alice, watcher = watched()
    alice.set_status("dnd", for_ms=60_000)
    alice.bye()
    world.advance_beating(61_000, watcher)
    world.open("alice/laptop")
    assert watcher.statuses("alice") == ["dnd", "offline", "online"]


def test_a_new_manual_status_takes_the_place_of_the_old_one_and_of_its_expiry() -> None:
    world, alice, watcher = watched()
    alice.set_status("dnd", for_ms=10_000)
    alice.set_status("away")
    world.advance(60_000)
    assert watcher.statuses("alice") == ["dnd", "away"]
    alice.set_status("dnd", for_ms=50_000)
    alice.set_status("xa", for_ms=5_000)
    world.advance(5_000 + TICK_MS)
    assert watcher.statuses("alice") == ["dnd", "away", "dnd", "xa", "online"]


def test_the_longest_expiry_is_carried() -> None:
    world, alice, watcher = watched()
    alice.set_status("dnd", for_ms=DURATION_MS_MAX)
    alice.bye()
    watcher.bye()
    world.advance(DURATION_MS_MAX - 1)
    assert world.user("alice").claim is not None
    world.advance(1 + TICK_MS)
    assert world.user("alice").claim is None
    assert len(world.engine.wheel) == 0


def test_idleness_does_not_show_through_a_manual_status() -> None:
    world = World()
    alice = world.open("alice/laptop", idle_ms=0)
    alice.set_status("chat")
    for _ in range(12):
        world.advance(30_000)
        alice.beat()
    assert world.record("alice").status == "chat"
    alice.set_status("auto")
    assert world.record("alice").status == "online"


def test_saying_the_same_again_is_no_change() -> None:
    world, alice, watcher = watched()
    alice.set_status("dnd", "lunch")
    version = world.engine.publisher.version
    alice.set_status("dnd", "lunch")
    assert world.engine.publisher.version == version and len(watcher.pushes) == 1


# --- text -----------------------------------------------------------------------------------------------------


def test_text_is_independent_of_status_and_has_its_own_expiry() -> None:
    world, alice, watcher = watched()
    alice.set_status("dnd")
    alice.set_status(text="lunch", emoji="*", for_ms=20_000)
    alice.set_status("auto")
    record = watcher.view["alice"]
    assert (record.status, record.text, record.emoji) == ("online", "lunch", "*")
    world.advance(19_999)
    assert watcher.view["alice"].text == "lunch"
    world.advance(1 + TICK_MS)
    record = watcher.view["alice"]
    assert (record.status, record.text, record.emoji) == ("online", "", "")


def test_status_and_text_of_two_messages_end_each_at_its_own_time() -> None:
    world, alice, watcher = watched()
    alice.set_status("dnd", for_ms=30_000)
    alice.set_status(text="lunch", for_ms=10_000)
    world.advance(10_000 + TICK_MS)
    assert (watcher.view["alice"].status, watcher.view["alice"].text) == ("dnd", "")
    world.advance(20_000)
    assert watcher.view["alice"].status == "online"


def test_text_stays_while_the_user_is_offline() -> None:
    _, alice, watcher = watched()
    alice.set_status(text="on holiday")
    alice.bye()
    assert (watcher.view["alice"].status, watcher.view["alice"].text) == ("offline", "on holiday")


def test_an_empty_text_clears_text_and_emoji() -> None:
    _, alice, watcher = watched()
    alice.set_status(text="lunch", emoji="*")
    alice.set_status(text="")
    assert (watcher.view["alice"].text, watcher.view["alice"].emoji) == ("", "")


def test_a_text_does_not_change_since() -> None:
    world, alice, watcher = watched()
    world.advance(5_000)
    alice.set_status(text="lunch")
    assert watcher.view["alice"].since_ms == WALL_MS


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (SetStatus(1, "dnd", "two\nlines"), "bad_text"),
        (SetStatus(1, "dnd", "x" * 513), "bad_text"),
        (SetStatus(1, "dnd", "fine", "x" * 65), "bad_text"),
    ],
)
def test_a_refused_request_changes_nothing(message: SetStatus, code: str) -> None:
    world, alice, watcher = watched()
    version = world.engine.publisher.version
    assert alice.refused(message) == code
    assert watcher.pushes == [] and world.engine.publisher.version == version
    assert world.user("alice").claim is None


# --- appearing offline ----------------------------------------------------------------------------------------


def test_claiming_to_be_offline_looks_the_same_in_every_answer_as_being_offline() -> None:
    world = World()
    watcher = world.open("app", role="service")
    watcher.watch("alice", "alicf")
    hides, leaves = world.open("alice/laptop"), world.open("alicf/laptop")
    world.advance(10_000)
    hides.set_status("offline")
    leaves.beat()
    leaves.bye()
    moment_ms = WALL_MS + 10_000

    def plain(record: Record) -> bytes:
        return encode(msgspec.structs.replace(record, user="?", version=0))

    late = world.open("late", role="service")
    for link in (watcher, late):
        link.watch("alice", "alicf")
        assert plain(link.get("alice")) == plain(link.get("alicf"))
    a, b = (record for record in watcher.pushes[-2:])
    assert {a.user, b.user} == {"alice", "alicf"} and plain(a) == plain(b)
    assert a.last_seen_ms == a.since_ms == moment_ms and a.device == ""
    page = late.who()
    assert page.total == 0 and page.records == []


def test_nothing_that_a_hidden_user_does_is_seen() -> None:
    world, alice, watcher = watched()
    alice.set_status("offline")
    watcher.forget()
    version = world.engine.publisher.version
    phone = world.open("alice/phone", status="chat", idle_ms=0)
    phone.set_device("dnd")
    world.advance(40_000)
    phone.beat(0)
    phone.lose()
    world.advance(GRACE_MS + TICK_MS)
    alice.bye()
    assert watcher.pushes == []
    assert world.engine.publisher.version == version


def test_a_hidden_user_is_seen_again_when_the_claim_ends() -> None:
    world, alice, watcher = watched()
    alice.set_status("offline", for_ms=10_000)
    world.advance(10_000 + TICK_MS)
    assert watcher.statuses("alice") == ["offline", "online"]
    assert watcher.view["alice"].last_seen_ms == 0
    alice.set_status("offline")
    alice.set_status("auto")
    assert watcher.statuses("alice")[2:] == ["offline", "online"]


# --- several devices ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ("dnd", "chat", "dnd"),
        ("chat", "online", "chat"),
        ("online", "away", "online"),
        ("away", "xa", "away"),
        ("xa", "xa", "xa"),
        ("xa", "dnd", "dnd"),
    ],
)
def test_two_devices_merge_to_the_higher_status_in_either_order(
    first: DeviceStatus, second: DeviceStatus, shown: str
) -> None:
    for order in ((first, second), (second, first)):
        world = World()
        world.open("alice/a", status=order[0])
        world.open("alice/b", status=order[1])
        assert world.record("alice").status == shown


def test_when_one_of_two_devices_leaves_the_other_speaks() -> None:
    world, alice, watcher = watched()
    phone = world.open("alice/phone", status="dnd")
    phone.lose()
    world.advance(GRACE_MS + TICK_MS)
    assert watcher.statuses("alice") == ["dnd", "online"]
    assert watcher.view["alice"].device == "laptop"
    assert alice.open


def test_the_primary_changes_only_for_an_input_clearly_later() -> None:
    world = World()
    laptop = world.open("alice/laptop", idle_ms=0)
    phone = world.open("alice/phone", idle_ms=0)
    watcher = world.open("app", role="service")
    watcher.watch("alice")
    assert world.record("alice").device == "laptop"
    # In use at once: neither is ever 30 s ahead of the other.
    for _ in range(20):
        world.advance(15_000)
        phone.beat(0)
        watcher.beat()
        world.advance(15_000)
        laptop.beat(0)
    assert watcher.pushes == [] and world.record("alice").device == "laptop"
    world.advance(30_000)
    phone.beat(0)
    laptop.beat()
    watcher.beat()
    assert world.record("alice").device == "laptop"
    world.advance(1)
    phone.beat(0)
    assert world.record("alice").device == "phone"
    assert [record.device for record in watcher.pushes] == ["phone"]
    assert watcher.view["alice"].since_ms == WALL_MS


def test_a_reconnect_does_not_make_a_device_primary() -> None:
    world = World()
    laptop = world.open("alice/laptop", idle_ms=0)
    phone = world.open("alice/phone", idle_ms=0)
    for _ in range(3):
        world.advance(20_000)
        laptop.beat(0)
        phone.beat()
    phone.lose()
    world.open("alice/phone")
    world.advance(40_000)
    world.open("alice/phone")
    assert world.record("alice").device == "laptop"


def test_the_records_bytes_are_made_once_for_all_who_ask() -> None:
    world, _, watcher = watched()
    user = world.user("alice")
    publisher: Publisher = world.engine.publisher
    assert publisher.record_of(user) == publisher.record_of(user)
    assert user.encoded == encode(user.record)
    assert watcher.get("alice") == user.record
