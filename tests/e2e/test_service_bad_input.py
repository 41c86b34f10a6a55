"""What a service or a user must not say, over real TCP: a code, a sentence, the link goes on, nothing half-applied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.service_client import (
    ADD_ACTIVITY,
    ADD_CLAIM,
    ATTACH,
    BEATS,
    COMMAND,
    DETACH,
    END_CLAIM,
    EVERY_HOUR,
    FOLLOW,
    FORGET,
    GET,
    GET_ACTIVITY,
    GET_CLAIMS,
    GET_DEVICES,
    GET_MEMBERS,
    GET_SYNC,
    JOIN,
    LEAVE,
    SET_DEVICE,
    SET_SCHEDULE,
    SET_STATUS,
    SYNC,
    TOUCH,
    UNWATCH,
    WATCH_ALL,
    WATCH_CHANNEL,
    WHO,
    Service,
)
from tests.support.wire import DONE, ERROR

PAST_MS = 1_000
LONG_MS = 2**53
LONG_NAME = "n" * 129

BAD: list[tuple[str, list[Any]]] = [
    ("claim_past", [ADD_CLAIM, "meeting", "calendar", "xa", 0, PAST_MS, "carol"]),
    ("claim_past", [ADD_CLAIM, "meeting", "calendar", "xa", 60_000, PAST_MS, "carol"]),
    ("bad_time", [ADD_CLAIM, "meeting", "calendar", "xa", 0, LONG_MS, "carol"]),
    ("bad_name", [ADD_CLAIM, "", "call", "dnd", 0, 0, "carol"]),
    ("bad_name", [ADD_CLAIM, "two words", "call", "dnd", 0, 0, "carol"]),
    ("bad_request", [ADD_CLAIM, "schedule", "call", "dnd", 0, 0, "carol"]),
    ("bad_request", [ADD_CLAIM, "night", "schedule", "dnd", 0, 0, "carol"]),
    ("bad_request", [ADD_CLAIM, "manual", "call", "dnd", 0, 0, "carol"]),
    ("bad_request", [ADD_CLAIM, "meeting", "boss", "dnd", 0, 0, "carol"]),
    ("bad_request", [END_CLAIM, "schedule", "carol"]),
    ("bad_request", [SET_SCHEDULE, "Europe/Berlin", [[127, 600, 700, "offline"]], "dnd", "carol"]),
    ("bad_schedule", [SET_SCHEDULE, "Europe/Atlantis", EVERY_HOUR, "dnd", "carol"]),
    ("bad_schedule", [SET_SCHEDULE, "", EVERY_HOUR, "dnd", "carol"]),
    ("bad_schedule", [SET_SCHEDULE, "../../etc/passwd", EVERY_HOUR, "dnd", "carol"]),
    ("bad_schedule", [SET_SCHEDULE, "Z" * 65, EVERY_HOUR, "dnd", "carol"]),
    ("bad_request", [SET_SCHEDULE, "Europe/Berlin", [[0, 0, 720]], "dnd", "carol"]),
    ("bad_request", [SET_SCHEDULE, "Europe/Berlin", [[127, 0, 1440]], "dnd", "carol"]),
    ("bad_request", [SET_SCHEDULE, "Europe/Berlin", EVERY_HOUR * 15, "dnd", "carol"]),
    ("bad_activity", [ADD_ACTIVITY, "message", "general", 0, "p" * 1025, "carol", "tab"]),
    ("bad_activity", [ADD_ACTIVITY, "message", "general", 0, "two\nlines", "carol", "tab"]),
    ("bad_activity", [ADD_ACTIVITY, "", "general", 0, "", "carol", "tab"]),
    ("bad_activity", [ADD_ACTIVITY, "a" * 65, "general", 0, "", "carol", "tab"]),
    ("bad_channel", [ADD_ACTIVITY, "message", LONG_NAME, 0, "", "carol", "tab"]),
    ("bad_time", [ADD_ACTIVITY, "message", "general", PAST_MS, "", "carol", "tab"]),
    ("bad_time", [ADD_ACTIVITY, "message", "general", LONG_MS, "", "carol", "tab"]),
    ("bad_channel", [JOIN, "", "carol", "tab"]),
    ("bad_channel", [JOIN, "two words", "carol", "tab"]),
    ("bad_channel", [JOIN, LONG_NAME, "carol", "tab"]),
    ("bad_channel", [GET_MEMBERS, LONG_NAME]),
    ("bad_channel", [WATCH_CHANNEL, ""]),
    ("bad_name", [GET_MEMBERS, "general", "two words"]),
    ("bad_name", [ATTACH, 9, "two words", "tab"]),
    ("bad_name", [ATTACH, 9, "carol", ""]),
    ("bad_name", [ATTACH, 9, "", "tab"]),
    ("bad_text", [ATTACH, 9, "carol", "tab-2", "k" * 65]),
    ("bad_request", [ATTACH, 0, "carol", "tab-2"]),
    ("bad_request", [ATTACH, 9, "carol", "tab-2", "", "", 0, "offline"]),
    ("no_such_device", [DETACH, 99]),
    ("no_such_device", [SET_STATUS, "dnd", "busy", None, 0, "carol", "nowhere"]),
    ("no_such_device", [SET_DEVICE, "dnd", 1, "renamed", "carol", "nowhere"]),
    ("no_such_device", [SET_DEVICE, "dnd", 1, "renamed", "carol", "gone"]),
    ("no_such_device", [SET_DEVICE, "dnd", 1, "renamed", "nobody", "tab"]),
    ("no_such_device", [JOIN, "general", "carol", "nowhere"]),
    ("no_such_device", [JOIN, "general", "carol", "gone"]),
    ("no_such_device", [LEAVE, "general", "carol", "nowhere"]),
    ("no_such_device", [TOUCH, "carol", "nowhere"]),
    ("no_such_device", [ADD_ACTIVITY, "message", "", 0, "", "carol", "gone"]),
    ("no_such_device", [FORGET, "nowhere", "carol"]),
    ("no_such_device", [COMMAND, "/presence dnd", "carol", "nowhere"]),
    ("bad_request", [FORGET, "tab", "carol"]),
    ("no_device", [SET_STATUS, "dnd", "busy"]),
    ("no_device", [SET_DEVICE, "dnd", 1, "renamed", "carol"]),
    ("no_device", [JOIN, "general", "carol"]),
    ("no_device", [LEAVE, "general", "carol"]),
    ("no_device", [GET_DEVICES]),
    ("no_device", [GET_SYNC]),
    ("no_device", [COMMAND, "/presence dnd"]),
    ("bad_text", [SET_STATUS, "dnd", "two\nlines", None, 0, "carol", "tab"]),
    ("bad_text", [SET_STATUS, "dnd", "busy", "e" * 65, 0, "carol", "tab"]),
    ("bad_text", [SET_DEVICE, "dnd", 1, "l" * 65, "carol", "tab"]),
    ("bad_text", [COMMAND, "/presence status " + "t" * 1024, "carol", "tab"]),
    ("bad_name", [SET_STATUS, "dnd", "busy", None, 0, "two words"]),
    ("bad_request", [GET_ACTIVITY, "carol", 101]),
    ("bad_request", [FOLLOW, -1]),
]

ACTS_FOR_ANOTHER: list[list[Any]] = [
    [SET_STATUS, "dnd", "busy", None, 0, "carol"],
    [SET_STATUS, "dnd", "busy", None, 0, "carol", "tab"],
    [SET_DEVICE, "dnd", 1, "renamed", "carol", "tab"],
    [ATTACH, 1, "carol", "tab"],
    [ATTACH, 1, "mallory", "second"],
    [DETACH, 1],
    [FORGET, "gone", "carol"],
    [GET_DEVICES, "carol"],
    [TOUCH, "carol"],
    [ADD_CLAIM, "call-81", "call", "dnd", 0, 0, "carol"],
    [END_CLAIM, "manual", "carol"],
    [GET_CLAIMS, "carol"],
    [SET_SCHEDULE, "Europe/Berlin", EVERY_HOUR, "dnd", "carol"],
    [ADD_ACTIVITY, "message", "", 0, "", "carol", "tab"],
    [GET_ACTIVITY, "carol"],
    [JOIN, "secret", "carol", "tab"],
    [LEAVE, "general", "carol", "tab"],
    [SYNC, "carol"],
    [GET_SYNC, "carol"],
    [FOLLOW],
    [COMMAND, "/presence dnd", "carol"],
    [WATCH_ALL],
]


@pytest.fixture
def service(start_daemon: Any) -> Iterator[Service]:
    """A service with a user carol: one device connected and in a channel, one gone, a claim, an activity."""
    link = Service(start_daemon("--grace", "60s").port)
    link.do(ATTACH, 1, "carol", "tab", "web", "Firefox", 0, "online", 0)
    link.do(ATTACH, 2, "carol", "gone")
    link.do(DETACH, 2)
    link.do(JOIN, "general", "carol", "tab")
    link.do(SET_STATUS, "away", "here", None, 0, "carol")
    link.do(ADD_ACTIVITY, "login", "", link.welcome[13], "", "carol")
    yield link
    link.close()


def everything(link: Service) -> list[Any]:
    """All that can be asked of the state, without the version counter, which runs with the clock, and the times of
    devices, which may be off by a rounded millisecond."""
    answers = [
        link.ask(GET, ["carol", "nobody", "mallory"])[4:],
        [[*device[:6], device[8]] for device in link.devices("carol").values()],
        link.devices("nobody"),
        link.ask(GET_CLAIMS, "carol")[2:],
        link.ask(GET_CLAIMS, "nobody")[2:],
        link.ask(GET_ACTIVITY, "carol")[2:],
        link.ask(GET_MEMBERS, "general")[4:],
        link.ask(GET_MEMBERS, "secret")[4:],
        link.ask(WHO)[4:],
    ]
    link.do(UNWATCH, ["nobody"])
    return answers


def test_bad_requests_of_a_service_change_nothing(service: Service) -> None:
    before = everything(service)
    for code, request in BAD:
        assert service.refused(*request) == code, request
        assert everything(service) == before, f"{request} was refused and did something"


def test_acting_for_another_takes_the_role_of_a_service(service: Service, start_daemon: Any) -> None:
    mallory = Service(service.wire.port, "mallory", "laptop", "user")
    before = everything(service)
    for request in ACTS_FOR_ANOTHER:
        assert mallory.refused(*request) == "forbidden", request
        assert everything(service) == before, f"{request} was forbidden and did something"
    mallory.wire.send([BEATS, [1, 0]])
    assert mallory.wire.next()[:3] == [ERROR, 0, "forbidden"]
    # What is not for others: its own user, by name or not, and any device of its own.
    for user in ("", "mallory"):
        mallory.do(ADD_CLAIM, "call-1", "call", "dnd", 0, 0, user)
        mallory.do(JOIN, "secret", user, "laptop")
    assert service.status("mallory") == "dnd"
    mallory.close()


def test_beats_that_are_wrong_are_told_and_not_applied(service: Service) -> None:
    service.do(ATTACH, 2, "dave", "tab", "web", "", 0, "online", 400_000)
    assert service.status("dave") == "away"
    for beats in ([2, 0, 1], [2, 0, 1, -2], [2, "now"], [2, 0] * 4097):
        service.wire.send([BEATS, beats])
        assert service.wire.next()[:3] == [ERROR, 0, "bad_request"]
    assert service.status("dave") == "away"


def test_a_user_that_is_unknown_is_one_that_is_offline(service: Service) -> None:
    unknown = service.record("nobody")
    service.do(ATTACH, 2, "somebody", "tab")
    service.do(DETACH, 2)
    known = service.record("somebody")
    assert unknown == ["nobody", "offline", "", "", 0, 0, "", 0]
    assert (known[1:4], known[6]) == (unknown[1:4], unknown[6])
    assert service.ask(GET_ACTIVITY, "nobody")[2:] == ["nobody", []]
    assert service.ask(GET_SYNC, "nobody")[2:] == ["nobody", 0, 0, 0, 0, []]
    # What leaves nothing to remember leaves no user behind either; `--check` looks for that after each turn.
    service.do(SET_STATUS, "auto", "", None, 0, "nobody")
    service.do(SET_SCHEDULE, "", [], "dnd", "nobody")
    service.do(SET_SCHEDULE, "UTC", EVERY_HOUR, "dnd", "nobody")
    service.do(SET_SCHEDULE, "", [], "dnd", "nobody")
    service.do(ADD_CLAIM, "call-81", "call", "dnd", 0, 0, "nobody")
    service.do(END_CLAIM, "call-81", "nobody")
    assert service.record("nobody") == unknown


def test_what_is_said_on_a_device_that_is_gone_gives_it_no_life(service: Service) -> None:
    service.do(ATTACH, 2, "dave", "tab", "web", "", 0, "online", 400_000)
    service.do(DETACH, 2)
    service.do(SET_STATUS, "dnd", "busy", None, 0, "dave", "tab")
    service.do(TOUCH, "dave", "tab")
    assert service.devices("dave")["tab"][3:5] == ["offline", "gone"]
    assert service.status("dave") == "offline"


def test_seventeen_claims(service: Service) -> None:
    for number in range(16):
        service.do(ADD_CLAIM, f"claim-{number}", "calendar", "xa", 0, 0, "dave")
    assert service.refused(ADD_CLAIM, "claim-16", "calendar", "xa", 0, 0, "dave") == "claim_limit"
    assert service.record("dave")[2] == ""
    service.do(ADD_CLAIM, "claim-3", "call", "dnd", 0, 0, "dave")
    assert len(service.ask(GET_CLAIMS, "dave")[3]) == 16


def test_seventeen_devices_leave_the_link_open(service: Service) -> None:
    for number in range(16):
        service.do(ATTACH, 100 + number, "dave", f"tab-{number}")
    assert service.refused(ATTACH, 200, "dave", "tab-16") == "device_limit"
    assert service.refused(DETACH, 200) == "no_such_device"
    service.do(ATTACH, 300, "dave", "tab-3")
    assert len(service.devices("dave")) == 16


@pytest.mark.slow
def test_ten_thousand_and_one_channels(start_daemon: Any) -> None:
    link = Service(start_daemon("--grace", "60s").port)
    link.do(ATTACH, 1, "carol", "tab")
    asked = [link.post(JOIN, f"room-{number}", "carol", "tab") for number in range(10_001)]
    answers = [link.reply(request_id) for request_id in asked]
    assert {answer[0] for answer in answers[:-1]} == {DONE}
    assert answers[-1][:3] == [ERROR, asked[-1], "channel_limit"]
    assert link.ask(GET_MEMBERS, "room-10000")[4] == 0
    link.do(JOIN, "room-0", "carol", "tab")
    link.do(LEAVE, "room-0", "carol", "tab")
    link.do(JOIN, "room-10000", "carol", "tab")
    assert link.ask(GET_MEMBERS, "room-9999")[4] == link.ask(GET_MEMBERS, "room-10000")[4] == 1
    link.close()
