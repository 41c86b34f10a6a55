"""The daemon's log: a line an event, in three formats, bounded, and without anybody's secrets."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from presenced.ops import logs
from presenced.server.identity import mint
from presenced.server.report import BURST_LINES, WINDOW_MS, Report
from presenced.wire.messages import Get
from tests.support.daemon import Daemon
from tests.support.wire import WELCOME, Wire, hello, opened

TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) \S")
HOSTILE = "a\nINFO forged\r\n<0>forged\x1b[2J\u2028forged\x85forged"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the log goes; what was set up before is put back."""
    root, ours = logging.getLogger(), logging.getLogger("presenced")
    before = root.handlers[:], root.level, ours.level
    yield io.StringIO()
    root.handlers[:], root.level = before[0], before[1]
    ours.setLevel(before[2])


def log_something() -> None:
    logging.getLogger("presenced").info("closing %r", HOSTILE)
    logging.getLogger("presenced").warning("raw: %s", HOSTILE)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("presenced").exception("it failed")


# --- formats ------------------------------------------------------------------------------------------------------


def test_text_is_one_line_an_event(stream: io.StringIO) -> None:
    logs.configure("text", "info", stream)
    log_something()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert all(TEXT_LINE.match(line) for line in lines)
    assert "ValueError" in lines[2] and "test_logs.py" in lines[2], "with the way there"


def test_the_journal_is_told_the_priority_of_each_line(stream: io.StringIO) -> None:
    logs.configure("journal", "debug", stream)
    log_something()
    logger = logging.getLogger("presenced")
    logger.debug("d")
    logger.critical("c")
    lines = stream.getvalue().splitlines()
    assert [line[:3] for line in lines] == ["<6>", "<4>", "<3>", "<7>", "<2>"]
    assert not TEXT_LINE.search(lines[0]), "the journal knows the time"


def test_json_is_an_object_a_line(stream: io.StringIO) -> None:
    logs.configure("json", "info", stream)
    log_something()
    lines = stream.getvalue().split("\n")
    assert lines.pop() == ""
    entries = [json.loads(line) for line in lines]
    assert [entry["level"] for entry in entries] == ["info", "warning", "error"]
    assert entries[1]["message"] == f"raw: {HOSTILE}", "nothing is lost"
    assert entries[2]["message"] == "it failed" and "ValueError" in entries[2]["error"]
    assert all(re.fullmatch(r"[-\d]{10}T[:\d]{8}\.\d{3}Z", entry["time"]) for entry in entries)


def test_setting_up_twice_is_as_once(stream: io.StringIO) -> None:
    logs.configure("text", "info", stream)
    logs.configure("journal", "info", stream)
    logging.getLogger("presenced").info("once")
    assert stream.getvalue() == "<6>once\n"


@pytest.mark.parametrize("matches", [True, False])
def test_the_journal_is_recognised_by_its_stream(
    matches: bool, stream: io.StringIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "log").open("w") as file:
        found = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + (not matches)}")
        logs.configure("auto", "info", file)
        logging.getLogger("presenced").info("hello")
        assert logs.is_journal(file) is matches
        assert logs.is_journal(stream) is False, "has no descriptor"
    assert (tmp_path / "log").read_text().startswith("<6>") is matches


@pytest.mark.parametrize("value", ["", "nonsense", "1", ":", "8:"])
def test_a_strange_journal_variable_is_none(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", value)
    with (tmp_path / "log").open("w") as file:
        assert not logs.is_journal(file)


def test_levels(stream: io.StringIO) -> None:
    logs.configure("journal", "warning", stream)
    logger = logging.getLogger("presenced")
    logger.info("1")
    logger.warning("2")
    logs.set_level("debug")
    assert logs.level() == "debug"
    logger.debug("3")
    logging.getLogger("somebody.else").info("4")
    logs.set_level("error")
    logger.warning("5")
    logging.getLogger("somebody.else").warning("6")
    assert stream.getvalue() == "<4>2\n<7>3\n"


# --- the bound ----------------------------------------------------------------------------------------------------


def test_a_cause_has_its_lines_and_is_counted_beyond_them(caplog: pytest.LogCaptureFixture) -> None:
    report = Report()
    with caplog.at_level(logging.INFO, "presenced"):
        for number in range(1_000):
            report.event(5_000 + number, "busy", f"refusing {number}")
        report.event(5_500, "stall", "another cause has lines of its own")
        assert len(caplog.messages) == BURST_LINES + 1
        caplog.clear()
        report.event(5_000 + WINDOW_MS, "busy", "again")
        assert caplog.messages == [
            f"busy: {1_000 - BURST_LINES} more lines in the last 10 s were not written",
            "busy: again",
        ]
        caplog.clear()
        report.event(5_000 + 3 * WINDOW_MS, "busy", "later")
        assert caplog.messages == ["busy: later"], "nothing was held back meanwhile"


# --- the daemon ---------------------------------------------------------------------------------------------------


def test_the_first_line_says_what_is_running(tmp_path: Path) -> None:
    config = tmp_path / "presenced.toml"
    config.write_text("[log]\nlevel = 'info'\n")
    data, admin = tmp_path / "data", tmp_path / "admin.sock"
    options = ("--config", str(config), "--data-dir", str(data), "--durability", "os", "--loop", "asyncio")
    with Daemon(tmp_path / "log", *options, "--admin-socket", str(admin), "--http", "127.0.0.1:0") as daemon:
        line = daemon.until_log("presenced ").splitlines()[0]
        assert TEXT_LINE.match(line)
        for said in (
            "presenced 0.", "on Python 3.", "asyncio", f"settings from {config}", f"state in {data}", "durability os",
            f"presence://127.0.0.1:{daemon.port}", f"unix:{admin}", "http://127.0.0.1:", "DEVELOPMENT MODE",
        ):  # fmt: skip
            assert said in line, f"{said!r} is not in {line!r}"


@pytest.mark.parametrize("log_format", ["text", "journal", "json"])
def test_hostile_clients_and_our_own_bugs_are_a_line_each(log_format: str, tmp_path: Path) -> None:
    patches = (
        "from presenced.core import requests\nfrom presenced.wire.messages import Get\n"
        f"def broken(*_): raise RuntimeError({HOSTILE!r})\n"
        "requests.HANDLERS[Get] = requests.Handler(broken)\n"
    )
    daemon = Daemon(tmp_path / "log", "--log-format", log_format, patches=patches)
    try:
        with opened(daemon.port, "victim") as link:
            link.send(Get(1, ["poison"]))
            link.ended_with("link_failed")
        with Wire(daemon.port) as link:
            link.send(hello(HOSTILE))
            link.rest()
        with Wire(daemon.port) as link:
            link.send_bytes(b"GET /<0>forged\n HTTP/1.1\r\n\r\n")
            link.rest()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
    finally:
        daemon.kill()
    for line in daemon.log_path.read_bytes().decode().removesuffix("\n").split("\n"):
        assert "\r" not in line and "\x1b" not in line
        if log_format == "json":
            assert set(json.loads(line)) <= {"time", "level", "message", "error"}
        elif log_format == "journal":
            assert re.match(r"<[2-7]>\S", line)
        else:
            assert TEXT_LINE.match(line), line
    assert "RuntimeError" in daemon.log()


def test_no_secret_and_no_token_is_ever_written(tmp_path: Path) -> None:
    """Good ones, bad ones, and what only looks like one, at the most talkative level."""
    secret = b"a-secret-of-more-than-thirty-two-bytes-in-length"
    (tmp_path / "secret").write_bytes(secret)
    (tmp_path / "secret").chmod(0o600)
    now_s = 1_700_000_000
    good = mint(secret, "alice", "user", 4_000_000_000 - 10, 10)
    expired = mint(secret, "alice", "user", now_s, 10)
    forged = mint(secret[::-1], "alice", "admin", now_s, 10)
    tokens = [good, expired, forged, good[:-3], "not-a-token-but-quite-unmistakable", good.split(".")[1] + ".x.y"]
    options = ("--secret-file", str(tmp_path / "secret"), "--log-level", "debug")
    with Daemon(tmp_path / "log", *options, dev=False) as daemon:
        for token in tokens:
            with Wire(daemon.port) as link:
                link.send(hello("alice", token=token))
                if link.next()[0] == WELCOME:
                    assert token == good
                    link.send_bytes(b"\xff" * 40)
                link.rest()
        daemon.signal(signal.SIGHUP)
        daemon.until_log("reload: done")
    log = daemon.log()
    assert "bad_token" in log and "token_expired" in log, "that somebody was refused is written"
    for token in tokens:
        for part in token.split("."):
            assert len(part) < 4 or part not in log
    assert secret.decode() not in log


def test_what_was_held_back_is_told_though_nothing_more_comes(caplog: pytest.LogCaptureFixture) -> None:
    report = Report()
    with caplog.at_level(logging.INFO, "presenced"):
        for _ in range(BURST_LINES + 7):
            report.event(5_000, "accept", "no connection can be taken", level=logging.WARNING)
        caplog.clear()
        report.flush(5_000 + WINDOW_MS - 1)
        assert not caplog.messages
        report.flush(5_000 + WINDOW_MS)
        report.flush(5_000 + 9 * WINDOW_MS)
        assert caplog.messages == ["accept: 7 more lines in the last 10 s were not written"]
        assert caplog.records[0].levelno == logging.WARNING
        caplog.clear()
        report.event(5_000 + 9 * WINDOW_MS, "accept", "again")
        assert caplog.messages == ["accept: again"]


def test_a_link_that_never_said_who_it_is_is_known_by_its_address(tmp_path: Path) -> None:
    with Daemon(tmp_path / "log") as daemon, socket.create_connection(("127.0.0.1", daemon.port)) as link:
        host, port = link.getsockname()
        link.sendall(b"\x00\x00\x00\x01\xc1")
        said = daemon.until_log(f"closing a link without hello from '{host}:{port}': ")
        assert "bad_frame" in said or "hello_required" in said


def test_debug_tells_of_links_and_snapshots(tmp_path: Path) -> None:
    with Daemon(tmp_path / "log", "--log-level", "debug", "--data-dir", str(tmp_path / "data")) as daemon:
        with opened(daemon.port, "alice") as link:
            daemon.until_log("hello: 'alice/laptop' as user from '127.0.0.1:")
            daemon.signal(signal.SIGUSR1)
            daemon.until_log("snapshot: begun")
            assert re.search(r"snapshot: finished, \d+ bytes in \d+ ms", daemon.until_log("snapshot: finished"))
            daemon.signal(signal.SIGTERM)
            daemon.until_log("going_away: closing 'alice/laptop'")
            link.ended_with("going_away")
            assert daemon.wait() == 0
