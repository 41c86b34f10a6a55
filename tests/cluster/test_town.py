"""Several nodes as one server: what is decided at a home is told everywhere, whoever comes, moves, leaves or dies."""

from __future__ import annotations

import pytest

from presenced.cluster.log.entries import decode_batch
from presenced.core.records import UserErased
from presenced.limits import GRACE_MS, RESTART_GRACE_MS, RESTART_SPREAD_MS
from presenced.wire.messages import Acknowledge, Done, Erase, Follow, Following, ForgetFollower, SetStatus
from tests.cluster.client import Client
from tests.cluster.town import Town, TownNode


def test_an_only_node_serves_at_once() -> None:
    town = Town("a")
    [a] = town.nodes
    assert a.node.is_ready
    a.come("alice/laptop")
    assert a.shown("alice").status == "online" and a.node.own("alice")


def test_a_change_at_the_home_is_told_to_watchers_on_other_nodes_with_the_same_record() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    link = a.come("alice/laptop")
    watcher = b.come("bob/laptop")
    town.settle()
    watcher.watch("alice")
    watcher.forget()
    link.set_status("dnd", text="in a talk")
    town.settle()
    assert [record.status for record in watcher.pushes] == ["dnd"]
    assert a.shown("alice") == b.shown("alice") == c.shown("alice")
    assert b.node.home_of("alice") == a.node.me and not b.node.own("alice")


def test_a_node_that_joins_later_is_told_all_users_and_what_changes_meanwhile() -> None:
    a, b = (town := Town("a", "b")).nodes
    links = [a.come(f"user{number}/laptop") for number in range(40)]
    others = [b.come(f"other{number}/laptop") for number in range(40)]
    links[0].set_status("away", text="before")
    town.settle()
    c = town.add("c")
    links[1].set_status("dnd")
    others[1].set_status("dnd")
    town.settle()
    assert c.node.is_ready
    for name in [f"{kind}{number}" for kind in ("user", "other") for number in range(40)]:
        assert a.shown(name) == b.shown(name) == c.shown(name)
        assert c.node.home_of(name) == (a if name.startswith("user") else b).node.me


def test_who_is_killed_leaves_users_to_the_others_and_who_does_not_return_is_offline_once_everywhere() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    links = [a.come(f"user{number}/laptop") for number in range(20)]
    watcher = b.come("watcher/laptop")
    town.settle()
    watcher.watch(*(f"user{number}" for number in range(20)))
    town.advance(4_000, 1_000, *links, watcher)
    watcher.forget()
    town.kill(a)
    town.advance(13_000, 1_000, watcher)
    homes = {name: b.node.home_of(name) for name in (f"user{number}" for number in range(20))}
    assert set(homes.values()) == {b.node.me, c.node.me}
    assert all(c.node.home_of(name) == home for name, home in homes.items())
    assert watcher.pushes == [], "nobody is told offline for the death of a node"
    back = next(node for node in (b, c) if node.node.own("user0"))
    link = back.open("user0/laptop")
    town.advance(RESTART_GRACE_MS + RESTART_SPREAD_MS + 2_000, 1_000, watcher, link)
    told = watcher.pushes
    assert sorted(record.user for record in told) == sorted(name for name in homes if name != "user0")
    assert all(record.status == "offline" for record in told)
    assert all(b.shown(name) == c.shown(name) for name in homes)


def test_who_leaves_in_order_hands_all_over_at_once() -> None:
    a, b = (town := Town("a", "b")).nodes
    link = a.come("alice/laptop")
    link.set_status("dnd", text="busy")
    town.leave(a)
    assert b.node.own("alice") and b.shown("alice").status == "dnd"
    b.open("alice/laptop")
    town.advance(2 * GRACE_MS, 10_000, *b.links)
    assert (b.shown("alice").status, b.shown("alice").text) == ("dnd", "busy")


def test_a_user_who_is_handed_over_is_decided_by_the_other_and_nobody_is_told_anything() -> None:
    a, b = (town := Town("a", "b")).nodes
    link = a.come("alice/laptop")
    link.set_status("away", text="lunch")
    watcher = a.come("watcher/laptop")
    watcher.watch("alice")
    link.lose()
    watcher.forget()
    a.node.hand_over("alice", b.node.me)
    assert not a.node.own("alice"), "from the call on, and not only once it is in the log"
    town.settle()
    assert b.node.own("alice") and a.node.home_of("alice") == b.node.me
    assert watcher.pushes == []
    back = b.open("alice/laptop")
    back.set_status("online", text="back")
    town.settle()
    assert [record.text for record in watcher.pushes] == ["back"]
    assert a.shown("alice") == b.shown("alice")
    assert a.shown("alice").version > 0


def test_the_first_that_asks_for_a_user_in_the_log_is_the_home_and_the_other_learns_it() -> None:
    a, b = (town := Town("a", "b")).nodes
    decided: list[tuple[str, int]] = []
    a.node.bids.bid(["alice"], lambda now_ms: decided.append(("a", a.node.home_of("alice"))))
    b.node.bids.bid(["alice", "bob"], lambda now_ms: decided.append(("b", b.node.home_of("alice"))))
    b.append()
    town.settle()
    assert sorted(decided) == [("a", b.node.me), ("b", b.node.me)]
    assert a.node.home_of("bob") == b.node.me


def test_a_batch_whose_reply_was_lost_counts_once() -> None:
    a, b = (town := Town("a", "b")).nodes
    link = a.come("alice/laptop")
    version = b.shown("alice").version
    town.is_prompt = False
    link.say(SetStatus(link.next_id(), "dnd"))
    a.turn()
    a.backplane.replies_to_lose = 1
    try:
        a.append()
    except Exception as error:
        assert "lost" in str(error)
    town.settle()
    assert b.shown("alice").status == "dnd" and b.shown("alice").version > version
    rows = [entry for entry, _, _ in town.engine.entries.values() if entry.kind == "batch" and entry.node == "a"]
    numbers = [decode_batch(entry.data).number for entry in rows]
    assert numbers == sorted(set(numbers)), "no batch is in the log twice"


def test_an_acknowledgement_waits_until_the_node_has_read_its_own_facts_back() -> None:
    a, b = (town := Town("a", "b")).nodes
    link = a.come("alice/laptop")
    link.forget()
    town.is_prompt = False
    link.say(SetStatus(number := link.next_id(), "dnd"))
    a.turn()
    assert link.messages == []
    a.append()
    a.turn()
    assert link.messages == [], "an entry that was accepted may still be passed over"
    town.settle()
    assert [reply.id for reply in link.messages if isinstance(reply, Done)] == [number]


def test_followers_of_all_nodes_are_told_the_same_events_under_the_same_numbers() -> None:
    a, b = (town := Town("a", "b")).nodes
    followers = []
    for node in (a, b):
        follower = node.come(f"app-{node.name}", role="service")
        follower.expect(Follow(follower.next_id(), 0, 0), Following)
        followers.append(follower)
    town.settle()
    alice, bob = a.come("alice/laptop"), b.come("bob/laptop")
    alice.set_status("dnd")
    bob.set_status("away")
    town.settle()
    c = town.add("c")
    late = c.come("app-c", role="service")
    late.expect(Follow(late.next_id(), 0, 0), Following)
    alice.set_status("online")
    town.settle()
    told = [
        [(event.seq, event.user, event.kind, event.new) for event in follower.told.events] for follower in followers
    ]
    assert told[0] == told[1] and len(told[0]) >= 7
    assert [(event.seq, event.user, event.kind, event.new) for event in late.told.events] == told[0][-1:]
    assert {node.engine.events.epoch for node in town.nodes} == {77}


def all_agree(town: Town, *names: str) -> None:
    """All nodes tell the same of these, and agree on their homes, of which each has one."""
    first = town.nodes[0]
    for name in names:
        for node in town.nodes:
            assert node.shown(name) == first.shown(name), (name, node.name)
            assert node.node.home_of(name) == first.node.home_of(name), (name, node.name)
        assert sum(node.node.own(name) for node in town.nodes) == 1, name


@pytest.mark.parametrize("lost", range(1, 9))
@pytest.mark.parametrize("slow", ["b", "c", ""])
def test_what_a_log_lost_is_said_again_and_nobody_is_told_anything_false(lost: int, slow: str) -> None:
    """`slow` had read nothing of what is lost."""
    a, b, c = (town := Town("a", "b", "c")).nodes
    alice, bob = a.come("alice/laptop"), b.come("bob/laptop")
    watcher = c.come("watcher/laptop")
    watcher.watch("alice", "bob")
    kept = [node for node in town.nodes if node.name == slow]
    town.pause(*kept)
    alice.say(SetStatus(alice.next_id(), "dnd", "one"))
    a.turn()
    bob.say(SetStatus(bob.next_id(), "away", "two"))
    b.turn()
    a.node.bids.bid(["carol"], lambda now_ms: None)
    town.settle()
    alice.say(SetStatus(alice.next_id(), "online", "three"))
    a.turn()
    town.settle()
    town.engine.lose_tail(lost)
    town.resume()
    for node in town.nodes:
        node.renew()
    town.settle()
    all_agree(town, "alice", "bob")
    assert (a.shown("alice").text, a.shown("bob").text) == ("three", "two")
    assert watcher.view["alice"] == a.shown("alice") and watcher.view["bob"] == a.shown("bob")
    assert {node.node.home_of("carol") for node in town.nodes} == {a.node.me}


def test_an_emptied_log_begins_anew_with_the_same_nodes_homes_and_users() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    alice, bob = a.come("alice/laptop"), b.come("bob/laptop")
    watcher = c.come("watcher/laptop")
    watcher.watch("alice", "bob")
    watcher.forget()
    town.engine.empty()
    bob.say(SetStatus(bob.next_id(), "dnd", "behind it"))
    b.turn()
    for node in town.nodes:
        node.renew()
    town.settle()
    all_agree(town, "alice", "bob", "watcher")
    assert watcher.statuses("bob") == ["dnd"] and watcher.statuses("alice") == []
    town.advance(40_000, 1_000, alice, bob, watcher)
    all_agree(town, "alice", "bob", "watcher")
    assert watcher.statuses("alice") == [] and a.node.own("alice")
    d = town.add("d")
    all_agree(town, "alice", "bob", "watcher")
    assert d.shown("bob").text == "behind it"


def test_who_does_not_come_back_to_a_log_that_began_anew_is_gone() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    a.come("alice/laptop")
    town.engine.empty()
    town.kill(a)
    town.advance(20_000)
    all_agree(town, "alice")
    assert a.node.me not in {node.node.home_of("alice") for node in town.nodes}
    town.advance(RESTART_GRACE_MS + RESTART_SPREAD_MS + 1_000)
    assert b.shown("alice").status == "offline"


def test_while_the_engine_is_away_links_are_served_and_nothing_is_lost() -> None:
    a, b = (town := Town("a", "b")).nodes
    alice, watcher = a.come("alice/laptop"), b.come("watcher/laptop")
    near = a.come("near/laptop")
    for link in (watcher, near):
        link.watch("alice")
        link.forget()
    town.engine.is_down = True
    alice.say(SetStatus(alice.next_id(), "dnd"))
    a.turn()
    assert near.statuses("alice") == ["dnd"] and watcher.statuses("alice") == []
    town.advance(30_000, 1_000, alice, watcher, near)
    town.engine.is_down = False
    town.settle()
    town.advance(3_000, 1_000, alice, watcher, near)
    assert watcher.statuses("alice") == ["dnd"]
    all_agree(town, "alice", "watcher")
    assert len(town.nodes) == 2


def test_a_follower_with_a_name_goes_on_from_its_position_on_any_node() -> None:
    a, b = (town := Town("a", "b")).nodes
    follower = a.open("app", role="service")
    follower.expect(Follow(follower.next_id(), 0, 0, "audit"), Following)
    alice = b.come("alice/laptop")
    alice.set_status("dnd")
    seen = follower.told.events[-1].seq
    follower.say(Acknowledge(seen))
    follower.lose()
    town.advance(2_000, 1_000, alice)
    c = town.add("c")
    alice.set_status("away")
    for node in (b, c):
        again = node.open("app", role="service")
        again.told.seq = seen
        following = again.expect(Follow(again.next_id(), 0, 0, "audit"), Following)
        assert (following.seq, following.reset) == (seen, False), node.name
        if node is b:
            assert [event.new for event in again.told.events] == ["away"]
            again.lose()


def test_a_name_is_followed_by_one_link_of_all_nodes() -> None:
    """Whoever takes it on another node has it, and the one before is told so and is told nothing else."""
    a, b = (town := Town("a", "b", "c")).nodes[:2]
    first, second = a.open("app", role="service"), b.open("app", role="service")
    first.expect(Follow(first.next_id(), 0, 0, "audit"), Following)
    alice = b.come("alice/laptop")
    alice.set_status("dnd")
    seen = first.told.events[-1].seq
    first.say(Acknowledge(seen))
    town.settle()
    # What it says next waits for the second in which a position is saved once, and comes too late.
    alice.set_status("away")
    first.say(Acknowledge(seen + 1))
    second.told.seq = seen
    assert second.expect(Follow(second.next_id(), 0, 0, "audit"), Following).seq == seen
    told = len(first.told.events)
    assert [message for message in first.messages if isinstance(message, Following)][-1] == Following(0, 0, 0, False)
    alice.set_status("xa")
    assert len(first.told.events) == told and second.told.events[-1].new == "xa"
    second.say(Acknowledge(second.told.events[-1].seq))
    town.advance(2_000, 1_000, alice, first, second)
    assert {followers_of(node) for node in town.nodes} == {(("audit", second.told.events[-1].seq),)}


def test_of_two_links_that_take_a_name_while_their_nodes_do_not_hear_of_each_other_the_later_has_it() -> None:
    a, b = (town := Town("a", "b")).nodes
    first, second = a.open("app", role="service"), b.open("app", role="service")
    town.pause(a, b)
    first.say(Follow(first.next_id(), 0, 0, "audit"))
    town.advance(5, 5)
    second.say(Follow(second.next_id(), 0, 0, "audit"))
    town.resume()
    assert [times_lost(link) for link in (first, second)] == [1, 0]
    # It has lost the name to the second, and takes it back.
    first.expect(Follow(first.next_id(), 0, 0, "audit"), Following)
    assert [times_lost(link) for link in (first, second)] == [1, 1]


def test_of_two_links_that_take_a_name_in_one_moment_all_nodes_say_the_same_which_has_it() -> None:
    town = Town("a", "b", "c")
    links = {node.node.me: node.open("app", role="service") for node in town.nodes}
    town.pause(*town.nodes)
    for link in links.values():
        link.say(Follow(link.next_id(), 0, 0, "audit"))
    town.resume()
    town.advance(5, 5)
    largest = max(links)
    assert {node: times_lost(link) for node, link in links.items()} == {node: int(node != largest) for node in links}
    stamps = {(one.taken_ms, one.taken_by) for node in town.nodes for one in node.engine.followers.all()}
    assert {taken_by for _, taken_by in stamps} == {largest} and len(stamps) == 1


def test_a_name_that_is_forgotten_on_one_node_is_forgotten_on_the_node_where_it_is_followed() -> None:
    a, b = (town := Town("a", "b", "c")).nodes[:2]
    first, second = a.open("app", role="service"), b.open("app", role="service")
    first.expect(Follow(first.next_id(), 0, 0, "audit"), Following)
    second.done(ForgetFollower(second.next_id(), "audit"))
    town.settle()
    alice = b.come("alice/laptop")
    assert first.told.events[-1].user == "alice", "the link goes on without the name"
    first.say(Acknowledge(first.told.events[-1].seq))
    town.advance(2_000, 1_000, alice, first, second)
    assert {followers_of(node) for node in town.nodes} == {()}
    # The name is free: who takes it now begins.
    first.expect(Follow(first.next_id(), 0, 0, "audit"), Following)
    town.settle()
    assert {followers_of(node) for node in town.nodes} == {(("audit", first.told.events[-1].seq),)}


def times_lost(link: Client) -> int:
    """How often the link was told that another has its name."""
    return link.messages.count(Following(0, 0, 0, False))


def followers_of(node: TownNode) -> tuple[tuple[str, int], ...]:
    """What a node knows of the named followers."""
    return tuple((follower.name, follower.seq) for follower in node.engine.followers.all())


def test_of_somebody_who_was_erased_nodes_keep_the_name_alone_and_who_comes_back_is_new() -> None:
    a, b = (town := Town("a", "b")).nodes
    alice = a.come("alice/laptop")
    alice.set_status("dnd", text="a secret")
    admin = a.open("root", role="admin")
    admin.done(Erase(admin.next_id(), "alice"))
    for node in town.nodes:
        assert [type(fact) for fact in node.engine.parts.facts_of(node.user("alice"), node.now_ms)] == [UserErased]
    b.dial("alice/phone")
    assert a.shown("alice") == b.shown("alice")
    assert (a.shown("alice").status, a.shown("alice").text) == ("online", "")


def test_who_won_a_user_before_the_log_lost_that_stays_the_home_in_whatever_order_it_is_said_again() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    town.pause()
    for node in (a, b):
        node.node.bids.bid(["alice"], lambda now_ms: None)
        assert node.append()
    for node in (a, b):
        while node.read():
            pass
        assert node.node.home_of("alice") == a.node.me
    town.engine.lose_tail(2)
    for node in (b, a):
        node.renew()
        assert node.append()
    town.resume()
    assert {node.node.home_of("alice") for node in (a, b, c)} == {a.node.me}


def test_who_comes_back_last_to_a_log_that_began_anew_finds_all_of_it() -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    alice, carol = a.come("alice/laptop"), c.come("carol/laptop")
    for round_ in range(2):
        town.pause(c)
        town.engine.empty()
        for node in (a, b):
            node.renew()
        alice.say(SetStatus(alice.next_id(), "dnd", f"round {round_}"))
        a.turn()
        town.settle()
        joined = c.join_log(c.node.return_data())
        for node in (a, b, a, b):
            node.read()
            node.renew()
        c.reader.begin_anew(joined, c.now_ms)
        while c.node.position < joined.n:
            assert c.read()
        town.resume()
        town.advance(1_000, 1_000, alice, carol)
        all_agree(town, "alice", "carol")
