"""Somebody is erased at their home while the node that decides pairs decides something about them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from presenced.wire.messages import Block, Bye, Erase, Follow, Following, HideFrom, SetAudience, SetContact
from tests.cluster.town import Town, TownNode
from tests.core.world import FakeLink

Act = Callable[[FakeLink], object]

ACTS: dict[str, Act] = {
    "block": lambda app: app.say(Block(app.next_id(), "bob", "alice")),
    "hide": lambda app: app.say(HideFrom(app.next_id(), "bob", "alice")),
    "list": lambda app: app.say(SetContact(app.next_id(), "alice", "Al", None, "bob")),
    "audience": lambda app: app.say(SetAudience(app.next_id(), user="alice", never=["bob"])),
}


def said_of(node: TownNode) -> list[object]:
    """What this node knows of alice and others."""
    known: list[object] = []
    for name in ("alice", "bob"):
        user = node.engine.users.get(name)
        if user is not None and name == "alice" and user.privacy is not None:
            known.append((sorted(user.privacy.blocked), sorted(user.privacy.hidden), user.privacy.audience))
        if user is not None and user.contacts is not None and user.contacts.contacts:
            known.append((name, sorted(user.contacts.contacts)))
    return known


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("first", ["erasure", "pair"])
@pytest.mark.parametrize("end", ["all live", "registrar dies"])
def test_all_nodes_agree_what_is_between_somebody_erased_and_others(act: str, first: str, end: str) -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    assert {node.node.registrar for node in town.nodes} == {a.node.me}
    b.come("alice/laptop")
    c.come("bob/laptop")
    app, root = a.open("app", role="service"), b.open("root", role="admin")
    town.settle()
    town.pause()
    ACTS[act](app)
    a.turn()
    root.say(Erase(root.next_id(), "alice"))
    b.turn()
    for node in (b, a) if first == "erasure" else (a, b):
        while node.append():
            pass
    if end == "registrar dies":
        town.kill(a)
    town.resume()
    town.advance(20_000, 1_000, root, *c.links)
    said = {node.name: said_of(node) for node in town.nodes}
    assert said["b"] == said["c"] == said.get("a", said["b"])
    if end == "all live" or first == "pair":
        assert said["b"] == []


def test_who_was_erased_and_has_come_back_keeps_what_is_decided_then() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    b.come("alice/laptop")
    root, app = b.open("root", role="admin"), a.open("app", role="service")
    root.done(Erase(root.next_id(), "alice"))
    c.dial("alice/phone")
    app.done(Block(app.next_id(), "bob", "alice"))
    for node in town.nodes:
        user = node.engine.users.get("alice")
        assert user is not None and user.privacy is not None and list(user.privacy.blocked) == ["bob"]


def test_whoever_was_erased_is_seen_again_on_coming_back_to_a_node_where_somebody_looks() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    watcher, root = a.come("carol/laptop"), c.dial("root", role="admin")
    b.dial("alice/laptop").say(Bye())
    watcher.watch("alice")
    root.say(Erase(root.next_id(), "alice"))
    town.settle()
    watcher.forget()
    back = a.dial("alice/phone")
    town.settle()
    assert back.is_open and [record.status for record in watcher.pushes] == ["online"]
    assert {node.shown("alice").status for node in town.nodes} == {"online"}


def test_followers_on_all_nodes_are_told_that_somebody_erased_is_offline() -> None:
    town = Town("a", "b", "c")
    followers = [node.open(f"audit-{node.name}", role="service") for node in town.nodes]
    for follower in followers:
        follower.expect(Follow(follower.next_id(), 0, 0), Following)
    home, root = town.nodes[1], town.nodes[2].dial("root", role="admin")
    home.come("alice/laptop")
    root.say(Erase(root.next_id(), "alice"))
    town.settle()
    told = [[(one.seq, one.kind, one.reason) for one in follower.told.events] for follower in followers]
    assert [(kind, reason) for _, kind, reason in told[1]][2:] == [
        ("offline", "kicked"),
        ("status_change", "kicked"),
        ("erased", ""),
    ]
    assert told[0] == told[1] == told[2]
