"""Events for services: each once, in order per user, with a cursor to go on from."""

from __future__ import annotations

import random

import pytest

from presenced.core import event_chunks
from presenced.core.parts import event_history
from presenced.core.policy import Policy
from presenced.core.records import EventAdded
from presenced.limits import EVENTS_SHORT_BYTES_MAX, GRACE_MS, TEXT_BYTES_MAX
from presenced.wire.messages import Attach, Event, Follow, Following, Get, SetDevice, SetStatus
from tests.core.world import TICK_MS, WALL_MS, FakeLink, World

KEEP_FOR_MS = 640_000
"""A shorter time than usual for which events are kept."""


def follow(link: FakeLink, epoch: int = 0, seq: int = 0) -> Following:
    return link.expect(Follow(link.next_id(), epoch, seq), Following)


def stage(policy: Policy | None = None) -> tuple[World, FakeLink, FakeLink, int]:
    """A world, a service that acts, one that follows, and the epoch of the events."""
    world = World(policy)
    app = world.open("app", role="service")
    follower = world.open("follower", role="service")
    following = follow(follower)
    assert (following.seq, following.reset) == (0, False)
    return world, app, follower, following.epoch


def change(app: FakeLink, count: int, start: int = 0) -> None:
    """So many status changes of alice."""
    for number in range(start, start + count):
        app.done(SetStatus(app.next_id(), ("dnd", "away")[number % 2], user="alice"))  # type: ignore[arg-type]


# --- what is told ---------------------------------------------------------------------------------------------


def test_each_change_is_told_once_with_what_was_and_what_is() -> None:
    world, app, follower, _ = stage()
    app.attach(1, "alice/web")
    app.done(SetStatus(app.next_id(), "dnd", "lunch", "*", user="alice"))
    app.attach(2, "alice/phone", idle_ms=0)
    world.advance(31_000)
    app.beats(1, -1, 2, 0)
    app.release(2)
    app.release(1)
    assert [(e.kind, e.old, e.new, e.reason) for e in follower.told.events] == [
        ("online", "offline", "online", ""),
        ("status_change", "offline", "online", ""),
        ("status_change", "online", "dnd", ""),
        ("text_change", "", "lunch", ""),
        ("device_change", "web", "phone", ""),
        ("device_change", "phone", "web", ""),
        ("offline", "dnd", "offline", "bye"),
        ("status_change", "dnd", "offline", "bye"),
    ]
    assert [e.at_ms - WALL_MS for e in follower.told.events] == [0] * 4 + [31_000] * 4
    assert {e.user for e in follower.told.events} == {"alice"}


@pytest.mark.parametrize("how, reason", [("bye", "bye"), ("lost", "lost"), ("idle", "idle"), ("hidden", "hidden")])
def test_an_offline_says_why(how: str, reason: str) -> None:
    world, app, follower, _ = stage()
    app.attach(1, "alice/web")
    if how == "bye":
        app.release(1)
    elif how == "lost":
        app.release(1, lost=True)
        world.advance(GRACE_MS + TICK_MS)
    elif how == "idle":
        app.beats(1, 3_600_000)
    else:
        app.done(SetStatus(app.next_id(), "offline", user="alice"))
    assert follower.told.kinds()[2:] == [f"offline {reason}", "status_change"]
    assert follower.told.events[-1].reason == reason


def test_the_reason_of_an_earlier_end_is_not_that_of_the_next() -> None:
    """Told once, it is forgotten: the devices that went were other ones, and a table of users must not grow."""
    world, app, follower, _ = stage()
    app.attach(1, "alice/web")
    app.release(1)
    app.attach(1, "alice/web")
    app.beats(1, 3_600_000)
    assert [kind for kind in follower.told.kinds() if kind.startswith("offline")] == ["offline bye", "offline idle"]
    assert len(world.engine.publisher.departures) == 0


def test_a_text_that_becomes_an_emoji_is_told_as_such() -> None:
    _, app, follower, _ = stage()
    app.attach(1, "alice/web")
    app.done(SetStatus(app.next_id(), None, "x", user="alice"))
    app.done(SetStatus(app.next_id(), None, "", "x", user="alice"))
    app.done(SetStatus(app.next_id(), None, "y", user="alice"))
    told = [event for event in follower.told.events if event.kind == "text_change"]
    assert [(event.old, event.old_emoji, event.new, event.new_emoji) for event in told] == [
        ("", "", "x", ""), ("x", "", "", "x"), ("", "x", "y", "x"),
    ]  # fmt: skip


def test_the_reason_is_that_of_the_members_own_change_also_if_they_are_in_channels_or_asked_for() -> None:
    world, app, follower, _ = stage()
    for ref, name in enumerate(("alice", "bob", "carol"), start=1):
        app.attach(ref, f"{name}/web")
        app.join(f"{name}/web", "room")
    app.release(2, lost=True)
    world.advance(GRACE_MS + TICK_MS)
    app.say(SetStatus(500, "offline", user="carol"))
    app.say(Get(501, ["carol"]))
    world.turn()
    app.say(SetStatus(502, "auto", user="carol"))
    app.release(1)
    assert follower.told.kinds("alice")[2:] == ["offline bye", "status_change"]
    assert follower.told.kinds("bob")[2:] == ["offline lost", "status_change"]
    assert follower.told.kinds("carol")[2:] == ["offline hidden", "status_change", "online", "status_change"]


def test_the_reason_is_why_the_last_device_that_counted_stopped_to_count() -> None:
    world = World(Policy(offline_after_ms=10_000))
    follower = world.open("app", role="service")
    follow(follower)
    laptop = world.open("alice/laptop", idle_ms=0)
    tool = world.open("alice/tool", priority=-1)
    other = world.open("alice/other", priority=-1)
    # One that never counted says bye in the turn in which the only one that did becomes idle.
    world.engine.sessions.bye(world.now_ms, tool.session)
    world.now_ms += 10_000 + TICK_MS
    world.turn()
    assert world.record("alice").status == "offline" and follower.told.events[-1].reason == "idle"
    laptop.beat(0)
    # The only one that counts says bye while another is there that does not.
    laptop.bye()
    assert other.open and follower.told.events[-1].reason == "bye"
    # Two that count leave in one turn, each in its way.
    laptop, phone = world.open("alice/laptop"), world.open("alice/phone")
    laptop.say(SetDevice(laptop.next_id(), None, -1))
    world.engine.sessions.bye(world.now_ms, phone.session)
    world.turn()
    assert follower.told.events[-1].reason == "bye"
    laptop.set_device(None, 0)
    phone = world.open("alice/phone")
    world.engine.sessions.bye(world.now_ms, phone.session)
    laptop.say(SetDevice(laptop.next_id(), None, -1))
    world.turn()
    assert follower.told.events[-1].reason == "idle"


def test_what_nobody_sees_is_no_event() -> None:
    world, app, follower, _ = stage()
    app.attach(1, "alice/web", idle_ms=0)
    told = len(follower.told.events)
    app.attach(1, "alice/web")
    app.lose()
    heir = world.open("heir", role="service")
    heir.attach(1, "alice/web")
    heir.beats(1, 5)
    heir.done(SetStatus(heir.next_id(), "online", user="alice"))
    heir.claim("alice", "trip", "calendar", "dnd")
    assert len(follower.told.events) == told


def test_somebody_who_hides_makes_no_event_until_they_show() -> None:
    world, app, follower, _ = stage()
    app.claim("alice", "night", "manual", "offline")
    app.attach(1, "alice/web")
    app.attach(2, "alice/phone", status="dnd")
    app.release(1)
    assert follower.told.events == []
    app.end_claim("alice", "night")
    assert follower.told.kinds() == ["online", "status_change"]


# --- the cursor -----------------------------------------------------------------------------------------------


def test_a_service_that_comes_back_is_told_exactly_what_it_missed() -> None:
    world, app, follower, epoch = stage()
    app.attach(1, "alice/web")
    follower.lose()
    change(app, 5)
    back = world.open("follower", role="service")
    back.told.seq = follower.told.seq
    following = follow(back, epoch, follower.told.seq)
    assert not following.reset and following.epoch == epoch
    assert [e.seq for e in follower.told.events + back.told.events] == list(range(1, 8))
    change(app, 1, 5)
    assert back.told.events[-1].seq == 8
    other = world.open("other", role="service")
    assert follow(other, epoch, 8).seq == 8 and other.told.events == []


def test_nothing_that_happened_before_it_followed_is_told() -> None:
    world = World()
    app = world.open("app", role="service")
    app.attach(1, "alice/web")
    follower = world.open("follower", role="service")
    app.say(SetStatus(500, "dnd", user="alice"))
    follower.say(Follow(1))
    app.say(SetStatus(501, "away", user="alice"))
    world.turn()
    assert follower.told.events == [], "now is the end of the turn in which it asked"
    app.done(SetStatus(app.next_id(), "xa", user="alice"))
    assert [(e.old, e.new) for e in follower.told.events] == [("away", "xa")]


@pytest.mark.parametrize("epoch_off, seq, reset", [(1, 3, True), (-1, 0, True), (0, 99, True), (0, 7, False)])
def test_a_cursor_of_another_run_or_from_the_future_is_reset(epoch_off: int, seq: int, reset: bool) -> None:
    world, app, _, epoch = stage()
    app.attach(1, "alice/web")
    change(app, 5)
    back = world.open("back", role="service")
    following = follow(back, epoch + epoch_off, seq)
    assert (following.reset, following.seq) == (reset, 7)
    assert back.told.events == []
    change(app, 1, 5)
    assert [e.seq for e in back.told.events] == [8]


def test_a_cursor_holds_over_a_restart_and_not_over_a_store_that_was_set_back() -> None:
    world, app, follower, epoch = stage()
    app.attach(1, "alice/web")
    change(app, 3)
    seq = follower.told.seq
    change(app, 2, 3)
    after = world.restarted(1_000)
    back = after.open("back", role="service")
    back.told.seq = 3
    assert not follow(back, epoch, 3).reset
    assert back.told.events == follower.told.events[3:]
    set_back = world.restarted(1_000, epoch=epoch + 1)
    back = set_back.open("back", role="service")
    assert follow(back, epoch, seq).reset


def test_a_cursor_older_than_what_is_kept_is_reset_and_one_that_is_just_kept_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_history, "CHUNK_FACTS", 1)
    world, app, follower, epoch = stage(Policy(events_keep=10))
    app.attach(1, "alice/web")
    change(app, 35)
    assert len(follower.told.events) == 37
    for seq, reset in ((37 - 11, True), (37 - 10, False), (37, False)):
        back = world.open(f"back{seq}", role="service")
        back.told.seq = seq
        assert follow(back, epoch, seq).reset == reset
        while world.engine.events.is_behind:
            world.turn()
        assert [e.seq for e in back.told.events] == ([] if reset else list(range(seq + 1, 38)))


def test_a_slow_follower_is_caught_up_when_it_reads_again() -> None:
    world, app, follower, _ = stage()
    app.attach(1, "alice/web")
    follower.stall()
    change(app, 50)
    assert len(follower.told.events) == 2
    world.next_ms = 0
    world.advance(1)
    assert world.next_ms is None or world.next_ms > world.now_ms, "turn after turn for somebody who does not read"
    follower.drain()
    assert len(follower.told.events) == 52 and follower.told.resets == 0


def test_one_that_is_far_behind_is_caught_up_in_bounded_turns() -> None:
    world, app, follower, epoch = stage()
    app.attach(1, "alice/web")
    follower.lose()
    chunk = event_chunks.CHUNK_FACTS
    change(app, 3 * chunk)
    back = world.open("back", role="service")
    back.told.seq = 0
    back.say(Follow(1, epoch, 0))
    counts = []
    while not counts or world.engine.events.is_behind:
        world.turn()
        counts.append(len(back.told.events))
        assert len(counts) < 10
    assert counts[0] <= chunk + 1
    assert all(later - before <= chunk + 1 for before, later in zip(counts, counts[1:], strict=False))
    assert counts[-1] == 3 * chunk + 2


def test_a_slow_follower_that_falls_out_of_what_is_kept_is_told_so_and_goes_on_from_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_history, "CHUNK_FACTS", 1)
    world, app, follower, _ = stage(Policy(events_keep=10))
    app.attach(1, "alice/web")
    follower.fill()
    change(app, 60)
    follower.drain()
    resets = [m for m in follower.messages if isinstance(m, Following) and m.id == 0]
    assert [(m.reset, m.seq) for m in resets] == [(True, 62)]
    change(app, 1)
    assert [e.seq for e in follower.told.events] == [1, 2, 63]


def test_a_follower_that_goes_is_forgotten_and_nothing_is_kept_until_somebody_follows() -> None:
    world, app, follower, _ = stage()
    follower.bye()
    assert world.engine.events.followers == {}
    quiet = World(Policy(events_record="followed"))
    app = quiet.open("app", role="service")
    app.attach(1, "alice/web")
    assert quiet.engine.events.seq == 0


# --- how much is kept, and for how long -----------------------------------------------------------------------


def long_texts(app: FakeLink, count: int) -> None:
    """So many changes of a text, of the longest."""
    for number in range(count):
        app.say(SetStatus(app.next_id(), text=f"{number:08}{'x' * (TEXT_BYTES_MAX - 8)}", user="alice"))
        app.world.turn()


def test_what_is_kept_is_bounded_in_bytes_whatever_is_written_in_it() -> None:
    dice = random.Random(1)
    world, app, follower, epoch = stage(Policy(events_keep=20_000))
    world.checks = False
    follower.lose()
    for _ in range(4_000):
        app.say(SetStatus(app.next_id(), text=dice.randbytes(TEXT_BYTES_MAX // 2).hex(), user="alice"))
        world.turn()
    history = world.engine.events.history
    bytes_max = max(EVENTS_SHORT_BYTES_MAX, 20_000 * 64)
    assert history.seq == 4_000 and 0 < history.kept < 4_000
    assert bytes_max * 0.8 < history.bytes <= bytes_max
    oldest = history.chunks[0].after
    for seq, reset in ((oldest - 1, True), (oldest, False)):
        back = world.open(f"back{seq}", role="service")
        back.told.seq = seq
        assert follow(back, epoch, seq).reset == reset


def test_what_is_too_old_is_given_up() -> None:
    world, app, follower, epoch = stage(Policy(events_keep_for_ms=KEEP_FOR_MS))
    app.attach(1, "alice/web")
    change(app, 5)
    app.release(1)
    seq = follower.told.seq
    world.advance_beating(KEEP_FOR_MS // 2, app, follower)
    app.claim("alice", "desk", "calendar", "dnd")
    app.attach(1, "alice/web")
    app.release(1)
    world.advance_beating(KEEP_FOR_MS // 2 + KEEP_FOR_MS // 16, app, follower)
    history = world.engine.events.history
    assert history.kept == 4 and history.knows(seq) and not history.knows(seq - 1)
    assert world.engine.events.known_from_ms == follower.told.events[seq - 1].at_ms
    world.advance_beating(KEEP_FOR_MS, app, follower)
    assert not history.kept and not history.bytes and history.knows(history.seq)
    back = world.open("back", role="service")
    assert follow(back, epoch, follower.told.seq).reset is False


def test_where_only_followed_events_are_recorded_it_ends_when_nobody_has_followed_for_long() -> None:
    world, app, follower, epoch = stage(Policy(events_record="followed", events_keep_for_ms=KEEP_FOR_MS))
    other = world.open("other", role="service")
    follow(other)
    app.attach(1, "alice/web")
    change(app, 5)
    app.release(1)
    seq = follower.told.seq
    other.lose()
    world.advance_beating(KEEP_FOR_MS, app, follower)
    assert world.engine.events.is_kept, "somebody follows"
    follower.lose()
    world.advance_beating(KEEP_FOR_MS - 1, app)
    assert world.engine.events.is_kept
    world.advance(1)
    assert not world.engine.events.is_kept and not world.engine.events.history.bytes
    newest = world.engine.events.seq
    app.attach(1, "alice/web")
    app.release(1)
    assert world.engine.events.seq == newest
    restarted = world.restarted(1_000)
    assert not restarted.engine.events.is_kept
    for place, log in ((world, app), (restarted, restarted.open("app", role="service"))):
        back = place.open("follower", role="service")
        back.told.seq = seq
        assert follow(back, epoch, seq).reset, "what happened meanwhile cannot be told"
        log.attach(1, "alice/web")
        assert [event.kind for event in back.told.events] == ["online", "status_change"]


def test_where_only_followed_events_are_recorded_who_is_to_follow_has_as_long() -> None:
    world = World(Policy(events_record="followed", events_keep_for_ms=KEEP_FOR_MS))
    app = world.open("app", role="service")
    world.advance_beating(2 * KEEP_FOR_MS, app)
    epoch = world.engine.events.epoch
    world.engine.events.begin(world.now_ms)
    app.attach(1, "alice/web")
    world.advance_beating(KEEP_FOR_MS - 1, app)
    follower = world.open("follower", role="service")
    assert not follow(follower, epoch, 0).reset
    assert [event.kind for event in follower.told.events] == ["online", "status_change"]


def test_most_of_it_is_given_up_when_memory_is_short_and_whoever_is_behind_is_told_so() -> None:
    dice = random.Random(1)
    world, app, follower, epoch = stage()
    behind = world.open("behind", role="service")
    follow(behind)
    app.attach(1, "alice/web")
    behind.fill()
    world.checks = False
    for _ in range(3_500):
        app.say(SetStatus(app.next_id(), text=dice.randbytes(TEXT_BYTES_MAX // 2).hex(), user="alice"))
        world.turn()
    events = world.engine.events
    assert events.history.bytes > EVENTS_SHORT_BYTES_MAX
    world.engine.set_memory_level(1)
    assert events.is_kept and events.history.bytes <= EVENTS_SHORT_BYTES_MAX
    seq = follower.told.seq
    change(app, 2)
    assert follower.told.seq == seq + 2 and follower.told.resets == 0, "who reads is told on"
    behind.drain()
    assert behind.told.resets == 1 and behind.told.seq == seq + 2
    world.engine.set_memory_level(0)
    back = world.open("follower", role="service")
    assert follow(back, epoch, seq + 2).reset is False


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_the_events_lead_from_what_was_known_to_what_is(seed: int) -> None:
    dice = random.Random(seed)
    world, app, follower, epoch = stage()
    status: dict[str, str] = {}
    for step in range(200):
        ref = dice.randrange(1, 6)
        user = f"user{ref}"
        if dice.random() < 0.3:
            app.say(Attach(1_000 + step, ref, user, "web", status=dice.choice(("online", "dnd"))))
        elif dice.random() < 0.6:
            app.say(SetStatus(1_000 + step, dice.choice(("auto", "dnd", "offline")), dice.choice("ab"), user=user))
        elif ref in (app.session.refs or {}):
            app.release(ref, lost=dice.random() < 0.3)
        if dice.random() < 0.3:
            app.say(Get(2_000 + step, [user]))
        if dice.random() < 0.5:
            world.advance(dice.choice((0, 500, GRACE_MS)))
            app.beat()
            follower.beat()
        if dice.random() < 0.1:
            follower.drain() if not follower.reading else follower.stall()
        if dice.random() < 0.05:
            told, seq, events = follower.told, follower.told.seq, follower.told.events
            follower.lose()
            follower = world.open("follower", role="service")
            follower.told = told
            assert not follow(follower, epoch, seq).reset and events is follower.told.events
    follower.drain()
    world.advance(1_000)
    for event in follower.told.events:
        if event.kind == "status_change":
            assert status.get(event.user, "offline") == event.old
            status[event.user] = event.new
    for user in world.engine.users.values():
        assert status.get(user.name, "offline") == user.record.status
    assert all(isinstance(event, Event) for event in follower.told.events)


def test_what_is_shared_is_an_event_once_it_comes_back_and_in_the_order_in_which_it_does() -> None:
    world, app, follower, _ = stage()
    app.attach(1, "alice/web")
    follower.forget()
    follower.told.events.clear()
    shared: list[tuple[EventAdded, bool]] = []
    world.engine.events.share_by(lambda fact, is_of_erased: shared.append((fact, is_of_erased)))
    before = world.engine.events.seq
    change(app, 2)
    assert (world.engine.events.seq, follower.told.events) == (before, []), "nothing is numbered before all have it"
    foreign = EventAdded("zoe", 999, WALL_MS, 2, "", "offline", "online", "")
    for fact, is_of_erased in (shared[0], (foreign, False), shared[1]):
        world.engine.events.keep_shared(fact, is_of_erased)
    world.turn()
    told = follower.told.events
    assert [event.user for event in told] == ["alice", "zoe", "zoe", "alice"]
    assert [event.seq for event in told] == list(range(before + 1, before + 5))
