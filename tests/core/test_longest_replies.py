"""Every question about a user who has all that the limits allow, in the longest words: each reply fits its bound.

That every frame is held against its bound is the virtual world's doing (`tests.core.fake_link`).
"""

from __future__ import annotations

import pytest

from presenced import limits
from presenced.wire.codec import CLIENT_MESSAGES, encode
from presenced.wire.frames import LENGTH_BYTES
from presenced.wire.messages import (
    ActivityList,
    AddActivity,
    AddClaim,
    ClaimList,
    Command,
    CommandReply,
    DeviceList,
    Error,
    Get,
    GetActivity,
    GetClaims,
    GetDevices,
    GetSync,
    Message,
    OwnState,
    Records,
    SetDevice,
    SetSchedule,
    SyncState,
    Watch,
    Window,
)
from tests.core.world import FakeLink, World
from tests.support.requests import HANDLERS
from tests.wire.largest import LARGEST


def word(number: int, size: int) -> str:
    """A name of exactly so many bytes, in characters of four."""
    return f"{number:04}" + "\U00020000" * ((size - 4) // 4)


ALICE = word(0, limits.NAME_BYTES_MAX)
TEXT = "\U0001f334" * (limits.TEXT_BYTES_MAX // 4)


def devices_of(world: World, user: str) -> list[FakeLink]:
    """As many links of the user as there can be, each of which wants the own state."""
    links = []
    for number in range(2 * limits.DEVICES_PER_USER_MAX):
        name = word(number, limits.NAME_BYTES_MAX)
        kind = word(0, limits.LABEL_BYTES_MAX)
        links.append(world.open(f"{user}/{name}", kind=kind, priority=0 if number % 2 else -100, sync=True))
        links[-1].done(SetDevice(links[-1].next_id(), name=word(number, limits.LABEL_BYTES_MAX)))
    return links


def test_a_user_with_all_that_can_be_had() -> None:
    world = World(
        calendar=lambda schedule, wall_ms: __import__("presenced.core.parts.schedules", fromlist=["x"]).Opening(True, 0)
    )
    links = devices_of(world, ALICE)
    alice = links[1]
    alice.set_status("dnd", TEXT, TEXT[:16], for_ms=limits.DURATION_MS_MAX)
    for number in range(limits.CLAIMS_PER_USER_MAX):
        name = word(number, limits.NAME_BYTES_MAX)
        alice.done(AddClaim(alice.next_id(), name, "calendar", "xa", limits.DURATION_MS_MAX))
    windows = [Window(127, 1400, number) for number in range(limits.WINDOWS_MAX)]
    alice.done(SetSchedule(alice.next_id(), "x" * limits.ZONE_BYTES_MAX, windows))
    for _ in range(limits.ACTIVITIES_PER_USER_MAX):
        world.advance(1)
        channel, payload = word(0, limits.NAME_BYTES_MAX), TEXT * 2
        alice.done(AddActivity(alice.next_id(), word(0, limits.LABEL_BYTES_MAX), channel, 0, payload))
    assert len(alice.expect(GetDevices(alice.next_id()), DeviceList).devices) == 2 * limits.DEVICES_PER_USER_MAX
    assert len(alice.expect(GetClaims(alice.next_id()), ClaimList).claims) == limits.CLAIMS_PER_USER_MAX + 2
    asked = GetActivity(alice.next_id(), limit=limits.ACTIVITIES_PER_USER_MAX)
    assert len(alice.expect(asked, ActivityList).activities) == limits.ACTIVITIES_PER_USER_MAX
    assert len(alice.expect(GetSync(alice.next_id()), SyncState).devices) == 2 * limits.DEVICES_PER_USER_MAX
    for text in ("", "who", "activity", "devices", "auto", "x" * limits.COMMAND_BYTES_MAX):
        assert alice.expect(Command(alice.next_id(), text), CommandReply).text
    told = [message for message in alice.messages if isinstance(message, OwnState)]
    assert len(told[-1].devices) == 2 * limits.DEVICES_PER_USER_MAX
    assert max(len(message.claims) for message in told) == limits.CLAIMS_PER_USER_MAX + 2
    most = max(len(payload) for payload in alice.raw if payload[1] == 74)
    assert most > LARGEST[ActivityList] * 3 // 4, "these are not the longest values"


@pytest.mark.parametrize("ask", [Get, Watch])
def test_as_many_records_as_can_be_asked_for(ask: type[Get] | type[Watch]) -> None:
    world = World()
    world.checks = False
    app = world.open("app", role="service")
    names = [word(number, limits.NAME_BYTES_MAX) for number in range(limits.USERS_PER_REQUEST_MAX)]
    for number, name in enumerate(names):
        app.attach(number + 1, f"{name}/{name}")
        app.say(CLIENT_MESSAGES[5](app.next_id(), "dnd", TEXT, TEXT[:16], 0, name))  # type: ignore[call-arg]
    assert len(app.expect(ask(app.next_id(), names), Records).records) == limits.USERS_PER_REQUEST_MAX
    assert len(app.who(limit=limits.USERS_PER_REQUEST_MAX).records) == limits.USERS_PER_REQUEST_MAX
    for name in names:
        app.join(f"{name}/{name}", ALICE)
    assert len(app.watch_channel(ALICE, limits.USERS_PER_REQUEST_MAX).records) == limits.USERS_PER_REQUEST_MAX


NAMED = [message for message in CLIENT_MESSAGES.values() if {"user", "device"} & set(message.__struct_fields__)]
GIVEN = {
    "id": 1,
    "ref": 1,
    "activity": "x",
    "channel": "c",
    "contact": "c",
    "claim": "c",
    "source": "call",
    "status": "dnd",
    "text": "",
    "contacts": [],
    "for_at_most_ms": 1_000,
    "name": "feed",
}


@pytest.mark.parametrize("role", ["user", "service"])
@pytest.mark.parametrize("letter", ["\x00", "\U000e0001", "x", "'"])
@pytest.mark.parametrize("message", NAMED, ids=lambda message: message.__name__)
def test_an_error_does_not_give_back_what_was_sent(message: type[Message], letter: str, role: str) -> None:
    if message not in HANDLERS or message.__name__ == "Hello":
        return
    world = World()
    link = world.open("alice/laptop") if role == "user" else world.open("app", role="service")
    fields = message.__struct_fields__
    given = {field: value for field, value in GIVEN.items() if field in fields}
    if message is SetSchedule:
        given |= {"zone": letter * 10_000, "windows": []}
    for field in ("user", "device", "contact"):
        if field in fields:
            named = dict.fromkeys({"user", "device"} & set(fields), "alice") | given | {field: letter * 10_000}
            link.forget()
            answer = link.ask(message(**named))
            if isinstance(answer, Error):
                assert len(encode(answer)) + LENGTH_BYTES < 1_000, answer.message[:200]
