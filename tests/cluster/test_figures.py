"""What each node tells the others of itself for operators, and what all count."""

from __future__ import annotations

from tests.cluster.town import Town


def test_each_node_tells_the_others_its_figures_and_nothing_while_they_are_the_same() -> None:
    town = Town("a", "b")
    a, b = town.nodes
    a.reader.own_figures.tell_by(lambda: (7, 40))
    town.advance(4_000)
    assert [(member.links, member.lag_ms) for member in b.node.nodes] == [(7, 40), (-1, -1)]
    closed = a.node.batches.closed
    town.advance(20_000)
    assert a.node.batches.closed == closed
    c = town.add("c")
    town.advance(4_000)
    assert next(member for member in c.node.nodes if member.name == "a").links == 7


def test_all_that_live_count_who_was_taken_for_dead() -> None:
    town = Town("a", "b", "c")
    a, b, c = town.nodes
    town.leave(c)
    assert (a.node.nodes.fences, b.node.nodes.fences) == (0, 0)
    town.kill(b)
    town.advance(14_000)
    assert a.node.nodes.fences == 1
