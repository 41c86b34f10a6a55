"""Channels: who is in them, who sees whom there, and what watchers are told."""

from __future__ import annotations

import pytest
from sortedcontainers import SortedList

from presenced.limits import (
    CHANNELS_PER_DEVICE_MAX,
    GRACE_MS,
    MEMBERSHIPS_PER_USER_MAX,
    SERVICE_CHANNELS_PER_DEVICE_MAX,
)
from presenced.wire.messages import (
    Attach,
    Bye,
    ChannelEvent,
    Detach,
    GetMembers,
    Join,
    Leave,
    MembersPage,
    SetStatus,
    Touch,
    UnwatchChannel,
    Watch,
    WatchChannel,
)
from tests.core.world import TICK_MS, FakeLink, World


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


def names(page: MembersPage) -> list[str]:
    return [record.user for record in page.records]


# --- membership -----------------------------------------------------------------------------------------------


def test_a_user_is_in_a_channel_while_a_device_of_theirs_is() -> None:
    world, app, watcher = stage()
    app.join("alice/web", "room")
    app.join("alice/phone", "room")
    app.join("alice/web", "room")
    app.leave("alice/web", "room")
    assert names(members(app)) == ["alice"]
    app.leave("alice/phone", "room")
    app.leave("alice/phone", "room")
    assert names(members(app)) == []
    assert watcher.told.room_events == [("room", "join", "alice"), ("room", "leave", "alice")]


@pytest.mark.parametrize("how", ["bye", "lost", "silence", "link"])
def test_membership_ends_with_the_device_and_is_one_leave(how: str) -> None:
    world, app, watcher = stage()
    app.join("bob/web", "room")
    app.join("bob/web", "side")
    if how == "link":
        app.lose()
    elif how == "silence":
        world.advance_beating(80_000, app, watcher, every_ms=10_000)
    else:
        app.release(3, lost=how == "lost")
    if how != "bye":
        world.advance_beating(GRACE_MS, watcher, every_ms=5_000)
        world.advance(3 * TICK_MS)
    assert watcher.told.room_events == [("room", "join", "bob"), ("room", "leave", "bob")]
    assert list(world.engine.channels.by_name) == ["room"]
    back = world.open("other", role="service")
    back.attach(3, "bob/web")
    assert names(members(back)) == []


def test_one_of_two_devices_goes_and_the_other_keeps_the_user_in_the_channel() -> None:
    world, app, watcher = stage()
    app.join("alice/web", "room")
    app.join("alice/phone", "room")
    app.release(1)
    assert names(members(app)) == ["alice"]
    # The primary was another device: that is a change of the member, not a leave.
    assert ("room", "leave", "alice") not in watcher.told.room_events
    app.release(2)
    assert watcher.told.room_events.count(("room", "leave", "alice")) == 1


def test_a_member_whose_device_there_goes_leaves_though_another_device_stays_online() -> None:
    world, app, watcher = stage()
    app.join("alice/web", "room")
    app.release(1)
    assert [kind for _, kind, _ in watcher.told.room_events if kind != "change"] == ["join", "leave"]
    assert world.record("alice").status == "online"


def test_a_reconnect_keeps_the_membership_and_tells_nothing() -> None:
    world, app, watcher = stage()
    app.join("alice/web", "room")
    app.lose()
    world.advance(GRACE_MS // 2)
    heir = world.open("heir", role="service")
    heir.attach(9, "alice/web")
    heir.attach(8, "alice/phone")
    world.advance(GRACE_MS)
    assert watcher.told.room_events == [("room", "join", "alice")]
    assert names(members(heir)) == ["alice"]


def test_a_device_that_makes_room_for_another_and_one_of_negative_priority_take_their_memberships_along() -> None:
    world, app, _ = stage()
    app.attach(4, "carol/tool", priority=-1)
    app.join("carol/tool", "room")
    assert names(members(app)) == []
    app.release(4)
    assert world.engine.channels.by_name["room"].members == {}


def test_a_device_of_an_ordinary_link_is_in_fewer_channels_than_a_service_may_have_it_in() -> None:
    world, app, _ = stage()
    eve = world.open("eve/laptop")
    for number in range(CHANNELS_PER_DEVICE_MAX):
        eve.say(Join(10_000 + number, f"c{number}"))
    assert eve.refused(Join(eve.next_id(), "more")) == "channel_limit"
    assert "more" not in world.engine.channels.by_name
    eve.done(Join(eve.next_id(), "c0"))
    app.join("eve/laptop", "more")
    assert eve.refused(Join(eve.next_id(), "still-more")) == "channel_limit"
    second = world.open("eve/phone")
    second.done(Join(second.next_id(), "still-more"))


def test_the_devices_of_a_user_together_are_in_as_many_channels_as_are_allowed_and_not_in_one_more() -> None:
    world, app, _ = stage()
    world.checks = False
    devices = ["web", "phone", "tv"]
    app.attach(4, "alice/tv")
    for number in range(MEMBERSHIPS_PER_USER_MAX):
        device, channel = divmod(number, SERVICE_CHANNELS_PER_DEVICE_MAX)
        app.say(Join(10_000 + number, f"c{channel}", "alice", devices[device]))
    world.turn()
    laptop = world.open("alice/laptop")
    for link, device in ((app, "tv"), (laptop, "")):
        assert link.refused(Join(link.next_id(), "c1", "alice" if device else "", device)) == "channel_limit"
    app.join("alice/phone", "c1")
    app.leave("alice/phone", "c1")
    app.join("alice/tv", "c1")
    app.join("bob/web", "c1")


def test_a_device_is_in_as_many_channels_as_a_service_may_have_it_in_and_not_in_one_more() -> None:
    world, app, _ = stage()
    world.checks = False
    for number in range(SERVICE_CHANNELS_PER_DEVICE_MAX):
        app.say(Join(10_000 + number, f"c{number}", "bob", "web"))
    world.turn()
    assert app.refused(Join(app.next_id(), "more", "bob", "web")) == "channel_limit"
    assert "more" not in world.engine.channels.by_name
    app.join("bob/web", "c1")
    app.leave("bob/web", "c1")
    app.join("bob/web", "more")
    assert app.refused(Join(app.next_id(), "c1", "bob", "web")) == "channel_limit"
    app.release(3)
    assert list(world.engine.channels.by_name) == ["room"]


def test_one_link_watches_as_many_channels_as_are_allowed_and_not_one_more() -> None:
    world, _, _ = stage()
    world.checks = False
    eve = world.open("eve/laptop")
    for number in range(CHANNELS_PER_DEVICE_MAX):
        eve.say(WatchChannel(10_000 + number, f"c{number}"))
    world.turn()
    assert eve.refused(WatchChannel(eve.next_id(), "more")) == "channel_limit"
    assert "more" not in world.engine.channels.by_name
    eve.watch_channel("c1")
    eve.lose()
    assert list(world.engine.channels.by_name) == ["room"]


@pytest.mark.parametrize("name", ["", "two words", "a/b", "x" * 129, "a\u200bb", "e\u0301"])
def test_a_bad_channel_name_is_refused_and_makes_no_channel(name: str) -> None:
    world, app, _ = stage()
    for message in (
        Join(app.next_id(), name, "bob", "web"),
        GetMembers(app.next_id(), name),
        WatchChannel(app.next_id(), name),
    ):
        assert app.refused(message) == "bad_channel"
    app.leave("bob/web", name)
    app.done(UnwatchChannel(app.next_id(), name))
    assert list(world.engine.channels.by_name) == ["room"]


class Counted(SortedList[str]):  # type: ignore[misc]  # untyped, so it is no class to mypy
    """Names in order that count how often they are changed and searched."""

    work = 0

    def add(self, value: str) -> None:
        self.work += 1
        super().add(value)

    def remove(self, value: str) -> None:
        self.work += 1
        super().remove(value)

    def __contains__(self, value: object) -> bool:
        self.work += 1
        return bool(super().__contains__(value))


def test_who_stays_online_costs_their_channels_no_search_among_the_members() -> None:
    world, app, watcher = stage()
    app.join("alice/web", "room")
    channel = world.engine.channels.by_name["room"]
    online = channel.online = Counted(channel.online)
    for status in ("dnd", "away", "chat"):
        app.done(SetStatus(app.next_id(), status, user="alice"))
        app.done(SetStatus(app.next_id(), text=f"now {status}", user="alice"))
        assert channel.counts == {**dict.fromkeys(channel.counts, 0), status: 1}
    assert len(watcher.told.room_events) == 7
    assert online.work == 0
    app.done(SetStatus(app.next_id(), "offline", user="alice"))
    app.done(SetStatus(app.next_id(), "auto", user="alice"))
    assert (online.work, list(online)) == (2, ["alice"])


# --- who is seen ----------------------------------------------------------------------------------------------


def test_somebody_who_hides_is_in_no_list_no_count_and_no_event() -> None:
    world, app, watcher = stage()
    alice = world.open("alice/laptop")
    alice.set_status("offline")
    watcher.forget()
    watcher.told.room_events.clear()
    alice.join("alice/laptop", "room")
    alice.set_status(text="psst")
    app.leave("alice/laptop", "room")
    app.join("alice/web", "room")
    page = members(watcher)
    assert (page.total, page.counts, page.records) == (0, [0] * 5, [])
    assert watcher.told.room_events == []
    alice.set_status("auto")
    assert watcher.told.room_events == [("room", "join", "alice")]
    alice.set_status("offline")
    assert watcher.told.room_events[1:] == [("room", "leave", "alice")]


def test_who_is_seen_just_now_and_hides_does_not_show_by_that() -> None:
    world, app, watcher = stage()
    watcher.watch("bob")
    app.claim("bob", "night", "manual", "offline")
    before = watcher.get("bob")
    watcher.forget()
    world.advance(5_000)
    app.done(Touch(app.next_id(), "bob"))
    app.done(Touch(app.next_id(), "bob", "web"))
    assert watcher.get("bob") == before and watcher.pushes == []


def test_members_who_are_idle_too_long_or_of_negative_priority_are_not_listed() -> None:
    world, app, _ = stage()
    app.join("bob/web", "room")
    app.attach(4, "carol/tool", priority=-1)
    app.join("carol/tool", "room")
    app.beats(3, 3_600_000)
    assert members(app).total == 0
    app.beats(3, 400_000)
    assert members(app).counts == [0, 0, 1, 0, 0]
    app.beats(3, 0)
    assert members(app).counts == [0, 1, 0, 0, 0]


def test_pages_in_order_of_name_with_exact_counts_on_each() -> None:
    world, app, _ = stage()
    world.checks = False
    wanted = []
    for number in range(60):
        name = f"user{number:02}"
        app.attach(100 + number, f"{name}/web", status=("chat", "online", "away", "xa", "dnd")[number % 5])  # type: ignore[arg-type]
        app.join(f"{name}/web", "room")
        wanted.append(name)
    seen: list[str] = []
    after = ""
    while True:
        page = members(app, after=after, limit=7)
        assert (page.total, page.counts) == (60, [12] * 5)
        seen.extend(names(page))
        after = page.next
        if not after:
            break
    assert seen == wanted
    assert names(members(app, after="user57x", limit=2)) == ["user58", "user59"]
    assert members(app, limit=60).next == "" and members(app, limit=59).next == "user58"
    page = members(app, limit=0)
    assert (page.total, page.records, page.next) == (60, [], "")
    assert members(app, "nobody-is-here").total == 0 and "nobody-is-here" not in world.engine.channels.by_name


# --- several things in one turn -------------------------------------------------------------------------------


def test_who_comes_and_joins_in_one_turn_is_counted_and_told_once() -> None:
    world, app, watcher = stage()
    app.say(Attach(500, 9, "dora", "web"))
    app.say(Join(501, "room", "dora", "web"))
    world.turn()
    assert watcher.told.room_events == [("room", "join", "dora")]


def test_who_changes_and_joins_or_leaves_in_one_turn_is_counted_right() -> None:
    world, app, watcher = stage()
    app.join("bob/web", "room")
    app.join("bob/web", "side")
    app.say(SetStatus(500, "dnd", user="bob"))
    app.say(Join(501, "third", "bob", "web"))
    app.say(Leave(502, "side", "bob", "web"))
    app.say(SetStatus(503, "offline", user="bob"))
    app.say(Leave(504, "third", "bob", "web"))
    app.say(SetStatus(505, "auto", user="bob"))
    app.say(Join(506, "third", "bob", "web"))
    world.turn()
    assert members(app, "third").counts == members(app).counts == [0, 1, 0, 0, 0]


def test_two_changes_in_one_turn_with_a_question_between_them_are_counted_right() -> None:
    world, app, watcher = stage()
    app.join("bob/web", "room")
    for status in ("dnd", "offline", "away"):
        app.say(SetStatus(app.next_id(), status, user="bob"))
        app.say(Watch(app.next_id(), ["bob"]))
    world.turn()
    assert members(app).counts == [0, 0, 1, 0, 0]


def test_a_watcher_gets_the_snapshot_and_then_what_came_after_it_within_the_turn() -> None:
    world, app, _ = stage()
    late = world.open("late", role="service")
    app.say(Join(500, "room", "bob", "web"))
    late.say(WatchChannel(1, "room"))
    app.say(Join(501, "room", "alice", "web"))
    world.turn()
    assert late.told.room_events == [("room", "join", "alice")]
    assert list(late.told.rooms["room"].members or ()) == ["bob", "alice"]


def test_a_whole_service_with_members_that_says_bye_in_one_turn_leaves_right_counts() -> None:
    world, app, watcher = stage()
    app.join("alice/web", "room")
    bob = world.open("bob/laptop")
    bob.join("bob/laptop", "room")
    bob.say(Bye())
    app.say(Leave(500, "room", "alice", "web"))
    world.turn()
    assert members(app).total == 0
    assert {user for _, kind, user in watcher.told.room_events if kind == "leave"} == {"alice", "bob"}


def test_who_goes_offline_with_their_device_leaves_once_and_as_what_they_are_then() -> None:
    world, app, watcher = stage()
    app.join("bob/web", "room")
    app.say(SetStatus(500, "dnd", user="bob"))
    app.say(Watch(501, ["bob"]))
    app.say(Detach(502, 3))
    world.turn()
    told = [m for m in watcher.messages if isinstance(m, ChannelEvent)]
    assert [(event.kind, event.record.status) for event in told] == [("join", "online"), ("leave", "offline")]


# --- watching -------------------------------------------------------------------------------------------------


def test_each_join_leave_and_change_is_told_exactly_once() -> None:
    world, app, watcher = stage()
    app.join("bob/web", "room")
    app.done(SetStatus(app.next_id(), "dnd", "lunch", user="bob"))
    app.done(SetStatus(app.next_id(), "dnd", "lunch", user="bob"))
    app.done(SetStatus(app.next_id(), "offline", user="bob"))
    app.done(SetStatus(app.next_id(), "auto", user="bob"))
    app.leave("bob/web", "room")
    app.done(SetStatus(app.next_id(), "dnd", user="bob"))
    assert [kind for _, kind, _ in watcher.told.room_events] == ["join", "change", "leave", "join", "leave"]


def test_who_watches_no_more_is_told_no_more_and_watching_twice_is_watching_once() -> None:
    world, app, watcher = stage()
    watcher.watch_channel("room")
    app.join("bob/web", "room")
    assert len(watcher.told.room_events) == 1
    watcher.done(UnwatchChannel(watcher.next_id(), "room"))
    app.leave("bob/web", "room")
    assert len(watcher.told.room_events) == 1
    assert world.engine.channels.by_name == {}


def test_a_slow_watcher_is_told_the_counts_once_when_it_reads_again() -> None:
    world, app, watcher = stage()
    watcher.watch_channel("quiet")
    watcher.fill()
    app.join("alice/web", "room")
    for status in ("dnd", "away", "chat"):
        app.done(SetStatus(app.next_id(), status, user="alice"))
    watcher.drain()
    batches = watcher.told.batches
    assert [(b.channel, b.total, b.counts, b.records, b.left, b.complete) for b in batches] == [
        ("room", 1, [1, 0, 0, 0, 0], [], [], False)
    ]
    members(watcher)
    app.leave("alice/web", "room")
    watcher.fill()
    watcher.drain()
    assert len(watcher.told.batches) == 1 and watcher.told.rooms["room"].members == {}


def test_a_slow_watcher_that_stops_watching_or_goes_is_owed_nothing() -> None:
    world, app, watcher = stage()
    watcher.fill()
    app.join("alice/web", "room")
    watcher.say(UnwatchChannel(watcher.next_id(), "room"))
    watcher.drain()
    assert watcher.told.batches == []
    watcher.watch_channel("room")
    watcher.fill()
    app.leave("alice/web", "room")
    watcher.lose()
    assert world.engine.channels.by_name == {}
