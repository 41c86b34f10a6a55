"""A user's link without a device, as requests over HTTP have: it sees by its user's eyes, and makes nobody online."""

from __future__ import annotations

from presenced.wire.messages import Approve, Await, Awaited, Erase, SetStatus, Subscribe
from tests.core.world import World
from tests.visibility.rule import Viewer
from tests.visibility.stage import ViewLink, policy


def test_its_user_stays_known_for_as_long_as_it_lasts_and_no_longer() -> None:
    world = World(policy(("contacts",)))
    link = ViewLink(world, Viewer("vera"))
    for _ in range(3):
        world.advance(1_000)
    assert "vera" in world.engine.users
    link.lose()
    world.turn()
    assert "vera" not in world.engine.users


def test_what_the_user_may_see_later_it_sees() -> None:
    """The user whom it speaks for was never seen when it came."""
    world = World(policy(("contacts",)))
    asker, sue = ViewLink(world, Viewer("vera")), ViewLink(world, Viewer("sue"), "desk")
    assert asker.records(["sue"])[0].status == "offline"
    asker.done(Subscribe(asker.next_id(), "sue"))
    sue.done(Approve(sue.next_id(), "vera"))
    assert asker.records(["sue"])[0].status == "online"
    assert asker.records(["vera"])[0].status == "offline"


def test_an_await_is_answered_when_it_may_see_who_is_there() -> None:
    world = World(policy(("contacts",)))
    asker, sue = ViewLink(world, Viewer("vera")), ViewLink(world, Viewer("sue"), "desk")
    asker.done(Subscribe(asker.next_id(), "sue"))
    awaiting = Await(asker.next_id(), "sue", 60_000)
    asker.say(awaiting)
    world.turn()
    sue.done(Approve(sue.next_id(), "vera"))
    world.turn()
    assert [message.met for message in asker.messages if isinstance(message, Awaited)] == [True]


def test_it_ends_with_its_user() -> None:
    world = World(policy(("everyone",)))
    asker, admin = ViewLink(world, Viewer("vera")), ViewLink(world, Viewer("root", "admin"))
    asker.done(SetStatus(asker.next_id(), "dnd"))
    admin.done(Erase(admin.next_id(), "vera"))
    world.turn()
    assert asker.session.ended
    assert "vera" not in world.engine.users
