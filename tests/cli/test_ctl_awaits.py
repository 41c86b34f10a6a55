"""`presencectl await`: what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from presenced.cli import exits
from tests.cli.commands import Running, ctl, online
from tests.support.daemon import Daemon


@pytest.fixture
def start() -> Iterator[Any]:
    """Start commands that are ended with the test."""
    running: list[Running] = []

    def start(*args: str) -> Running:
        running.append(Running(*args))
        return running[-1]

    yield start
    for one in running:
        one.kill()


def test_it_prints_who_has_come_and_ends(daemon: Daemon, start: Any) -> None:
    waits = start("--url", daemon.url("alice", "desk"), "await", "bob", "--available", "--not-dnd", "--for", "200ms")
    online(start, daemon.url("bob", "laptop"))
    record = json.loads(waits.line("stdout"))
    assert (record["user"], record["status"], record["device"]) == ("bob", "online", "laptop")
    assert waits.process.wait() == exits.OK


def test_it_says_no_when_the_time_is_over(daemon: Daemon, start: Any) -> None:
    online(start, daemon.url("bob", "laptop"))
    url = daemon.url("alice", "desk")
    done = ctl("--url", url, "await", "bob", "--status", "dnd", "--status", "xa", "--timeout", "100ms")
    assert (done.returncode, done.stdout) == (exits.NO, "")
    assert done.stderr == "bob was not as wanted within 100ms\n"
    assert ctl("-q", "--url", url, "await", "eve", "--timeout", "50ms").stderr == ""
    assert json.loads(ctl("--url", url, "await", "eve", "--status", "offline").stdout)["status"] == "offline"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("bob", "--status", "busy"), exits.USAGE, "busy"),
        (("bob", "--timeout", "0"), exits.USAGE, "no time at all"),
        (("bob", "--timeout", "8d"), exits.USAGE, "timeout is longer than 7 days"),
        (("bob", "--for", "8d"), exits.USAGE, "for_at_least is longer than 7 days"),
        (("bob", "--status", "offline", "--available"), exits.USAGE, "no status is left"),
        (("two words",), exits.USAGE, "user name"),
        (("bob", "--kind", "phone"), exits.DENIED, "leave kinds empty"),
        (("bob", "--kind", "phone"), exits.DENIED, "(a service may, with a token for it: `presencectl --url"),
        ((), exits.USAGE, "USER"),
    ],
)
def test_what_cannot_be_meant(daemon: Daemon, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = ctl("--url", daemon.url("alice", "desk"), "await", *arguments)
    assert (done.returncode, done.stdout) == (code, "") and says in done.stderr


def test_one_waits_for_a_device_of_ones_own(daemon: Daemon, start: Any) -> None:
    waits = start("--url", daemon.url("alice", "desk"), "await", "alice", "--kind", "phone")
    online(start, daemon.url("alice", "laptop"))
    online(start, daemon.url("alice", "mobile") + "?kind=phone")
    assert json.loads(waits.line("stdout"))["user"] == "alice"
    assert waits.process.wait() == exits.OK


def test_a_service_waits_for_a_device_of_another(daemon: Daemon, start: Any) -> None:
    waits = start("--url", daemon.url("ops", ""), "await", "alice", "--kind", "phone")
    online(start, daemon.url("alice", "mobile") + "?kind=phone")
    assert json.loads(waits.line("stdout"))["user"] == "alice"
    assert waits.process.wait() == exits.OK
