"""A node knows of a user what the log has lost, and what the user's next home has not read."""

from __future__ import annotations

import pytest

from presenced.cluster.log.homes import Homes
from presenced.cluster.log.nodes import NOBODY
from presenced.cluster.log.unread_news import ANSWER_MS, UnreadNews
from presenced.core.ledger import Ledger
from presenced.core.newness import Newness
from presenced.core.records import RecordSet, TextSet, UserErased
from presenced.wire.messages import Presence, Record, Records, SetStatus
from tests.cluster.town import Town, TownNode
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


class LostNews:
    """Users of `b` say something that all read, and then something that `a` alone has read when the log loses it and
    their home dies; nothing of that was noticed yet. Somebody watches them at `a` and at `c`."""

    def __init__(self) -> None:
        self.town = Town("a", "b", "c")
        self.a, self.b, self.c = self.town.nodes
        links = [self.b.come(f"{name}/laptop") for name in USERS]
        self.watchers = [node.come(f"watcher-{node.name}/laptop") for node in (self.a, self.c)]
        for watcher in self.watchers:
            watcher.watch(*USERS)
        self._say(links, "dnd", "read by all")
        self.town.advance(1_000, 1_000, *links, *self.watchers)
        self.town.pause(self.c)
        self._say(links, "away", "read by one")
        assert {self.a.shown(name).text for name in USERS} == {"read by one"}
        assert {self.c.shown(name).text for name in USERS} == {"read by all"}

    def _say(self, links: list[FakeLink], status: str, text: str) -> None:
        for link in links:
            link.say(SetStatus(link.next_id(), status, text))
        self.b.turn()
        self.town.settle()

    def lose_end(self) -> None:
        """The log loses what one node alone has read."""
        while self.town.engine.kept.n > self.c.node.position:
            self.town.engine.lose_tail(1)

    def speak_at(self, heir: TownNode) -> None:
        """Somebody says something of the users, without a text, at this heir as soon as it reads of the death."""
        told_of_death, app = heir.forwarding.node_gone, heir.dial("app", role="service")

        def node_gone(node: int, last_ms: int, now_ms: int) -> None:
            told_of_death(node, last_ms, now_ms)
            for name in filter(heir.node.own, USERS):
                app.say(SetStatus(app.next_id(), "xa", user=name))

        heir.forwarding.node_gone = node_gone  # type: ignore[method-assign]

    def go_on(self) -> None:
        """The home dies, and the others notice what has become of the log."""
        self.town.kill(self.b)
        self.town.resume()
        for node in (self.a, self.c):
            node.renew()
        self.town.settle()

    def come_to_rest(self) -> None:
        """All of it is made good."""
        self.town.advance(20_000, 1_000, *self.watchers)
        homes = {node.node.home_of(name) for node in self.town.nodes for name in USERS}
        assert homes >= {self.a.node.me, self.c.node.me}
        for name in USERS:
            assert len({node.shown(name) for node in self.town.nodes}) == 1, name

    def tell_no_version_twice(self) -> None:
        """What both watchers were told of a user under one version is one record."""
        known: dict[tuple[str, int], Record] = {}
        for watcher in self.watchers:
            for record in told(watcher):
                assert known.setdefault((record.user, record.version), record) == record


@pytest.mark.parametrize("comes_again", [False, True], ids=["stays away", "begins anew"])
def test_an_heir_that_knows_less_and_a_copy_that_knows_more_tell_no_version_twice(comes_again: bool) -> None:
    news = LostNews()
    news.town.engine.empty()
    news.go_on()
    if comes_again:
        news.town.add("b")
    news.come_to_rest()
    assert {news.c.shown(name).text for name in USERS} == {"read by one"}
    news.tell_no_version_twice()


def test_an_heir_that_knows_more_tells_all_of_it_ahead_of_the_record_that_it_makes() -> None:
    news = LostNews()
    news.lose_end()
    news.speak_at(news.a)
    news.go_on()
    news.come_to_rest()
    assert {news.c.shown(name).text for name in USERS} == {"read by one"}
    news.tell_no_version_twice()


@pytest.mark.parametrize("is_emptied", [False, True], ids=["its end is lost", "it begins anew"])
def test_an_heir_that_knows_less_and_of_whom_something_newer_is_said_there_tells_all_that_holds(
    is_emptied: bool,
) -> None:
    news = LostNews()
    if is_emptied:
        news.town.engine.empty()
    else:
        news.lose_end()
    news.speak_at(news.c)
    news.go_on()
    news.come_to_rest()
    assert {news.a.shown(name).text for name in USERS} == {"read by one", "read by all"}


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


def unread_news() -> UnreadNews:
    """Of users who were last said to be something at 1,000."""
    return UnreadNews(Known(1_000), Homes(), Ledger(1, 0))  # type: ignore[arg-type]


def record(name: str, said_ms: int) -> RecordSet:
    return RecordSet(name, "away", said_ms - 5, 0, "laptop", 9, said_after_ms=5)


def test_this_node_decides_above_the_version_of_a_record_that_is_held_back() -> None:
    ledger = Ledger(1, 0)
    news = UnreadNews(Known(1_000), Homes(), ledger)  # type: ignore[arg-type]
    news.note(["alice"], 0)
    news.hold_back([record("alice", 999)])
    assert ledger.next_version(0) > record("alice", 999).version


def test_only_records_that_are_older_than_what_is_known_are_held_back() -> None:
    news = unread_news()
    text = TextSet("alice", "older", "", 0)
    facts = [text, record("alice", 999), record("alice", 1_000), record("bob", 999)]
    assert list(news.hold_back(facts)) == facts, "of nobody"
    news.note(["alice"], 0)
    assert list(news.hold_back(facts)) == [text, *facts[2:]]
    news.settle("alice")
    assert list(news.hold_back(facts)) == facts


def test_what_was_held_back_is_shown_when_the_home_must_have_answered() -> None:
    news = unread_news()
    facts = [record("alice", 998), record("alice", 999), record("bob", 999)]
    news.note(["alice", "bob"], 0)
    news.note(["alice"], 10)
    assert list(news.hold_back(facts)) == []
    assert news.take_late(ANSWER_MS - 1) == []
    assert news.take_late(ANSWER_MS) == [facts[2]] and news.of(NOBODY) == ["alice"]
    assert news.take_late(ANSWER_MS + 10) == [facts[1]] and not news.of(NOBODY)
    assert list(news.hold_back(facts)) == facts


def test_what_was_held_back_is_forgotten_once_the_home_says_what_is_newer_or_all() -> None:
    news = unread_news()
    news.note(["alice", "bob", "carol"], 0)
    erased = UserErased("carol", 12, 1_001)
    held = [record(name, 999) for name in ("alice", "bob", "carol")]
    assert list(news.hold_back([*held, record("alice", 1_001), erased])) == [record("alice", 1_001), erased]
    news.settle("bob")
    assert news.take_late(ANSWER_MS) == []


def held_back() -> tuple[Town, FakeLink]:
    """A home whose clock is behind has said something of a user, of whom another node has offered something newer."""
    a, b = (town := Town("a", "b")).nodes
    alice = a.come("alice/laptop")
    town.settle()
    b.engine.users.for_request("alice").said_ms += 5_000
    b.node.unread_news.note(["alice"], town.now_ms)
    alice.set_status("dnd", text="by a slow clock")
    town.settle()
    return town, alice


def test_a_record_that_a_clock_behind_the_others_has_dated_is_shown_in_the_end() -> None:
    town, alice = held_back()
    a, b = town.nodes
    assert b.shown("alice").status == "online"
    town.advance(ANSWER_MS + 5_000, 1_000, alice)
    assert b.shown("alice") == a.shown("alice")


def test_a_record_that_was_held_back_is_not_shown_of_a_user_whom_this_node_decides_by_then() -> None:
    town, _ = held_back()
    a, b = town.nodes
    assert a.node.hand_over("alice", b.node.me)
    town.settle()
    b.dial("alice/phone").say(SetStatus(1, "xa", "at another home"))
    town.settle()
    b.node.unread_news._held["alice"] = record("alice", 999)
    b.node.unread_news.note(["alice"], town.now_ms)
    town.advance(ANSWER_MS + 5_000, 1_000, *town.nodes[1].links)
    assert b.node.own("alice") and b.shown("alice").text == "at another home" == a.shown("alice").text
    assert b.shown("alice").since_ms > 1_000
