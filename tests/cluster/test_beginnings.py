"""Who begins a log, and who comes back to it: nodes that start, or stay away, when the engine was emptied."""

from __future__ import annotations

import pytest

from presenced.cluster.node import RETURN_MS
from tests.cluster.town import Town, TownNode


def all_agree(town: Town, *names: str) -> None:
    for name in names:
        assert len({node.node.home_of(name) for node in town.nodes}) == 1, name
        assert len({node.shown(name) for node in town.nodes}) == 1, name


def test_a_node_that_starts_on_an_emptied_engine_before_the_others_are_back_gives_way_to_them() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    alice, bob = a.come("alice/laptop"), b.come("bob/laptop")
    alice.set_status("dnd", text="newest")
    town.kill(c)
    town.engine.empty()
    town.pause(a, b)
    early = TownNode(town, "c")
    early.open("alice/laptop").set_status("away", text="of its disk")
    early.now_ms = town.now_ms
    town.add("c", early)
    assert early.node.is_ready and early.node.own("alice"), "it knows of nobody else"
    town.resume()
    for node in (a, b):
        node.renew()
    town.settle()
    assert early not in town.nodes, "it ends, and is started again"
    late = town.add("c")
    town.advance(20_000, 1_000, alice, bob)
    all_agree(town, "alice", "bob")
    assert late.shown("alice").text == "newest" and a.node.own("alice")


def test_who_comes_back_too_late_to_a_log_that_began_anew_ends_and_joins_as_a_new_one() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    alice, carol = a.come("alice/laptop"), c.come("carol/laptop")
    town.settle()
    c.backplane.is_cut = True
    town.engine.empty()
    town.advance(RETURN_MS + 10_000, 1_000, alice, carol)
    assert {node.node.home_of("carol") for node in (a, b)} <= {a.node.me, b.node.me}
    c.backplane.is_cut = False
    town.advance(2_000, 1_000, alice)
    assert c not in town.nodes
    town.add("c")
    all_agree(town, "alice", "carol")


@pytest.mark.parametrize("is_quick", [True, False], ids=["the other teaches first", "all at once"])
def test_who_joins_a_log_that_began_anew_is_told_by_those_who_come_back_to_it_later(is_quick: bool) -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    alice, bob = a.come("alice/laptop"), b.come("bob/laptop")
    others = [f"other-{number}" for number in range(10)]
    for name in others:
        b.come(name)
    alice.set_status("dnd", text="long ago")
    for number in range(8):
        town.advance(10_000, 1_000, alice, bob)
        bob.set_status("online", text=f"{number}")
    town.engine.empty()
    town.pause(a)
    for node in (b, c):
        node.renew()
    town.settle()
    town.leave(c)
    late = town.add("c")
    assert not late.node.is_ready, "one is missing who may come back"
    town.is_prompt = False
    a.renew()
    while is_quick and any([node.append() or node.read() or node.work() for node in (b, late)]):
        assert not late.node.is_ready, "who came back has told nobody yet"
    town.resume()
    assert late.node.is_ready
    all_agree(town, "alice", "bob")
    assert late.shown("alice").text == "long ago"
    town.kill(b)
    town.advance(30_000, 1_000, alice)
    all_agree(town, "alice", "bob", *others)
