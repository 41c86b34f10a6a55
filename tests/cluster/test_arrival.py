"""Nodes that come while others go: they serve only once they know all users."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from presenced.backplane.port import LEASE_MS
from presenced.cluster import homes, inheritance, lessons
from presenced.cluster.entries import Slice, decode_batch
from presenced.core.positions import Life, carried, next_version
from presenced.limits import VERSION_GAP
from tests.cluster.town import Town, TownNode


def test_who_joins_while_a_dead_node_is_still_believed_to_live_waits_for_its_heirs() -> None:
    a, b = (town := Town("a", "b")).nodes
    for number in range(20):
        b.come(f"user{number}/laptop")
    town.kill(b)
    d = town.add("d")
    assert not d.node.is_ready, "nobody has told it of b's users"
    town.advance(LEASE_MS + 3_000)
    assert d.node.is_ready
    assert all(d.node.home_of(f"user{number}") == a.node.me for number in range(20))
    assert all(d.shown(f"user{number}") == a.shown(f"user{number}") for number in range(20))


def test_an_end_that_was_made_before_a_death_was_read_is_none() -> None:
    a, b = (town := Town("a", "b")).nodes
    for number in range(20):
        b.come(f"user{number}/laptop")
    town.kill(b)
    town.pause()
    d = TownNode(town, "d")
    town.nodes.append(d)
    d.join()
    while a.read() or a.work():
        pass
    # All that a has to tell is made, and not appended: the death comes before it in the log.
    step_ms = 1_000
    for _ in range(LEASE_MS // step_ms + 3):
        town.now_ms += step_ms
        for node in (a, d):
            node.now_ms = town.now_ms
            node.renew()
    assert any(entry.kind == "gone" for entry, _, _ in town.engine.entries.values())
    town.resume()
    town.advance(2_000)
    assert d.node.is_ready
    assert all(d.node.home_of(f"user{number}") == a.node.me for number in range(20))


def test_no_slice_has_more_than_a_turn_may_cost_however_many_users_are_in_a_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (homes, inheritance, lessons):
        monkeypatch.setattr(module, "SHELVES", 2)
    monkeypatch.setattr(lessons, "SLICE_COST", 2 * lessons.AWAKE_COST)
    [a] = (town := Town("a")).nodes
    for number in range(9):
        a.come(f"user{number}/laptop").set_status("dnd", text=str(number))
    d = town.add("d")
    batches = [decode_batch(entry.data) for entry, _, _ in town.engine.entries.values() if entry.kind == "batch"]
    slices = [item.number for batch in batches for item in batch.items if isinstance(item, Slice)]
    assert len(slices) == 6 and slices[-1] == 0, "five of at most two users each, and the end"
    assert d.node.is_ready
    assert all(d.node.home_of(f"user{number}") == a.node.me for number in range(9))
    assert all(d.shown(f"user{number}") == a.shown(f"user{number}") for number in range(9))


def test_who_is_handed_over_while_another_joins_is_known_to_it() -> None:
    a, b = (town := Town("a", "b")).nodes
    for number in range(30):
        a.come(f"user{number}/laptop").lose()
    town.pause()
    d = TownNode(town, "d")
    town.nodes.append(d)
    d.join()
    for node in (a, b):
        while node.read():
            pass
    while b.work():
        pass
    for number in range(30):
        assert a.node.hand_over(f"user{number}", b.node.me)
    town.resume()
    assert d.node.is_ready
    assert all(d.node.home_of(f"user{number}") == b.node.me for number in range(30))
    assert all(d.shown(f"user{number}") == b.shown(f"user{number}") for number in range(30))


def test_a_node_that_knows_something_newer_offers_it_and_the_home_takes_it() -> None:
    """As after a power failure: the disk of the one that comes later has what the other's has not."""
    town = Town("a")
    [a] = town.nodes
    a.come("alice/laptop").set_status("away", text="old")
    late = TownNode(town, "late")
    link = late.open("alice/laptop")
    for _ in range(3):
        late.now_ms += 1_000
        link.set_status("dnd", text="newer")
        link.set_status("online", text="newest")
    only = late.open("carol/laptop")
    only.set_status("away", text="known here alone")
    late.engine.ledger.raise_version(10_000_000, late.now_ms)
    link.set_status("dnd", text="newest of all")
    town.now_ms = late.now_ms
    a.now_ms = late.now_ms
    town.add("late", late)
    assert [node.shown("alice").text for node in town.nodes] == ["newest of all"] * 2
    assert [node.shown("carol").text for node in town.nodes] == ["known here alone"] * 2
    assert {node.node.home_of("alice") for node in town.nodes} == {a.node.me}
    assert {node.node.home_of("carol") for node in town.nodes} == {late.node.me}


def test_what_a_node_that_was_killed_knows_of_others_users_has_the_versions_of_their_homes() -> None:
    """After a kill all records of a disk have versions that were never told, which are above those of all others."""
    town = Town("a")
    [a] = town.nodes
    late = TownNode(town, "late")
    for name in ("alice", "bob"):
        late.open(f"{name}/laptop").set_status("away", text="old")
    newest = late.engine.ledger.version
    life = Life(newest + VERSION_GAP, newest, newest)
    late.engine.positions._lives = [life]
    for name in ("alice", "bob"):
        user = late.engine.users.get(name)
        assert user is not None
        user.record = replace(user.record, version=carried(user.record.version, life))
    late.engine.ledger.raise_version(next_version(life), late.now_ms)
    town.now_ms = a.now_ms = late.now_ms = late.now_ms + 10
    a.come("alice/laptop").set_status("dnd", text="new")
    a.come("bob/laptop").set_status("away", text="old")
    town.add("late", late)
    assert all(a.shown(name) == late.shown(name) for name in ("alice", "bob"))
    assert a.shown("alice").text == "new"
    assert {node.node.home_of("alice") for node in town.nodes} == {a.node.me}


@pytest.mark.parametrize("text", ["old", "newer, perhaps"])
def test_a_version_that_has_lost_its_place_is_newer_only_if_it_says_something_else(text: str) -> None:
    """Whoever was not changed since a node died has no place in the versions of a disk after the next kill."""
    town = Town("a")
    [a] = town.nodes
    late = TownNode(town, "late")
    late.open("alice/laptop").set_status("away", text=text)
    link = a.come("alice/laptop")
    link.set_status("away", text="old")
    newest = late.engine.ledger.version + 3 * VERSION_GAP
    life = Life(newest + VERSION_GAP, newest, newest)
    late.engine.positions._lives = [life]
    user = late.engine.users.get("alice")
    assert user is not None
    user.record = replace(user.record, version=carried(user.record.version, life))
    late.engine.ledger.raise_version(next_version(life), late.now_ms)
    town.add("late", late)
    assert [node.shown("alice").text for node in town.nodes] == [text] * 2
    assert a.shown("alice") == late.shown("alice")
    # A home that takes what is offered loses the links of the user.
    assert link.open == (text == "old")
