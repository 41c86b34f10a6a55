"""Who may ask how to notify whom, for how many at once, and what is answered to bad questions."""

from __future__ import annotations

from typing import Any

import pytest

from presenced.limits import META_BYTES_MAX, NAME_BYTES_MAX, ROUTED_DEVICES_MAX, USERS_PER_REQUEST_MAX
from presenced.wire.codec import BadMessage, decode_client, encode
from presenced.wire.messages import Attach, Block, Error, HideFrom, Route, RouteInfo, Routes, SetDevice, SetStatus
from tests.core.fake_link import FakeLink
from tests.core.world import World


def routes(link: FakeLink, *users: str, **asked: Any) -> list[RouteInfo]:
    return link.expect(Route(link.next_id(), list(users), **asked), Routes).routes


def error(link: FakeLink, *users: str, **asked: Any) -> Error:
    return link.expect(Route(link.next_id(), list(users), **asked), Error)


# --- who may ask -------------------------------------------------------------------------------------------------


def test_a_user_asks_about_themselves_alone() -> None:
    world = World()
    bob = world.open("bob/laptop", idle_ms=0)
    world.open("alice/laptop")
    assert [found.user for found in routes(bob, "bob")] == ["bob"]
    known, unknown = error(bob, "alice"), error(bob, "nobody")
    assert (known.code, unknown.code) == ("forbidden", "forbidden")
    assert known.message.replace("alice", "nobody") == unknown.message
    assert error(bob, "bob", "alice").code == "forbidden", "nothing is half answered"
    assert error(bob, "a b").code == "forbidden", "nothing of it is looked at"


@pytest.mark.parametrize(
    ("claim", "may"),
    [
        ({}, ["bob", "carol"]),
        ({"see": ["*"], "act": ["bob"]}, ["bob"]),
        ({"see": ["bob"], "act": ["*"]}, ["bob"]),
        ({"see": ["carol"]}, ["carol"]),
        ({"act": []}, []),
        ({"only_read": True}, ["bob", "carol"]),
    ],
)
def test_a_service_asks_about_those_whom_it_sees_and_acts_for(claim: dict[str, Any], may: list[str]) -> None:
    world = World()
    world.open("bob/laptop", idle_ms=0)
    app = world.open("app", role="service", rights=claim)
    told = {}
    for user in ("bob", "carol"):
        answer = app.ask(Route(app.next_id(), [user]))
        told[user] = isinstance(answer, Routes)
        if isinstance(answer, Error):
            other = error(app, "x" + user)
            assert answer.code == other.code == "forbidden"
            assert other.message.replace("x" + user, user) == answer.message, "it tells nothing of the user"
    assert [user for user, is_told in told.items() if is_told] == may


def test_a_service_is_not_bound_by_what_users_say_of_each_other() -> None:
    world = World()
    bob = world.open("bob/laptop", idle_ms=0)
    app = world.open("app", role="service")
    before = routes(app, "bob")
    for message in (Block(1, "app"), HideFrom(2, "app")):
        bob.done(message)
    assert routes(app, "bob") == before
    bob.done(SetStatus(3, "offline"))
    assert [(found.verdict, found.reason) for found in routes(app, "bob")] == [("now", "in_use")]


# --- how many ----------------------------------------------------------------------------------------------------


def crowd(devices: int, meta: str = "") -> tuple[World, FakeLink, list[str]]:
    """As many users as one request may name, each with so many devices."""
    world = World()
    world.checks = False
    app = world.open("app", role="service")
    names = [f"{number:03}{'u' * (NAME_BYTES_MAX - 3)}" for number in range(USERS_PER_REQUEST_MAX)]
    ref = 0
    for name in names:
        for number in range(devices):
            ref += 1
            device = f"{number}{'d' * (NAME_BYTES_MAX - 1)}"
            app.say(Attach(ref, ref, name, device, "k" * 64, idle_ms=400_000, meta=meta))
    world.turn()
    app.forget()
    return world, app, names


def test_256_users_with_four_devices_each_and_the_longest_meta_are_one_answer() -> None:
    _, app, names = crowd(4, "m" * META_BYTES_MAX)
    found = routes(app, *names)
    assert [one.user for one in found] == names
    assert {len(one.devices) for one in found} == {4}


def test_with_more_devices_the_first_users_are_answered_and_the_rest_is_for_another_request() -> None:
    _, app, names = crowd(7, "m" * META_BYTES_MAX)
    answered: list[str] = []
    while len(answered) < len(names):
        found = routes(app, *names[len(answered) :])
        assert sum(len(one.devices) for one in found) <= ROUTED_DEVICES_MAX
        answered += [one.user for one in found]
    assert answered == names


def test_a_name_twice_is_answered_twice_and_unknown_ones_in_their_place() -> None:
    world = World()
    world.open("bob/laptop", idle_ms=0)
    app = world.open("app", role="service")
    found = routes(app, "bob", "nobody", "bob")
    assert [(one.user, one.reason) for one in found] == [("bob", "in_use"), ("nobody", "unknown"), ("bob", "in_use")]


def test_what_was_said_in_the_same_turn_counts() -> None:
    """As to get: the answer is made from what the records are when the turn ends."""
    world = World()
    bob = world.open("bob/laptop", idle_ms=0)
    world.open("bob/phone", kind="phone", idle_ms=400_000)
    bob.say(SetDevice(1, "dnd"))
    assert [target.reason for target in routes(bob, "bob")[0].devices] == ["dnd", "dnd"], "the user, and so all devices"


def test_it_changes_nothing_and_moves_no_version() -> None:
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "bob/web", idle_ms=0)
    before = world.snapshot(), len(world.log.facts), world.engine.ledger.version, list(world.engine.users)
    routes(app, "bob", "nobody", urgency="urgent", about="general")
    assert (world.snapshot(), len(world.log.facts), world.engine.ledger.version, list(world.engine.users)) == before


# --- bad input ---------------------------------------------------------------------------------------------------


def test_names_are_checked_as_everywhere() -> None:
    app = World().open("app", role="service")
    assert error(app, "a b").code == "bad_name"
    said = error(app, "bob", "a/b", "carol")
    assert said.code == "bad_name" and said.message.startswith("name 2 of 3: ")
    assert error(app, "bob", about="a b").code == "bad_name"
    assert error(app, "bob", about="x" * 129).code == "bad_name"


@pytest.mark.parametrize(
    "value",
    [
        [61, 1, []],
        [61, 1, ["x"] * 257],
        [61, 1, "bob"],
        [61, 1],
        [61, 0, ["bob"]],
        [61, 1, ["bob"], "loud"],
        [61, 1, ["bob"], None],
        [61, 1, ["bob"], "low", 7],
    ],
)
def test_a_wrong_field_is_a_bad_request(value: list[Any]) -> None:
    with pytest.raises(BadMessage) as caught:
        decode_client(encode(value))  # type: ignore[arg-type]
    assert caught.value.code == "bad_request"
