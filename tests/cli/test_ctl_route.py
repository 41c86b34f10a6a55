"""`presencectl route`, against the real daemon: what is printed, refused, and how it exits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import click
import pytest
from msgspec.structs import replace

from presenced.cli.ctl_route import OF_DEVICES, OF_USERS, _sentence
from presenced.cli.output import clock_time
from presenced.wire.messages import RouteInfo, RouteReason
from tests.cli.commands import Running, ctl, on_terminal, online
from tests.support.daemon import Daemon


@pytest.fixture
def laptop(daemon: Daemon) -> Iterator[Running]:
    """alice's laptop, online."""
    running = online(Running, daemon.url("alice", "laptop"))
    yield running
    running.kill()


def test_a_person_and_a_service_ask(daemon: Daemon, laptop: Running) -> None:
    url, service = daemon.url("alice", "laptop"), daemon.url("backend", "")
    done = ctl("--url", url, "route")
    assert done.returncode == 0
    value: dict[str, Any] = json.loads(done.stdout)
    assert (value["user"], value["verdict"], value["reason"], value["at_ms"]) == ("alice", "now", "untold", 0)
    target = {"device": "laptop", "kind": "", "verdict": "now", "reason": "untold", "meta": ""}
    assert value["devices"] == [target], "the command's own device is left out"
    assert ctl("--url", url, "device", "meta", "laptop", "token").returncode == 0
    done = ctl("--url", service, "--as", "alice", "route", "--urgency", "urgent", "--about", "general")
    assert json.loads(done.stdout)["devices"] == [target | {"reason": "urgent", "meta": "token"}]
    assert ctl("--url", url, "route", "bob").stderr.startswith("presencectl: a user's link cannot ask")


def test_it_says_in_words_what_to_do_and_exits_with_1_unless_it_is_now(daemon: Daemon, laptop: Running) -> None:
    url, service = daemon.url("alice", "laptop"), daemon.url("backend", "")
    shown = click.unstyle(on_terminal("--url", url, "route"))
    assert "notify alice now on laptop: it does not tell whether somebody is at it" in shown
    assert ctl("--url", url, "set", "dnd", "--for", "1h").returncode == 0
    shown = click.unstyle(on_terminal("--url", url, "route", "--urgency", "urgent"))
    assert "notify alice now on laptop: it is urgent" in shown
    assert shown.splitlines()[-1].split() == ["laptop", "now", "it", "is", "urgent"]
    done = ctl("--url", url, "--text", "route")
    assert done.returncode == 1 and done.stdout.startswith("do not notify alice before ")
    assert "they do not want to be disturbed" in done.stdout
    done = ctl("--url", service, "--text", "--as", "nobody", "route")
    assert (done.returncode, done.stdout) == (1, "do not notify nobody: nothing is known of them\n")


def test_the_last_input_is_told_if_it_is_known() -> None:
    found = RouteInfo("alice", "none", "reading", 0, 0, [])
    assert _sentence(found) == "do not notify alice: they are reading just that"
    seen = f"; their last input was at {clock_time(5_000)}"
    assert _sentence(replace(found, last_input_ms=5_000)) == _sentence(found) + seen


def test_each_reason_has_words() -> None:
    assert {*OF_USERS, *OF_DEVICES} == set(get_args(RouteReason))
