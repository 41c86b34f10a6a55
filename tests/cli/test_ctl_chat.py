"""`do` and `shell`, which pass on what a person types, against the real daemon."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from presenced.cli import exits
from presenced.cli.ctl_chat import LINE_BYTES_MAX
from tests.cli.commands import ENVIRONMENT, command, ctl, on_terminal
from tests.support import REPOSITORY
from tests.support.daemon import Daemon
from tests.support.readiness import readable
from tests.support.until import PATIENCE_S


def shell(url: str, typed: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command("--url", url, *options, "shell"),
        input=typed,
        capture_output=True,
        timeout=PATIENCE_S,
        cwd=REPOSITORY,
        env=ENVIRONMENT,
    )


class TestDo:
    def test_the_answer_is_text(self, daemon: Daemon) -> None:
        url = daemon.url("alice", "laptop")
        done = ctl("--url", url, "do", "/presence away for 30m")
        assert (done.returncode, done.stdout, done.stderr) == (
            0,
            "You will show as away as soon as a device of yours is online, for 30m\n",
            "",
        )
        assert "You will show as dnd" in ctl("--url", url, "do", "/presence", "dnd").stdout
        assert "who: who is online" in on_terminal("--url", url, "do", "help")

    def test_json_has_all_of_it(self, daemon: Daemon) -> None:
        done = ctl("--json", "--url", daemon.url("alice", "laptop"), "do", "status", "in a meeting")
        answer = json.loads(done.stdout)
        assert list(answer) == ["ok", "text", "verb", "records", "devices", "activities"]
        assert (answer["ok"], answer["verb"], answer["records"][0]["text"]) == (True, "status", "in a meeting")

    def test_what_is_not_done_is_a_no(self, daemon: Daemon) -> None:
        done = ctl("--url", daemon.url("alice", "laptop"), "do", "frobnicate")
        assert done.returncode == exits.NO and done.stdout.startswith("I do not know 'frobnicate'")
        long = ctl("--url", daemon.url("alice", "laptop"), "do", "x" * 2000)
        assert long.returncode == exits.USAGE and "longer than 1024 bytes" in long.stderr

    def test_for_another(self, daemon: Daemon) -> None:
        assert ctl("--url", daemon.url("ops", ""), "--as", "bob", "do", "/presence dnd").returncode == 0
        claims = ctl("--url", daemon.url("bob", "x"), "claims")
        assert json.loads(claims.stdout)["status"] == "dnd"


class TestShell:
    def test_line_by_line_from_a_pipe(self, daemon: Daemon) -> None:
        done = shell(daemon.url("alice", "laptop"), b"/presence dnd\n\n  who\nclear")
        assert (done.returncode, done.stderr) == (0, b"")
        lines = done.stdout.decode().splitlines()
        assert [line.split()[0] for line in lines] == ["You", "Nobody", "Cleared:"]

    @pytest.mark.parametrize("word", [b"quit", b" EXIT "])
    def test_a_word_that_ends_it(self, daemon: Daemon, word: bytes) -> None:
        done = shell(daemon.url("alice", "laptop"), b"who\n" + word + b"\nwho\n")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"Nobody is online\n", b"")

    def test_one_that_is_not_done_does_not_end_it(self, daemon: Daemon) -> None:
        done = shell(daemon.url("alice", "laptop"), b"nope\n" + b"x" * 2000 + b"\nwho\n")
        assert done.returncode == exits.NO
        assert [line.split()[0] for line in done.stdout.decode().splitlines()] == ["I", "Nobody"]
        assert done.stderr.count(b"\n") == 1 and b"longer than 1024 bytes" in done.stderr

    def test_more_lines_than_are_read_ahead(self, daemon: Daemon) -> None:
        done = shell(daemon.url("alice", "laptop"), b"who\n" * 100, "--json")
        assert done.returncode == 0
        assert [json.loads(line)["verb"] for line in done.stdout.splitlines()] == ["who"] * 100

    def test_from_a_file(self, daemon: Daemon, tmp_path: Path) -> None:
        script = tmp_path / "commands"
        script.write_text("who\nhelp\n")
        with script.open("rb") as stdin:
            done = subprocess.run(
                command("--url", daemon.url("alice", "x"), "shell"),
                stdin=stdin,
                capture_output=True,
                timeout=PATIENCE_S,
                cwd=REPOSITORY,
                env=ENVIRONMENT,
            )
        assert (done.returncode, done.stdout.count(b"\n")) == (0, 2)

    def test_a_line_without_an_end(self, daemon: Daemon) -> None:
        done = shell(daemon.url("alice", "x"), b"x" * (LINE_BYTES_MAX + 8192))
        assert (done.returncode, done.stdout) == (exits.USAGE, b"")
        assert done.stderr.startswith(b"presencectl: a line is longer") and done.stderr.count(b"\n") == 1

    @pytest.mark.parametrize("how", ["Ctrl-D", "Ctrl-C"])
    def test_on_a_terminal(self, daemon: Daemon, how: str) -> None:
        controller, terminal = pty.openpty()
        with subprocess.Popen(
            command("--url", daemon.url("alice", "x"), "shell"),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=REPOSITORY,
            env=ENVIRONMENT,
        ) as process:
            os.close(terminal)
            assert until(controller, "alice> ")
            os.write(controller, b"who\n")
            assert "Nobody is online" in until(controller, "\nalice> ")
            os.write(controller, b"nope\n")
            assert "I do not know" in until(controller, "\nalice> ")
            if how == "Ctrl-D":
                os.write(controller, b"\x04")
                assert process.wait(PATIENCE_S) == 0
            else:
                process.send_signal(signal.SIGINT)
                assert process.wait(PATIENCE_S) == exits.INTERRUPTED
            rest = until(controller, None)
            assert "Traceback" not in rest and "Fatal" not in rest
            assert rest.endswith("\r\n"), "the prompt of the shell behind it has a line of its own"
            os.close(controller)


def until(controller: int, text: str | None) -> str:
    """What a terminal shows up to `text`; None: up to its end."""
    shown = ""
    deadline = time.monotonic() + PATIENCE_S
    while text is None or not shown.endswith(text):
        left_s = deadline - time.monotonic()
        assert left_s > 0 and readable(controller, left_s), f"the terminal shows only {shown!r}"
        try:
            data = os.read(controller, 4096)
        except OSError:
            # Linux says EIO once the other side of a terminal is closed.
            data = b""
        if not data:
            assert text is None, f"the terminal was closed after {shown!r}"
            return shown
        shown += data.decode()
    return shown
