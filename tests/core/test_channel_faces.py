"""A member who comes or leaves, and is seen otherwise from the same turn on: each watcher is told of that once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from presenced.core.policy import Policy
from presenced.wire.messages import Block, ClientMessage, GetMembers, Join, Leave, SetAudience, SetStatus, Unblock
from tests.core.world import FakeLink, World

ROOM = "room"
SPACED = Policy(change_spacing_ms=1_000)

Say = Callable[[int], ClientMessage]


def join(request_id: int) -> ClientMessage:
    return Join(request_id, ROOM)


def leave(request_id: int) -> ClientMessage:
    return Leave(request_id, ROOM)


def block(request_id: int) -> ClientMessage:
    return Block(request_id, "bob")


def unblock(request_id: int) -> ClientMessage:
    return Unblock(request_id, "bob")


def withhold(request_id: int) -> ClientMessage:
    return SetAudience(request_id, text="nobody")


def come(*, policy: Policy | None = None) -> tuple[World, FakeLink, FakeLink]:
    world = World(policy or Policy(change_spacing_ms=0))
    alice, bob = world.open("alice/laptop"), world.open("bob/phone")
    bob.watch_channel(ROOM)
    return world, alice, bob


def told(link: FakeLink) -> list[tuple[str, str]]:
    return [(kind, user) for _, kind, user in link.told.room_events]


def say(link: FakeLink, *acts: Say) -> None:
    """All of it in one turn."""
    for act in acts:
        link.say(act(link.next_id()))
    link.world.turn()


@pytest.mark.parametrize(
    ("acts", "events"),
    [
        ((join, block), []),
        ((block, join), []),
        ((join, withhold), [("join", "alice")]),
        ((block, join, unblock), [("join", "alice")]),
        ((join, leave, block), []),
    ],
    ids=["seen no more", "not seen", "less is seen", "seen again", "gone"],
)
def test_who_comes_is_told_of_as_seen_at_the_end_of_the_turn(
    acts: tuple[Say, ...], events: list[tuple[str, str]]
) -> None:
    world, alice, bob = come()
    say(alice, *acts)
    world.advance(2_000)
    assert told(bob) == events


@pytest.mark.parametrize("is_spaced", [False, True], ids=["at once", "spaced"])
@pytest.mark.parametrize("how", ["left", "offline"])
def test_who_leaves_and_is_not_seen_any_longer_is_listed_no_longer(how: str, is_spaced: bool) -> None:
    world, alice, bob = come(policy=SPACED if is_spaced else None)
    alice.join("alice/laptop", ROOM)
    for number in range(15 if is_spaced else 0):
        alice.set_status(text=f"text {number}")
    assert list(bob.told.rooms[ROOM].members or ()) == ["alice"]
    alice.say(leave(alice.next_id()) if how == "left" else SetStatus(alice.next_id(), "offline"))
    if is_spaced:
        world.turn()
    say(alice, block)
    assert (bob.told.rooms[ROOM].members, bob.told.rooms[ROOM].total) == ({}, 0)
    world.advance(10_000)
    assert told(bob)[-1] == ("leave", "alice") and told(bob).count(("leave", "alice")) == 1


def test_who_was_in_a_list_before_it_was_told_that_they_came_is_taken_off_it() -> None:
    world, alice, bob = come(policy=SPACED)
    bob.watch("alice")
    for number in range(15):
        alice.set_status(text=f"text {number}")
    say(alice, join)
    assert told(bob) == [], "it is spaced"
    bob.ask(GetMembers(bob.next_id(), ROOM))
    assert list(bob.told.rooms[ROOM].members or ()) == ["alice"]
    say(alice, block)
    assert bob.told.rooms[ROOM].members == {}
