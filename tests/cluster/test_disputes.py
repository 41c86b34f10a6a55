"""Users of whom nodes believe different things: they end with one home, and with the newest that anybody was told."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from presenced.cluster.log.entries import Moved, NodeBatch, Offer, Whole, decode_batch, home_part_of
from presenced.core.newness import NOTHING_KNOWN
from presenced.core.positions import Life, carried
from presenced.core.records import Fact, RecordSet, TextSet
from presenced.limits import VERSION_GAP
from presenced.wire.messages import SetStatus
from tests.cluster.town import Town, TownNode, agreed


def offer(node: TownNode, name: str) -> None:
    """The node offers what it knows of the user to whom it takes for the home."""
    node.reader._disputes.offer(name, node.now_ms)


def read_all(*nodes: TownNode) -> None:
    for node in nodes:
        while node.read():
            pass


def batches_of(town: Town) -> list[NodeBatch]:
    """What stands in the log."""
    return [decode_batch(entry.data) for entry, _, _ in town.engine.entries.values() if entry.kind == "batch"]


def wholes(town: Town) -> list[str]:
    """Of whom a node has said in the log that it is the home."""
    return [item.user for batch in batches_of(town) for item in batch.items if isinstance(item, Whole)]


def offers(town: Town) -> list[str]:
    """Of whom a node has offered in the log what it knows."""
    return [item.user for batch in batches_of(town) for item in batch.items if isinstance(item, Offer)]


@pytest.mark.parametrize("is_read_first", [True, False], ids=["moved before", "moved since"])
def test_an_offer_to_one_that_has_handed_the_user_over_since_makes_it_no_home(is_read_first: bool) -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    link = a.come("alice/laptop")
    link.set_status("away", text="old")
    link.lose()
    town.pause()
    offer(b, "alice")
    if is_read_first:
        assert a.node.hand_over("alice", b.node.me)
        assert a.append() and b.append()
        read_all(a, b)
    else:
        assert b.append()
        assert a.node.hand_over("alice", b.node.me)
        read_all(a)
        assert a.append()
        read_all(a, b)
    town.resume()
    town.advance(1_000)
    assert wholes(town) == []
    agreed(town, ["alice"])
    assert c.node.home_of("alice") == b.node.me


def test_an_offer_is_made_again_to_whoever_is_the_home_when_it_is_read() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    link = a.come("alice/laptop")
    link.set_status("away", text="old")
    link.lose()
    town.pause()
    # Somebody who is gone has said it, and b alone has read that.
    record = RecordSet("alice", "offline", b.wall_ms + 1, 2, "laptop", 2**40)
    said: list[Fact] = [TextSet("alice", "newest", "", 0), record]
    b.node.apply(said, b.now_ms)
    offer(b, "alice")
    assert a.node.hand_over("alice", c.node.me)
    assert a.append()
    read_all(a, c)
    town.resume()
    town.advance(1_000)
    agreed(town, ["alice"])
    assert c.shown("alice").text == "newest" and c.node.own("alice")


def test_an_offer_that_was_made_by_a_log_that_is_lost_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, _ = (town := Town("a", "b", "c")).nodes
    a.come("alice/laptop")
    town.pause()
    offer(b, "alice")
    [item] = [one for one in b.node.batches._waiting if isinstance(one, Offer)]
    assert (item.position, item.tag) == (b.node.position, b.node.tag)
    made: list[str] = []
    monkeypatch.setattr(b.reader._disputes, "offer", lambda name, now_ms: made.append(name))
    b.reader._disputes.note_offered(item, b.now_ms)
    assert made == [], "it holds"
    b.reader.memory.rewind(b.node.position - 1)
    b.reader._disputes.note_offered(item, b.now_ms)
    assert made == ["alice"]
    assert not a.reader._disputes._is_undecided(b.node.mine, Offer("alice", 1, item.facts, a.node.me, item.position, 7))


def test_an_offer_that_its_addressee_has_not_read_before_the_log_was_lost_is_made_again() -> None:
    """Of two nodes each takes the other for the home, since one alone had read of a third how that has given the user
    away. Neither decides the user, and whoever joins is told of the user by nobody."""
    a, b, c = (town := Town("a", "b", "c")).nodes
    c.come("alice/laptop").lose()
    town.pause(a)
    town.leave(c)
    town.pause()
    # What c has said of her it said long ago.
    a.reader.memory._told.clear()
    for node, other in ((a, b), (b, a)):
        member = node.node.nodes.get(other.node.me)
        assert member is not None
        node.node.homes.set("alice", member)
    town.engine.empty()
    b.renew()
    while b.append() or b.read() or b.work():
        pass
    assert set(offers(town)) == {"alice"}, "b has read of c that it is gone, and a has not"
    town.engine.empty()
    town.resume()
    for node in (b, a):
        node.renew()
    town.settle()
    town.advance(1_000)
    late = town.add("c")
    agreed(town, ["alice"])
    town.leave(a)
    agreed(town, ["alice"])
    assert late.node.home_of("alice") in {b.node.me, late.node.me}


def test_who_knows_more_than_the_home_says_keeps_it_and_the_home_takes_it() -> None:
    """As where another home was acknowledged something of which this one has never heard."""
    a, b, c = (town := Town("a", "b", "c")).nodes
    link = a.come("alice/laptop")
    link.set_status("away", text="old")
    known = home_part_of(b.node.copies, "alice", b.now_ms)
    town.advance(1_000, 1_000, link)
    link.set_status("dnd", text="acknowledged")
    watcher = c.open("watcher/screen")
    watcher.watch("alice")
    watcher.forget()
    b.node.homes.set("alice", b.node.mine)
    b.node.take_whole("alice", [], b.now_ms)
    b.reader._disputes.append_known("alice", known)
    town.settle()
    town.advance(1_000)
    agreed(town, ["alice"])
    assert b.node.own("alice")
    assert {node.shown("alice").text for node in town.nodes} == {"acknowledged"}
    assert {record.text for record in watcher.pushes} <= {"acknowledged"}, "nobody sees it go back"


def test_somebody_who_was_erased_stays_erased() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    a.come("alice/laptop").set_status("dnd", text="a secret")
    b.node.homes.set("alice", b.node.mine)
    b.node.take_whole("alice", [], b.now_ms)
    b.reader._disputes.append_known("alice", home_part_of(b.node.copies, "nobody", b.now_ms))
    town.settle()
    assert {node.shown("alice").text for node in town.nodes} == {""}
    assert [node.reader._disputes._newness_of("alice") for node in (a, c)] == [NOTHING_KNOWN] * 2


def test_who_has_said_that_it_is_the_home_and_was_told_otherwise_hands_the_user_over() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    a.come("alice/laptop").lose()
    town.pause()
    b.node.homes.set("alice", b.node.mine)
    b.node.inheritance.take_up("alice", b.now_ms)
    b.reader._disputes.append_whole("alice", b.now_ms)
    # As a parcel of a says, which b takes while its own word is on its way.
    b.node.homes.set("alice", a.node.mine)
    town.resume()
    town.advance(1_000)
    agreed(town, ["alice"])
    assert c.node.home_of("alice") == a.node.me


def test_a_status_that_is_set_at_the_home_while_it_is_in_dispute_is_the_last_word() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    a.come("alice/laptop")
    town.pause()
    offer(c, "alice")
    town.resume()
    link = b.dial("alice/phone")
    town.advance(1_000)
    link.say(SetStatus(link.next_id(), "dnd", "the last word"))
    b.turn()
    town.advance(1_000)
    agreed(town, ["alice"])
    assert a.shown("alice").text == "the last word"


def test_who_has_handed_the_user_over_behind_its_word_does_not_do_so_again() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    a.come("alice/laptop").lose()
    town.pause()
    a.reader._disputes.append_whole("alice", a.now_ms)
    assert a.node.hand_over("alice", b.node.me)
    while a.append() or a.read():
        pass
    moves = [item for batch in batches_of(town) for item in batch.items if isinstance(item, Moved)]
    assert len(moves) == 1
    town.resume()
    agreed(town, ["alice"])
    assert c.node.home_of("alice") == b.node.me


def test_a_record_that_says_the_same_under_a_newer_version_is_offered_to_nobody() -> None:
    """A kill has given the home's record a version from which its place among those of before is not known any more:
    the home keeps that, and would be offered the other for ever."""
    a, b = (town := Town("a", "b")).nodes
    a.come("alice/laptop").set_status("away", text="the same")
    newest = a.shown("alice").version
    life = Life(newest + VERSION_GAP, newest, 0)
    b_user, a_user = b.engine.users.get("alice"), a.engine.users.get("alice")
    assert a_user is not None and b_user is not None
    a_user.record = replace(a_user.record, version=carried(newest - 1, life))
    b_user.record = replace(b_user.record, version=newest)
    for node in town.nodes:
        node.node.learn_lives([life])
    offer(b, "alice")
    a.reader._disputes.append_whole("alice", a.now_ms)
    town.settle()
    agreed(town, ["alice"])
    assert a.shown("alice").text == "the same"
