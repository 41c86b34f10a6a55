"""What protocol.md says of applications, over real TCP: raw arrays to the real daemon, and nothing of our client."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.service_client import (
    ADD_ACTIVITY,
    ADD_CLAIM,
    APPLIED,
    ATTACH,
    BEATS,
    BYE,
    CHANNEL_EVENT,
    COMMAND,
    DETACH,
    END_CLAIM,
    EVENT,
    EVERY_HOUR,
    FOLLOW,
    FOLLOWING,
    GET_ACTIVITY,
    GET_CLAIMS,
    GET_MEMBERS,
    GET_SYNC,
    HEARTBEAT,
    JOIN,
    MEMBERS_PAGE,
    OWN_STATE,
    SET_SCHEDULE,
    SET_STATUS,
    SYNC,
    SYNC_STATE,
    WATCH,
    WATCH_CHANNEL,
    Service,
    Watcher,
)
from tests.support.wire import PRESENCE

Open = Callable[..., Service]


@pytest.fixture
def links() -> Iterator[list[Service]]:
    opened: list[Service] = []
    yield opened
    for link in opened:
        link.close()


@pytest.fixture
def start(start_daemon: Any, links: list[Service]) -> Callable[..., Open]:
    """Start a daemon with options; gives what opens links to it."""

    def started(*options: str) -> Open:
        port = start_daemon(*options).port

        def open_link(*args: Any, **fields: Any) -> Service:
            links.append(Service(port, *args, **fields))
            return links[-1]

        return open_link

    return started


# --- devices of a service ------------------------------------------------------------------------------------------


def test_a_reconnect_is_not_activity(start: Callable[..., Open]) -> None:
    open_link = start("--grace", "60s", "--away-after", "5m")
    service = open_link()
    service.do(ATTACH, 1, "carol", "tab", "web", "Firefox", 0, "online", 400_000)
    watcher = Watcher(open_link("watcher"), service, "carol")
    active_ms = service.devices("carol")["tab"][6]
    assert service.status("carol") == "away"

    service.do(DETACH, 1, True)
    assert service.devices("carol")["tab"][4] == "grace"
    service.do(ATTACH, 2, "carol", "tab", "web", "Firefox")
    service.do(ATTACH, 2, "carol", "tab", "web", "Firefox")
    tab = service.devices("carol")["tab"]
    assert (tab[3], tab[4]) == ("away", "connected")
    # Moving would be by 400 s; the wall clock's milliseconds are rounded anew in each answer.
    assert abs(tab[6] - active_ms) < 60_000
    assert watcher.told() == []


def test_a_lost_heartbeat_heals(start: Callable[..., Open]) -> None:
    """Idleness is a level: that the report of the start of it was lost makes no difference at the next."""
    open_link = start("--away-after", "5m", "--offline-after", "1h")
    service = open_link()
    service.do(ATTACH, 1, "carol", "tab", "web", "", 0, "online", 0)
    service.do(ATTACH, 2, "dave", "tab", "web", "", 0, "online", 0)
    watcher = Watcher(open_link("watcher"), service, "carol", "dave")
    # The one at five minutes never came.
    service.wire.send([BEATS, [1, 360_000, 2, -1]])
    assert service.status("carol") == "online", "input that is known is not taken back"
    service.do(ATTACH, 3, "erin", "tab", "web", "", 0, "online", 360_000)
    watcher.link.ask(WATCH, ["erin"])
    service.wire.send([BEATS, [3, 100, 99, 5]])
    assert service.status("erin") == "online"
    assert watcher.statuses() == [("erin", "online")]


def test_a_device_without_beats_is_lost_and_its_neighbour_is_not(start: Callable[..., Open]) -> None:
    open_link = start("--heartbeat", "600ms", "--grace", "100ms")
    service = open_link()
    follower = open_link("follower")
    service.do(ATTACH, 1, "carol", "tab")
    service.do(ATTACH, 2, "dave", "tab")
    assert follower.ask(FOLLOW)[0] == FOLLOWING
    for _ in range(200):
        if follower.arrives(0.1):
            break
        service.wire.send([BEATS, [1, 0]])
        follower.wire.send([HEARTBEAT])
    offline = follower.push()
    assert (offline[0], *offline[3:8]) == (EVENT, "offline", "dave", "online", "offline", "lost")
    assert service.status("carol") == "online"
    assert service.refused(DETACH, 2) == "no_such_device"
    service.do(ATTACH, 2, "dave", "tab")
    assert service.status("dave") == "online"


def test_of_three_tabs_only_the_last_is_told(start: Callable[..., Open]) -> None:
    open_link = start("--grace", "150ms")
    service = open_link()
    for ref in (1, 2, 3):
        service.do(ATTACH, ref, "carol", f"tab-{ref}", "web", "", 0, "online", 0)
        service.do(JOIN, "general", "carol", f"tab-{ref}")
    watcher = Watcher(open_link("watcher"), service, "carol")
    page = watcher.link.ask(WATCH_CHANNEL, "general")
    assert (page[0], page[4], page[5], page[7][0][0]) == (MEMBERS_PAGE, 1, [0, 1, 0, 0, 0], "carol")
    assert watcher.link.ask(FOLLOW)[0] == FOLLOWING

    primary = service.record("carol")[6]
    others = [ref for ref in (1, 2, 3) if f"tab-{ref}" != primary]
    service.do(DETACH, others[0])
    service.do(DETACH, others[1], True)
    service.wait_for_state("carol", f"tab-{others[1]}", "gone")
    assert [frame for frame in watcher.told() if frame[0] != EVENT] == []

    service.do(DETACH, int(primary[-1]), True)
    service.wait_for_state("carol", primary, "gone")
    told = [frame for frame in watcher.told() if "marker" not in frame]
    assert [frame[1][1] for frame in told if frame[0] == PRESENCE] == ["offline"]
    assert [(frame[2], frame[3]) for frame in told if frame[0] == CHANNEL_EVENT] == [("leave", 0)]
    assert [(frame[3], frame[7]) for frame in told if frame[0] == EVENT] == [
        ("offline", "lost"),
        ("status_change", "lost"),
    ]


def test_an_update_is_never_a_leave_and_a_join(start: Callable[..., Open]) -> None:
    open_link = start("--grace", "60s", "--change-spacing", "0")
    service = open_link()
    service.do(ATTACH, 1, "carol", "tab")
    service.do(JOIN, "general", "carol", "tab")
    watcher = Watcher(open_link("watcher"), service)
    watcher.link.ask(WATCH_CHANNEL, "general")

    service.do(SET_STATUS, "dnd", "busy", None, 0, "carol")
    service.do(ATTACH, 1, "carol", "tab", "web", "renamed", 0, "chat")
    service.do(SET_STATUS, "auto", None, None, 0, "carol")
    service.do(ATTACH, 2, "carol", "phone")
    service.do(JOIN, "general", "carol", "phone")
    service.do(DETACH, 1)
    told = [frame for frame in watcher.told() if frame[0] == CHANNEL_EVENT]
    assert {frame[2] for frame in told} == {"change"}
    assert [frame[4][1] for frame in told][:2] == ["dnd", "chat"]
    assert {frame[3] for frame in told} == {1}
    assert service.ask(GET_MEMBERS, "general")[4:6] == [1, [0, 1, 0, 0, 0]]


# --- several services ------------------------------------------------------------------------------------------


def test_another_service_takes_over_and_nothing_is_told(start: Callable[..., Open]) -> None:
    open_link = start("--grace", "60s")
    first, second = open_link("backend-1"), open_link("backend-2")
    users = [f"user-{number}" for number in range(40)]
    for ref, user in enumerate(users, 1):
        first.post(ATTACH, ref, user, "tab", "web", "", 0, "online", 1000)
    for ref in range(1, 41):
        assert first.reply(ref)[0] == 67
    watcher = Watcher(open_link("watcher"), second, *users)
    first.close()
    second.wait_for_state(users[-1], "tab", "grace")
    for ref, user in enumerate(users, 101):
        second.do(ATTACH, ref, user, "tab", "web")
    assert {second.devices(user)["tab"][4] for user in users} == {"connected"}
    assert watcher.told() == []


def test_a_device_changes_hands_between_services(start: Callable[..., Open]) -> None:
    open_link = start("--grace", "60s")
    first, second = open_link("backend-1"), open_link("backend-2")
    first.do(ATTACH, 7, "carol", "tab")
    watcher = Watcher(open_link("watcher"), first, "carol")
    second.do(ATTACH, 1, "carol", "tab")
    first.wire.send([BEATS, [7, 0]])
    assert first.refused(DETACH, 7) == "no_such_device"
    first.close()
    assert second.devices("carol")["tab"][4] == "connected"
    # A link of the device's own takes it, too, and the other way round is closed.
    own = open_link("carol", "tab", "user")
    assert second.refused(DETACH, 1) == "no_such_device"
    second.do(ATTACH, 1, "carol", "tab")
    own.wire.ended_with("replaced")
    watcher.service = second
    assert watcher.told() == []


def test_the_bye_of_a_service_is_not_the_bye_of_its_devices(start: Callable[..., Open]) -> None:
    open_link = start("--grace", "60s")
    service, other = open_link(), open_link("other")
    service.do(ATTACH, 1, "carol", "tab")
    service.wire.send([BYE])
    assert service.wire.rest() == []
    assert other.devices("carol")["tab"][4] == "grace"
    assert other.status("carol") == "online"


def test_a_ref_names_one_device(start: Callable[..., Open]) -> None:
    service = start("--grace", "60s")("backend")
    service.do(ATTACH, 1, "carol", "tab")
    service.do(ATTACH, 1, "dave", "tab")
    assert service.devices("carol")["tab"][4] == "gone"
    service.do(ATTACH, 2, "dave", "tab")
    assert service.refused(DETACH, 1) == "no_such_device"
    service.do(DETACH, 2)
    assert service.status("dave") == "offline"


# --- claims, activity, own state, events, commands -----------------------------------------------------------------


def test_call_over_manual_over_calendar_over_schedule_in_any_order(start: Callable[..., Open]) -> None:
    service = start("--change-spacing", "0")()
    statuses = {"call": "dnd", "manual": "away", "calendar": "xa", "schedule": "chat"}
    for number, order in enumerate(itertools.permutations(statuses)):
        user = f"user-{number}"
        service.do(ATTACH, number + 1, user, "tab")
        service.do(SET_SCHEDULE, "Europe/Berlin", EVERY_HOUR, "chat", user)
        service.do(ADD_CLAIM, "call-81", "call", "dnd", 3_600_000, 0, user)
        service.do(ADD_CLAIM, "meeting", "calendar", "xa", 0, service.welcome[13] + 7_200_000, user)
        service.do(SET_STATUS, "away", None, None, 0, user)
        claims = service.ask(GET_CLAIMS, user)
        assert [claim[1] for claim in claims[3]] == ["call", "manual", "calendar", "schedule"]
        assert claims[4:] == ["Europe/Berlin", [[*window, None] for window in EVERY_HOUR], "chat"]
        left = list(statuses)
        for source in order:
            assert service.status(user) == statuses[left[0]], (order, left)
            left.remove(source)
            if source == "schedule":
                service.do(SET_SCHEDULE, "", [], "dnd", user)
            elif source == "manual":
                service.do(SET_STATUS, "auto", None, None, 0, user)
            else:
                service.do(END_CLAIM, {"call": "call-81", "calendar": "meeting"}[source], user)
        assert service.status(user) == "online"


def test_a_claim_needs_a_device(start: Callable[..., Open]) -> None:
    service = start()()
    service.do(ADD_CLAIM, "call-81", "call", "dnd", 0, 0, "carol")
    assert service.status("carol") == "offline"
    service.do(ATTACH, 1, "carol", "tab")
    assert service.status("carol") == "dnd"
    service.do(ADD_CLAIM, "hidden", "manual", "offline", 0, 0, "carol")
    assert service.status("carol") == "offline"


def test_activity_is_input_on_the_device(start: Callable[..., Open]) -> None:
    service = start()()
    service.do(ATTACH, 1, "carol", "tab", "web", "", 0, "online", 400_000)
    now_ms = service.welcome[13]
    service.do(ADD_ACTIVITY, "edit", "", now_ms - 60_000, "", "carol")
    assert service.status("carol") == "away", "without a device it is no input"
    service.do(ADD_ACTIVITY, "message", "general", now_ms - 1000, '{"thread":7}', "carol", "tab")
    assert service.status("carol") == "online"
    listed = service.ask(GET_ACTIVITY, "carol", 20, now_ms - 60_000)[3]
    assert listed == [
        ["message", "general", "tab", now_ms - 1000, '{"thread":7}'],
        ["edit", "", "", now_ms - 60_000, ""],
    ]


def test_own_state_reaches_each_device_and_is_acknowledged(start: Callable[..., Open]) -> None:
    open_link = start()
    laptop = open_link("alice", "laptop", "user", sync=True)
    phone = open_link("alice", "phone", "user", sync=True)
    open_link("alice", "tablet", "user")
    phone.do(SET_STATUS, "dnd", "in a meeting", None, 3_600_000)
    for link in (laptop, phone):
        while (own := link.push())[3][1] != "dnd":
            pass
        assert own[:2] == [OWN_STATE, "alice"]
        assert [claim[:3] for claim in own[4]] == [["manual", "manual", "dnd"]]
        assert own[4][0][4] == own[5] > 0
        assert [device[0] for device in own[6]] == ["laptop", "phone", "tablet"]
    laptop.wire.send([APPLIED, own[2]])
    state = laptop.ask(GET_SYNC)
    assert (state[0], state[3:6], state[7]) == (SYNC_STATE, [own[2], 1, 2], [["laptop", own[2]], ["phone", 0]])
    assert state[6] >= laptop.welcome[13]
    laptop.do(SYNC)
    assert phone.push()[:3] == [OWN_STATE, "alice", own[2]]


def test_a_follower_comes_back_with_its_cursor(start: Callable[..., Open]) -> None:
    open_link = start()
    service, follower = open_link(), open_link("follower")
    _, _, epoch, seq, reset = follower.ask(FOLLOW)
    assert not reset
    service.do(ATTACH, 1, "carol", "tab")
    assert [follower.push()[3] for _ in range(2)] == ["online", "status_change"]
    follower.close()
    service.do(SET_STATUS, None, "lunch", "🍜", 0, "carol")
    service.do(DETACH, 1)

    again = open_link("follower")
    assert again.ask(FOLLOW, epoch, seq + 2)[2:] == [epoch, seq + 2, False]
    told = [again.push() for _ in range(3)]
    assert [event[1] for event in told] == [seq + 3, seq + 4, seq + 5]
    assert [event[3:] for event in told] == [
        ["text_change", "carol", "", "lunch", "", "", "🍜"],
        ["offline", "carol", "online", "offline", "bye", "", ""],
        ["status_change", "carol", "online", "offline", "bye", "", ""],
    ]
    assert again.ask(FOLLOW, epoch, seq + 99)[2:] == [epoch, seq + 5, True]
    assert again.ask(FOLLOW, epoch - 1, seq)[2:] == [epoch, seq + 5, True]


def test_commands(start: Callable[..., Open]) -> None:
    service = start()()
    service.do(ATTACH, 1, "carol", "tab")

    def typed(text: str) -> tuple[bool, str, str]:
        got = service.ask(COMMAND, text, "carol", "tab")
        return got[2], got[4], got[3]

    assert typed('/presence status "waiting for you"')[:2] == (True, "status")
    assert service.record("carol")[2] == "waiting for you"
    assert typed('/presence status "waiting for you" for 30m')[:2] == (True, "status")
    assert service.record("carol")[2] == "waiting for you"
    assert typed('status "presence is all"')[:2] == (True, "status")
    assert service.record("carol")[2] == "presence is all"
    assert typed("/presence DND for 1h30m") == (True, "dnd", "You are now dnd: presence is all, for 1h30m")
    assert typed("/presence")[:2] == (True, "show")
    assert typed("/presence auto for 5m")[:2] == (False, "auto")
    assert typed("/presence dance")[:2] == (False, "help")
    assert service.status("carol") == "dnd"
    assert typed("/presence clear")[:2] == (True, "clear")
    assert service.record("carol")[1:3] == ["online", ""]
    assert service.ask(COMMAND, "/presence", "nobody")[2] is True
