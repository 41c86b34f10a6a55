"""`presencectl explain`: a page that a person understands, and the same for programs."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import get_args

import pytest

from presenced.cli import exits
from presenced.cli.explanation_page import OF_CLAIMS, OF_DEVICES, page, to_value, without_device
from presenced.cli.output import clock_time
from presenced.wire.messages import (
    ClaimInfo,
    ClaimReason,
    ClaimReasonInfo,
    DeadlineInfo,
    DeadlineKind,
    DeviceInfo,
    DeviceReason,
    DeviceReasonInfo,
    DeviceState,
    DeviceStatus,
    Explanation,
    NextInfo,
    Record,
    Status,
)
from tests.cli.commands import Running, ctl, on_terminal, online
from tests.support.daemon import Daemon

NOON_MS = 1_700_000_000_000


def at(minutes: int) -> str:
    return clock_time(NOON_MS + minutes * 60_000)


CALL_END = DeadlineInfo("claim_end", "call", NOON_MS + 60_000)


def device(
    name: str, says: DeviceStatus, reason: DeviceReason, counts_as: Status, state: DeviceState
) -> DeviceReasonInfo:
    return DeviceReasonInfo(DeviceInfo(name, "", "", counts_as, state, 0, NOON_MS, NOON_MS, False), says, reason)


def told(**other: object) -> Explanation:
    """Carol is in a call at her browser; her phone lost its connection, and her old laptop is gone."""
    fields: dict[str, object] = {
        "id": 1,
        "at_ms": NOON_MS,
        "record": Record("carol", "dnd", "at work", "", NOON_MS, 0, "tab", 9),
        "rule": "claim",
        "sentence": "the claim call says dnd",
        "devices": [
            device("tab", "online", "claim", "away", "connected"),
            device("phone", "dnd", "claim", "dnd", "grace"),
            device("old", "chat", "gone", "offline", "gone"),
        ],
        "claims": [
            ClaimReasonInfo(ClaimInfo("call", "call", "dnd", NOON_MS, NOON_MS + 60_000, "tab"), "decides"),
            ClaimReasonInfo(ClaimInfo("manual", "manual", "xa", NOON_MS, 0), "weaker"),
        ],
        "deadlines": [DeadlineInfo("grace_end", "phone", NOON_MS), CALL_END],
        "next": NextInfo(NOON_MS + 60_010, "xa", "", "", "phone", [CALL_END]),
    }
    return Explanation(**{**fields, **other})  # type: ignore[arg-type]


def test_the_page() -> None:
    assert page(told()) == [
        f"carol is dnd, since {at(0)}, on tab: \u201cat work\u201d",
        "",
        "Why: the claim call says dnd.",
        "",
        "Claims, the strongest first",
        f"  call    dnd  from call    until {at(1)} or tab is gone  it decides",
        f"  manual  xa   from manual  {'until it is ended'.ljust(len(f'until {at(1)} or tab is gone'))}"
        "  a claim of a stronger source holds",
        "",
        "Devices",
        f"  tab    online, as away  connected              used {at(0)}  it counts, and a claim decides",
        f"  phone  dnd              connection lost        used {at(0)}  it counts, and a claim decides",
        f"  old    chat             seen {at(0)}  used {at(0)}  gone: does not count",
        "",
        "Next, if nothing happens",
        f"  {at(1)}  xa, no text, on phone  the claim call ends",
        "",
        "Pending",
        f"  {at(0)}  phone has not come back: it is gone",
        f"  {at(1)}  the claim call ends",
    ]


def test_the_page_of_somebody_of_whom_nothing_is_known() -> None:
    nobody = Explanation(1, NOON_MS, Record("eve", "offline", "", "", 0, 0, "", 0), "unknown", "why", [], [], [], None)
    assert page(nobody) == [
        "eve was never seen, which shows as offline", "", "Why: why.", "", "Next, if nothing happens",
        "  nothing is to change by itself",
    ]  # fmt: skip


def test_there_are_words_for_every_code() -> None:
    assert set(OF_DEVICES) == set(get_args(DeviceReason)) and set(OF_CLAIMS) == set(get_args(ClaimReason))
    for kind in get_args(DeadlineKind):
        page(told(deadlines=[DeadlineInfo(kind, "tab", NOON_MS)]))


def test_a_device_can_be_left_out() -> None:
    left = without_device(told(), "phone")
    assert [each.device.device for each in left.devices] == ["tab", "old"]
    assert left.deadlines == told().deadlines[1:] and left.next == told().next


def test_the_device_that_is_left_out_is_not_explained_either() -> None:
    said = {"rule": "no_device", "sentence": "no device counts: each is of negative priority"}
    gone, idle = (
        device("old", "online", "gone", "offline", "gone"),
        device("tv", "online", "idle", "offline", "connected"),
    )
    command = device("ctl", "online", "negative", "offline", "connected")
    assert without_device(told(**said, devices=[gone, command]), "ctl").sentence == "no device is there"
    assert without_device(told(**said, devices=[gone, idle, command]), "ctl").sentence == said["sentence"]
    assert without_device(told(devices=[gone, command]), "ctl").sentence == told().sentence, "another rule"


def test_the_value_for_programs_has_names_for_everything() -> None:
    value = to_value(told())
    assert value["devices"][0]["says"] == "online" and value["claims"][1]["reason"] == "weaker"
    assert value["next"]["because"] == [{"kind": "claim_end", "about": "call", "at_ms": NOON_MS + 60_000}]
    assert json.loads(json.dumps(value)) == value and to_value(told(next=None))["next"] is None


@pytest.fixture
def laptop(daemon: Daemon) -> Iterator[Running]:
    """alice's laptop, online."""
    running = online(Running, daemon.url("alice", "laptop"))
    yield running
    running.kill()


def test_against_a_daemon(daemon: Daemon, laptop: Running) -> None:
    url = daemon.url("alice", "laptop")
    assert ctl("--url", url, "set", "dnd", "--for", "30m").returncode == 0
    done = ctl("--url", url, "explain")
    value = json.loads(done.stdout)
    assert (value["user"], value["status"], value["rule"]) == ("alice", "dnd", "claim")
    assert [each["device"] for each in value["devices"]] == ["laptop"], "not the command's own device"
    assert value["next"]["status"] == "online" and value["next"]["because"][0]["about"] == "manual"
    shown = on_terminal("--url", url, "explain")
    assert "alice is dnd" in shown and "Next, if nothing happens" in shown
    of_alice = ctl("--url", daemon.url("ops", ""), "--as", "alice", "explain")
    assert json.loads(of_alice.stdout)["claims"] == value["claims"]
    named = ctl("--url", daemon.url("ops", ""), "explain", "alice")
    assert json.loads(named.stdout)["claims"] == value["claims"], "a service's URL says enough"
    refused = ctl("--url", daemon.url("bob", "x"), "explain", "alice")
    assert refused.returncode == exits.DENIED and "--as USER" in refused.stderr


def test_when_all_devices_are_gone_it_says_so_and_nothing_of_its_own(daemon: Daemon, laptop: Running) -> None:
    laptop.end(signal.SIGINT)
    value = json.loads(ctl("--url", daemon.url("alice", "laptop"), "explain").stdout)
    assert (value["rule"], value["sentence"]) == ("no_device", "no device is there")
    assert [each["reason"] for each in value["devices"]] == ["gone"]
