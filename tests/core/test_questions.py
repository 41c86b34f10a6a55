"""What is said within one turn is one change, whatever is asked in between, and each answer is that of its end."""

from __future__ import annotations

import pytest

from presenced.wire.messages import (
    ClientMessage,
    Command,
    CommandReply,
    DeviceList,
    Done,
    Follow,
    Get,
    GetDevices,
    GetMembers,
    GetSync,
    Join,
    Leave,
    MembersPage,
    Presence,
    Records,
    SetDevice,
    SetStatus,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchAll,
    WatchChannel,
    Who,
    WhoPage,
)
from tests.core.world import FakeLink, World

QUESTIONS: dict[str, ClientMessage] = {
    "get": Get(1_000, ["bob", "alice"]),
    "who": Who(1_000),
    "watch": Watch(1_000, ["alice"]),
    "watch all": WatchAll(1_000),
    "members": GetMembers(1_000, "general"),
    "watch channel": WatchChannel(1_000, "general"),
    "devices": GetDevices(1_000, "alice"),
    "sync": GetSync(1_000, "alice"),
    "follow": Follow(1_000),
    "show": Command(1_000, "/presence", "alice"),
    "who command": Command(1_000, "/presence who", "alice"),
    "devices command": Command(1_000, "/presence devices", "alice"),
    "sync command": Command(1_000, "/presence sync", "alice"),
    "join": Join(1_000, "side", "alice", "laptop"),
    "leave": Leave(1_000, "general", "alice", "laptop"),
}


def stage() -> tuple[World, FakeLink, FakeLink, FakeLink]:
    """Alice, a service that watches her in all ways, and one that has just come."""
    world = World()
    alice = world.open("alice/laptop", sync=True)
    alice.join("alice/laptop", "general")
    watcher = world.open("app", role="service")
    watcher.watch("alice")
    watcher.watch_channel("general")
    watcher.ask(Follow(watcher.next_id()))
    return world, alice, watcher, world.open("other", role="service")


@pytest.mark.parametrize("number", [0, 1, 50])
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_in_between_makes_no_two_changes_of_one(question: str, number: int) -> None:
    world, alice, watcher, other = stage()
    version, count = world.record("alice").version, len(watcher.told.events)
    for _ in range(number):
        # Others have something to say in the same turn.
        world.engine.publisher.mark_dirty(world.engine.users.get_or_new("carol"))
    watcher.forget()
    alice.say(SetStatus(1, "dnd"))
    other.say(QUESTIONS[question])
    alice.say(SetStatus(2, "away", "lunch"))
    world.turn()
    assert world.record("alice").version == version + 1
    assert watcher.statuses("alice") == ["away"]
    told = [(event.kind, event.old, event.new) for event in watcher.told.events[count:]]
    assert told == [("status_change", "online", "away"), ("text_change", "", "lunch")]


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_undone_within_a_turn_is_told_to_nobody_though_somebody_asked(question: str) -> None:
    world, alice, watcher, other = stage()
    before = world.record("alice")
    watcher.forget()
    count = len(watcher.told.events)
    alice.say(SetStatus(1, "dnd"))
    other.say(QUESTIONS[question])
    alice.say(SetStatus(2, "auto"))
    world.turn()
    world.advance(1_000)
    assert world.record("alice") == before
    assert watcher.pushes == [] and len(watcher.told.events) == count
    assert len([message for message in other.messages if getattr(message, "id", 0) == 1_000]) == 1


def test_each_answer_is_that_of_the_end_of_its_turn() -> None:
    world, alice, _, other = stage()
    alice.say(SetStatus(1, "dnd"))
    for number, question in enumerate(
        (Get(7, ["alice"]), Who(8), GetMembers(9, "general"), WatchChannel(10, "general"))
    ):
        other.say(question)
        alice.say(SetStatus(20 + number, "away" if number < 3 else "xa"))
    alice.say(Command(11, "/presence"))
    world.turn()
    told = {getattr(message, "id", 0): message for message in (*other.messages, *alice.messages)}
    for request_id in (7, 8, 9, 10):
        answer = told[request_id]
        assert isinstance(answer, Records | WhoPage | MembersPage)
        assert [record.status for record in answer.records] == ["xa"], answer
    shown = told[11]
    assert isinstance(shown, CommandReply) and shown.text == "You are xa"


def test_what_a_link_asks_and_takes_back_within_a_turn_is_done_in_its_order() -> None:
    world, alice, _, other = stage()
    alice.say(SetStatus(1, "dnd"))
    for message in (
        Watch(1, ["alice"]), Unwatch(2, ["alice"]), WatchChannel(3, "general"), UnwatchChannel(4, "general"),
        WatchAll(5), WatchAll(6, False), Unwatch(7, ["bob"]), Watch(8, ["bob"]),
    ):  # fmt: skip
        other.say(message)
    world.turn()
    assert [getattr(message, "id", 0) for message in other.messages] == list(range(1, 9))
    other.forget()
    alice.set_status("away")
    assert other.messages == [] and list(other.session.watching or ()) == ["bob"]


def test_the_reply_to_a_watch_has_what_was_said_in_its_turn_and_pushes_follow() -> None:
    world, alice, _, other = stage()
    alice.say(SetStatus(1, "dnd"))
    other.say(Watch(2, ["alice"]))
    alice.say(SetStatus(3, "xa"))
    world.turn()
    alice.forget()
    alice.set_status("away")
    told = [message for message in other.messages if isinstance(message, Records | Presence)]
    assert isinstance(told[0], Records) and told[0].records[0].status == "xa"
    assert [message.record.status for message in told[1:] if isinstance(message, Presence)] == ["away"]


@pytest.mark.parametrize("how", ["bye", "lost"])
def test_who_asks_and_leaves_within_a_turn_watches_nothing_any_more(how: str) -> None:
    world, alice, _, other = stage()
    alice.say(SetStatus(1, "dnd"))
    for message in (Get(1, ["alice"]), Watch(2, ["alice", "bob"]), WatchChannel(3, "side"), WatchAll(4), Follow(5)):
        other.say(message)
    if how == "bye":
        world.engine.sessions.bye(world.now_ms, other.session)
        world.turn()
        assert [getattr(message, "id", 0) for message in other.messages] == [1, 2, 3, 4, 5]
    else:
        other.lose()
    assert other.session.watching is None and "bob" not in world.engine.users
    assert "side" not in world.engine.channels.by_name
    assert other.session not in world.engine.outboxes.everyone and other.session not in world.engine.events.followers


def test_a_question_that_fails_ends_its_link_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world, alice, _, other = stage()
    failed: list[FakeLink] = []
    monkeypatch.setattr(FakeLink, "fail", lambda link, now_ms: failed.append(link))
    monkeypatch.setattr(type(world.engine.publisher.online), "page", lambda *_: 1 / 0)
    alice.say(SetStatus(1, "dnd"))
    other.say(Who(2))
    alice.say(GetDevices(3))
    world.turn()
    assert failed == [other]
    told = {getattr(message, "id", 0): type(message) for message in alice.messages}
    assert (told[1], told[3]) == (Done, DeviceList), "the others are served"


def test_a_rename_and_a_question_do_not_split_what_a_device_says() -> None:
    world, alice, watcher, _ = stage()
    version = world.record("alice").version
    watcher.forget()
    alice.say(SetDevice(1, "dnd"))
    alice.say(GetDevices(2))
    alice.say(SetDevice(3, "chat", None, "desk"))
    alice.say(Who(4))
    world.turn()
    assert watcher.statuses("alice") == ["chat"] and world.record("alice").version == version + 1
