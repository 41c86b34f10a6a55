"""Who begins a log, and who comes back to it: nodes that start, or stay away, when the engine was emptied."""

from __future__ import annotations

from zlib import crc32

import pytest

from presenced.backplane.port import LEASE_MS
from presenced.cluster.log.memory import KEEP_MS
from presenced.cluster.log.node import RETURN_MS
from presenced.cluster.log.nodes import GONE_KEPT_MS
from presenced.limits import VERSION_GAP
from presenced.wire.messages import SetStatus
from tests.cluster.town import Town, TownNode
from tests.cluster.town_disk import TownDisk


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


def test_the_versions_of_a_past_that_is_over_are_told_by_nobody_else() -> None:
    """Nodes of an earlier past come back, and a user changes there in the millisecond in which they read what was told
    of that user since."""
    a, b = (town := Town("a", "b")).nodes
    alice = a.come("alice/laptop")
    town.settle()
    town.pause(a, b)
    town.engine.empty()
    other = TownNode(town, "c")
    other.engine.ledger.raise_version(8 * VERSION_GAP, town.now_ms)
    town.add("c", other)
    other.dial("alice/phone").say(SetStatus(1, "xa", "founded"))
    town.settle()
    told = other.shown("alice")
    a.renew()
    assert a.node.history == town.engine.kept.history
    alice.say(SetStatus(alice.next_id(), "dnd", "newest"))
    a.turn()
    assert told.text == "founded" and a.shown("alice").text == "newest"
    assert a.shown("alice").version > told.version


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


def late_start(town: Town, name: str, text: str) -> TownNode:
    """A node starts with a disk that says this of alice."""
    node = TownNode(town, name)
    node.open("alice/laptop").set_status("away", text=text)
    node.now_ms = town.now_ms
    return town.add(name, node)


@pytest.mark.parametrize("comes_first", ["a", "c"])
def test_of_nodes_of_two_pasts_those_of_the_later_one_join_anew(comes_first: str) -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    alice, bob = a.come("alice/laptop"), b.come("bob/laptop")
    alice.set_status("dnd", text="newest")
    town.kill(c)
    town.advance(20_000, 1_000, alice, bob)
    town.pause(a, b)
    town.engine.empty()
    other = late_start(town, "c", "of its disk")
    assert other.node.is_ready and other.node.own("alice"), "it knows of nobody else"
    town.engine.empty()
    nodes = (a, b, other) if comes_first == "a" else (other, a, b)
    for node in nodes:
        node.renew()
    town.resume()
    assert town.nodes == [a, b], "the other ends, and is started again"
    late = town.add("c")
    town.advance(20_000, 1_000, alice, bob)
    all_agree(town, "alice", "bob")
    assert late.shown("alice").text == "newest" and a.node.own("alice")


def test_who_founds_a_log_from_its_disk_tells_no_version_that_a_node_without_the_engine_tells() -> None:
    """Both know the user as of one moment, and count on from there."""
    town = Town()
    a, b = (town.add(name, TownNode(town, name, disk=TownDisk())) for name in "ab")
    link = b.dial("alice/laptop")
    link.say(SetStatus(1, "away", "known to both"))
    town.advance(1_000)
    before = b.shown("alice").version
    town.leave(a)
    assert a.store is not None
    disk = a.store.leave(a.now_ms, is_clean=True)
    b.backplane.is_cut = True
    town.engine.empty()
    town.pause(b)
    founder = town.add("a", TownNode(town, "a", disk=disk, key="a again"))
    link.say(SetStatus(2, "dnd", "not appended"))
    founder.dial("alice/phone").say(SetStatus(2, "xa", "founded"))
    told, founded = b.shown("alice"), founder.shown("alice")
    assert told.text == "not appended" and founded.text == "founded"
    assert before < told.version < founded.version, "the other has leapt as well, since this one left"
    assert (founded.version - told.version) % VERSION_GAP == crc32(founder.node.me.to_bytes(8, "big"))


def test_who_has_begun_anew_after_the_others_of_a_past_left_gives_way_to_one_that_comes_back() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    alice, _ = a.come("alice/laptop"), b.come("bob/laptop")
    alice.set_status("dnd", text="newest")
    town.kill(c)
    town.engine.empty()
    town.nodes.remove(a)
    b.renew()
    town.settle()
    other = late_start(town, "c", "of its disk")
    assert not other.node.is_ready, "b is to tell it"
    town.leave(b)
    assert other.node.is_ready and other.node.own("alice"), "nobody is there who knows more"
    town.nodes.append(a)
    a.renew()
    town.settle()
    assert town.nodes == [a]
    assert a.node.own("alice") and a.shown("alice").text == "newest"


@pytest.mark.parametrize("away_ms", [KEEP_MS, GONE_KEPT_MS])
def test_who_was_given_up_before_the_engine_was_emptied_does_not_come_back_as_what_it_was(away_ms: int) -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    alice, carol = a.come("alice/laptop"), c.come("carol/laptop")
    carol.set_status("dnd", text="before")
    c.backplane.is_cut = True
    # Nobody remembers any more where the log said so.
    town.advance(away_ms + 20_000, 1_000, alice, carol)
    assert (a.node.nodes.get(c.node.me) is None) is (away_ms == GONE_KEPT_MS)
    alice.set_status("away")
    heirs = {node.node.home_of("carol") for node in (a, b)}
    assert heirs <= {a.node.me, b.node.me}
    town.engine.empty()
    town.pause(c)
    for node in (a, b):
        node.renew()
    c.backplane.is_cut = False
    c.renew()
    town.resume()
    assert town.nodes == [a, b], "it ends, and is started again"
    town.add("c")
    all_agree(town, "alice", "carol")
    assert {node.node.home_of("carol") for node in town.nodes} == heirs


def test_a_death_that_the_log_has_lost_holds_for_all() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    alice, carol = a.come("alice/laptop"), c.come("carol/laptop")
    town.advance(RETURN_MS + 1_000, 1_000, alice, carol)
    c.backplane.is_cut = True
    town.pause(b, c)
    town.advance(LEASE_MS - 2_000, 1_000, alice, carol)
    before = town.engine.split()
    town.advance(4_000, 1_000, alice, carol)
    while a.read() or a.append():
        pass
    assert [member.name for member in a.node.nodes] == ["a", "b"] and len(list(b.node.nodes)) == 3
    # The engine that takes over knows of no death, and c is heard of again.
    town.engine.kept, town.engine.entries = before.kept, dict(before.entries)
    c.backplane.is_cut = False
    c.renew()
    assert c in town.nodes
    town.resume()
    town.advance(2_000, 1_000, alice, carol)
    assert c not in town.nodes, "it ends, and is started again"
    town.add("c")
    all_agree(town, "alice", "carol")


def test_who_was_told_all_by_a_node_of_a_later_past_joins_anew_though_it_serves_only_then() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    alice = a.come("alice/laptop")
    alice.set_status("dnd", text="newest")
    for node in (b, c):
        town.kill(node)
    town.pause(a)
    town.engine.empty()
    founder = late_start(town, "b", "of its disk")
    town.pause(a)
    told = TownNode(town, "c")
    town.nodes.append(told)
    told.join()
    while any([node.read() or node.work() for node in (founder, told)]) or founder.append():
        pass
    assert told.node.homes.of("alice") is not None and not told.node.is_ready, "it has all, and has not said so"
    a.renew()
    town.resume()
    assert town.nodes == [a]
    assert a.shown("alice").text == "newest"


def test_the_next_life_of_a_node_ends_the_one_that_is_waited_for() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    carol = c.come("carol/laptop")
    carol.set_status("dnd", text="before")
    town.kill(c)
    town.engine.empty()
    for node in (a, b):
        node.renew()
    town.settle()
    assert a.node.home_of("carol") == c.node.me, "it may come back"
    late = town.add("c")
    assert {node.node.home_of("carol") for node in town.nodes} <= {a.node.me, b.node.me}
    assert late.node.is_ready
    all_agree(town, "alice", "carol")


def test_the_log_that_a_node_has_founded_is_kept_for_who_comes_back_to_it() -> None:
    [a] = (town := Town("a")).nodes
    began = a.reader.droppable
    alice = a.come("alice/laptop")
    alice.set_status("dnd")
    assert a.reader.droppable == began != (a.node.position, a.node.tag)
    town.advance(RETURN_MS + 2_000, 1_000, alice)
    assert a.reader.droppable == (a.node.position, a.node.tag)
    b = town.add("b")
    assert b.reader.droppable == (b.node.position, b.node.tag), "it has founded nothing"


def test_what_is_appended_again_behind_what_was_said_since_is_no_news() -> None:
    a, b = (town := Town("a", "b")).nodes
    alice = a.come("alice/laptop")
    alice.set_status("away", text="old")
    # As after a failover in which b has not heard of a.
    b.node.homes.set("alice", b.node.mine)
    b.node.inheritance.take_up("alice", b.now_ms)
    b.reader._disputes.append_whole("alice", b.now_ms)
    town.settle()
    assert b.node.hand_over("alice", a.node.me)
    town.settle()
    a.open("alice/phone").set_status("dnd", text="newest")
    town.engine.empty()
    town.pause(b)
    a.renew()
    town.settle()
    # It knows what a has said of her home since, and reads only now what b had said before.
    late = TownNode(town, "c")
    late.now_ms = town.now_ms
    town.nodes.append(late)
    late.join()
    town.settle()
    b.renew()
    town.resume()
    town.advance(2_000)
    assert late.node.is_ready
    all_agree(town, "alice")
    assert late.shown("alice").text == "newest" and a.node.own("alice")


def test_who_reads_that_it_was_missing_before_it_reads_its_own_return_joins_anew() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    alice = a.come("alice/laptop")
    c.come("carol/laptop")
    town.nodes.remove(c)
    town.engine.empty()
    for node in (a, b):
        node.renew()
    town.settle()
    # Given up in this log, which is lost as well, so that it is said again in the next.
    town.advance(RETURN_MS + 6_000, 1_000, alice)
    assert {node.node.home_of("carol") for node in (a, b)} <= {a.node.me, b.node.me}
    town.engine.empty()
    for node in (a, b):
        node.renew()
    town.settle()
    town.nodes.append(c)
    c.now_ms = town.now_ms
    c.renew()
    town.settle()
    assert town.nodes == [a, b], "it ends, and is started again"
    all_agree(town, "alice", "carol")


def test_users_of_the_own_disk_whom_another_node_turns_out_to_decide_have_no_timers() -> None:
    a, b = (town := Town("a", "b")).nodes
    bob = b.come("bob/laptop")
    town.pause()
    late = TownNode(town, "c")
    late.open("alice/laptop").lose()
    late.now_ms = town.now_ms
    town.nodes.append(late)
    late.join()
    a.node.bids.bid(["alice"], lambda now_ms: None)
    assert a.append()
    while late.read():
        pass
    assert late.node.is_copy("alice")
    device = late.device("alice/laptop")
    assert device.user.is_copy and not device.scheduled
    town.resume()
    town.advance(60_000, 1_000, bob)
    assert late.node.is_ready
    all_agree(town, "alice", "bob")


def test_a_return_that_the_log_loses_is_waited_for_by_those_too_who_have_read_it() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    names = [f"user{number}" for number in range(12)]
    for name in names:
        a.come(f"{name}/laptop")
    town.pause()
    town.engine.empty()
    c.renew()
    a.renew()
    while c.read():
        pass
    town.engine.lose_tail(1)
    b.renew()
    for _ in range(2):
        a.renew()
    assert a not in town.nodes, "the log does not know it any more"
    town.resume()
    for name in names:
        assert [node.node.home_of(name) for node in (b, c)] == [a.node.me] * 2
    town.advance(RETURN_MS + 2_000)
    for name in names:
        [home] = {node.node.home_of(name) for node in (b, c)}
        assert home in (b.node.me, c.node.me)
    all_agree(town, *names)


def test_a_node_that_joined_since_does_not_take_an_old_dump_for_a_log_that_begins_anew() -> None:
    """It would show what the dump says, in versions in which it has shown what came later."""
    town = Town("a", "b")
    alice = town.nodes[0].come("alice/laptop")
    dump = town.engine.kept.copied(), dict(town.engine.entries)
    town.engine.empty()
    town.advance(2_000, 1_000, alice)
    a, b = town.nodes
    c = town.add("c")
    alice.say(SetStatus(alice.next_id(), "dnd"))
    town.advance(1_000, 1_000, alice)
    assert c.shown("alice").status == "dnd"
    town.engine.kept, town.engine.entries = dump
    for node in (c, a, b):
        node.renew()
        assert node in town.ended and node.shown("alice").status == "dnd"
