"""A daemon with a data directory that can be killed, stopped, started again on the same port, and faulted by strace."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.daemon import Daemon

NO_STRACE = "strace is not installed and these tests inject faults with it; install it: apt-get install strace"


_HOLD = """
import os, threading, time
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


class Node:
    """`presenced serve --dev` on one directory, one process after the other, `limits` and `patches` as for it.

    While the file `held_path` exists, no write to a data file comes about, and while `stuck_path` does, no sync of
    the log ends.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        limits: Mapping[str, float] | None = None,
        patches: str = "",
        kept_by: Sequence[str] | None = None,
    ) -> None:
        """`kept_by` are the options that say where the state is kept; by default in a directory."""
        self.directory = directory
        self.held_path = directory / "held"
        self.stuck_path = directory / "stuck"
        self.data = directory / "data"
        self.log_path = directory / "daemon.log"
        self.trace_path = directory / "strace.log"
        self.kept_by = kept_by
        self.options = options
        self.limits = dict(limits or {})
        self.patches = patches
        self.port = 0
        self._daemon: Daemon | None = None
        directory.mkdir(parents=True, exist_ok=True)

    # --- starting -------------------------------------------------------------------------------------------------

    def start(self, *strace: str) -> Node:
        """Start and wait until it listens; `strace` are options to trace it with. Raises `StartFailed`."""
        assert not self.running, "it is running already"
        tracer: list[str] = []
        if strace:
            if not shutil.which("strace"):
                pytest.skip(NO_STRACE)
            # -D: the daemon stays our child, so that its status and its signals are its own.
            tracer = ["strace", "-D", "-f", "-qq", "-xx", "-s", "24", "-o", str(self.trace_path)]
            if not any("signal=" in option for option in strace):
                # Stops at these calls only, which is faster. With it strace 6.1 forgets to send its signals.
                tracer.append("--seccomp-bpf")
            tracer += [*strace, "--"]
        # Not before: a test may have the state kept in another directory.
        kept_by = ("--data-dir", str(self.data)) if self.kept_by is None else self.kept_by
        daemon = self._daemon = Daemon(
            self.log_path,
            *kept_by,
            *self.options,
            listen=f"127.0.0.1:{self.port}",
            limits=self.limits,
            patches=_HOLD.format(held=str(self.held_path), stuck=str(self.stuck_path)) + self.patches,
            tracer=tracer,
        )
        self.port = daemon.port
        return self

    # --- ending ---------------------------------------------------------------------------------------------------

    @property
    def daemon(self) -> Daemon:
        """The process of the present life, or of the last one."""
        assert self._daemon is not None, "it was never started"
        return self._daemon

    @property
    def running(self) -> bool:
        return self._daemon is not None and self._daemon.is_running

    def kill(self) -> None:
        """SIGKILL. Idempotent."""
        if self._daemon is not None:
            self._daemon.kill()

    def signal(self, number: int) -> None:
        """Send a signal to a daemon that may have ended by itself."""
        self.daemon.signal(number)

    def stop(self, meanwhile: Callable[[], None] | None = None) -> None:
        """SIGTERM, status 0, and no exception in the log. `meanwhile` sees to the links that are told goodbye."""
        self.daemon.stop(meanwhile)

    def wait(self) -> int:
        """The exit status of a process that is about to end."""
        status = self.daemon.wait()
        self.daemon.kill()
        return status

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
