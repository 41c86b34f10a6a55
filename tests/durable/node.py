"""A daemon with a data directory that can be killed, stopped, started again on the same port, and faulted by strace."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.readiness import first_line

REPOSITORY = Path(__file__).parents[2]
WAIT_S = 60.0
"""A deadline for what should come at once; nothing waits this long unless it is about to fail."""

NO_STRACE = "strace is not installed and these tests inject faults with it; install it: apt-get install strace"


_HOLD = """
import importlib, os, threading, time
from presenced.storage.files import OsFile
write_at, sync = OsFile.write_at, OsFile.sync
def held(self, offset, data):
    while os.path.exists({held!r}):
        time.sleep(0.01)
    return write_at(self, offset, data)
def stuck(self):
    while threading.current_thread().name == "committer" and os.path.exists({stuck!r}):
        time.sleep(0.01)
    sync(self)
OsFile.write_at, OsFile.sync = held, stuck
"""


class StartFailed(Exception):
    """The daemon ended before it listened."""

    def __init__(self, status: int, log: str) -> None:
        super().__init__(f"the daemon ended with status {status}\n{log}")
        self.status = status


class Node:
    """`presenced serve --dev` on one directory. `bounds` are set as `module:NAME` before the command line runs.

    While the file `held_path` exists, no write to a data file comes about, and while `stuck_path` does, no sync of
    the log ends.
    """

    def __init__(self, directory: Path, *options: str, bounds: Mapping[str, object] | None = None) -> None:
        self.directory = directory
        self.held_path = directory / "held"
        self.stuck_path = directory / "stuck"
        self.data = directory / "data"
        self.log_path = directory / "daemon.log"
        self.trace_path = directory / "strace.log"
        self.options = options
        self.bounds = dict(bounds or {})
        self.port = 0
        self.process: subprocess.Popen[bytes] | warm.Warm | None = None
        directory.mkdir(parents=True, exist_ok=True)

    # --- starting -------------------------------------------------------------------------------------------------

    def start(self, *strace: str) -> Node:
        """Start and wait until it listens; `strace` are options to trace it with. Raises `StartFailed`."""
        assert self.process is None or self.process.poll() is not None, "it is running already"
        code = _HOLD.format(held=str(self.held_path), stuck=str(self.stuck_path))
        for place, value in self.bounds.items():
            module, name = place.split(":")
            code += f"setattr(importlib.import_module({module!r}), {name!r}, {value!r})\n"
        arguments = [
            "serve",
            "--dev",
            "--listen",
            f"127.0.0.1:{self.port}",
            "--data-dir",
            str(self.data),
            *self.options,
        ]
        command = [sys.executable, "-c", f"{code}from presenced.cli.daemon import main\nmain()", *arguments]
        if strace:
            if not shutil.which("strace"):
                pytest.skip(NO_STRACE)
            # -D: the daemon stays our child, so that its status and its signals are its own.
            head = ["strace", "-D", "-f", "-qq", "-xx", "-s", "24", "-o", str(self.trace_path)]
            if not any("signal=" in option for option in strace):
                # Stops at these calls only, which is faster. With it strace 6.1 forgets to send its signals.
                head.append("--seccomp-bpf")
            command = [*head, *strace, "--", *command]
        with self.log_path.open("ab") as log:
            if strace or self.bounds:
                self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=REPOSITORY)
            else:
                self.process = warm.Warm("presenced", *arguments, stderr=log.fileno(), before=code)
        line = first_line(self.process, WAIT_S)
        if not line.startswith("listening on "):
            if line or self.process.poll() is None:
                self.process.kill()
            status = self.process.wait(WAIT_S)
            self._close_stdout()
            raise StartFailed(status, self.log())
        self.port = int(line.rpartition(":")[2])
        return self

    # --- ending ---------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL. Idempotent."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self._close_stdout()

    def signal(self, number: int) -> None:
        """Send a signal to a daemon that may have ended by itself."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)

    def stop(self, meanwhile: Callable[[], None] | None = None) -> None:
        """SIGTERM, status 0, and no exception in the log. `meanwhile` sees to the links that are told goodbye."""
        self.signal(signal.SIGTERM)
        if meanwhile is not None:
            meanwhile()
        status = self.wait()
        assert status == 0, f"status {status}\n{self.log()}"
        assert "Traceback" not in self.log(), self.log()

    def wait(self) -> int:
        """The exit status of a process that is about to end."""
        assert self.process is not None
        try:
            return self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the daemon did not end\n{self.log()}") from None
        finally:
            self._close_stdout()

    def _close_stdout(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    # --- looking --------------------------------------------------------------------------------------------------

    def log(self) -> str:
        """What the daemon wrote to stderr, over all its lives."""
        return self.log_path.read_text(errors="replace")

    def trace(self) -> list[str]:
        """The lines that strace wrote in the last life."""
        return self.trace_path.read_text(errors="replace").splitlines()

    def files(self) -> list[str]:
        """The names in the data directory."""
        return sorted(path.name for path in self.data.iterdir())

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Look again and again until `holds`; fail after a while."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about that {what}"
        time.sleep(0.005)
