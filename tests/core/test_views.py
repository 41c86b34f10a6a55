"""Clients that say what they have: what differs is answered, and nothing else; a checksum proves the rest."""

from __future__ import annotations

from zlib import crc32

import pytest

from presenced.core.policy import Policy
from presenced.digests import digest
from presenced.limits import USERS_PER_REQUEST_MAX
from presenced.wire.messages import (
    Block,
    Bye,
    Check,
    Checked,
    Compare,
    ContactEntry,
    Join,
    Kick,
    MembersPage,
    Presence,
    Record,
    Records,
    SetAudience,
    SetContacts,
    SetStatus,
    Unblock,
    Watch,
    WatchChannel,
)
from tests.core.fake_link import FakeLink
from tests.core.world import World

ANN = Record("änn", "dnd", "im Büro", "\N{HOT BEVERAGE}", 1_700_000_000_000, 0, "laptop", 5)


def watch(link: FakeLink, have: dict[str, int]) -> list[Record]:
    return link.expect(Watch(link.next_id(), list(have), list(have.values())), Records).records


def compare(link: FakeLink, have: dict[str, int], *, more: bool = False, failed: bool = False) -> list[Record]:
    message = Compare(link.next_id(), list(have), list(have.values()), more, failed)
    return link.expect(message, Records).records


def check(link: FakeLink) -> Checked:
    return link.expect(Check(link.next_id()), Checked)


def had(link: FakeLink) -> dict[str, int]:
    return {name: digest(record) for name, record in link.view.items()}


def agrees(link: FakeLink) -> None:
    """What the client shows of those whom it watches is what the server would show it."""
    told = check(link)
    watched = {name: digest(record) for name, record in link.view.items() if name in link.watched}
    assert (told.users, told.checksum) == (len(link.watched), sum(watched.values()) % 2**32)


def watch_contacts(world: World, link: FakeLink) -> None:
    """As after a hello that wants contacts and to be told nothing of them."""
    for user, _ in world.engine.watches.add_contacts(world.now_ms, link.session):
        link.watched[user.name] = None


# --- digests -----------------------------------------------------------------------------------------------------


def test_a_digest_is_what_the_protocol_says() -> None:
    text = "\0".join(["änn", "dnd", "im Büro", "\N{HOT BEVERAGE}", "1700000000000", "0", "laptop"])
    assert digest(ANN) == crc32(text.encode())
    assert digest(Record("x", "offline", "", "", 0, 0, "", 0)) == 0


# --- what differs ------------------------------------------------------------------------------------------------


def test_who_has_all_is_told_nothing_and_then_what_changes() -> None:
    world = World()
    bob, carol, me = world.open("bob/web"), world.open("carol/web"), world.open("me/web")
    me.watch("bob", "carol", "nobody")
    me.lose()
    carol.set_status("dnd")
    back = world.open("me/web")
    assert [record.user for record in watch(back, had(me))] == ["carol"]
    bob.set_status("away")
    assert back.statuses("bob") == ["away"], "those of whom nothing was told are watched as well"


def test_a_change_that_was_undone_is_none() -> None:
    world = World()
    app, me = world.open("backend", role="service"), world.open("me/web")
    app.done(SetStatus(app.next_id(), text="a", user="bob"))
    me.watch("bob")
    me.lose()
    app.done(SetStatus(app.next_id(), text="b", user="bob"))
    app.done(SetStatus(app.next_id(), text="a", user="bob"))
    assert watch(world.open("me/web"), had(me)) == []


def test_it_holds_over_a_restart_and_over_a_lost_history() -> None:
    world = World()
    world.open("bob/web").set_status(text="hi")
    me = world.open("me/web")
    me.watch("bob")
    for gap in (0, 5_000):
        assert watch(world.restarted(10, version_gap=gap).open("me/web"), had(me)) == []
    assert [one.user for one in watch(World().open("me/web"), had(me))] == ["bob"], "nothing is known there"


def test_sight_that_was_lost_and_has_come_back() -> None:
    world = World()
    bob, me = world.open("bob/web"), world.open("me/web")
    me.watch("bob")
    seen = had(me)
    bob.done(Block(bob.next_id(), "me"))
    hidden = watch(world.open("me/tablet"), seen)
    assert [(one.status, one.version) for one in hidden] == [("offline", 0)]
    assert watch(world.open("me/phone"), {"bob": 0}) == [], "who has nothing is not told of the block"
    bob.done(Unblock(bob.next_id(), "me"))
    assert watch(world.open("me/watch"), seen) == []
    assert [one.status for one in watch(world.open("me/desk"), {"bob": 0})] == ["online"]


def test_of_a_reduced_record_only_what_is_seen_counts() -> None:
    world = World()
    bob, me = world.open("bob/web"), world.open("me/web")
    bob.done(SetAudience(bob.next_id(), text="nobody"))
    me.watch("bob")
    seen = had(me)
    world.advance(5_000)
    bob.set_status(text="secret")
    back = world.open("me/tablet")
    assert watch(back, seen) == [], "a text that is not seen is no difference"
    back.view.update(me.view)
    agrees(back)
    bob.set_status("dnd")
    assert [one.status for one in compare(back, seen)] == ["dnd"]


def test_a_comparison_of_those_who_are_not_watched_is_a_question() -> None:
    world = World()
    world.open("bob/web")
    me = world.open("me/web")
    assert [one.user for one in compare(me, {"bob": 1, "stranger": 0, "ghost": 9})] == ["bob", "ghost"]


def contacts_of(world: World, user: str, *names: str) -> None:
    app = world.open("backend", role="service")
    app.done(SetContacts(app.next_id(), user, [ContactEntry(name) for name in names]))


def test_contacts_that_were_not_named_are_told_with_the_last_page() -> None:
    world = World(Policy(grounds=("contacts",)))
    for name in ("bob", "carol", "dave"):
        world.open(f"{name}/web")
    contacts_of(world, "me", "bob", "carol", "dave", "absent")
    me = world.open("me/web")
    known = {name: digest(me.get(name)) for name in ("bob", "carol")}
    watch_contacts(world, me)
    me.forget()
    assert compare(me, {"bob": known["bob"]}, more=True) == [] and me.pushes == []
    assert compare(me, {"carol": known["carol"]}) == []
    assert [one.user for one in me.pushes] == ["dave"]
    me.forget()
    me.view.clear()
    assert compare(me, {}) == []
    assert sorted(one.user for one in me.pushes) == ["bob", "carol", "dave"], "each comparison begins anew"


def test_a_channel_page_tells_what_differs_and_who_has_left() -> None:
    world = World()
    links = {name: world.open(f"{name}/web") for name in ("ann", "bob", "carol")}
    for link in links.values():
        link.done(Join(link.next_id(), "room"))
    me = world.open("me/web")
    page = me.watch_channel("room")
    have = {record.user: digest(record) for record in page.records}
    me.lose()
    links["ann"].set_status("dnd")
    links["bob"].leave("bob/web", "room")
    back = world.open("me/web")
    message = WatchChannel(back.next_id(), "room", 100, list(have), list(have.values()))
    told = back.expect(message, MembersPage)
    assert told.is_partial and [one.user for one in told.records] == ["ann"] and told.left == ["bob"]
    assert told.total == 2 and told.counts == [0, 1, 0, 0, 1]


# --- checksums ---------------------------------------------------------------------------------------------------


def test_a_checksum_is_that_of_all_who_are_watched() -> None:
    world = World()
    world.open("bob/web")
    me = world.open("me/web")
    assert check(me) == Checked(2, 77, world.engine.ledger.version, 0, 0)
    me.watch("bob", "nobody")
    agrees(me)
    assert world.engine.views.checks == 2


def test_what_waits_is_told_before_the_checksum() -> None:
    world = World(Policy(change_spacing_ms=1_000, change_burst=1))
    bob, me, other = world.open("bob/web"), world.open("me/web"), world.open("other/web")
    me.watch("bob")
    other.watch("bob")
    for status in ("dnd", "away", "xa"):
        bob.set_status(status)  # type: ignore[arg-type]
    me.forget()
    agrees(me)
    assert me.statuses("bob") == ["xa"] and isinstance(me.messages[-1], Checked)
    assert other.view["bob"].status != "xa", "others are told in their time"


def test_a_reduced_record_that_waits_is_told_before_the_checksum() -> None:
    world = World(Policy(change_spacing_ms=1_000, change_burst=1))
    bob, me = world.open("bob/web"), world.open("me/web")
    bob.done(SetAudience(bob.next_id(), text="nobody"))
    me.watch("bob")
    for status in ("dnd", "away", "xa"):
        bob.set_status(status)  # type: ignore[arg-type]
    agrees(me)
    assert me.view["bob"].status == "xa"
    world.advance(2_000)
    agrees(me)


def test_a_link_that_does_not_read_is_answered_behind_what_it_is_owed() -> None:
    world = World()
    bob, me = world.open("bob/web"), world.open("me/web")
    me.watch("bob")
    me.fill()
    bob.set_status("away")
    me.say(Check(me.next_id()))
    world.turn()
    bob.set_status("dnd")
    me.drain()
    *_, last, answer = me.messages
    assert isinstance(last, Presence) and last.record.status == "dnd"
    assert isinstance(answer, Checked) and answer.checksum == digest(last.record)
    me.fill()
    me.say(Check(me.next_id()))
    me.lose()
    assert not world.engine.views._late


@pytest.mark.parametrize("end", ["bye", "kick", "stop"])
def test_a_check_in_the_turn_in_which_its_link_ends_is_answered_by_what_it_was_told(end: str) -> None:
    world = World()
    app = world.open("app", role="service")
    ann, bob = world.open("ann/phone"), world.open("bob/phone")
    ann.watch("bob", "nobody")
    # It is not told of that any longer.
    bob.say(SetStatus(bob.next_id(), "dnd"))
    ann.say(Check(7))
    if end == "bye":
        ann.say(Bye())
    elif end == "kick":
        app.say(Kick(app.next_id(), "ann"))
    else:
        world.engine.sessions.drop(world.now_ms, ann.session, "going_away")
    world.turn()
    (checked,) = [message for message in ann.messages if isinstance(message, Checked)]
    assert (checked.users, checked.checksum) == (2, digest(ann.view["bob"]))
    assert ann.view["bob"].status == "online" and ann.ended is not None


def test_the_watchers_of_a_very_wide_fan_out() -> None:
    world = World()
    world.checks = False
    bob = world.open("bob/web")
    links = [world.open(f"w{number}/web") for number in range(1_200)]
    for link in links:
        link.watch("bob")
    bob.say(SetStatus(bob.next_id(), "dnd"))
    last = links[-1]
    last.say(Check(last.next_id()))
    world.turn()
    assert last.view["bob"].status == "dnd" and isinstance(last.messages[-1], Checked)
    while world.engine.outboxes.wide.next_ms is not None:
        world.turn()
    assert {link.view["bob"].status for link in links} == {"dnd"}


def test_contacts_and_names_count_once() -> None:
    world = World()
    world.open("bob/web")
    world.open("carol/web")
    contacts_of(world, "me", "bob", "carol")
    me = world.open("me/web")
    watch_contacts(world, me)
    me.watch("bob")
    told = check(me)
    assert told.users == 2
    assert told.checksum == (digest(me.get("bob")) + digest(me.get("carol"))) % 2**32


def test_what_is_found_is_counted() -> None:
    world = World()
    world.open("bob/web")
    me = world.open("me/web")
    me.watch("bob")
    assert [one.user for one in compare(me, {"bob": 7}, failed=True)] == ["bob"]
    views = world.engine.views
    assert (views.failed, views.differences) == (1, 1)


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (Watch(9, ["bob", "carol"], [1]), "2 users and 1 digests"),
        (Compare(9, ["bob"], []), "1 users and 0 digests"),
        (WatchChannel(9, "room", 10, ["bob"], []), "1 users and 0 digests"),
        (Compare(9, ["", "bob"], [0, 0]), "name 1 of 2"),
        (WatchChannel(9, "room", 10, ["a\nb"], [0]), "name"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(message: object, says: str) -> None:
    world = World()
    me = world.open("me/web")
    answer = me.ask(message)  # type: ignore[arg-type]
    assert says in getattr(answer, "message", "")
    assert not me.session.watching and not me.session.channels


def test_a_page_that_is_full() -> None:
    me = World().open("me/web")
    assert compare(me, {f"u{number}": 0 for number in range(USERS_PER_REQUEST_MAX)}) == []
