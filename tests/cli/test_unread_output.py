"""Nobody reads what a command prints: its link lives on, and Ctrl-C ends it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from presenced.wire.messages import SetStatus
from tests.cli.commands import ENVIRONMENT, ctl
from tests.support import REPOSITORY
from tests.support.daemon import StartDaemon
from tests.support.until import PATIENCE_S, until
from tests.support.wire import DONE, opened

PIPE_BYTES = 4096
CHANGES = 100
"""More than the pipe takes."""


def watching(url: str, output: int) -> subprocess.Popen[bytes]:
    program = "from presenced.cli.ctl import main; main(prog_name='presencectl')"
    return subprocess.Popen(
        [sys.executable, "-c", program, "--url", url, "watch", "alice"],
        stdout=output,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
        cwd=REPOSITORY,
    )


@pytest.fixture
def status_of(admin_path: str) -> Callable[[str], int]:
    return lambda name: int(json.loads(ctl("--socket", admin_path, "status").stdout)[name])


def test_a_watch_that_nobody_reads_keeps_its_link(
    start_daemon: StartDaemon, admin_path: str, status_of: Callable[[str], int]
) -> None:
    daemon = start_daemon("--admin-socket", admin_path, "--heartbeat", "300ms", "--change-spacing", "0")
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    process = watching(daemon.url("bob", "desk"), write_end)
    os.close(write_end)
    try:
        said = os.read(read_end, PIPE_BYTES)
        assert b'"snapshot"' in said
        with opened(daemon.port, "alice") as alice:
            for number in range(1, CHANGES):
                alice.send(SetStatus(number, text=f"text {number}"))
                while alice.next()[:2] != [DONE, number]:
                    pass
        before = status_of("frames_in")
        until(lambda: status_of("frames_in") > before + 10, lambda: "it sends no heartbeats")
        assert (status_of("links"), status_of("expired")) == (1, 0)
        # What it could not print meanwhile is not lost: it goes on with how alice is now.
        while b"offline" not in said.splitlines()[-1]:
            said += os.read(read_end, PIPE_BYTES)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        os.close(read_end)


def test_ctrl_c_ends_a_watch_that_nobody_reads(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--change-spacing", "0")
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    process = watching(daemon.url("bob", "desk"), write_end)
    try:
        assert b'"snapshot"' in os.read(read_end, PIPE_BYTES)
        with opened(daemon.port, "alice") as alice:
            for number in range(1, CHANGES):
                alice.send(SetStatus(number, text=f"text {number}"))
                while alice.next()[:2] != [DONE, number]:
                    pass
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    finally:
        process.kill()
        process.wait()
        os.close(read_end)
        os.close(write_end)
