"""A service whose token bounds whom it sees: who is online, changes of everybody, and events, of those whom it sees."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from presenced.core.model import unknown_record
from presenced.core.online import OnlineIndex
from presenced.core.parts import event_streams
from presenced.core.rights import Patterns, compiled, rights_of
from presenced.limits import EVENTS_KEEP_FOR_MS
from presenced.wire.messages import (
    Approve,
    Follow,
    Following,
    Get,
    Records,
    SetStatus,
    Status,
    Subscribe,
    Watch,
    WatchAll,
    Who,
    WhoPage,
)
from tests.core.fake_link import FakeLink
from tests.core.world import World
from tests.support.tiers import samples

LETTERS = "ab@\u00e9\ud7ff\U0001f600\U0010ffff"
"""Few, so that names and patterns meet; some at the ends of the ranges of code points."""

pieces = st.text(LETTERS, min_size=1, max_size=4)
names = st.text(LETTERS, min_size=1, max_size=5)
parts = st.text(LETTERS.replace("@", ""), min_size=1, max_size=2)


def made(exact: list[str], prefixes: list[str], parts: list[str]) -> Patterns:
    """A list of patterns of which no name is checked: the index must not depend on what names may hold."""
    kept = tuple(sorted({one for one in prefixes if not any(one != o and one.startswith(o) for o in prefixes)}))
    endings = tuple(sorted({f"@{part}" for part in parts}))
    free = frozenset(name for name in exact if not name.startswith(kept) and not name.endswith(endings))
    return Patterns(names=free, prefixes=kept, endings=endings)


patterns = st.builds(made, st.lists(names, max_size=3), st.lists(pieces, max_size=3), st.lists(parts, max_size=3))


@settings(max_examples=samples(300))
@given(st.lists(st.tuples(names, st.booleans()), max_size=40), patterns, st.one_of(st.just(""), names), st.booleans())
def test_pages_and_counts_are_those_of_a_look_at_everybody(
    moves: list[tuple[str, bool]], see: Patterns, after: str, is_asked_first: bool
) -> None:
    index, online = OnlineIndex(), dict.fromkeys(["a@b", "b"])
    for name in online:
        index.move(name, "offline", "online")
    if is_asked_first:
        index.part("b")
    for name, is_there in moves:
        before: Status = "online" if name in online else "offline"
        index.move(name, before, "online" if is_there else "offline")
        (online.setdefault if is_there else online.pop)(name, None)
    wanted = [name for name in sorted(online) if see.match(name)]
    assert index.names_of(see) == wanted and index.count_of(see) == len(wanted)
    left = [name for name in wanted if name > after]
    for limit in range(len(left) + 2):
        page = left[:limit]
        assert index.page_of(see, after, limit) == (page, page[-1] if page and len(left) > limit else "")
    for part in ("a", "b", "\u00e9", "nowhere"):
        assert list(index.part(part)) == [
            name for name in sorted(online) if "@" in name and name.split("@")[-1] == part
        ]
    index.check()


def test_everybody_is_a_page_of_all() -> None:
    index = OnlineIndex()
    for name in ("c", "a", "b@x"):
        index.move(name, "offline", "away")
    everybody = compiled(["*"])
    assert index.page_of(everybody, "a", 1) == (["b@x"], "b@x") and index.count_of(everybody) == 3
    assert index.names_of(compiled([])) == [] and index.count_of(compiled([])) == 0


CLAIM = {"act": ["*@acme", "vip-*", "bob", "b@c@acme"]}
SEEN = ["a@acme", "b@c@acme", "bob", "vip-1", "vip-2@acme"]
UNSEEN = ["a@acme@evil", "acme", "bobby", "eve", "x@bacme"]


def world_with(*names: str) -> tuple[World, FakeLink]:
    """These users are online by way of the service that is given."""
    world = World()
    app = world.open("backend", role="service")
    for number, name in enumerate(names, 1):
        app.attach(number, f"{name}/web")
    return world, app


# --- who is online -----------------------------------------------------------------------------------------------


def test_who_lists_and_counts_whom_it_sees() -> None:
    world, app = world_with(*SEEN, *UNSEEN)
    link = world.open("app", role="service", rights=CLAIM)
    found: list[str] = []
    after = None
    while after != "":
        page = link.expect(Who(link.next_id(), after or "", 2), WhoPage)
        assert page.total == len(SEEN)
        found += [record.user for record in page.records]
        after = page.next
    assert found == sorted(SEEN)
    app.release(1)
    app.release(len(SEEN) + 1)
    assert link.who().total == len(SEEN) - 1
    assert world.open("all", role="service", rights={}).who().total == len(SEEN) + len(UNSEEN) - 2


def test_a_service_that_sees_nobody_sees_itself() -> None:
    world, _ = world_with("bob")
    link = world.open("app/main", role="service", rights={"see": []})
    assert [record.user for record in link.who().records] == ["app"]


# --- one user ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [Get, Watch])
def test_a_user_whom_it_does_not_see_is_answered_as_one_never_seen(ask: Any) -> None:
    world, app = world_with("bob", "eve")
    status(app, "eve", "dnd")
    link = world.open("app", role="service", rights={"see": ["bob"]})
    records = link.expect(ask(link.next_id(), ["eve", "bob", "nobody"]), Records).records
    assert records == [unknown_record("eve"), world.record("bob"), unknown_record("nobody")]
    link.forget()
    status(app, "eve", "away"), status(app, "bob", "away")
    assert [record.user for record in link.pushes] == (["bob"] if ask is Watch else [])


def test_a_watch_goes_by_the_token_of_now() -> None:
    world, app = world_with("bob", "eve")
    link = world.open("app", role="service", rights={"see": ["bob"]})
    link.watch("bob", "eve", "eve", "nobody")
    link.watch("eve")

    def renewed(claim: dict[str, Any]) -> None:
        link.forget()
        world.engine.sessions.renew(world.now_ms, link.session, 0, rights_of(claim, "app", "service"))
        world.turn()

    renewed({"see": ["eve"]})
    told = {record.user: record for record in link.pushes}
    assert told == {"bob": unknown_record("bob"), "eve": world.record("eve")}, "it is told whom it sees from now on"
    link.forget()
    for user in ("bob", "eve"):
        status(app, user, "dnd")
    assert [record.user for record in link.pushes] == ["eve"]
    renewed({})
    assert [record.user for record in link.pushes] == ["bob"]
    link.unwatch("bob", "eve")
    renewed({"see": []})
    assert link.pushes == [], "nobody was ever seen of that name"
    assert world.engine.watches.count == 1
    link.lose()
    assert "nobody" not in world.engine.users


# --- every change ------------------------------------------------------------------------------------------------


def watch_all(link: FakeLink, *, on: bool = True) -> None:
    link.done(WatchAll(link.next_id(), on))


def status(app: FakeLink, user: str, shown: Any) -> None:
    app.done(SetStatus(app.next_id(), shown, user=user))


def test_watch_all_tells_of_whom_it_sees() -> None:
    world, app = world_with("bob")
    link, whole = world.open("app", role="service", rights=CLAIM), world.open("all", role="service", rights={})
    watch_all(link), watch_all(whole)
    for number, name in enumerate([*SEEN, *UNSEEN], 2):
        app.attach(number, f"{name}/web")
        status(app, name, "dnd")
    assert {record.user for record in link.pushes} == set(SEEN)
    assert {record.user for record in whole.pushes} == {*SEEN, *UNSEEN}
    watch_all(link, on=False)
    link.forget()
    status(app, "bob", "away")
    assert link.pushes == []


def test_one_that_does_not_read_is_told_what_it_sees_when_it_does() -> None:
    world, app = world_with("bob", "eve")
    link = world.open("app", role="service", rights={"act": ["bob", "eve"]})
    watch_all(link)
    link.fill()
    status(app, "bob", "dnd"), status(app, "eve", "dnd")
    world.engine.sessions.renew(world.now_ms, link.session, 0, rights_of({"see": ["eve"]}, "app", "service"))
    link.drain()
    assert [record.user for record in link.pushes] == ["eve"]


def test_another_token_counts_for_what_is_told_next() -> None:
    world, app = world_with("bob", "eve")
    link = world.open("app", role="service")
    watch_all(link)
    for claim, told in (({"see": ["eve"]}, ["eve"]), ({"see": ["bob"]}, ["bob"]), ({}, ["bob", "eve"])):
        world.engine.sessions.renew(world.now_ms, link.session, 0, rights_of(claim, "app", "service"))
        link.forget()
        for user in ("bob", "eve"):
            status(app, user, "away" if world.record(user).status == "dnd" else "dnd")
        assert [record.user for record in link.pushes] == told


def test_a_change_that_no_narrow_link_sees_costs_its_user_nothing() -> None:
    world, app = world_with("bob", "eve")
    links = [world.open(f"app{number}", role="service", rights={"see": ["eve"]}) for number in range(3)]
    for link in links:
        watch_all(link)
    for user in ("bob", "eve"):
        status(app, user, "dnd")
    assert [world.user(name).push_refilled_ms >= 0 for name in ("bob", "eve")] == [False, True]


# --- events ------------------------------------------------------------------------------------------------------


def follow(link: FakeLink, epoch: int = 0, seq: int = 0) -> Following:
    return link.expect(Follow(link.next_id(), epoch, seq), Following)


def test_events_of_whom_it_sees_have_numbers_without_gaps() -> None:
    world, app = world_with("bob", "eve")
    link, whole = world.open("app", role="service", rights={"see": ["bob"]}), world.open("all", role="service")
    there, everywhere = follow(link), follow(whole)
    assert there.seq == 0 and there.epoch > everywhere.epoch
    for number in range(6):
        status(app, ("eve", "eve", "bob")[number % 3], ("dnd", "away", "xa", "chat")[number % 4])
    assert [(event.user, event.seq) for event in link.told.events] == [("bob", 1), ("bob", 2)]
    assert [event.seq - everywhere.seq for event in whole.told.events] == [1, 2, 3, 4, 5, 6]


def test_what_it_missed_is_told_when_it_comes_back() -> None:
    dice = random.Random(7)
    world, app = world_with("bob", "eve", "bill")
    first = world.open("app", role="service", rights={"see": ["b*"]})
    epoch = follow(first).epoch
    told: list[Any] = []
    seq = 0
    for number in range(60):
        status(app, dice.choice(["bob", "eve", "bill"]), ("dnd", "away", "xa")[number % 3])
        if dice.random() < 0.2:
            told += first.told.events
            seq = told[-1].seq if told else 0
            first.lose()
            for step in range(dice.randrange(3)):
                status(app, dice.choice(["bob", "eve"]), ("online", "chat")[step % 2])
            first = world.open("app", role="service", rights={"see": ["b*"]})
            assert follow(first, epoch, seq) == Following(first._next_id, epoch, seq, False)
            world.turn()
    told += first.told.events
    assert [event.seq for event in told] == list(range(1, len(told) + 1)) and len(told) > 20
    assert {event.user for event in told} == {"bob", "bill"}
    by_user: dict[str, str] = {}
    for event in told:
        assert by_user.get(event.user, event.old) == event.old, "one is missing"
        by_user[event.user] = event.new


@pytest.mark.parametrize("how", ["of all", "of another sight", "ahead"])
def test_a_cursor_that_is_not_its_own_is_not_known(how: str) -> None:
    world, app = world_with("bob")
    link, other = world.open("app", role="service", rights={"see": ["bob"]}), world.open("other", role="service")
    if how == "of another sight":
        other = world.open("third", role="service", rights={"see": ["b*"]})
    epoch, others = follow(link).epoch, follow(other).epoch
    status(app, "bob", "dnd")
    first, second = (world.open("app", role="service", rights={"see": ["bob"]}) for _ in range(2))
    assert follow(first, epoch, 0).reset is False
    answer = follow(second, epoch, 2) if how == "ahead" else follow(second, others, 0)
    assert (answer.epoch, answer.seq, answer.reset) == (epoch, 1, True)


def test_a_stream_that_nobody_follows_for_long_is_given_up() -> None:
    world, app = world_with("bob")
    world.checks = False
    whole = world.open("all", role="service")
    follow(whole)
    link = world.open("app", role="service", rights={"see": ["bob"]})
    epoch = follow(link).epoch
    assert follow(link).epoch == epoch, "it is one follower still"
    status(app, "bob", "dnd")
    link.lose()
    world.advance_beating(EVENTS_KEEP_FOR_MS - 60_000, app, whole, every_ms=70_000)
    app.beats(1, 0)
    back = world.open("app", role="service", rights={"see": ["bob"]})
    assert follow(back, epoch, 0).reset is False
    back.lose()
    world.advance_beating(EVENTS_KEEP_FOR_MS + 1_000, app, whole, every_ms=70_000)
    last = world.open("app", role="service", rights={"see": ["bob"]})
    answer = follow(last, epoch, 0)
    assert answer.reset and answer.epoch > epoch and answer.seq == 0


def test_the_oldest_stream_without_a_follower_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "EVENT_STREAMS_MAX", 3)
    world, _ = world_with("bob")
    whole = world.open("all", role="service")
    follow(whole)
    links = [world.open("app", role="service", rights={"see": [f"bob{number}"]}) for number in range(4)]
    epochs = [follow(link).epoch for link in links]
    assert len({*epochs}) == 4, "none is given up while it is followed"
    links[1].lose()
    fifth = world.open("app", role="service", rights={"see": ["carol"]})
    follow(fifth)
    back = world.open("app", role="service", rights={"see": ["bob1"]})
    assert follow(back, epochs[1], 0).reset


def test_another_token_of_a_follower_is_a_reset() -> None:
    world, app = world_with("bob", "eve")
    link = world.open("app", role="service")
    follow(link)
    status(app, "eve", "dnd")
    link.fill()
    world.engine.sessions.renew(world.now_ms, link.session, 0, rights_of({"see": ["bob"]}, "app", "service"))
    link.drain()
    (pushed,) = [one for one in link.messages if isinstance(one, Following) and one.id == 0]
    assert pushed.reset and pushed.seq == 0
    link.forget()
    status(app, "eve", "away"), status(app, "bob", "dnd")
    assert [event.user for event in link.told.events] == ["eve", "bob"]
    same = rights_of({"see": ["bob"], "only_read": True}, "app", "service")
    world.engine.sessions.renew(world.now_ms, link.session, 0, same)
    world.turn()
    assert link.told.resets == 1, "it sees whom it saw"


def test_an_event_of_a_contact_is_told_who_sees_both_of_the_two() -> None:
    world, app = world_with("bob", "eve")
    both, one = (
        world.open("app", role="service", rights={"see": names, "act": ["*"]}) for names in (["bob", "eve"], ["bob"])
    )
    for link in (both, one):
        link.say(Follow(link.next_id()))
    world.turn()
    app.done(Subscribe(app.next_id(), "eve", "hello", "bob"))
    app.done(Subscribe(app.next_id(), "bob", "hello", "eve"))
    app.done(Approve(app.next_id(), "eve", "bob"))
    assert {event.kind for event in both.told.events} == {"contact_request", "contact_change"}
    assert one.told.events == [], "each of them names somebody whom it does not see"
