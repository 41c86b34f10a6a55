"""A node knows of a user what the log has lost, and what the user's next home has not read."""

from __future__ import annotations

import pytest

from presenced.cluster.log.unread_news import ANSWER_MS, UnreadNews
from presenced.core.newness import Newness
from presenced.core.records import RecordSet, TextSet, UserErased
from presenced.wire.messages import Presence, Record, Records, SetStatus
from tests.cluster.town import Town
from tests.core.fake_link import FakeLink

USERS = [f"user-{number}" for number in range(8)]


def told(link: FakeLink) -> list[Record]:
    """All records that a client was told, in order."""
    records: list[Record] = []
    for message in link.messages:
        if isinstance(message, Presence):
            records.append(message.record)
        elif isinstance(message, Records):
            records += message.records
    return records


def tell_no_version_twice(watchers: list[FakeLink]) -> None:
    """What all of them were told of a user under one version is one record."""
    known: dict[tuple[str, int], Record] = {}
    for watcher in watchers:
        for record in told(watcher):
            assert known.setdefault((record.user, record.version), record) == record


@pytest.mark.parametrize("comes_again", [False, True], ids=["stays away", "begins anew"])
def test_an_heir_that_knows_less_and_a_copy_that_knows_more_tell_no_version_twice(comes_again: bool) -> None:
    a, b, c = (town := Town("a", "b", "c")).nodes
    links = [b.come(f"{name}/laptop") for name in USERS]
    watchers = [node.come(f"watcher-{node.name}/laptop") for node in (a, c)]
    for watcher in watchers:
        watcher.watch(*USERS)
    for link in links:
        link.say(SetStatus(link.next_id(), "dnd", "read by all"))
    b.turn()
    town.advance(1_000, 1_000, *links, *watchers)
    town.pause(c)
    for link in links:
        link.say(SetStatus(link.next_id(), "away", "lost, and read by one"))
    b.turn()
    town.settle()
    assert {a.shown(name).text for name in USERS} == {"lost, and read by one"}
    assert {c.shown(name).text for name in USERS} == {"read by all"}
    town.engine.empty()
    town.kill(b)
    town.resume()
    for node in (a, c):
        node.renew()
    town.settle()
    if comes_again:
        town.add("b")
    town.advance(20_000, 1_000, *watchers)
    assert {node.node.home_of(name) for node in town.nodes for name in USERS} >= {a.node.me, c.node.me}
    for name in USERS:
        assert {node.shown(name).text for node in town.nodes} == {"lost, and read by one"}
    tell_no_version_twice(watchers)


def test_an_heir_that_knows_more_tells_all_of_it_ahead_of_the_record_that_it_makes() -> None:
    """Something is said of the users at the heir as soon as it reads of the death."""
    a, b, c = (town := Town("a", "b", "c")).nodes
    links = [b.come(f"{name}/laptop") for name in USERS]
    app = a.dial("app", role="service")
    watchers = [node.come(f"watcher-{node.name}/laptop") for node in (a, c)]
    for watcher in watchers:
        watcher.watch(*USERS)
    for link in links:
        link.say(SetStatus(link.next_id(), "dnd", "read by all"))
    b.turn()
    town.settle()
    town.advance(1_000, 1_000, *links, *watchers)
    town.pause(c)
    for link in links:
        link.say(SetStatus(link.next_id(), "away", "lost, and read by one"))
    b.turn()
    town.settle()
    assert {a.shown(name).text for name in USERS} == {"lost, and read by one"}
    assert {c.shown(name).text for name in USERS} == {"read by all"}
    while town.engine.kept.n > c.node.position:
        town.engine.lose_tail(1)
    town.kill(b)
    told_of_death = a.forwarding.node_gone

    def node_gone(node: int, last_ms: int, now_ms: int) -> None:
        told_of_death(node, last_ms, now_ms)
        for name in filter(a.node.own, USERS):
            app.say(SetStatus(app.next_id(), "xa", user=name))

    a.forwarding.node_gone = node_gone  # type: ignore[method-assign]
    town.resume()
    for node in (a, c):
        node.renew()
    town.advance(20_000, 1_000, *watchers)
    for name in USERS:
        assert {node.shown(name).text for node in (a, c)} == {"lost, and read by one"}
    tell_no_version_twice(watchers)


def test_what_was_offered_to_a_node_that_never_comes_back_is_offered_to_its_heirs() -> None:
    """The home of new users is gone with the log, and so is the node that was its heir."""
    a, b, c, d = (town := Town("a", "b", "c", "d")).nodes
    town.pause(c, d)
    for name in USERS:
        b.come(f"{name}/laptop")
    assert all(a.node.home_of(name) == b.node.me for name in USERS)
    assert not any(c.node.home_of(name) for name in USERS)
    town.engine.empty()
    town.kill(b)
    town.kill(d)
    town.resume()
    for node in (a, c):
        node.renew()
    town.settle()
    # Its next life ends what is waited for of the one before, while the heir is waited for yet.
    b = town.add("b")
    offered = [name for name in USERS if a.node.home_of(name) == d.node.me]
    assert offered and not any(c.node.home_of(name) for name in offered)
    town.advance(20_000)
    for name in USERS:
        assert len({node.node.home_of(name) for node in (a, b, c)}) == 1, name
        assert a.node.home_of(name) in (a.node.me, c.node.me)


class Known:
    """Copies, of which each was said to be something at this time."""

    def __init__(self, said_ms: int) -> None:
        self.said = Newness(said_ms, 1)

    def newness_of(self, name: str) -> Newness:
        return self.said


def record(name: str, said_ms: int) -> RecordSet:
    return RecordSet(name, "away", said_ms - 5, 0, "laptop", 9, said_after_ms=5)


def test_only_records_that_are_older_than_what_is_known_are_held_back() -> None:
    news = UnreadNews(Known(1_000))  # type: ignore[arg-type]
    text = TextSet("alice", "older", "", 0)
    facts = [text, record("alice", 999), record("alice", 1_000), record("bob", 999)]
    assert list(news.hold_back(facts)) == facts, "of nobody"
    news.note(["alice"], 0)
    assert list(news.hold_back(facts)) == [text, *facts[2:]]
    news.settle("alice")
    assert list(news.hold_back(facts)) == facts


def test_what_was_held_back_is_shown_when_the_home_must_have_answered() -> None:
    news = UnreadNews(Known(1_000))  # type: ignore[arg-type]
    facts = [record("alice", 998), record("alice", 999), record("bob", 999)]
    news.note(["alice", "bob"], 0)
    news.note(["alice"], 10)
    assert list(news.hold_back(facts)) == []
    assert news.take_late(ANSWER_MS - 1) == []
    assert news.take_late(ANSWER_MS) == [facts[2]] and news.names == ["alice"]
    assert news.take_late(ANSWER_MS + 10) == [facts[1]] and not news.names
    assert list(news.hold_back(facts)) == facts


def test_what_was_held_back_is_forgotten_once_the_home_says_what_is_newer_or_all() -> None:
    news = UnreadNews(Known(1_000))  # type: ignore[arg-type]
    news.note(["alice", "bob", "carol"], 0)
    erased = UserErased("carol", 12, 1_001)
    held = [record(name, 999) for name in ("alice", "bob", "carol")]
    assert list(news.hold_back([*held, record("alice", 1_001), erased])) == [record("alice", 1_001), erased]
    news.settle("bob")
    assert news.take_late(ANSWER_MS) == []


def test_a_record_that_a_clock_behind_the_others_has_dated_is_shown_in_the_end() -> None:
    a, b = (town := Town("a", "b")).nodes
    alice = a.come("alice/laptop")
    town.settle()
    b.engine.users.for_request("alice").said_ms += 5_000
    b.node.unread_news.note(["alice"], town.now_ms)
    alice.set_status("dnd", text="by a slow clock")
    town.settle()
    assert b.shown("alice").status == "online"
    town.advance(ANSWER_MS + 5_000, 1_000, alice)
    assert b.shown("alice") == a.shown("alice")


def test_a_record_that_was_held_back_is_not_shown_of_a_user_whom_this_node_decides_by_then() -> None:
    a, b = (town := Town("a", "b")).nodes
    alice = a.come("alice/laptop")
    town.settle()
    b.engine.users.for_request("alice").said_ms += 5_000
    b.node.unread_news.note(["alice"], town.now_ms)
    alice.set_status("dnd", text="by a slow clock")
    town.settle()
    assert a.node.hand_over("alice", b.node.me)
    town.settle()
    b.dial("alice/phone").say(SetStatus(1, "xa", "at another home"))
    town.settle()
    b.node.unread_news._held["alice"] = record("alice", 999)
    b.node.unread_news.note(["alice"], town.now_ms)
    town.advance(ANSWER_MS + 5_000, 1_000, *town.nodes[1].links)
    assert b.node.own("alice") and b.shown("alice").text == "at another home" == a.shown("alice").text
    assert b.shown("alice").since_ms > 1_000
