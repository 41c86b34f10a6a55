"""What people say: manual status, text, invisibility; and what several devices of one user come to."""

from __future__ import annotations

import msgspec
import pytest

from presenced.core.policy import Policy
from presenced.core.precedence import COVERED_MAX
from presenced.core.publisher import Publisher
from presenced.limits import DURATION_MS_MAX
from presenced.wire.codec import encode
from presenced.wire.messages import ClaimList, DeviceStatus, GetClaims, Record, SetStatus, Source, Status
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


def test_a_manual_status_without_an_end_takes_the_place_of_the_old_one_and_of_its_expiry() -> None:
    world, alice, watcher = watched()
    alice.set_status("dnd", for_ms=10_000)
    alice.set_status("away")
    world.advance(60_000)
    assert watcher.statuses("alice") == ["dnd", "away"]
    alice.set_status("auto")
    assert watcher.statuses("alice") == ["dnd", "away", "online"]


def test_a_manual_status_with_an_end_covers_those_that_hold_longer_and_they_show_again_after_it() -> None:
    world, alice, watcher = watched()
    alice.set_status("away")
    alice.set_status("dnd", for_ms=30_000)
    alice.set_status("xa", for_ms=10_000)
    assert [claim.status for claim in world.user("alice").claims] == ["away", "dnd", "xa"]
    world.advance_beating(60_000, alice, watcher, every_ms=10_000)
    assert watcher.statuses("alice") == ["away", "dnd", "xa", "dnd", "away"]
    alice.set_status("chat", for_ms=5_000)
    alice.set_status("dnd", for_ms=20_000)
    world.advance_beating(30_000, alice, watcher, every_ms=10_000)
    assert watcher.statuses("alice")[5:] == ["chat", "dnd", "away"], "what ends sooner is not covered but replaced"
    alice.set_status("dnd", for_ms=5_000)
    alice.set_status("auto")
    assert world.record("alice").status == "online" and not world.user("alice").claims


def test_the_same_manual_status_with_an_end_ends_then_and_does_not_show_again() -> None:
    world, alice, watcher = watched()
    alice.set_status("away")
    alice.set_status("dnd", for_ms=60_000)
    alice.set_status("dnd", for_ms=5_000)
    world.advance(5_000 + TICK_MS)
    assert watcher.statuses("alice") == ["away", "dnd", "away"]
    alice.set_status("away", for_ms=5_000)
    world.advance(5_000 + TICK_MS)
    assert watcher.statuses("alice") == ["away", "dnd", "away", "online"]


def test_somebody_hidden_for_a_while_is_what_they_were_before_and_the_reverse() -> None:
    world, alice, watcher = watched()
    alice.set_status("away")
    alice.set_status("offline", for_ms=5_000)
    world.advance(5_000 + TICK_MS)
    assert watcher.statuses("alice") == ["away", "offline", "away"]
    alice.set_status("offline")
    alice.set_status("dnd", for_ms=5_000)
    assert watcher.statuses("alice")[3:] == ["offline", "dnd"]
    world.advance(5_000 + TICK_MS)
    assert watcher.statuses("alice")[3:] == ["offline", "dnd", "offline"]


def test_manual_statuses_are_covered_in_any_number_and_kept_in_a_bounded_one() -> None:
    world, alice, _ = watched()
    for number in range(100):
        alice.set_status("dnd" if number % 2 else "away", for_ms=1_000_000 - number * 1_000)
    assert len(world.user("alice").claims) == COVERED_MAX + 1
    assert len(alice.expect(GetClaims(alice.next_id()), ClaimList).claims) == COVERED_MAX + 1
    alice.set_status("auto")
    assert not world.user("alice").claims


def test_an_emoji_alone_keeps_the_end_of_the_text() -> None:
    world, alice, watcher = watched()
    alice.set_status(text="lunch", for_ms=20_000)
    alice.set_status(emoji="*")
    world.advance(10_000)
    assert (world.record("alice").text, world.record("alice").emoji) == ("lunch", "*")
    world.advance(10_000 + TICK_MS)
    assert (world.record("alice").text, world.record("alice").emoji) == ("", "")
    alice.set_status(text="lunch", for_ms=20_000)
    alice.set_status(emoji="*", for_ms=30_000)
    world.advance_beating(25_000, alice, watcher)
    assert (world.record("alice").text, world.record("alice").emoji) == ("lunch", "*")
    alice.set_status(text="", emoji="+")
    alice.set_status(emoji="*")
    world.advance_beating(100_000, alice, watcher)
    assert world.record("alice").emoji == "*"


# --- a manual status and a person who is not there ------------------------------------------------------------


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
    for status in ("dnd", "xa"):
        alice.set_status(status)
        for _ in range(12):
            world.advance(30_000)
            alice.beat()
        assert world.record("alice").status == status
    alice.set_status("auto")
    assert world.record("alice").status == "online"


@pytest.mark.parametrize("status", ["online", "chat"])
@pytest.mark.parametrize("source", ["manual", "calendar"])
def test_to_be_available_is_no_pin_against_idleness(status: Status, source: Source) -> None:
    world, alice, watcher = watched()
    alice.beat(0)
    watcher.claim("alice", "manual" if source == "manual" else "office", source, status)
    for _ in range(12):
        world.advance(30_000)
        alice.beat(world.now_ms - alice.session.device.active_ms)
        watcher.beat()
    assert world.record("alice").status == "away"
    phone = world.open("alice/phone", status="xa")
    assert world.record("alice").status == status, "what is claimed shows while any device is in use"
    phone.bye()
    assert world.record("alice").status == "away"
    alice.beat(0)
    assert world.record("alice").status == status


def test_saying_the_same_again_is_no_change() -> None:
    world, alice, watcher = watched()
    alice.set_status("dnd", "lunch")
    changed = world.engine.publisher.changed
    alice.set_status("dnd", "lunch")
    assert world.engine.publisher.changed == changed and len(watcher.pushes) == 1


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
    changed = world.engine.publisher.changed
    assert alice.refused(message) == code
    assert watcher.pushes == [] and world.engine.publisher.changed == changed
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
    changed = world.engine.publisher.changed
    phone = world.open("alice/phone", status="chat", idle_ms=0)
    phone.set_device("dnd")
    world.advance(40_000)
    phone.beat(0)
    phone.lose()
    world.advance(GRACE_MS + TICK_MS)
    alice.bye()
    assert watcher.pushes == []
    assert world.engine.publisher.changed == changed


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


# --- what others see of the text of somebody who appears offline ---------------------------------------------------


def test_somebody_who_appears_offline_tells_no_change_of_text() -> None:
    world, alice, watcher = watched()
    alice.set_status(text="lunch", for_ms=30_000)
    alice.set_status("offline")
    watcher.forget()
    changed = world.engine.publisher.changed
    alice.set_status(text="reading", emoji="*")
    alice.set_status(emoji="+")
    watcher.done(SetStatus(watcher.next_id(), None, "written by the backend", user="alice"))
    assert watcher.pushes == [] and watcher.get("alice").text == "lunch"
    assert world.engine.publisher.changed == changed
    world.advance(30_000 + TICK_MS)
    assert [(record.text, record.emoji) for record in watcher.pushes] == [("", "")], "it ends as it would have ended"
    alice.set_status("auto")
    assert (watcher.view["alice"].status, watcher.view["alice"].text) == ("online", "written by the backend")


def test_a_text_that_is_set_as_one_hides_is_the_last_that_is_seen() -> None:
    world, alice, watcher = watched()
    alice.set_status("offline", text="gone fishing")
    assert watcher.view["alice"].text == "gone fishing"
    alice.set_status("offline", text="back")
    assert watcher.view["alice"].text == "gone fishing"
    alice.set_status("dnd", text="busy")
    assert (watcher.view["alice"].status, watcher.view["alice"].text) == ("dnd", "busy")


@pytest.mark.parametrize("from_snapshot", [False, True])
def test_what_is_seen_of_somebody_who_hides_is_the_same_after_a_restart(from_snapshot: bool) -> None:
    world, alice, _ = watched()
    alice.set_status(text="lunch", for_ms=30_000)
    alice.set_status("offline", for_ms=60_000)
    alice.set_status(text="reading")
    after = world.restarted(10_000, facts=world.snapshot() if from_snapshot else None)
    watcher = after.open("app", role="service")
    (seen,) = watcher.watch("alice")
    assert (seen.status, seen.text) == ("offline", "lunch") and watcher.pushes == []
    alice = after.open("alice/laptop")
    after.advance(20_000 + TICK_MS)
    assert watcher.view["alice"].text == ""
    after.advance_beating(30_000, alice, watcher)
    assert (watcher.view["alice"].status, watcher.view["alice"].text) == ("online", "reading")


def test_the_end_of_what_is_seen_moves_with_the_clock_as_any_other() -> None:
    world, alice, watcher = watched()
    alice.set_status(text="lunch", for_ms=30_000)
    alice.set_status("offline")
    alice.set_status(text="reading")
    world.set_clock(world.wall_ms + 3_600_000)
    world.advance(1_000)
    assert watcher.get("alice").text == "lunch"
    after = world.restarted(0, facts=world.snapshot())
    assert after.record("alice").text == "lunch"
    after.advance(29_000 + TICK_MS)
    assert after.record("alice").text == ""
