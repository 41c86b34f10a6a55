"""The commands about channels and events, against the real daemon."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from presenced.cli import exits
from presenced.cli.ctl import main
from presenced.cli.ctl_channels import describe_member
from presenced.cli.ctl_events import describe_event
from presenced.cli.output import Output, clock_time
from presenced.client.protocol.channels import MemberChange
from presenced.client.protocol.event_feed import Event
from tests.cli.commands import Running, ctl, on_terminal, online, record
from tests.support.daemon import Daemon, StartDaemon


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


class TestChannels:
    def test_a_device_joins_and_leaves(self, daemon: Daemon, start: Any) -> None:
        for user in ("alice", "bob"):
            online(start, daemon.url(user, "laptop"))
            assert ctl("--url", daemon.url(user, "laptop"), "join", "general").returncode == 0
        url = daemon.url("carol", "x")
        listed = ctl("--url", url, "members", "general")
        assert [json.loads(line)["user"] for line in listed.stdout.splitlines()] == ["alice", "bob"]
        assert ctl("--url", url, "members", "general", "--count").stdout == "2\n"
        assert len(ctl("--url", url, "members", "general", "--limit", "1").stdout.splitlines()) == 1
        shown = on_terminal("--url", url, "members", "general")
        assert "alice" in shown and "{" not in shown
        left = ctl("--url", daemon.url("ops", ""), "--as", "alice", "leave", "general", "--device", "laptop")
        assert left.returncode == 0
        assert ctl("--url", url, "members", "general", "--count").stdout == "1\n"

    def test_pages_are_put_together(self, start_daemon: StartDaemon) -> None:
        """More members than one request tells of."""
        import asyncio

        import presenced

        daemon = start_daemon()
        users = [f"u{number:03}" for number in range(300)]

        async def fill_and_list() -> list[str]:
            async with presenced.connect_service(daemon.url("ops", "")) as service:
                await service.attach_many([(user, "web") for user in users])
                await asyncio.gather(*[service.join(user, "web", "general") for user in users])
                done = await asyncio.to_thread(ctl, "--url", daemon.url("carol", "x"), "members", "general")
            return [json.loads(line)["user"] for line in done.stdout.splitlines()]

        assert asyncio.run(fill_and_list()) == users

    def test_refused(self, daemon: Daemon) -> None:
        gone = ctl("--url", daemon.url("alice", "laptop"), "join", "general")
        assert (gone.returncode, gone.stdout) == (exits.REFUSED, "") and "no device 'laptop'" in gone.stderr
        assert "`presencectl online` connects the URL's device" in gone.stderr
        none = ctl("--url", daemon.url("alice", ""), "join", "general")
        assert none.returncode == exits.USAGE and "--device" in none.stderr
        name = ctl("--url", daemon.url("alice", ""), "members", "a b")
        assert name.returncode == exits.USAGE and "channel" in name.stderr

    def test_watched(self, daemon: Daemon, start: Any) -> None:
        url = daemon.url("alice", "laptop")
        device = online(start, url)
        ctl("--url", url, "join", "general")
        watch = start("--url", daemon.url("bob", "x"), "watch", "--channel", "general", "-C", "3")
        first = watch.json()
        assert list(first)[:4] == ["kind", "channel", "total", "user"]
        assert (first["kind"], first["total"], first["user"]) == ("snapshot", 1, "alice")
        ctl("--url", url, "set", "dnd")
        change = watch.json()
        assert (change["kind"], change["status"]) == ("change", "dnd")
        device.end(signal.SIGINT)
        leave = watch.json()
        assert (leave["kind"], leave["total"]) == ("leave", 0)
        assert watch.end() == (0, "")

    def test_an_empty_one_for_a_time(self, daemon: Daemon) -> None:
        url = daemon.url("alice", "x")
        assert ctl("--url", url, "watch", "--channel", "general", "-W", "0.2").returncode == 0
        assert ctl("--url", url, "watch", "--channel", "general", "-W", "0.2", "-C", "1").returncode == exits.NO

    @pytest.mark.parametrize("args", [["watch"], ["watch", "bob", "--channel", "general"]])
    def test_users_or_a_channel(self, args: list[str]) -> None:
        done = CliRunner().invoke(main, args)
        assert done.exit_code == exits.USAGE and "--channel" in done.output


class TestEvents:
    def test_each_once_and_on_from_a_cursor(self, daemon: Daemon, start: Any) -> None:
        service = daemon.url("ops", "")
        follow = start("--url", service, "events")
        assert "following from" in follow.line("stderr")
        url = daemon.url("alice", "laptop")
        online(start, url)
        first = follow.json()
        assert list(first) == ["kind", "user", "old", "new", "reason", "at_ms", "cursor", "old_emoji", "new_emoji"]
        assert (first["kind"], first["user"], first["new"]) == ("online", "alice", "online")
        ctl("--url", url, "set", "dnd", "--text", "busy")
        seen = [first]
        while seen[-1]["kind"] != "text_change":
            seen.append(follow.json())
        follow.end(signal.SIGINT)
        again = ctl("--url", service, "events", "--cursor", first["cursor"], "-C", str(len(seen) - 1))
        assert [json.loads(line) for line in again.stdout.splitlines()] == seen[1:]
        only = ctl("-q", "--url", service, "events", "--cursor", first["cursor"], "--kind", "text_change", "-C", "1")
        assert json.loads(only.stdout) == seen[-1] and only.stderr == ""

    def test_people_are_told_when_each_happened_and_not_when_it_is_printed(
        self, daemon: Daemon, start: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        service = daemon.url("ops", "")
        follow = start("--url", service, "events")
        follow.line("stderr")
        online(start, daemon.url("alice", "laptop"))
        first, second = follow.json(), follow.json()
        follow.end(signal.SIGINT)
        again = ctl("--text", "--url", service, "events", "--cursor", first["cursor"], "-C", "1")
        assert again.stdout.startswith(f"{clock_time(second['at_ms'])}  alice  status_change")
        Output(is_json=False, has_colour=False, is_quiet=False).moment("long ago", at_ms=5_000)
        assert capsys.readouterr().out == f"{clock_time(5_000)}  long ago\n"

    def test_what_is_lost_is_told_whatever_the_kinds(self, daemon: Daemon) -> None:
        done = ctl("--url", daemon.url("ops", ""), "events", "--cursor", "1-1", "--kind", "online", "-C", "1")
        assert json.loads(done.stdout)["kind"] == "reset"

    def test_what_was_is_told_to_a_service_of_anybody(self, daemon: Daemon, start: Any) -> None:
        online(start, daemon.url("alice", "laptop"))
        found = ctl("--url", daemon.url("ops", ""), "history", "alice", "--since", "2h")
        assert [json.loads(line)["kind"] for line in found.stdout.splitlines()] == ["online", "status_change"]
        done = ctl("--url", daemon.url("ops", ""), "history", "alice", "--since", "1h", "--until", "2h")
        assert done.returncode == exits.USAGE and "--since is later than --until" in done.stderr

    def test_what_is_no_cursor(self, daemon: Daemon) -> None:
        done = ctl("--url", daemon.url("ops", ""), "events", "--cursor", "yesterday")
        assert done.returncode == exits.USAGE and "'yesterday' is not a cursor" in done.stderr

    def test_for_people(self, daemon: Daemon) -> None:
        shown = on_terminal("--url", daemon.url("ops", ""), "events", "--cursor", "1-1", "-C", "1")
        assert "events were missed" in shown and "{" not in shown


class TestWording:
    @pytest.mark.parametrize(
        ("change", "line"),
        [
            (MemberChange("snapshot", "general", record("dnd"), 2), "bob  dnd  is in general  (2)"),
            (MemberChange("leave", "general", record("online"), 0), "bob  online  left general  (0)"),
            (MemberChange("counts", "general", None, 5000), "5000 in general"),
        ],
    )
    def test_members(self, change: MemberChange, line: str) -> None:
        assert describe_member(change) == line

    def test_events(self) -> None:
        event = Event("offline", "bob", "online", "offline", "lost", 1, "7-3")
        assert describe_event(event) == "bob  offline  online \u2192 offline  (lost)  7-3"
