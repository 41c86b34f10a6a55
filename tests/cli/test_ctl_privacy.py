"""The commands about who may see a user, against the real daemon: what is printed, refused, and seen by others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from presenced.cli import exits
from tests.cli.commands import Running, ctl, on_terminal, online
from tests.support.daemon import Daemon

Ctl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def laptop(daemon: Daemon) -> Iterator[Running]:
    """alice's laptop, online."""
    running = online(Running, daemon.url("alice", "laptop"))
    yield running
    running.kill()


@pytest.fixture
def alice(daemon: Daemon, laptop: Running) -> Ctl:
    """Run a command with the URL of that laptop."""
    return lambda *args: ctl("--url", daemon.url("alice", "laptop"), *args)


@pytest.fixture
def seen(daemon: Daemon) -> Callable[[str], dict[str, Any]]:
    """What another user sees of alice."""

    def look(viewer: str) -> dict[str, Any]:
        value = json.loads(ctl("--url", daemon.url(viewer, "x"), "get", "alice").stdout)
        assert isinstance(value, dict)
        return value

    return look


def test_block_and_hide(alice: Ctl, seen: Callable[[str], dict[str, Any]], daemon: Daemon) -> None:
    done = alice("block", "bob")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "alice and bob do not see each other\n")
    done = alice("hide", "carol")
    assert (done.returncode, done.stderr) == (
        0,
        "carol sees alice as offline; `presencectl show carol` ends it\n",
    )
    assert [seen(name)["status"] for name in ("bob", "carol", "dora")] == ["offline", "offline", "online"]
    listed = [json.loads(line) for line in alice("blocked").stdout.splitlines()]
    assert listed == [{"user": "bob", "how": "blocked"}, {"user": "carol", "how": "hidden"}]
    shown = click.unstyle(on_terminal("--url", daemon.url("alice", "laptop"), "blocked"))
    assert shown.split() == ["user", "how", "bob", "blocked", "carol", "hidden"]
    for _ in range(2):
        assert alice("unblock", "bob").stderr == "alice does not block bob\n"
        assert alice("show", "carol").stderr == "alice does not hide from carol\n"
    assert [seen(name)["status"] for name in ("bob", "carol")] == ["online", "online"]
    done = alice("--text", "blocked")
    assert (done.stdout, done.stderr) == ("", "alice blocks nobody, and hides from nobody\n")


def test_a_service_does_it_for_somebody(daemon: Daemon, laptop: Running, seen: Callable[[str], dict[str, Any]]) -> None:
    def service(*args: str) -> subprocess.CompletedProcess[str]:
        return ctl("--url", daemon.url("ops", ""), *args)

    assert service("--as", "alice", "block", "bob").returncode == 0 and seen("bob")["status"] == "offline"
    assert json.loads(service("--as", "alice", "blocked").stdout) == {"user": "bob", "how": "blocked"}
    assert json.loads(service("--as", "x", "blocked", "alice").stdout) == {"user": "bob", "how": "blocked"}
    assert json.loads(service("--as", "alice", "audience", "--never", "bob").stdout)["never"] == ["bob"]


def test_the_audience_is_shown_and_set_field_by_field(alice: Ctl, seen: Callable[[str], dict[str, Any]]) -> None:
    plain = {"text": "everyone", "last_seen": "everyone", "device": "everyone", "always": [], "never": []}
    assert json.loads(alice("audience").stdout) == plain
    alice("set", "dnd", "--text", "in a meeting")
    assert seen("bob")["text"] == "in a meeting"
    set_to = json.loads(alice("audience", "--text", "contacts", "--always", "carol", "--always", "dora").stdout)
    assert set_to == {**plain, "text": "contacts", "always": ["carol", "dora"]}
    assert [seen(name)["text"] for name in ("bob", "carol")] == ["", "in a meeting"]
    # What is not given stays; the names that are given take the place of those before.
    set_to = json.loads(alice("audience", "--last-seen", "nobody", "--device", "nobody", "--always", "bob").stdout)
    assert set_to == {**plain, "text": "contacts", "last_seen": "nobody", "device": "nobody", "always": ["bob"]}
    assert (seen("carol")["since_ms"], seen("carol")["device"], seen("bob")["device"]) == (0, "", "laptop")
    done = alice("--text", "audience", "--always", "", "--never", "emil")
    assert done.stdout == "alice shows text: contacts, last seen: nobody, device: nobody; never any to emil\n"


def test_a_device_is_shown_to_somebody_while_its_user_appears_offline(
    daemon: Daemon, seen: Callable[[str], dict[str, Any]]
) -> None:
    running = Running("--url", daemon.url("alice", "laptop"), "online", "--show-to", "bob", "--show-to", "carol")
    try:
        assert "Ctrl-C to leave" in running.line("stderr")
        ctl("--url", daemon.url("alice", "laptop"), "set", "offline")
        assert [seen(name)["status"] for name in ("bob", "carol", "dora")] == ["online", "online", "offline"]
    finally:
        running.kill()


def test_what_is_wrong_is_one_line(alice: Ctl, daemon: Daemon) -> None:
    for args, code, words in (
        (("block", "alice"), exits.REFUSED, "another user"),
        (("hide", "a b"), exits.USAGE, "a space"),
        (("audience", "--never", "a/b"), exits.USAGE, "a slash"),
        (("blocked", "bob"), exits.DENIED, "--as USER acts for others"),
    ):
        done = alice(*args)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
        assert done.stderr.startswith("presencectl: ") and words in done.stderr
    assert "Invalid value for '--text'" in alice("audience", "--text", "friends").stderr
    assert "given 2 times" in alice("audience", "--text", "nobody", "--text", "everyone").stderr
    done = ctl("--url", daemon.url("alice", "phone"), "online", "--show-to", "alice")
    assert done.returncode == exits.REFUSED and "another user" in done.stderr
