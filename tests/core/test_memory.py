"""What the core refuses while memory is short, what it goes on with, and that protocol.md says the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from presenced.wire.codec import CLIENT_MESSAGES
from presenced.wire.messages import (
    Acknowledge,
    AddActivity,
    AddClaim,
    Applied,
    Approve,
    Attach,
    Await,
    Beats,
    Block,
    Bye,
    Cancel,
    CancelAwait,
    Check,
    Command,
    Compare,
    ContactEntry,
    Detach,
    EndClaim,
    Erase,
    Error,
    Explain,
    FindClaims,
    Focus,
    Follow,
    Forget,
    ForgetFollower,
    Get,
    GetActivity,
    GetAudience,
    GetBlocked,
    GetClaims,
    GetContacts,
    GetDevices,
    GetFollowers,
    GetHistory,
    GetMembers,
    GetSync,
    Heartbeat,
    HideFrom,
    Join,
    Kick,
    Leave,
    Ping,
    RemoveContact,
    Renew,
    Revoke,
    Route,
    SetAudience,
    SetContact,
    SetContacts,
    SetDevice,
    SetSchedule,
    SetStatus,
    ShowAgain,
    ShowTo,
    StopShowing,
    Subscribe,
    Sync,
    Touch,
    Unblock,
    Unsubscribe,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchAll,
    WatchChannel,
    Who,
    Window,
)
from tests.core.fake_link import FakeLink
from tests.core.world import World
from tests.docs.document import SECTIONS, table
from tests.support.samples import sample


def windows() -> list[Any]:
    """One window of a week, by the struct's own fields."""
    return [Window(1, 480, 1020)]


GROWS: dict[str, tuple[Callable[[int], Any], Callable[[int], Any] | None]] = {
    "Watch": (lambda n: Watch(n, ["watched", "unknown"]), lambda n: Watch(n, ["watched"])),
    "WatchChannel": (lambda n: WatchChannel(n, "other"), lambda n: WatchChannel(n, "room")),
    "Join": (lambda n: Join(n, "other", "bob", "web"), lambda n: Join(n, "room", "bob", "web")),
    "Follow": (lambda n: Follow(n), None),
    "WatchAll": (lambda n: WatchAll(n, True), lambda n: WatchAll(n, False)),
    "Attach": (lambda n: Attach(n, 9, "bob", "phone"), lambda n: Attach(n, 1, "bob", "web")),
    "AddClaim": (
        lambda n: AddClaim(n, "other", "call", "dnd", user="bob"),
        lambda n: AddClaim(n, "busy", "call", "away", user="bob"),
    ),
    "SetSchedule": (
        lambda n: SetSchedule(n, "UTC", windows(), "dnd", user="dave"),
        lambda n: SetSchedule(n, "UTC", windows(), "away", user="bob"),
    ),
    "AddActivity": (lambda n: AddActivity(n, "message", user="bob"), None),
    "SetStatus": (lambda n: SetStatus(n, "dnd", user="unknown"), lambda n: SetStatus(n, "dnd", "text", user="bob")),
    "Touch": (lambda n: Touch(n, user="unknown"), lambda n: Touch(n, user="bob")),
    "Command": (lambda n: Command(n, "/presence", user="unknown"), lambda n: Command(n, "/presence", user="bob")),
    "Subscribe": (lambda n: Subscribe(n, "other", user="bob"), lambda n: Subscribe(n, "carol", "hi", user="bob")),
    "Approve": (lambda n: Approve(n, "other", user="bob"), lambda n: Approve(n, "carol", user="bob")),
    "SetContact": (lambda n: SetContact(n, "other", user="bob"), lambda n: SetContact(n, "carol", "C", user="bob")),
    "SetContacts": (lambda n: SetContacts(n, "bob", [ContactEntry("other")]), None),
    "Block": (lambda n: Block(n, "other", "bob"), lambda n: Block(n, "mallory", "bob")),
    "HideFrom": (lambda n: HideFrom(n, "other", "bob"), lambda n: HideFrom(n, "mallory", "bob")),
    "ShowTo": (lambda n: ShowTo(n, "other", "bob", "web"), lambda n: ShowTo(n, "erin", "bob", "web")),
    "SetAudience": (lambda n: SetAudience(n, always=["x"], user="bob"), lambda n: SetAudience(n, user="bob")),
    "Await": (lambda n: Await(n, "watched", 60_000, ["offline"]), None),
}
"""What is refused when memory is short, and (where there is one) the same that needs no more and is done."""

LONG = (
    Get,
    Who,
    GetDevices,
    GetClaims,
    FindClaims,
    GetActivity,
    GetMembers,
    GetSync,
    Route,
    GetContacts,
    GetBlocked,
    GetAudience,
    Compare,
    Explain,
    GetHistory,
    GetFollowers,
)
OTHERS = (
    Ping,
    Renew,
    Unwatch,
    UnwatchChannel,
    SetDevice,
    EndClaim,
    Sync,
    Forget,
    Leave,
    Detach,
    Cancel,
    Unsubscribe,
    RemoveContact,
    Unblock,
    ShowAgain,
    StopShowing,
    Revoke,
    Kick,
    Erase,
    Check,
    CancelAwait,
    ForgetFollower,
)
UNANSWERED = (Heartbeat, Beats, Applied, Bye, Focus, Acknowledge)
FOR_LONG = {"Watch", "WatchChannel", "Follow", "AddActivity", "Command", *(kind.__name__ for kind in LONG)}
"""Refused when memory is very short whatever they would add."""


@pytest.fixture
def service() -> FakeLink:
    """A service with something of everything, and memory is not short yet."""
    link = World().open("backend", role="service")
    for message in (
        Attach(101, 1, "bob", "web"),
        Attach(102, 2, "bob", "old"),
        Detach(103, 2),
        Attach(104, 3, "dave", "web"),
        Join(105, "room", "bob", "web"),
        AddClaim(106, "busy", "call", "dnd", user="bob"),
        SetSchedule(107, "UTC", windows(), "dnd", user="bob"),
        SetContact(110, "carol", user="bob"),
        Block(111, "mallory", "bob"),
        HideFrom(112, "mallory", "bob"),
        ShowTo(113, "erin", "bob", "web"),
    ):
        link.done(message)
    link.ask(Watch(108, ["watched"]))
    link.ask(WatchChannel(109, "room"))
    return link


def refused(link: FakeLink, message: Any) -> bool:
    answer = link.ask(message)
    if not isinstance(answer, Error):
        return False
    assert (answer.code, answer.retry_ms) == ("memory_low", 2_000), answer
    return True


@pytest.mark.parametrize("name", GROWS)
def test_what_makes_new_state_is_refused_and_the_same_without_is_done(service: FakeLink, name: str) -> None:
    grows, stays = GROWS[name]
    engine = service.world.engine
    engine.memory_level = 1
    before = len(engine.users), len(engine.channels.by_name), engine.watches.count, service.world.snapshot()
    assert refused(service, grows(1))
    assert before == (
        len(engine.users),
        len(engine.channels.by_name),
        engine.watches.count,
        service.world.snapshot(),
    ), "half of it was applied"
    assert stays is None or not refused(service, stays(2))
    engine.memory_level = 2
    assert refused(service, grows(3))
    assert stays is None or refused(service, stays(4)) == (name in FOR_LONG)
    engine.memory_level = 0
    assert not refused(service, grows(5))


@pytest.mark.parametrize("kind", LONG)
def test_what_has_long_answers_is_refused_when_it_is_very_short(service: FakeLink, kind: type[Any]) -> None:
    service.world.engine.memory_level = 1
    assert not refused(service, sample(kind, 1))
    service.world.engine.memory_level = 2
    assert refused(service, sample(kind, 2))


@pytest.mark.parametrize("kind", OTHERS)
def test_all_others_are_done(service: FakeLink, kind: type[Any]) -> None:
    service.world.engine.memory_level = 2
    assert not refused(service, sample(kind))


def test_watches_and_following_go_on(service: FakeLink) -> None:
    world = service.world
    service.ask(Follow(1))
    service.done(WatchAll(2, True))
    world.engine.memory_level = 1
    assert not refused(service, Follow(3)) and not refused(service, WatchAll(4, True))
    world.engine.memory_level = 2
    service.done(SetStatus(5, "xa", user="dave"))
    world.advance(1_000)
    assert service.view["dave"].status == "xa"


def test_every_request_is_in_one_of_the_lists() -> None:
    answered = {struct.__name__ for struct in CLIENT_MESSAGES.values()} - {"Hello"}
    assert {*GROWS, *(struct.__name__ for struct in (*LONG, *OTHERS, *UNANSWERED))} == answered


def test_protocol_md_says_the_same() -> None:
    short, very_short, done = set(), set(), set()
    for row in table(SECTIONS["8.1"].body, "request"):
        for name in re.findall(r"[A-Z]\w+", row["request"]):
            first, second = row["when short"], row["when very short"]
            if first.startswith("refused"):
                short.add(name)
            if second == "refused" or (name in second and f"{name} as before" not in second):
                very_short.add(name)
            if first == "done":
                done.add(name)
    assert (short, very_short, done) == ({*GROWS}, FOR_LONG, {kind.__name__ for kind in LONG})
