"""What the log of a node says of the others: who joins, serves, leaves, and is taken for dead."""

from __future__ import annotations

import logging

import pytest

from presenced.server.clustering.neighbours import Neighbours
from tests.cluster.town import Town, TownNode

WALL_MS = 1_700_000_000_000


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "presenced")
    return caplog


def lines(told: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was logged of nodes since the last call."""
    found = [(record.levelname, record.getMessage()) for record in told.records if record.module == "neighbours"]
    told.clear()
    return found


def observed(node: TownNode) -> Neighbours:
    neighbours = Neighbours(node.node.nodes, node.node.mine, lease_ms=10_000, wall_ms=lambda: WALL_MS)
    node.reader.observe_by(neighbours)
    return neighbours


def test_whoever_joins_serves_and_leaves_in_order_is_named(told: pytest.LogCaptureFixture) -> None:
    town = Town("a", "b")
    a, _ = town.nodes
    neighbours = observed(a)
    c = town.add("c")
    incarnation = c.node.mine.incarnation
    assert lines(told) == [
        ("INFO", f"cluster: the node c has joined, incarnation {incarnation}"),
        ("INFO", "cluster: the node c knows all users, and serves"),
    ]
    town.leave(c)
    assert lines(told) == [("INFO", "cluster: the node c has left in order")]
    assert neighbours.dead_name == ""


def test_who_is_taken_for_dead_is_named_with_how_long_it_was_silent(told: pytest.LogCaptureFixture) -> None:
    town = Town("a", "b")
    a, b = town.nodes
    neighbours = observed(a)
    town.kill(b)
    town.advance(14_000)
    [(level, line)] = lines(told)
    assert level == "WARNING" and line.startswith("cluster: the node b is taken for dead: it was silent for 1")
    assert (neighbours.dead_name, neighbours.dead_wall_ms) == ("b", WALL_MS)


def test_who_is_started_again_before_its_lease_ends_has_not_been_taken_for_dead(
    told: pytest.LogCaptureFixture,
) -> None:
    town = Town("a", "b")
    a, b = town.nodes
    neighbours = observed(a)
    town.kill(b)
    town.advance(1_000)
    town.add("b")
    first, *others = lines(told)
    assert first[0] == "WARNING" and first[1].startswith("cluster: the node b has ended without leaving, ")
    assert [line.partition("b ")[2][:10] for _, line in others] == ["has joined", "knows all "]
    assert neighbours.dead_name == ""


def test_who_does_not_come_back_to_a_log_that_began_anew_is_named(told: pytest.LogCaptureFixture) -> None:
    town = Town("a", "b", "c")
    a, b, _ = town.nodes
    neighbours = observed(a)
    town.kill(b)
    town.engine.empty()
    town.advance(40_000)
    [(level, line)] = lines(told)
    assert level == "WARNING" and "the node b is taken for dead: it has not come back" in line
    assert neighbours.dead_name == "b"
