"""Whoever watches everybody comes back with a position to any node: told are those who differ, and a reset comes where
that cannot be known (protocol.md, section 28.3)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from presenced.wire.messages import Erase, SetStatus
from tests.cluster.returner import Returner
from tests.cluster.town import Town, TownNode

COUNT = 30


class Away:
    """A town of three nodes with users at home on two of them, and a program that has taken a position at the third and
    has gone."""

    def __init__(self) -> None:
        self.town = Town("a", "b", "c")
        self.a, self.b, self.c = self.town.nodes
        self.links = {
            f"{node.name}{number}": node.come(f"{node.name}{number}/tab")
            for node in (self.a, self.b)
            for number in range(COUNT)
        }
        self.town.advance(5_000, 1_000, *self.links.values())
        self.returner = Returner(tuple(self.links))
        self.returner.come(self.c)
        self.take()
        self.returner.lose()

    def take(self) -> None:
        """Take a position."""
        self.wait(3_000)
        self.returner.check()

    def wait(self, ms: int) -> None:
        """Let time pass, in which all who are there heartbeat."""
        self.town.advance(ms, 1_000, *(link for link in self.links.values() if link.open))

    def change(self, *names: str) -> None:
        for name in names:
            link = self.links[name]
            link.say(SetStatus(link.next_id(), "dnd", f"at {self.town.now_ms}"))
            link.world.turn()
            self.town.advance(10, 10)

    def come(self, node: TownNode) -> Sequence[str]:
        """Come back to this node; returns who was told. What it has then is what the node knows."""
        checks = self.returner.checks
        self.returner.come(node)
        self.town.advance(10, 10)
        self.returner.read()
        self.returner.check()
        assert self.returner.checks > checks
        return sorted(record.user for record in self.returner.told_first)


def test_on_another_node_who_has_changed_is_told_and_nobody_else() -> None:
    away = Away()
    away.change("a3", "b5", "a7")
    assert away.come(away.b) == ["a3", "a7", "b5"] and not away.returner.resets
    away.take()
    away.returner.lose()
    assert away.come(away.a) == []
    away.change("b6", "a4")
    away.take()
    away.returner.lose()
    away.change("a1")
    assert away.come(away.c) == ["a1"] and not away.returner.resets


def test_when_a_node_dies_its_links_are_told_elsewhere_what_differs() -> None:
    away = Away()
    assert away.come(away.a) == []
    away.take()
    away.returner.lose()
    away.change("b2")
    away.town.kill(away.a)
    assert away.come(away.b) == ["b2"]
    away.returner.lose()
    away.wait(15_000)
    away.change("b4")
    # Nobody of the dead node is told anew because another decides now.
    assert away.come(away.c) == ["b4"] and not away.returner.resets


def test_a_change_that_was_told_and_never_came_into_the_log_is_taken_back() -> None:
    away = Away()
    away.returner.come(away.a)
    away.town.pause(away.a)
    away.change("a3")
    away.returner.read()
    assert away.returner.records["a3"].status == "dnd"
    away.town.kill(away.a)
    away.town.resume()
    away.wait(11_000)
    away.come(away.b)
    assert away.returner.records["a3"].status == "online" and not away.returner.resets


def test_a_node_that_joined_since_takes_positions_from_before() -> None:
    away = Away()
    away.change("a3")
    away.town.leave(away.c)
    d = away.town.add("d")
    away.change("b4")
    assert away.come(d) == ["a3", "b4"] and not away.returner.resets
    away.take()
    away.returner.lose()
    away.change("b5")
    assert away.come(away.a) == ["b5"] and not away.returner.resets


@pytest.mark.parametrize("place", [1, 2], ids=["its home", "another"])
def test_what_one_node_has_not_appended_yet_is_not_below_a_position_of_another(place: int) -> None:
    away = Away()
    away.returner.come(away.a)
    away.town.pause(away.b)
    away.change("b3", "a3")
    away.wait(5_000)
    away.town.settle()
    away.returner.check()
    away.returner.lose()
    away.town.resume()
    assert "b3" in away.come(away.town.nodes[place]) and not away.returner.resets


def test_an_erasure_ends_positions_on_every_node() -> None:
    away = Away()
    # The node that erases has appended what others have appended less lately.
    away.town.pause(away.b, away.c)
    away.change("a1")
    away.wait(3_000)
    away.town.settle()
    away.town.pause(away.a)
    away.wait(3_000)
    away.town.settle()
    boss = away.a.dial("boss", role="admin")
    boss.say(Erase(boss.next_id(), "a3"))
    away.returner.come(away.b)
    away.town.settle()
    away.returner.check()
    away.returner.lose()
    position, resets = away.returner.position, away.returner.resets
    assert position is not None and position[1] > away.a.node.horizon.version
    away.town.resume()
    d = away.town.add("d")
    for node in (away.a, away.b, away.c, d):
        away.returner.position = position
        away.come(node)
        assert away.returner.resets == resets + 1 and away.returner.records["a3"].version == 0
        resets += 1
        away.take()
        away.returner.lose()
    for node in (away.a, away.b, away.c, d):
        away.come(node)
        away.returner.lose()
    assert away.returner.resets == resets, "those that were given since are good"


def test_what_the_log_has_lost_ends_positions_of_those_who_had_read_it() -> None:
    away = Away()
    away.town.pause(away.c)
    away.change("a3")
    away.town.settle()
    away.returner.come(away.b)
    away.returner.check()
    away.returner.lose()
    away.town.engine.lose_tail(1)
    away.town.resume()
    for node in away.town.nodes:
        node.renew()
    away.town.settle()
    away.come(away.c)
    assert away.returner.resets == 1


def test_who_has_appended_to_what_the_log_has_lost_ends_positions_of_all_who_had_read_it() -> None:
    """The home and every node that has read of the change are gone with the log's end."""
    away = Away()
    away.town.pause(away.c)
    away.change("a3")
    away.returner.come(away.b)
    # It says how far it has come, and is answered, and has not read what stands before that.
    away.c.node.batches.mark()
    away.wait(10)
    away.c.append()
    away.wait(5_000)
    away.town.settle()
    away.returner.read()
    away.returner.check()
    away.returner.lose()
    changed, position = away.b.shown("a3").version, away.returner.position
    assert away.returner.records["a3"].status == "dnd" and away.c.shown("a3").status == "online"
    assert position is not None and position[1] > changed
    away.town.kill(away.a)
    away.town.kill(away.b)
    while any(n > away.c.node.position for n in away.town.engine.entries):
        away.town.engine.lose_tail(1)
    away.town.resume()
    away.wait(30_000)
    # Its horizon is above the position once it has changed something itself.
    away.c.dial("erin/tab")
    away.wait(5_000)
    assert away.c.shown("a3").status == "online" and away.c.node.horizon.version > position[1]
    away.come(away.c)
    assert away.returner.resets == 1


def test_whom_a_disk_alone_knew_is_told_to_whoever_was_told_everybody_before() -> None:
    away = Away()
    other = TownNode(away.town, "d")
    other.open("dora/phone").set_status("away")
    other.advance(1_000)
    d = away.town.add("d", other)
    assert d.shown("dora").status == away.b.shown("dora").status == "away"
    assert "dora" in away.come(away.b) and not away.returner.resets
    away.returner.lose()


@pytest.mark.parametrize("place", range(4))
def test_what_a_disk_knew_better_than_the_home_is_told_on_every_node(place: int) -> None:
    away = Away()
    other = TownNode(away.town, "d")
    other.engine.ledger.raise_version(away.a.shown("a3").version + 10, other.now_ms)
    other.open("a3/phone").set_status("away", text="newer")
    away.town.add("d", other)
    assert {node.shown("a3").text for node in away.town.nodes} == {"newer"}
    assert away.returner.position is not None and away.b.shown("a3").version < away.returner.position[1]
    assert "a3" in away.come(away.town.nodes[place])
