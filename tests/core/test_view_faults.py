"""What a hostile or unlucky client makes of comparisons and checksums."""

from __future__ import annotations

from typing import Any

import pytest

from presenced.core.policy import Policy
from presenced.core.requests.costs import NAMES
from presenced.digests import digest
from presenced.wire.codec import decode_server
from presenced.wire.messages import (
    Block,
    Bye,
    Check,
    Checked,
    Compare,
    ContactEntry,
    HideFrom,
    Presence,
    Records,
    SetContacts,
    SetStatus,
    Unblock,
)
from tests.core.world import FakeLink, World
from tests.support.requests import REQUESTS


def sums(link: FakeLink) -> list[tuple[int, int]]:
    """For each checksum that was told: it, and the sum of what the link had been told by then."""
    view: dict[str, int] = {}
    found = []
    for message in link.messages:
        if isinstance(message, Presence):
            view[message.record.user] = digest(message.record)
        elif isinstance(message, Records):
            view.update((record.user, digest(record)) for record in message.records)
        elif isinstance(message, Checked):
            found.append((message.checksum, sum(view.values()) % 2**32))
    return found


def test_checks_that_piled_up_are_one_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that does not read and checks without end must not hold up a turn once it reads, nor fill memory."""
    world = World()
    world.checks = False
    app = world.open("app", role="service")
    app.watch(*[f"user{number}" for number in range(200)])
    app.fill()
    for number in range(5_000):
        app.say(Check(1_000 + number))
    world.turn()
    counted = []
    checksum = type(world.engine.sight).checksum

    def counting(*args: Any, **options: Any) -> int:
        counted.append(1)
        return checksum(*args, **options)

    monkeypatch.setattr(type(world.engine.sight), "checksum", counting)
    app.drain()
    assert len(counted) <= 10, f"{len(counted)} sums of 200 users in one turn"


@pytest.mark.parametrize("act", [Block, HideFrom])
def test_a_check_of_a_link_that_reads_again_holds_what_changes_in_that_turn(act: Any) -> None:
    """It reads again after somebody's request and before the turn."""
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    alice.watch("bob")
    alice.fill()
    alice.say(Check(70))
    world.turn()
    bob.say(act(901, "alice"))
    alice.drain()
    world.turn()
    ((told, mine),) = sums(alice)
    assert told == mine, "the client would take its right view for a wrong one"


def test_a_check_of_a_link_that_reads_again_holds_a_sight_that_is_given_back() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    bob.done(Block(901, "alice"))
    alice.watch("bob")
    alice.fill()
    alice.say(Check(70))
    world.turn()
    bob.say(Unblock(902, "alice"))
    bob.say(SetStatus(903, "dnd"))
    alice.drain()
    world.turn()
    ((told, mine),) = sums(alice)
    assert told == mine


@pytest.mark.parametrize("reads_again", [False, True])
def test_a_check_of_a_link_that_does_not_read_is_answered_when_it_says_bye(reads_again: bool) -> None:
    """protocol.md, 4.4: behind what the link is owed, so that the sum is right."""
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    alice.watch("bob")
    alice.fill()
    alice.say(Check(70))
    bob.set_status("dnd")
    if reads_again:
        alice.reading, alice.unread = True, []
        world.engine.resume(alice.session)
    alice.say(Bye())
    # As the link does that ends: what is left is its last write.
    alice.messages += [decode_server(data[4:]) for data in world.engine.outboxes.take_last(alice.session)]
    world.turn()
    ((told, mine),) = sums(alice)
    assert told == mine
    assert alice.statuses("bob") == ["dnd"]
    assert [message.id for message in alice.messages if isinstance(message, Checked)] == [70]


def test_a_comparison_that_is_answered_with_all_contacts_is_paid_for() -> None:
    """As a login with contacts is, which tells the same."""
    world = World(Policy(grounds=("contacts",)))
    world.checks = False
    app = world.open("app", role="service")
    count = 1_000
    names = [f"user{number}" for number in range(count)]
    for number, name in enumerate(names):
        app.attach(1 + number, f"{name}/web")
    app.done(SetContacts(app.next_id(), "alice", [ContactEntry(name) for name in names]))
    alice = world.open("alice/laptop")
    world.engine.watches.add_contacts(world.now_ms, alice.session)
    for name in names:
        alice.watched[name] = None
    asked = Compare(70, ["nobody"], [0])
    cost = REQUESTS.cost(world.engine, alice.session, asked)
    alice.ask(asked)
    told = len(alice.pushes)
    assert told == count
    assert cost >= told // NAMES, f"{cost} units for {told} records"


def test_a_check_that_has_failed_is_counted_once_however_many_pages_follow() -> None:
    world = World()
    alice = world.open("alice/laptop")
    names = [f"user{number}" for number in range(600)]
    for start in range(0, 600, 200):
        some = names[start : start + 200]
        alice.expect(Compare(alice.next_id(), some, [0] * len(some), more=start < 400, failed=True), Records)
    assert world.engine.views.failed == 1


def test_a_change_that_is_spaced_is_told_once_for_checks_however_many() -> None:
    world = World()
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    alice.watch("bob")
    for number in range(15):
        bob.set_status(text=str(number))
    alice.forget()
    for number in range(5):
        alice.say(Check(100 + number))
        if number % 2:
            world.turn()
    world.turn()
    assert [record.text for record in alice.pushes] == ["14"]
    bob.set_status(text="15")
    alice.ask(Check(200))
    assert [record.text for record in alice.pushes] == ["14", "15"]
    assert all(told == mine for told, mine in sums(alice)[-1:])


def test_contacts_that_were_named_and_are_none_any_longer_give_no_credit() -> None:
    world = World(Policy(grounds=("contacts",)))
    app, me = world.open("backend", role="service"), world.open("me/web")
    for name in ("new", *(names := [f"u{number}" for number in range(3 * NAMES)])):
        app.attach(len(names) + 1 if name == "new" else int(name[1:]) + 1, f"{name}/web")
    app.done(SetContacts(app.next_id(), "me", [ContactEntry(name) for name in names]))
    for user, _ in world.engine.watches.add_contacts(world.now_ms, me.session):
        me.watched[user.name] = None
    me.expect(Compare(me.next_id(), names, [0] * len(names), more=True), Records)
    me.watched["new"] = None
    app.done(SetContacts(app.next_id(), "me", [ContactEntry("new")]))
    me.forget()
    last = Compare(me.next_id(), [], [])
    assert REQUESTS.cost(world.engine, me.session, last) >= 0
    me.view.pop("new", None)
    me.expect(last, Records)
    assert [record.user for record in me.pushes if record.version] == ["new"], "as many as before, and another"
