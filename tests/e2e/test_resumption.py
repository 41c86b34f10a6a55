"""Taking back what a lost link had, over real TCP: raw arrays and broken connections, as protocol.md 22.3 says it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.service_client import ATTACH, BEATS, BYE, GET, HELLO, SET_STATUS, TAKEN, WATCH
from tests.e2e.tokens import SECRET, signed
from tests.support.daemon import Daemon
from tests.support.suites import daemon_of
from tests.support.wire import DONE, GOODBYE, PRESENCE, RECORDS, WELCOME, Frame, Wire, opened

RESUME, RESUME_MS, RESUMED = 17, 18, 19
"""Places in a welcome."""

Open = Callable[..., Wire]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, nodes: int) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("daemon")
    with daemon_of(nodes, folder, "--check", "--grace", "60s", "--change-spacing", "0") as daemon:
        yield daemon


def greeting(user: str, device: str, resume: str | None, **said: Any) -> Frame:
    """A hello, by place. `again` as after a lost link."""
    role, instance, again = said.get("role", "user"), said.get("instance", 7), said.get("again", True)
    fields = [HELLO, [1], said.get("token", ""), user, device, "", "", 0, "online", None, role, "test", False]
    return [*fields, again, again, instance, said.get("contacts", False), said.get("quiet", False), resume]


def greeted(port: int, user: str, device: str, resume: str | None, *behind: Frame, **said: Any) -> tuple[Wire, Frame]:
    """A link and its welcome. `behind` is sent with the hello, in one write."""
    wire = Wire(port)
    wire.send(greeting(user, device, resume, **said), *behind)
    welcome = wire.next()
    assert welcome[0] == WELCOME, welcome
    return wire, welcome


def broken(wire: Wire) -> None:
    """The connection breaks without a word: the kernel sends a reset."""
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def asked(wire: Wire, *frames: Frame) -> list[Frame]:
    """Send these, and the next frame for each."""
    wire.send(*frames)
    return [wire.next() for _ in frames]


def changed(daemon: Daemon, user: str, text: str) -> None:
    with opened(daemon.port, user, "elsewhere") as other:
        other.send([SET_STATUS, 1, None, text])
        assert other.next()[0] == DONE


def test_a_broken_connection_is_taken_up_in_one_round_trip(daemon: Daemon) -> None:
    wire, welcome = greeted(daemon.port, "alice", "laptop", "", again=False)
    assert welcome[RESUME_MS] == 60_000 and welcome[RESUMED] is False and len(welcome[RESUME]) == 22
    assert asked(wire, [WATCH, 1, ["bob", "carol"]])[0][0] == RECORDS
    broken(wire)
    changed(daemon, "bob", "meanwhile")
    back, again = greeted(daemon.port, "alice", "laptop", welcome[RESUME], [GET, 9, ["bob"]])
    assert again[RESUMED] is True and again[RESUME] not in ("", welcome[RESUME])
    got = back.next()
    assert got[:2] == [RECORDS, 9] and got[4][0][2] == "meanwhile", "what was sent behind the hello is answered"
    changed(daemon, "carol", "now")
    pushed = back.until(PRESENCE)
    assert pushed[1][0] == "carol"
    back.close()


def test_a_new_link_takes_over_from_one_whose_end_the_server_has_not_seen(daemon: Daemon) -> None:
    old, welcome = greeted(daemon.port, "dora", "laptop", "", again=False)
    asked(old, [WATCH, 1, ["erin"]])
    back, again = greeted(daemon.port, "dora", "laptop", welcome[RESUME])
    assert again[RESUMED] is True
    assert old.ended_with("replaced")[0] == GOODBYE
    changed(daemon, "erin", "seen")
    assert back.until(PRESENCE)[1][0] == "erin"
    replay, third = greeted(daemon.port, "dora", "laptop", welcome[RESUME])
    assert third[RESUMED] is False and back.ended_with("replaced")
    replay.close()


def test_a_service_has_thousands_of_devices_back_before_what_it_sends_behind_its_hello(daemon: Daemon) -> None:
    count = 4_000
    wire, welcome = greeted(daemon.port, "backend", "", "", role="service", again=False)
    for start in range(0, count, 500):
        attaches: list[Frame] = [[ATTACH, ref, ref, f"u{ref}", "tab"] for ref in range(start + 1, start + 501)]
        assert all(reply[0] == DONE for reply in asked(wire, *attaches))
    watched: Frame = [WATCH, 9_999, [f"u{ref}" for ref in range(1, 257)]]
    assert asked(wire, watched)[0][0] == RECORDS
    broken(wire)
    beats = [number for ref in range(1, count + 1) for number in (ref, 1_000)]
    behind: list[Frame] = [[BEATS, beats], [ATTACH, 1, count + 1, "new", "tab"], [GET, 2, ["u1", f"u{count}"]]]
    back, again = greeted(daemon.port, "backend", "", welcome[RESUME], *behind, role="service")
    assert again[RESUMED] is True
    assert back.next()[:2] == [DONE, 1], "no Taken, and nothing else, comes before it"
    assert [record[1] for record in back.next()[4]] == ["online", "online"]
    back.send([BEATS, [count + 2, 0]])
    assert back.next() == [TAKEN, count + 2, "not_held"]
    back.close()


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9])
def test_a_link_that_breaks_before_it_has_read_its_welcome_loses_nothing_but_time(daemon: Daemon, cut: float) -> None:
    user = f"frank{cut}"
    wire, welcome = greeted(daemon.port, user, "laptop", "", again=False)
    asked(wire, [WATCH, 1, ["grace"]])
    broken(wire)
    half = Wire(daemon.port)
    half.send(greeting(user, "laptop", welcome[RESUME]))
    broken(half)
    back, again = greeted(daemon.port, user, "laptop", welcome[RESUME], [WATCH, 2, ["grace"]])
    assert back.next()[:2] == [RECORDS, 2], f"taken back or not ({again[RESUMED]}), it goes on"
    back.close()


@pytest.mark.parametrize(
    ("resume", "code"), [("x" * 65, "bad_hello"), (7, "bad_hello"), (["x"], "bad_hello"), (b"x", "bad_hello")]
)
def test_what_is_no_token_by_its_form_is_refused(daemon: Daemon, resume: Any, code: str) -> None:
    wire = Wire(daemon.port)
    wire.send(greeting("mallory", "laptop", resume))
    wire.ended_with(code)


@pytest.mark.parametrize("resume", ["x", "x" * 64, "\u0000", "'; --", "\U0001f600" * 64])
def test_what_is_nobodys_token_is_a_hello_like_any_other(daemon: Daemon, resume: str) -> None:
    wire, welcome = greeted(daemon.port, "mallory", "laptop", resume)
    assert welcome[RESUMED] is False and len(welcome[RESUME]) == 22
    assert asked(wire, [GET, 1, ["x"]])[0][0] == RECORDS
    wire.close()


def test_with_json_web_tokens_the_rights_count_and_not_the_token(tmp_path: Path, nodes: int) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    options = ("--secret-file", str(secret), "--check", "--grace", "60s")
    with daemon_of(nodes, tmp_path, *options, dev=False) as daemon:

        def opened_with(resume: str, sub: str = "app", **claims: Any) -> tuple[Wire, Frame]:
            token = signed(sub=sub, role="service", **claims)
            return greeted(daemon.port, sub, "", resume, token=token, role="service")

        narrow = {"presence": {"see": ["u*"], "act": ["u*"]}}
        wire, welcome = opened_with("", **narrow)
        assert asked(wire, [ATTACH, 1, 1, "u1", "tab"])[0][0] == DONE
        broken(wire)
        for claims in ({}, {"presence": {"see": ["*"]}}, {"presence": {"see": ["u*"], "only_read": True}}):
            other, refused = opened_with(welcome[RESUME], **claims)
            assert refused[RESUMED] is False
            # It leaves: if it were lost, what it had would be its client's latest.
            other.send([BYE])
            assert other.rest() == []
        thief, refused = opened_with(welcome[RESUME], sub="u9", **narrow)
        assert refused[RESUMED] is False
        thief.close()
        back, again = opened_with(welcome[RESUME], exp=4_000_000_001, presence={"act": ["u*"], "see": ["u*"]})
        assert again[RESUMED] is True, "another token of the same rights"
        back.close()
