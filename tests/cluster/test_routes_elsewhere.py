"""Where a notification goes is told by who decides each user, who alone knows the last input, also while users move."""

from __future__ import annotations

import pytest

from presenced.wire.messages import Error, Heartbeat, Ping, Pong, Route, Routes
from tests.cluster.nodes import Cluster, Node


def hand_over(node: Node, name: str, to: int) -> None:
    """The node makes another one the home of its user, and the log says so."""
    assert node.forwarding is not None and node.cluster is not None
    node.cluster.hands_over = True
    assert node.forwarding._homes.hand_over(name, to)
    node.cluster.hands_over = False
    node.turn()


def last_input_ms(node: Node, name: str) -> int:
    """As the node tells of the user."""
    app = node.open("asker", role="service")
    app.say(Route(1, [name]))
    assert node.cluster is not None
    node.cluster.run()
    [routes] = app.took(Routes)
    app.lose()
    return routes.routes[0].last_input_ms


def asked_while_ann_moves(homes: dict[str, int], names: list[str]) -> tuple[list[Routes], int]:
    """A service asks from the third node about ann and others, and what it asks comes to the first node when ann has
    moved to the second, where she is active. What it is told, and when she was."""
    nodes = Cluster(3)
    nodes.settle(**homes)
    first, second, third = nodes.nodes
    app = third.open("app", role="service")
    nodes.run()
    app.say(Route(1, names), Ping(2))
    third.turn()
    hand_over(first, "ann", 2)
    nodes.read(second)
    second.turn()
    phone = second.open("ann/phone", idle_ms=0)
    second.turn()
    nodes.stand(4_000)
    phone.say(Heartbeat(0))
    second.turn()
    nodes.run()
    assert not app.took(Error) and [pong.id for pong in app.took(Pong)] == [2]
    assert third.forwarding is not None and third.forwarding.relays.size == 0 and app.session.unanswered == 0
    return app.took(Routes), last_input_ms(second, "ann")


@pytest.mark.parametrize(
    ("homes", "names"),
    [
        ({"ann": 1}, ["ann"]),
        ({"ann": 1, "bob": 1}, ["bob", "ann", "stranger"]),
        ({"ann": 1, "bob": 2}, ["bob", "ann"]),
        ({"ann": 1, "bob": 1, "cat": 2}, ["ann", "bob", "cat"]),
        ({"ann": 1, "bob": 2, "cat": 3}, ["cat", "ann", "bob", "stranger"]),
    ],
    ids=["of one user", "of one home", "of two", "of two and one stays", "of three"],
)
def test_a_question_that_comes_to_who_is_no_home_any_more_goes_again(homes: dict[str, int], names: list[str]) -> None:
    told, active_ms = asked_while_ann_moves(homes, names)
    [routes] = told
    assert (routes.id, [route.user for route in routes.routes]) == (1, names)
    [ann] = [route for route in routes.routes if route.user == "ann"]
    assert ann.last_input_ms == active_ms
