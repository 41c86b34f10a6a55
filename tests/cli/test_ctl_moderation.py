"""The commands that take something away from a user, against the real daemon."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from presenced.cli import exits
from presenced.cli.ctl_events import describe_event
from presenced.client import Event
from presenced.sync import BlockingClient, connect
from tests.cli.commands import ctl
from tests.support.daemon import Daemon
from tests.support.until import until


def laptop_of(daemon: Daemon) -> BlockingClient:
    return connect(daemon.url("alice", "laptop"), reconnect=False)


def ended_with(client: BlockingClient) -> str:
    until(lambda: client.state == "closed", "the link ends")
    return getattr(client.reason, "code", "")


def test_tokens_are_revoked_and_links_end(daemon: Daemon) -> None:
    as_service = ("--url", daemon.url("root", "x"), "revoke", "alice")
    ahead = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    for before in ((), ("--before", "1h"), ("--before", ahead), ("--before", "2026-01-01T00:00:00Z")):
        with laptop_of(daemon) as laptop:
            done = ctl(*as_service, *before)
            assert (done.returncode, done.stdout) == (0, ""), done.stderr
            assert ended_with(laptop) == "token_revoked"


def test_a_time_that_makes_no_sense_is_refused(daemon: Daemon) -> None:
    as_service = ("--url", daemon.url("root", "x"), "revoke", "alice", "--before")
    for before, says in (("yesterday", "is no time"), ("2026-01-01T00:00:00", "has no time zone")):
        done = ctl(*as_service, before)
        assert done.returncode == exits.USAGE and says in done.stderr
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert "ahead of the server's clock" in ctl(*as_service, ahead).stderr
    assert "does not use --as" in ctl("--as", "bob", "revoke", "alice").stderr


def test_a_user_is_kicked_with_all_devices(admin_daemon: Daemon, admin_path: str) -> None:
    with laptop_of(admin_daemon) as laptop:
        assert ctl("--socket", admin_path, "--text", "kick", "--gone", "alice").stdout == "1 link closed\n"
        assert ended_with(laptop) == "kicked"
    for whom in (("alice/laptop",), ("--role", "user"), ("alice", "--role", "user")):
        assert "give USER alone" in ctl("--socket", admin_path, "kick", "--gone", *whom).stderr


def test_a_user_is_erased_and_one_is_asked_before(daemon: Daemon) -> None:
    erase = ("--url", daemon.url("root", "x"), "erase", "alice")
    with laptop_of(daemon) as laptop:
        laptop.set_text("a secret")
        refused = ctl(*erase)
        assert refused.returncode == exits.USAGE and "give --yes to go on" in refused.stderr
        assert laptop.state == "connected" and laptop.get_status("alice").text == "a secret"
        done = ctl(*erase, "--yes", "--wait")
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert done.stderr.splitlines()[-1].endswith("the daemon's disk holds nothing any more of alice")
        assert ended_with(laptop) == "kicked"
    assert ctl(*erase, "--yes").returncode == 0
    with connect(daemon.url("bob", "laptop")) as bob:
        assert bob.get_status("alice").version == 0
    assert "does not use --as" in ctl("--as", "bob", "erase", "--yes", "alice").stderr


def test_an_erasure_is_printed_among_the_events() -> None:
    event = Event("erased", "alice", "", "", "", 1, "7-8")
    assert describe_event(event) == "alice  erased  (the server's disk holds nothing any more of them)  7-8"
