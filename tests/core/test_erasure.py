"""A user who is erased: nothing is left of them, watchers are told so, and what followers count goes on."""

from __future__ import annotations

import random
from typing import Any

import pytest

from presenced.core.model import User
from presenced.core.policy import Policy
from presenced.core.records import TokensRevoked, UserErased
from presenced.server.zones import calendar
from presenced.wire.codec import encode
from presenced.wire.messages import (
    AddActivity,
    AddClaim,
    Erase,
    Event,
    Follow,
    Join,
    Record,
    Revoke,
    SetAudience,
    SetSchedule,
    SetStatus,
    Subscribe,
    Touch,
    Window,
)
from tests.core.world import FakeLink, World

NOTHING = Record("alice", "offline", "", "", 0, 0, "", 0)
OF_OTHERS = {
    "name": "it is what the user is asked for by",
    "watchers": "others watch the name, whoever it is",
    "hidden_watchers": "so do these, who see nothing of it",
    "faces": "and these, who see less",
    "position": "where it stands among all users",
    "encoded": "the record of nobody as bytes, once it is told",
    "digest": "and in short, once it is asked about",
    "awaited": "others wait for the name, as they watch it",
    "is_copy": "who decides the name is not said by anybody about it",
}
"""What of a `User` no erasure touches, and why."""


def life() -> tuple[World, FakeLink]:
    """Alice with all that can be known of somebody, bob beside her, and an admin who watches and follows."""
    world = World(Policy(change_spacing_ms=200), calendar=calendar)
    admin = world.open("admin", role="admin")
    admin.watch("alice", "bob")
    admin.say(Follow(admin.next_id()))
    world.turn()
    laptop, phone = world.open("alice/laptop", sync=True), world.open("alice/phone", kind="phone")
    world.open("bob/laptop")
    admin.attach(1, "alice/tab")
    for user in ("alice", "bob"):
        admin.done(AddClaim(admin.next_id(), "meeting", "call", "dnd", 60_000, 0, user))
        admin.done(SetSchedule(admin.next_id(), "UTC", [Window(127, 0, 0)], "dnd", user))
        admin.done(AddActivity(admin.next_id(), "login", "", 0, f"{user} was here", user))
        admin.done(SetStatus(admin.next_id(), "away", "a secret", "\u2600", 50_000, user))
        admin.done(Join(admin.next_id(), "general", user, "laptop"))
    admin.done(Subscribe(admin.next_id(), "bob", "please", "alice"))
    admin.done(SetAudience(admin.next_id(), "contacts", user="alice"))
    admin.watch_channel("general")
    phone.lose()
    for number in range(20):
        laptop.set_status(text=f"secret {number}", for_ms=50_000)
    admin.done(SetStatus(admin.next_id(), "offline", None, None, 0, "alice"))
    admin.done(SetStatus(admin.next_id(), None, "another secret", None, 50_000, "alice"))
    admin.done(Touch(admin.next_id(), "alice"))
    return world, admin


def slots(user: User) -> dict[str, Any]:
    return {name: getattr(user, name) for name in User.__slots__ if name not in OF_OTHERS}


def test_every_slot_of_a_user_is_as_of_one_never_seen() -> None:
    world, admin = life()
    alice = world.user("alice")
    before, fresh = slots(alice), slots(User("alice"))
    same = [name for name in before if before[name] == fresh[name]]
    # A record that waits leaves no credit, she is hidden, so no device is the primary, and only nodes of a cluster keep
    # when something was said.
    assert set(same) <= {"dirty", "text_by_wall", "primary", "push_credit", "said_ms"}, (
        f"the life of this test says nothing of {same}"
    )
    admin.done(Erase(admin.next_id(), "alice"))
    assert slots(world.user("alice")) == fresh and not world.user("alice").scheduled
    assert world.user("bob").claims and "bob" in world.engine.channels.by_name["general"].members
    admin.unwatch("alice")
    assert "alice" not in world.engine.users


def test_watchers_and_askers_are_told_of_nobody_in_the_same_turn_and_of_a_return() -> None:
    world, admin = life()
    world.advance(5_000)
    other = world.open("other/laptop")
    other.watch("alice")
    slow = world.open("slow/laptop")
    slow.watch("alice")
    slow.fill()
    for link in (admin, other):
        link.forget()
    admin.done(Erase(admin.next_id(), "alice"))
    for link in (admin, other):
        assert link.pushes == [NOTHING] and link.get("alice") == NOTHING
    slow.drain()
    assert slow.pushes == [NOTHING]
    world.open("alice/laptop")
    assert other.pushes[-1].status == "online" and other.pushes[-1].version > 0


def test_no_version_stands_for_two_records_though_all_comes_within_a_millisecond() -> None:
    """A link that reads slowly is told only the last of them, and takes it by its version."""
    world, admin = life()
    slow = world.open("slow/laptop")
    slow.watch("bob")
    laptop = world.open("bob/phone")
    for number in range(5):
        laptop.set_status(text=f"{number}")
    slow.drain()
    before = slow.view["bob"].version
    slow.fill()
    admin.say(Erase(admin.next_id(), "bob"))
    world.turn()
    world.open("bob/new")
    assert world.record("bob").version > before >= world.engine.ledger.version - 10
    slow.drain()
    assert slow.view["bob"] == world.record("bob")


@pytest.mark.parametrize("way", ["log", "snapshot", "both"])
def test_no_restart_brings_anything_back_but_the_revocation(way: str) -> None:
    world, admin = life()
    before = world.snapshot()
    admin.done(Revoke(admin.next_id(), "alice"))
    admin.done(Erase(admin.next_id(), "alice"))
    world.turn()
    of_alice = [fact for fact in world.log.facts if fact.user == "alice"]
    assert isinstance(of_alice[-1], UserErased), "nothing of the turn is written behind it"
    # A snapshot that was under way holds what was, and the log from its beginning is read over it.
    facts = {"log": world.log.facts, "snapshot": world.snapshot(), "both": [*before, *world.log.facts]}[way]
    after = world.restarted(facts=facts)
    kept = [fact for fact in after.snapshot() if fact.user == "alice"]
    assert [type(fact) for fact in kept] == [TokensRevoked]
    assert b"secret" not in encode(after.snapshot()[:1])
    assert slots(after.user("alice")) == slots(User("alice"))
    assert after.engine.revocations.refuses("alice", 0)
    assert after.user("bob").text == "a secret" and "bob" in after.engine.channels.by_name["general"].members


def test_who_comes_back_is_known_by_what_was_said_since() -> None:
    world, admin = life()
    world.advance(60_000)
    begun = len(world.log.facts)
    admin.done(Erase(admin.next_id(), "alice"))
    laptop = world.open("alice/new")
    laptop.set_status("dnd", "hello again")
    # The snapshot began before the erasure and came to her after it.
    after = world.restarted(facts=[*world.snapshot(), *world.log.facts[begun:]])
    assert list(after.user("alice").devices) == ["new"] and after.record("alice").text == "hello again"
    assert after.record("alice").version == world.record("alice").version


def test_events_are_emptied_and_their_count_goes_on() -> None:
    world, admin = life()
    cursor = admin.told.events[0].seq
    # A request names both who asks and who is asked: it goes with either.
    kept = [event for event in admin.told.events if event.user == "bob" and event.new != "alice"]
    assert [event.kind for event in admin.told.events if event.new == "alice"] == ["contact_request"]
    admin.done(Erase(admin.next_id(), "alice"))
    world.turn()
    assert admin.told.kinds("alice")[-1] == "erased"
    late = world.open("late", role="service")
    late.say(Follow(late.next_id(), world.engine.events.epoch, cursor))
    world.advance(1)
    told = late.told.events
    assert [event.seq for event in told] == list(range(cursor + 1, world.engine.events.seq + 1))
    assert [event for event in told if event.user == "bob"] == [event for event in kept if event.seq > cursor]
    assert {event.kind for event in told if event.user == "alice"} <= {"offline", "status_change", "erased"}
    emptied = [event for event in told if not event.user]
    assert emptied and all(event == Event(event.seq, 0, "erased", "", "", "", "") for event in emptied)
    assert not [data for data in late.raw if b"secret" in data and b"bob" not in data]


def test_an_event_that_only_mentions_the_name_stays() -> None:
    world, admin = life()
    admin.done(SetStatus(admin.next_id(), None, "alice", None, 0, "bob"))
    admin.done(SetStatus(admin.next_id(), None, "ask alice", None, 0, "bob"))
    bobs = [event for event in admin.told.events if event.user == "bob" and event.kind != "contact_request"]
    assert bobs[-1].old == "alice"
    admin.done(Erase(admin.next_id(), "alice"))
    late = world.open("late", role="service")
    late.say(Follow(late.next_id(), world.engine.events.epoch, bobs[0].seq))
    world.advance(1)
    assert [event for event in late.told.events if event.user == "bob"] == bobs[1:]


def test_it_may_be_said_of_nobody_and_again() -> None:
    world, admin = life()
    for user in ("stranger", "stranger", "alice", "alice"):
        admin.done(Erase(admin.next_id(), user))
    world.advance(1)
    assert [event.user for event in admin.told.events if event.kind == "erased"] == [
        "stranger", "stranger", "alice", "alice",
    ]  # fmt: skip
    assert "stranger" not in world.engine.users
    world.engine.set_read_only("read_only")
    assert admin.refused(Erase(admin.next_id(), "bob")) == "read_only" and world.user("bob").claims


def test_whoever_does_not_follow_costs_nothing_and_no_user_may() -> None:
    world = World(Policy(events_record="followed"))
    me, service = world.open("me/laptop"), world.open("service", role="service")
    assert me.refused(Erase(me.next_id(), "me")) == "forbidden"
    assert service.refused(Erase(service.next_id(), "")) == "bad_name"
    service.done(Erase(service.next_id(), "me"))
    assert not world.engine.erasures.pending and world.engine.events.seq == 0 and me.ended == "kicked"


def test_a_large_channel_forgets_who_was_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("presenced.core.parts.channels.CHANNEL_FULL_MAX", 1)
    world, admin = life()
    watchers = [world.open(f"watcher-{number}/laptop") for number in range(3)]
    for watcher in watchers:
        watcher.watch_channel("general")
    admin.done(SetStatus(admin.next_id(), "auto", None, None, 0, "alice"))
    world.advance(5_000)
    admin.done(Erase(admin.next_id(), "alice"))
    world.advance(5_000)
    for watcher in watchers:
        room = watcher.told.rooms["general"]
        assert room.members is not None and list(room.members) == ["bob"] and room.total == 1


def test_random_lives_with_erasures_are_the_same_after_a_restart() -> None:
    for seed in range(30):
        chance = random.Random(seed)
        world = World(Policy(change_spacing_ms=200))
        admin = world.open("admin", role="admin")
        admin.watch("a", "b")
        admin.say(Follow(admin.next_id()))
        for ref in range(1, 60):
            user, device = chance.choice("ab"), chance.choice(("x", "y"))
            match chance.randrange(7):
                case 0:
                    admin.attach(chance.randrange(1, 5), f"{user}/{device}")
                case 1:
                    admin.done(
                        SetStatus(admin.next_id(), chance.choice(("dnd", "offline", "auto")), f"t{ref}", None, 0, user)
                    )  # type: ignore[arg-type]
                case 2:
                    admin.done(AddClaim(admin.next_id(), "m", "call", "dnd", 5_000, 0, user))
                case 3:
                    admin.ask(Join(admin.next_id(), "room", user, device))
                case 4:
                    admin.done(AddActivity(admin.next_id(), "login", "", 0, "", user))
                case 5:
                    world.advance(chance.randrange(20_000))
                case _:
                    admin.done(Erase(admin.next_id(), user))
                    assert admin.view.get(user, NOTHING).version == 0
        after = world.restarted()
        for name in "ab":
            old, new = world.engine.users.get(name), after.engine.users.get(name)
            known = old is not None and bool(world.engine.parts.facts_of(old, world.now_ms))
            assert (new is not None) == known, f"seed {seed}"
            if old is not None and new is not None:
                assert list(old.devices) == list(new.devices), f"seed {seed}"
                assert (old.text, old.activities, old.channels) == (new.text, new.activities, new.channels), (
                    f"seed {seed}"
                )


def test_a_follower_that_sees_some_is_told_in_its_own_numbers() -> None:
    world, admin = life()
    narrow = world.open("narrow", role="service", rights={"see": ["alice", "carol"]})
    other = world.open("other", role="service", rights={"see": ["bob"]})
    for link in (narrow, other):
        link.say(Follow(link.next_id()))
    world.turn()
    begun = narrow.told.seq
    admin.done(SetStatus(admin.next_id(), "auto", "a secret told", None, 0, "alice"))
    world.advance(1_000)
    assert narrow.told.kinds("alice")
    epoch = world.engine.events.followers[narrow.session].epoch
    admin.done(Erase(admin.next_id(), "alice"))
    world.advance(1)
    assert narrow.told.kinds("alice")[-1] == "erased" and other.told.kinds() == []
    again = world.open("narrow", role="service", rights={"see": ["alice", "carol"]})
    again.say(Follow(again.next_id(), epoch, begun))
    world.advance(1)
    assert [event.seq for event in again.told.events] == list(range(begun + 1, narrow.told.seq + 1))
    assert not [data for data in again.raw if b"secret" in data]
