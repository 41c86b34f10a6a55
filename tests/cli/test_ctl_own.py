"""The commands about a user's own things, against the real daemon: what is printed, refused and left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from presenced.cli import exits
from presenced.cli.ctl import main
from presenced.server.identity import mint
from tests.cli.commands import Running, ctl, on_terminal, online
from tests.support import REPOSITORY
from tests.support.daemon import Daemon
from tests.support.until import PATIENCE_S


@pytest.fixture
def laptop(daemon: Daemon) -> Iterator[Running]:
    """alice's laptop, online."""
    running = online(Running, daemon.url("alice", "laptop"))
    yield running
    running.kill()


@pytest.fixture
def alice(daemon: Daemon, laptop: Running) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command with the URL of that laptop."""
    return lambda *args: ctl("--url", daemon.url("alice", "laptop"), *args)


Ctl = Callable[..., subprocess.CompletedProcess[str]]


def values(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def complaint(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Errors are one line, and nothing on standard output."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.startswith("presencectl: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


class TestDevices:
    def test_listed_renamed_forgotten(self, alice: Ctl, laptop: Running) -> None:
        (device,) = values(alice("devices"))
        assert list(device) == [
            "device",
            "kind",
            "name",
            "status",
            "state",
            "priority",
            "last_active_ms",
            "last_seen_ms",
            "primary",
            "meta",
            "focus",
            "lease_until_ms",
        ]
        assert (device["device"], device["state"], device["primary"]) == ("laptop", "connected", True)
        assert values(alice("device", "rename", "laptop", "My Mac"))[0]["name"] == "My Mac"
        assert "is live" in complaint(alice("device", "forget", "laptop"), exits.REFUSED)
        laptop.end(signal.SIGINT)
        assert [(device["name"], device["state"]) for device in values(alice("devices"))] == [("My Mac", "gone")]
        assert alice("device", "forget", "laptop").returncode == 0
        assert values(alice("devices")) == []

    def test_a_command_that_fails_leaves_no_device_behind(self, alice: Ctl) -> None:
        complaint(alice("device", "forget", "laptop"), exits.REFUSED)
        complaint(alice("get", "a/b"), exits.USAGE)
        # The last of these commands hides its own device, and no other's.
        assert [device["device"] for device in values(alice("devices"))] == ["laptop"]

    def test_one_that_is_not_there(self, alice: Ctl) -> None:
        assert "presencectl devices" in complaint(alice("device", "rename", "phone", "x"), exits.REFUSED)
        assert "slashes" in complaint(alice("device", "forget", "a/b"), exits.USAGE)

    def test_a_table(self, daemon: Daemon, laptop: Running) -> None:
        shown = on_terminal("--url", daemon.url("alice", "x"), "devices")
        assert "last active" in shown and "laptop" in shown and "connected" in shown and "{" not in shown


class TestActivity:
    def test_recorded_and_listed_newest_first(self, alice: Ctl) -> None:
        assert alice("activity", "add", "login").returncode == 0
        assert alice("activity", "add", "message", "--channel", "general", "--payload", "hi there").returncode == 0
        message, login = values(alice("activity"))
        assert list(message) == ["activity", "channel", "device", "at_ms", "payload"]
        assert [message[key] for key in ("activity", "channel", "device", "payload")] == [
            "message",
            "general",
            "laptop",
            "hi there",
        ]
        assert login["activity"] == "login"
        assert values(alice("activity", "--limit", "1")) == [message]
        assert values(alice("activity", "alice", "--since", "1h")) == [message, login]
        assert values(alice("activity", "list", "--since", "1ms")) == []

    def test_refused(self, alice: Ctl) -> None:
        assert "'phone'" in complaint(alice("activity", "add", "x", "--device", "phone"), exits.REFUSED)
        assert "payload" in complaint(alice("activity", "add", "x", "--payload", "p" * 1025), exits.USAGE)
        assert "channel" in complaint(alice("activity", "add", "x", "--channel", "a b"), exits.USAGE)
        assert values(alice("activity")) == []


class TestClaims:
    def test_added_listed_by_strength_and_ended(self, alice: Ctl) -> None:
        assert values(alice("claims")) == []
        alice("claim", "add", "lunch", "calendar", "away")
        call, lunch = values(alice("claim", "add", "standup", "call", "dnd", "--for", "30m"))
        assert list(call) == ["claim", "source", "status", "since_ms", "until_ms", "device"]
        assert (call["claim"], call["until_ms"] - call["since_ms"]) == ("standup", 30 * 60_000)
        assert (lunch["claim"], lunch["until_ms"]) == ("lunch", 0)
        assert values(alice("get", "alice"))[0]["status"] == "dnd"
        assert values(alice("claim", "end", "standup")) == [lunch] == values(alice("claims", "alice"))
        assert values(alice("get", "alice"))[0]["status"] == "away"

    def test_refused(self, alice: Ctl) -> None:
        assert alice("claim", "add", "x", "schedule", "dnd").returncode == exits.USAGE
        zero = alice("claim", "add", "x", "call", "dnd", "--for", "0")
        assert zero.returncode == exits.USAGE and "'--for': the duration '0' is no time at all" in zero.stderr
        assert values(alice("claims")) == []

    def test_a_table(self, daemon: Daemon, alice: Ctl) -> None:
        alice("claim", "add", "standup", "call", "dnd")
        shown = on_terminal("--url", daemon.url("alice", "x"), "claims")
        assert "source" in shown and "standup" in shown and "\x1b[31mdnd" in shown


class TestSchedule:
    def test_set_shown_cleared(self, alice: Ctl) -> None:
        none = alice("schedule", "show")
        assert (none.returncode, none.stdout, none.stderr) == (exits.NO, "", "alice has no schedule\n")
        made = values(alice("schedule", "set", "Europe/Berlin", "mon-fri 18:00-08:00", "sat,sun 09:00-10:30"))
        windows = ["mon-fri 18:00-08:00", "sat,sun 09:00-10:30"]
        assert made == [{"zone": "Europe/Berlin", "status": "dnd", "windows": windows}]
        assert values(alice("schedule", "show")) == made
        assert values(alice("schedule", "set", "UTC", "mon 1:00-2:00", "--status", "away"))[0]["status"] == "away"
        assert alice("schedule", "clear").returncode == 0
        assert alice("schedule", "show").returncode == exits.NO

    @pytest.mark.parametrize("window", ["mon 18:00", "18:00-19:00", "mon 25:00-26:00", "someday 1:00-2:00", ""])
    def test_what_is_no_window(self, daemon: Daemon, window: str) -> None:
        done = ctl("--url", daemon.url("alice", "x"), "schedule", "set", "UTC", window)
        said = complaint(done, exits.USAGE)
        assert "write it like 'mon-fri 18:00-08:00 dnd'" in said and '("' not in said, "and not as in Python"

    def test_an_unknown_zone(self, daemon: Daemon) -> None:
        done = ctl("--url", daemon.url("alice", "x"), "schedule", "set", "Mars/Base", "mon 18:00-19:00")
        assert "Mars/Base" in complaint(done, exits.REFUSED)


class TestSync:
    def test_sent_and_accounted_for(self, alice: Ctl) -> None:
        assert alice("sync").returncode == 0
        (status,) = values(alice("sync-status"))
        assert list(status) == ["user", "version", "synced", "total", "last_sync_ms", "devices"]
        assert (status["user"], status["synced"], status["total"]) == ("alice", 1, 1)
        assert status["last_sync_ms"] > 0
        assert status["devices"] == {"laptop": status["version"]}

    def test_a_device_that_is_behind_is_a_no(self, daemon: Daemon, laptop: Running, alice: Ctl) -> None:
        values(alice("sync-status"))
        laptop.process.send_signal(signal.SIGSTOP)
        try:
            alice("set", "dnd")
            done = alice("sync-status", "-W", "0")
            assert (done.returncode, json.loads(done.stdout)["synced"]) == (exits.NO, 0)
            assert "0 of 1 device is up to date; not laptop" in on_terminal(
                "--url", daemon.url("alice", "x"), "sync-status", "-W", "0.1"
            )
        finally:
            laptop.process.send_signal(signal.SIGCONT)

    def test_it_waits_for_those_that_are_behind(self, daemon: Daemon, laptop: Running, alice: Ctl) -> None:
        values(alice("sync-status"))
        laptop.process.send_signal(signal.SIGSTOP)
        alice("set", "dnd")
        waiting = Running("--url", daemon.url("alice", "x"), "sync-status", "-W", str(PATIENCE_S))
        try:
            deadline_s = time.monotonic() + PATIENCE_S
            while len(values(ctl("--url", daemon.url("ops", ""), "--as", "alice", "devices"))) < 2:
                assert waiting.process.poll() is None and time.monotonic() < deadline_s
            laptop.process.send_signal(signal.SIGCONT)
            assert waiting.json()["synced"] == 1
            assert waiting.end()[0] == 0
        finally:
            laptop.process.send_signal(signal.SIGCONT)
            waiting.kill()


class TestForOthers:
    """A user acts for themselves, a service for anybody."""

    @pytest.mark.parametrize(
        "args", [("devices", "bob"), ("activity", "bob"), ("claims", "bob"), ("sync", "bob"), ("sync-status", "bob")]
    )
    def test_a_user_may_not(self, daemon: Daemon, args: tuple[str, ...]) -> None:
        done = ctl("--url", daemon.url("alice", "x"), *args)
        assert "--as USER" in complaint(done, exits.DENIED)

    def test_a_service_may(self, daemon: Daemon, laptop: Running) -> None:
        def service(*args: str) -> subprocess.CompletedProcess[str]:
            return ctl("--url", daemon.url("ops", ""), "--as", "alice", *args)

        assert values(service("set", "dnd", "--text", "busy"))[0]["user"] == "alice"
        assert values(service("devices"))[0]["device"] == "laptop"
        assert values(service("device", "rename", "laptop", "Mac"))[0]["name"] == "Mac"
        assert service("activity", "add", "login").returncode == 0
        assert values(service("activity"))[0]["device"] == ""
        assert [claim["source"] for claim in values(service("claims"))] == ["manual"]
        assert values(service("sync-status"))[0]["user"] == "alice"
        assert values(service("devices", "nobody")) == []
        assert values(service("clear"))[0]["status"] == "online"

    def test_its_role_is_in_the_token(self, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(b"k" * 48)
        own, service = (mint(b"k" * 48, "ops", role, int(time.time()), 600) for role in ("user", "service"))  # type: ignore[arg-type]
        process = subprocess.Popen(
            [sys.executable, "-m", "presenced", "serve", "--secret-file", str(secret), "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=REPOSITORY,
        )
        try:
            assert process.stdout is not None
            url = f"presence://ops@{process.stdout.readline().decode().split('//')[1].strip()}/"
            allowed = ctl("--url", url, "--token", service, "--as", "bob", "claim", "add", "x", "call", "dnd")
            assert values(allowed)[0]["claim"] == "x"
            assert values(ctl("--url", url, "--token", service, "claims", "bob")) == values(allowed)
            refused = ctl("--url", url, "--token", own, "--as", "bob", "claim", "end", "x")
            assert "needs a service's token" in complaint(refused, exits.DENIED)
            refused = ctl("--url", url, "--token", own, "events", "-W", "0.1")
            assert "needs a service's token" in complaint(refused, exits.DENIED)
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--as", "bob", "get", "alice"], "`get` does not use --as"),
        (["--as", "bob", "online"], "`online` does not use --as"),
        (["--as", "a/b", "devices"], "slashes"),
        (["activity", "--limit", "101"], "101"),
        (["activity", "--since", "2"], "no unit"),
        (["activity", "add"], "TYPE"),
        (["device", "rename", "laptop"], "NAME"),
        (["claim", "add", "x", "boss", "dnd"], "boss"),
        (["schedule", "set", "UTC"], "WINDOW"),
    ],
)
def test_wrong_usage(args: list[str], reason: str) -> None:
    done = CliRunner().invoke(main, args)
    assert done.exit_code == exits.USAGE
    assert reason in done.output and "Traceback" not in done.output


@pytest.mark.parametrize("group", ["activity", "device", "claim", "schedule"])
def test_groups_have_help(group: str) -> None:
    done = CliRunner().invoke(main, [group, "--help"])
    assert done.exit_code == 0 and "Commands:" in done.output
