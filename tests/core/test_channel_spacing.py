"""What members do is told in their channels as it is to those who watch them: a burst at once, then one change each
spacing, the net effect of what happened meanwhile; and never so much in one turn that others have to wait for it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from presenced.core.model import Edge, Session, User
from presenced.core.parts.channel_news import SLICE_DELIVERIES
from presenced.core.policy import Policy
from presenced.limits import CHANGE_DELIVERIES, CHANGE_WAIT_MS_MAX
from presenced.wire.messages import Attach, GetMembers, Join, Leave, MembersPage, SetStatus
from tests.core.world import FakeLink, World

SPACING_MS = Policy().change_spacing_ms
BURST = Policy().change_burst


def stage(*rooms: str) -> tuple[World, FakeLink, FakeLink]:
    """A world, a service with a device of alice in these rooms, and somebody who watches them."""
    world = World()
    app = world.open("app", role="service")
    watcher = world.open("watcher", role="service")
    app.attach(1, "alice/web")
    for room in rooms:
        app.join("alice/web", room)
    for room in rooms:
        watcher.watch_channel(room)
    world.advance(BURST * SPACING_MS)
    return world, app, watcher


def changes(app: FakeLink, count: int, user: str = "alice") -> None:
    """So many changes of the user, each in a turn of its own."""
    for number in range(count):
        app.done(SetStatus(app.next_id(), text=f"{number}", user=user))


def kinds(link: FakeLink) -> list[str]:
    return [kind for _, kind, _ in link.told.room_events]


class Counter(Edge):
    def __init__(self) -> None:
        self.bytes = 0
        self.writes = 0

    def send(self, data: bytes) -> None:
        self.writes += 1
        self.bytes += len(data)

    def end(self, code: str) -> None:
        raise AssertionError(f"ended with {code!r}")


def crowd(count: int) -> list[tuple[Session, Counter]]:
    """So many sessions, without the cost of real ones."""
    edges = [Counter() for _ in range(count)]
    return [(Session(edge, f"crowd{number}", "service"), edge) for number, edge in enumerate(edges)]


# --- the spacing ------------------------------------------------------------------------------------------------


def test_a_burst_is_told_at_once_and_then_one_change_each_spacing_and_the_last_is_the_truth() -> None:
    world, app, watcher = stage("room")
    changes(app, BURST)
    assert kinds(watcher) == ["change"] * BURST
    at_ms = []
    for number in range(100):
        told = len(kinds(watcher))
        app.done(SetStatus(app.next_id(), text=f"again {number}", user="alice"))
        world.advance(20)
        at_ms += [world.now_ms] * (len(kinds(watcher)) - told)
    assert 8 <= len(at_ms) <= 11 and all(later - earlier >= SPACING_MS for earlier, later in pairwise(at_ms))
    world.advance(SPACING_MS)
    assert (watcher.told.rooms["room"].members or {})["alice"].text == "again 99"
    assert not world.engine.channels.reports.news.is_pending


def test_one_change_is_one_of_the_burst_though_it_is_told_to_watchers_of_the_user_and_of_channels() -> None:
    world, app, watcher = stage("one", "two")
    watcher.watch("alice")
    changes(app, BURST)
    assert len(watcher.pushes) == BURST and kinds(watcher) == ["change"] * 2 * BURST
    changes(app, 1)
    assert len(watcher.pushes) == BURST and kinds(watcher) == ["change"] * 2 * BURST
    world.advance(SPACING_MS)
    assert len(watcher.pushes) == BURST + 1 and kinds(watcher) == ["change"] * 2 * (BURST + 1)


def test_a_member_who_is_spaced_delays_no_other() -> None:
    world, app, watcher = stage("room")
    changes(app, BURST + 5)
    app.attach(2, "bob/web")
    app.join("bob/web", "room")
    assert watcher.told.room_events[-1] == ("room", "join", "bob")


def test_what_is_undone_while_it_waits_is_a_change_and_neither_leave_nor_join() -> None:
    world, app, watcher = stage("room")
    changes(app, BURST)
    app.done(SetStatus(app.next_id(), "offline", user="alice"))
    app.leave("alice/web", "room")
    app.join("alice/web", "room")
    app.done(SetStatus(app.next_id(), "auto", user="alice"))
    assert kinds(watcher) == ["change"] * BURST
    world.advance(SPACING_MS)
    assert kinds(watcher) == ["change"] * (BURST + 1)


def test_who_came_and_went_while_it_waited_was_never_there_but_for_those_who_were_given_a_list() -> None:
    world, app, watcher = stage("room")
    watcher.watch_channel("side")
    curious = world.open("curious", role="service")
    curious.watch_channel("side")
    changes(app, BURST)
    app.join("alice/web", "side")
    app.leave("alice/web", "side")
    world.advance(SPACING_MS)
    assert ("side", "join", "alice") not in watcher.told.room_events and kinds(watcher).count("leave") == 0
    app.join("alice/web", "side")
    listed = curious.expect(GetMembers(curious.next_id(), "side"), MembersPage)
    assert [record.user for record in listed.records] == ["alice"], "an answer is never spaced"
    app.leave("alice/web", "side")
    world.advance(2 * SPACING_MS)
    assert curious.told.rooms["side"].members == {}


def test_who_begins_to_watch_is_told_of_nothing_that_was_before() -> None:
    world, app, watcher = stage("room")
    changes(app, BURST)
    app.done(SetStatus(app.next_id(), "offline", user="alice"))
    late = world.open("late", role="service")
    assert late.watch_channel("room").records == []
    world.advance(SPACING_MS)
    assert kinds(watcher)[-1] == "leave" and kinds(late) == []
    app.done(SetStatus(app.next_id(), "auto", user="alice"))
    world.advance(SPACING_MS)
    assert kinds(late) == ["join"]


def test_what_waits_for_nobody_is_forgotten() -> None:
    world, app, watcher = stage("room")
    changes(app, BURST + 1)
    watcher.lose()
    world.advance(SPACING_MS)
    assert not world.engine.channels.reports.news.is_pending


# --- very many -------------------------------------------------------------------------------------------------


def hall(rooms: int, watchers: int) -> tuple[World, FakeLink, list[tuple[Session, Counter]]]:
    """Alice in so many rooms, each with so many watchers; and bob in a room of his own with the last of them."""
    world = World()
    world.checks = False
    app = world.open("app", role="service")
    app.attach(1, "alice/web")
    app.attach(2, "bob/web")
    app.join("bob/web", "quiet")
    others = crowd(watchers)
    for number in range(rooms):
        app.say(Join(1_000 + number, f"room{number}", "alice", "web"))
        for session, _ in others:
            world.engine.channels.watch(session, f"room{number}")
    world.engine.channels.watch(others[-1][0], "quiet")
    while world.next_ms == 0:
        world.turn()
    world.advance(60_000)
    for _, edge in others:
        edge.bytes = edge.writes = 0
    return world, app, others


def test_a_member_of_very_many_rooms_is_told_of_in_slices_and_another_in_between() -> None:
    world, app, others = hall(40, 600)
    sizes: list[int] = []
    app.say(SetStatus(500, "dnd", user="alice"))
    app.say(SetStatus(501, "dnd", user="bob"))
    last = others[-1][1]
    first_bytes = 0
    while True:
        before = others[0][1].bytes
        world.turn()
        sizes.append(others[0][1].bytes - before)
        if len(sizes) == 1:
            first_bytes = last.bytes - others[0][1].bytes
        if world.next_ms != 0:
            break
    assert first_bytes > 0, "bob's change was told in the first turn"
    in_a_turn = SLICE_DELIVERIES + 2 * 600
    assert max(sizes) <= sum(sizes) * in_a_turn // (40 * 600) and len(sizes) >= 40 * 600 // in_a_turn
    assert all(edge.bytes for _, edge in others)


def test_what_changes_between_two_slices_is_told_once_and_as_it_is_then() -> None:
    world, app, others = hall(40, 600)
    watcher = world.open("watcher", role="service")
    for number in range(40):
        watcher.watch_channel(f"room{number}")
    watcher.told.room_events.clear()
    app.say(SetStatus(500, text="one", user="alice"))
    world.turn()
    told = len(watcher.told.room_events)
    assert 0 < told < 40
    app.say(SetStatus(501, text="two", user="alice"))
    world.advance(10_000)
    assert len(watcher.told.room_events) <= 40 + told
    for number in range(40):
        assert (watcher.told.rooms[f"room{number}"].members or {})["alice"].text == "two"


@pytest.mark.parametrize("how", ["channels", "watchers"])
def test_who_is_told_of_to_very_many_is_told_of_more_seldom_and_never_later_than_after_five_seconds(how: str) -> None:
    world = World()
    world.checks, world.standing_max = False, 1_000
    alice = world.open("alice/laptop")
    user = world.user("alice")
    count = 5 * CHANGE_DELIVERIES if how == "watchers" else 200
    others = crowd(count)
    if how == "watchers":
        user.watchers = {session: edge for session, edge in others}
    else:
        for number in range(100):
            alice.say(Join(1_000 + number, f"room{number}"))
            for session, _ in others:
                world.engine.channels.watch(session, f"room{number}")
    world.advance(60_000)
    told_at = deliveries_over(world, alice, user, others[0][1], 20_000)
    # 20,000 are told of each change, and 20,000 a second may be; two or three go at once.
    gaps = [later - earlier for earlier, later in pairwise(told_at)]
    assert len(told_at) <= 20 + 4
    assert max(gaps) <= CHANGE_WAIT_MS_MAX + SPACING_MS
    assert sorted(gaps)[len(gaps) // 2] >= 900


def deliveries_over(world: World, alice: FakeLink, user: User, edge: Counter, ms: int) -> list[int]:
    """Moments at which a watcher was told of alice, who changes twenty times a second."""
    told_at: list[int] = []
    end_ms = world.now_ms + ms
    number = 0
    while world.now_ms < end_ms:
        number += 1
        before = edge.bytes
        alice.say(SetStatus(alice.next_id(), text=str(number)))
        world.turn()
        world.advance(50)
        if edge.bytes != before and (not told_at or world.now_ms - told_at[-1] > 60):
            told_at.append(world.now_ms)
    return told_at


# --- questions --------------------------------------------------------------------------------------------------


def test_no_question_and_no_membership_makes_a_record_anew_before_the_turn_ends() -> None:
    world, app, watcher = stage("room")
    app.attach(2, "bob/web")
    app.attach(3, "carol/web")
    app.join("bob/web", "side")
    watcher.watch("alice", "bob", "carol")
    for user in ("alice", "bob", "carol"):
        app.say(SetStatus(app.next_id(), "dnd", user=user))
    for question in (GetMembers(900, "room"), GetMembers(901, "nowhere")):
        watcher.say(question)
    assert all(world.user(name).dirty for name in ("alice", "bob", "carol"))
    before = world.engine.publisher.changed
    app.say(Join(902, "third", "carol", "web"))
    app.say(Leave(903, "side", "bob", "web"))
    app.say(Attach(904, 5, "dave", "web"))
    assert world.engine.publisher.changed == before
    for user in ("bob", "carol"):
        app.say(SetStatus(app.next_id(), "away", user=user))
    world.turn()
    assert world.engine.publisher.changed == before + 4, "each once"
