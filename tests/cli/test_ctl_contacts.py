"""The commands about contacts, against the real daemon, where users see their contacts alone."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from presenced.cli import exits
from tests.cli.commands import Running, ctl, on_terminal, online
from tests.cli.terminal import Terminal
from tests.support.daemon import Daemon, StartDaemon

Ctl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def daemon(start_daemon: StartDaemon) -> Daemon:
    return start_daemon("--see", "contacts")


@pytest.fixture
def as_user(daemon: Daemon) -> Callable[[str], Ctl]:
    """Run commands as a user."""
    return lambda user: lambda *args: ctl("--url", daemon.url(user, "laptop"), *args)


@pytest.fixture
def app(daemon: Daemon) -> Ctl:
    """Run commands as a service."""
    return lambda *args: ctl("--url", daemon.url("app", ""), *args)


@pytest.fixture
def running() -> Iterator[list[Running]]:
    """Commands that are ended with the test."""
    running: list[Running] = []
    yield running
    for one in running:
        one.kill()


def values(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_request_its_answer_and_its_end(
    daemon: Daemon, as_user: Callable[[str], Ctl], running: list[Running]
) -> None:
    alice, bob = as_user("alice"), as_user("bob")
    running.append(online(Running, daemon.url("bob", "phone")))
    watching = Running("--url", daemon.url("alice", "x"), "watch", "--contacts", "-C", "4")
    running.append(watching)
    assert watching.line("stderr") == "alice sees no contact yet; those who are gained will be shown"
    (asked,) = values(alice("contacts", "ask", "bob", "--note", "it is me"))
    assert list(asked) == ["contact", "subscription", "asked", "asks", "approved", "name", "groups", "note"]
    assert (asked["contact"], asked["subscription"], asked["asked"]) == ("bob", "none", True)
    (asks,) = values(bob("contacts"))
    assert (asks["contact"], asks["asks"], asks["note"]) == ("alice", True, "it is me")
    shown = click.unstyle(on_terminal("--url", daemon.url("bob", "laptop"), "contacts")).split()
    assert shown == "contact name subscription waiting groups note alice none asks you it is me".split()
    assert values(bob("contacts", "approve", "alice"))[0]["subscription"] == "from"
    change = watching.json()
    assert (change["kind"], change["user"], change["status"]) == ("snapshot", "bob", "online")
    (named,) = values(alice("contacts", "set", "bob", "--name", "Bob B.", "--group", "work", "--group", "friends"))
    assert (named["name"], named["groups"], named["subscription"]) == ("Bob B.", ["work", "friends"], "to")
    (named,) = values(alice("contacts", "set", "bob", "--no-groups"))
    assert (named["name"], named["groups"]) == ("Bob B.", [])
    assert values(bob("contacts", "cancel", "alice")) == []
    assert watching.json()["kind"] == "offline"
    assert values(alice("contacts"))[0]["subscription"] == "none"
    values(bob("contacts", "approve", "alice"))
    values(alice("contacts", "ask", "bob"))
    assert watching.json()["kind"] == "online"
    assert values(alice("contacts", "stop", "bob"))[0]["subscription"] == "none"
    assert watching.json()["kind"] == "offline" and watching.end()[0] == 0
    assert values(alice("contacts", "remove", "bob")) == []
    done = alice("--text", "contacts")
    assert (done.stdout, done.stderr) == ("", "alice has no contacts; `presencectl contacts ask USER` asks somebody\n")


def test_a_service_sets_whole_lists(app: Ctl, as_user: Callable[[str], Ctl], tmp_path: Path) -> None:
    file = tmp_path / "lists.jsonl"
    file.write_text('{"user": "alice", "contacts": ["bob", {"contact": "carol", "subscription": "to", "name": "C"}]}\n')
    assert values(app("contacts", "import", str(file))) == [{"lists": 1, "contacts": 2}]
    assert app("--text", "contacts", "import", str(file)).stdout == "1 list set, with 2 contacts\n"
    listed = [(one["contact"], one["subscription"], one["name"]) for one in values(as_user("alice")("contacts"))]
    assert listed == [("bob", "both", ""), ("carol", "to", "C")]
    file.write_text("".join(f"alice,u{number:03}\n" for number in range(200)) + "u007,u008\nbob,alice\n")
    assert values(app("contacts", "import", str(file))) == [{"lists": 3, "contacts": 204}]
    assert len(values(app("--as", "alice", "contacts"))) == 201
    assert [one["contact"] for one in values(app("--as", "x", "contacts", "u007"))] == ["alice", "u008"]
    assert [one["contact"] for one in values(app("--as", "bob", "contacts"))] == ["alice"]


def test_an_import_ends_at_the_line_that_is_wrong(app: Ctl, as_user: Callable[[str], Ctl], tmp_path: Path) -> None:
    file = tmp_path / "lists.jsonl"
    for line, code, words in (
        ('{"user": "b", "contacts": ["b"]}', exits.REFUSED, "line 2, the list of b: contact 1 of 1: "),
        ('{"user": "b", "contacts": 7}', exits.USAGE, "line 2 is wrong: Expected `array`"),
    ):
        file.write_text('{"user": "a", "contacts": ["x"]}\n' + line + '\n{"user": "c", "contacts": ["x"]}\n')
        done = app("contacts", "import", str(file))
        assert (done.returncode, done.stdout) == (code, "") and done.stderr.startswith(f"presencectl: {words}")
        assert [one["contact"] for one in values(app("--as", "a", "contacts"))] == ["x"], "what stands before it holds"
        values(app("--as", "a", "contacts", "remove", "x"))
    done = as_user("alice")("contacts", "import", str(file))
    assert done.returncode == exits.USAGE, "a wrong line comes before the link"
    file.write_text('{"user": "a", "contacts": ["x"]}\n')
    assert app("--as", "alice", "contacts", "import", str(file)).returncode == exits.USAGE


def test_progress_is_shown_on_a_terminal(daemon: Daemon, on_terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    file = tmp_path / "lists.jsonl"
    lines = [json.dumps({"user": f"u{n}", "contacts": ["v1", "v2"]}) for n in range(50)]
    file.write_text("\n".join(lines))
    terminal = on_terminal("--url", daemon.url("app", ""), "contacts", "import", str(file))
    terminal.until("1 list set, 2%\r")
    terminal.until("50 lists set, with 100 contacts")
    assert terminal.end() == 0


def test_what_is_wrong_is_one_line(as_user: Callable[[str], Ctl]) -> None:
    alice = as_user("alice")
    for args, code, words in (
        (("contacts", "ask", "alice"), exits.REFUSED, "nobody is a contact of their own"),
        (("contacts", "ask", "a b"), exits.USAGE, "a space"),
        (("contacts", "ask", "bob", "--note", "x" * 300), exits.USAGE, "longer than 256 bytes"),
        (("contacts", "set", "bob", "--group", ""), exits.USAGE, "empty"),
        (("contacts", "list", "bob"), exits.DENIED, "--as USER acts for others"),
    ):
        done = alice(*args)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), done.stderr
        assert words in done.stderr
    assert alice("contacts", "set", "bob", "--group", "x", "--no-groups").returncode == exits.USAGE
    assert "either USER..., or --contacts" in alice("watch", "--contacts", "bob").stderr
    assert alice("watch").returncode == exits.USAGE
