"""What a failover of the engine loses, to whom it was said, and what two logs of one name make of one node."""

from __future__ import annotations

import pytest

from presenced.backplane.port import LEASE_MS
from presenced.cluster.log import lost_entries
from presenced.cluster.log.batches import Closed
from presenced.cluster.log.entries import Whole
from presenced.cluster.log.node import RETURN_MS
from presenced.wire.messages import Done, SetStatus
from tests.cluster.town import Town, TownNode, done
from tests.core.world import FakeLink


def say(link: FakeLink, text: str) -> int:
    """The user says something at their home, and nobody else is told of it yet."""
    number = link.next_id()
    link.say(SetStatus(number, "dnd", text))
    link.world.turn()
    return number


def is_acknowledged(link: FakeLink, number: int) -> bool:
    return any(isinstance(message, Done) and message.id == number for message in link.messages)


def sent(node: TownNode) -> Closed:
    """The engine executes the node's next append, and the node does not know."""
    closed = node.node.batches.close()
    assert closed is not None
    done(node.backplane.append(closed.number, node.node.position, node.node.tag, closed.data))
    return closed


def test_what_is_lost_before_anybody_has_read_it_is_appended_again_before_what_comes_next() -> None:
    a, b = (town := Town("a", "b")).nodes
    alice, carol = a.come("alice/laptop"), a.come("carol/laptop")
    town.pause()
    say(alice, "lost")
    assert a.append()
    town.engine.lose_tail(1)
    say(carol, "kept")
    town.resume()
    assert [b.shown(name).text for name in ("alice", "carol")] == ["lost", "kept"]
    assert all(a.shown(name) == b.shown(name) for name in ("alice", "carol"))


def test_what_was_read_in_the_log_of_a_demoted_primary_and_stands_in_that_of_the_new_one_is_not_appended_twice() -> (
    None
):
    a, b = (town := Town("a", "b")).nodes
    alice, carol = a.come("alice/laptop"), a.come("carol/laptop")
    town.pause()
    new, old = town.engine, town.engine.split()
    say(alice, "in both")
    a.backplane.engine = old
    sent(a)
    a.backplane.engine = new
    assert a.append()
    say(carol, "in the new one")
    assert a.append()
    a.backplane.engine = old
    assert a.read(), "its connection for reading leads to the old one yet"
    a.backplane.engine = new
    say(alice, "afterwards")
    town.resume()
    assert a in town.nodes
    assert [b.shown(name).text for name in ("alice", "carol")] == ["afterwards", "in the new one"]
    assert all(a.shown(name) == b.shown(name) for name in ("alice", "carol"))


def test_where_a_replica_must_have_it_nothing_is_acknowledged_that_only_the_primary_has() -> None:
    a, b = (town := Town("a", "b")).nodes
    link = a.come("alice/laptop")
    a.node.batches.wait_for_appends()
    town.pause()
    number = say(link, "on the primary")
    sent(a)
    assert a.read()
    assert not is_acknowledged(link, number)
    town.resume()
    a.turn()
    assert is_acknowledged(link, number) and b.shown("alice").text == "on the primary"


def test_who_joins_a_log_that_has_lost_a_death_is_told_all_once_it_is_found_again() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    for number in range(20):
        c.come(f"user{number}/laptop")
    alice = a.come("alice/laptop")
    town.settle()
    before = town.engine.split()
    town.kill(c)
    town.advance(LEASE_MS + 3_000, 1_000, alice)
    assert {a.node.home_of(f"user{number}") for number in range(20)} <= {a.node.me, b.node.me}
    town.engine.kept, town.engine.entries = before.kept, dict(before.entries)
    d = town.add("d")
    town.advance(LEASE_MS + 5_000, 1_000, alice)
    assert d.node.is_ready
    for name in (*(f"user{number}" for number in range(20)), "alice"):
        assert len({node.node.home_of(name) for node in town.nodes}) == 1
        assert a.shown(name) == b.shown(name) == d.shown(name)


def test_of_many_whom_a_death_has_left_and_whose_death_is_lost_some_are_said_anew_in_each_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lost_entries, "APPENDED_AT_ONCE", 4)
    a, b, c = (town := Town("a", "b", "c")).nodes
    names = [f"user{number}" for number in range(30)]
    for name in names:
        c.come(f"{name}/laptop")
    before = town.engine.split()
    town.kill(c)
    town.advance(RETURN_MS + 3_000)
    left_to_a = [name for name in names if a.node.home_of(name) == a.node.me]
    assert len(left_to_a) > 4
    a.come("zoe/laptop")
    town.engine.kept, town.engine.entries = before.kept, dict(before.entries)
    town.pause()
    said: list[str] = []
    add = a.node.batches.add
    monkeypatch.setattr(a.node.batches, "add", lambda item, *rest, **more: (note(said, item), add(item, *rest, **more)))
    a.renew()
    assert len(said) == 4 and a.reader.slices.has_work, "and not all at once"
    while a.reader.slices.has_work:
        there = len(said)
        assert a.work()
        assert len(said) <= there + 4
    assert sorted(said) == sorted([*left_to_a, "zoe"])
    town.resume()
    town.advance(LEASE_MS + 5_000)
    for name in names:
        assert a.shown(name) == b.shown(name)
        assert a.node.home_of(name) == b.node.home_of(name)


def note(said: list[str], item: object) -> None:
    if isinstance(item, Whole):
        said.append(item.user)


def test_who_serves_and_has_not_said_so_again_is_no_heir_of_one_that_dies_meanwhile() -> None:
    a, b = (town := Town("a", "b")).nodes
    names = [f"user{number}" for number in range(20)]
    for name in names:
        b.come(f"{name}/laptop").lose()
    town.advance(RETURN_MS + 2_000)
    town.pause()
    c = TownNode(town, "c")
    town.nodes.append(c)
    c.join()
    while any([node.read() or node.work() or node.append() for node in (a, b)]) or (c.read() or c.work()):
        pass
    said = town.engine.kept.n
    while c.append() or c.read():
        pass
    assert c.node.is_ready
    while town.engine.kept.n > said:
        town.engine.lose_tail(1)
    # a has not read that c serves, and reads it behind the death.
    town.kill(b)
    for _ in range(LEASE_MS // 1_000 + 3):
        town.now_ms += 1_000
        a.now_ms = c.now_ms = town.now_ms
        a.renew()
        c.renew()
        while a.read() or c.read():
            pass
    assert [[member.name for member in node.node.nodes] for node in (a, c)] == [["a", "c"]] * 2
    town.resume()
    town.advance(2_000)
    assert c in town.nodes and c.node.is_ready
    for name in names:
        assert {node.node.home_of(name) for node in town.nodes} == {a.node.me}, name
    assert {node.node.registrar for node in town.nodes} == {a.node.me}
