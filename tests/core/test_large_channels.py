"""Large channels: batches at an interval, in slices of watchers, with counts that are always exact."""

from __future__ import annotations

import random

import pytest

from presenced.core.model import Edge, Session
from presenced.core.parts.channel_reports import SLICE_WATCHERS
from presenced.limits import (
    CHANNEL_BATCH_MAX,
    CHANNEL_FULL_MAX,
    CHANNEL_INTERVAL_MS,
)
from presenced.wire.messages import (
    Attach,
    Block,
    ChannelCounts,
    GetMembers,
    Join,
    Leave,
    MembersPage,
    SetStatus,
    UnwatchChannel,
    Watch,
)
from tests.core.world import FakeLink, World


def stage() -> tuple[World, FakeLink, FakeLink]:
    """A world, a service with two devices of alice and one of bob, and somebody who watches `room`."""
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "alice/web")
    app.attach(2, "alice/phone")
    app.attach(3, "bob/web")
    watcher = world.open("watcher", role="service")
    watcher.watch_channel("room")
    return world, app, watcher


def members(link: FakeLink, channel: str = "room", after: str = "", limit: int = 100) -> MembersPage:
    return link.expect(GetMembers(link.next_id(), channel, after, limit), MembersPage)


class Counter(Edge):
    """An edge that only counts its writes."""

    def __init__(self) -> None:
        self.frames = 0

    def send(self, data: bytes) -> None:
        self.frames += 1

    def end(self, code: str) -> None:
        raise AssertionError(f"ended with {code!r}")


def crowd(world: World, count: int, channel: str = "room") -> list[tuple[Session, Counter]]:
    """So many more watchers of the channel, without the cost of real ones."""
    found = []
    for number in range(count):
        edge = Counter()
        session = Session(edge, f"crowd{number}", "service")
        world.engine.channels.watch(session, channel)
        found.append((session, edge))
    return found


def large(count: int = CHANNEL_FULL_MAX) -> tuple[World, FakeLink, FakeLink, list[tuple[Session, Counter]]]:
    world, app, watcher = stage()
    app.join("alice/web", "room")
    watcher.watch_channel("room")
    watcher.told.room_events.clear()
    return world, app, watcher, crowd(world, count)


def test_above_the_threshold_changes_come_in_one_batch_an_interval() -> None:
    world, app, watcher, _ = large()
    app.join("bob/web", "room")
    for status in ("dnd", "away", "chat"):
        app.done(SetStatus(app.next_id(), status, user="alice"))
    assert watcher.told.batches == []
    world.advance(CHANNEL_INTERVAL_MS)
    batch = watcher.told.batches[0]
    assert (batch.total, batch.counts, batch.complete) == (2, [1, 1, 0, 0, 0], True)
    assert sorted((record.user, record.status) for record in batch.records) == [("alice", "chat"), ("bob", "online")]
    app.leave("bob/web", "room")
    app.join("bob/web", "room")
    app.leave("bob/web", "room")
    app.leave("alice/web", "room")
    app.join("alice/web", "room")
    world.advance(CHANNEL_INTERVAL_MS)
    assert watcher.told.batches[1].left == ["bob"]
    assert [record.user for record in watcher.told.batches[1].records] == ["alice"]
    world.advance(10 * CHANNEL_INTERVAL_MS)
    assert len(watcher.told.batches) == 2 and watcher.told.room_events == []


def test_the_threshold_has_hysteresis() -> None:
    world, app, watcher, others = large(CHANNEL_FULL_MAX - 1)
    channel = world.engine.channels.by_name["room"]
    assert not channel.is_large and len(channel.watchers) == CHANNEL_FULL_MAX
    app.join("bob/web", "room")
    assert len(watcher.told.room_events) == 1
    late = world.open("late", role="service")
    late.watch_channel("room")
    assert channel.is_large
    while len(channel.watchers) > CHANNEL_FULL_MAX * 8 // 10:
        world.engine.channels.unwatch(others.pop()[0], "room")
    assert channel.is_large
    world.engine.channels.unwatch(others.pop()[0], "room")
    assert not channel.is_large
    app.leave("bob/web", "room")
    assert len(watcher.told.room_events) == 2


def test_a_channel_that_shrinks_with_a_batch_waiting_tells_in_the_order_in_which_it_happened() -> None:
    world, app, watcher, others = large()
    app.join("bob/web", "room")
    while world.engine.channels.by_name["room"].is_large:
        world.engine.channels.unwatch(others.pop()[0], "room")
    app.leave("bob/web", "room")
    app.done(SetStatus(app.next_id(), "dnd", user="alice"))
    world.advance(3 * CHANNEL_INTERVAL_MS)
    room = watcher.told.rooms["room"]
    assert {name: record.status for name, record in (room.members or {}).items()} == {"alice": "dnd"}
    app.join("bob/web", "room")
    assert ("room", "join", "bob") in watcher.told.room_events


def test_a_batch_lists_so_many_and_says_when_that_is_not_all() -> None:
    world, app, watcher, _ = large()
    world.checks = False
    for number in range(CHANNEL_BATCH_MAX):
        app.say(Attach(1_000 + number, 1_000 + number, f"user{number}", "web"))
        app.say(Join(5_000 + number, "room", f"user{number}", "web"))
    world.turn()
    world.advance(CHANNEL_INTERVAL_MS)
    assert watcher.told.batches[-1].complete and len(watcher.told.batches[-1].records) == CHANNEL_BATCH_MAX
    app.join("bob/web", "room")
    for number in range(CHANNEL_BATCH_MAX):
        app.say(SetStatus(10_000 + number, "dnd", user=f"user{number}"))
    world.turn()
    world.advance(CHANNEL_INTERVAL_MS)
    batch = watcher.told.batches[-1]
    assert not batch.complete and len(batch.records) == CHANNEL_BATCH_MAX
    assert (batch.total, batch.counts) == (CHANNEL_BATCH_MAX + 2, [0, 2, 0, 0, CHANNEL_BATCH_MAX])


def test_a_large_channel_goes_to_its_watchers_in_slices_and_no_turn_writes_more() -> None:
    world, app, watcher, others = large(50_000)
    world.checks = False
    app.join("bob/web", "room")
    world.advance(CHANNEL_INTERVAL_MS - 1)
    assert sum(edge.frames for _, edge in others) == 0
    world.now_ms += 1
    turns, before = 0, 0
    while before < 50_000:
        world.turn()
        turns += 1
        written = sum(edge.frames for _, edge in others)
        assert 0 < written - before <= SLICE_WATCHERS and turns <= 50_000 // SLICE_WATCHERS + 2
        before = written
    assert all(edge.frames == 1 for _, edge in others)
    assert len(watcher.told.batches) == 1
    world.turn()
    assert world.next_ms is not None and world.next_ms > world.now_ms


def test_who_stops_watching_while_a_batch_goes_out_is_not_sent_it() -> None:
    world, app, _, others = large(3 * SLICE_WATCHERS)
    world.checks = False
    app.join("bob/web", "room")
    world.now_ms += CHANNEL_INTERVAL_MS
    world.turn()
    (session, edge), (_, other) = others[-1], others[-2]
    assert edge.frames == other.frames == 0, "it is not their turn so far"
    world.engine.channels.unwatch(session, "room")
    while world.next_ms == 0:
        world.turn()
    assert (edge.frames, other.frames) == (0, 1)


def test_what_happens_while_a_batch_goes_out_comes_in_the_next_and_the_counts_stay_right() -> None:
    world, app, watcher, others = large(3 * SLICE_WATCHERS)
    late = world.open("late", role="service")
    late.watch_channel("room")
    app.join("bob/web", "room")
    world.now_ms += CHANNEL_INTERVAL_MS
    world.turn()
    # Half of them are told. Now it shrinks, changes, and somebody leaves.
    while len(others) > CHANNEL_FULL_MAX // 2:
        world.engine.channels.unwatch(others.pop()[0], "room")
    app.leave("bob/web", "room")
    app.done(SetStatus(app.next_id(), "dnd", user="alice"))
    world.advance(5 * CHANNEL_INTERVAL_MS)
    for link in (watcher, late):
        room = link.told.rooms["room"]
        assert {name: record.status for name, record in (room.members or {}).items()} == {"alice": "dnd"}


def test_a_large_channel_that_everybody_leaves_is_forgotten() -> None:
    world, app, watcher, others = large()
    app.leave("alice/web", "room")
    for session, _ in others:
        world.engine.channels.let_go(session, 0, 1)
    watcher.lose()
    world.advance(3 * CHANNEL_INTERVAL_MS)
    assert world.engine.channels.by_name == {}


@pytest.mark.parametrize("on_its_way", [False, True], ids=["gathered", "on its way"])
def test_who_watches_after_the_last_watcher_went_is_not_told_of_a_member_who_hid_meanwhile(on_its_way: bool) -> None:
    world, app, watcher, others = large(12 * SLICE_WATCHERS)
    last = world.open("last", role="service")
    last.watch_channel("room")
    app.done(SetStatus(app.next_id(), "dnd", user="alice"))
    if on_its_way:
        # The first slice of the watchers has it; the last of them has not.
        world.now_ms += CHANNEL_INTERVAL_MS
        world.turn()
        assert last.told.batches == []
    for session, _ in others:
        world.engine.channels.let_go(session, 0, 1)
    for link in (watcher, last):
        link.done(UnwatchChannel(link.next_id(), "room"))
    app.done(SetStatus(app.next_id(), "offline", user="alice"))
    fresh = world.open("fresh", role="service")
    for link in (fresh, last):
        assert link.watch_channel("room").records == []
    world.advance(3 * CHANNEL_INTERVAL_MS)
    assert fresh.told.batches == last.told.batches == []
    assert fresh.told.rooms["room"].members == last.told.rooms["room"].members == {}
    app.done(SetStatus(app.next_id(), "auto", user="alice"))
    world.advance(CHANNEL_INTERVAL_MS)
    assert list(fresh.told.rooms["room"].members or ()) == ["alice"]


def test_a_slow_watcher_of_a_large_channel_gets_the_counts_when_it_reads_again() -> None:
    world, app, watcher, _ = large()
    watcher.fill()
    app.join("bob/web", "room")
    world.advance(CHANNEL_INTERVAL_MS)
    app.leave("bob/web", "room")
    world.advance(CHANNEL_INTERVAL_MS)
    watcher.drain()
    assert [(batch.total, batch.complete) for batch in watcher.told.batches] == [(1, False)]


# --- at random ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_in_whatever_turn_every_watcher_knows_who_is_there(seed: int) -> None:
    dice = random.Random(seed)
    world = World()
    app = world.open("app", role="service")
    watchers = [world.open("watcher", role="service") for _ in range(3)]
    for link in watchers:
        for channel in ("one", "two"):
            link.watch_channel(channel)
    shrinking = crowd(world, CHANNEL_FULL_MAX, "two") if seed % 2 else []
    held: dict[int, str] = {}
    for step in range(300):
        ref = dice.randrange(1, 9)
        user, device = f"user{ref % 4}", f"web{ref}"
        at = 1_000 + step
        choice = dice.randrange(8)
        if choice == 0 or ref not in held:
            app.say(Attach(at, ref, user, device, status=dice.choice(("online", "dnd"))))
            held[ref] = device
        elif choice < 3:
            app.say(Join(at, dice.choice(("one", "two")), user, device))
        elif choice == 3:
            app.say(Leave(at, dice.choice(("one", "two")), user, device))
        elif choice < 6:
            app.say(SetStatus(at, dice.choice(("auto", "dnd", "offline", "away")), user=user))
        elif choice == 6:
            link = dice.choice(watchers)
            link.drain() if not link.reading else link.stall()
        elif dice.random() < 0.3:
            app.release(ref)
            del held[ref]
        if dice.random() < 0.5:
            app.say(Watch(2_000 + step, [user]))
        if dice.random() < 0.4:
            world.turn()
        if dice.random() < 0.1:
            world.advance(700)
        if shrinking and step > 150:
            world.engine.channels.unwatch(shrinking.pop()[0], "two")
            world.engine.channels.unwatch(shrinking.pop()[0], "two")
    for link in watchers:
        link.drain()
    world.advance(2 * CHANNEL_INTERVAL_MS)
    for channel in ("one", "two"):
        there = [record.user for record in members(app, channel).records]
        for link in watchers:
            room = link.told.rooms[channel]
            assert room.total == len(there)
            assert room.members is None or sorted(room.members) == there
    assert not any(isinstance(message, ChannelCounts) for message in app.messages)


def test_who_left_a_large_channel_and_blocks_before_that_is_told_is_listed_no_longer() -> None:
    world, app, _, _ = large()
    # Of somebody who blocks others each watcher is told by their own eyes, a few in a turn.
    world.standing_max = CHANNEL_FULL_MAX
    app.join("bob/web", "room")
    world.advance(2 * CHANNEL_INTERVAL_MS)
    carol = world.open("carol/phone")
    carol.watch_channel("room")
    app.leave("bob/web", "room")
    assert list(carol.told.rooms["room"].members or ()) == ["alice", "bob"], "the batch is to come"
    app.done(Block(app.next_id(), "carol", "bob"))
    world.advance(2 * CHANNEL_INTERVAL_MS)
    assert list(carol.told.rooms["room"].members or ()) == ["alice"]
