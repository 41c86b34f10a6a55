"""A server's process, whichever server it is: how it is started, pinned, paused, brought to rest, and ended.

Knows nothing about loads and protocols. `Server` is one process that tells its port; `ServerTree` may be several.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, ClassVar

from bench.errors import BenchError

START_TIMEOUT_S = 20.0

QUIET_POLL_S = 0.002
QUIET_NS_MAX = 30_000
"""A server that used less CPU than this between two polls has nothing left to do but its timers."""

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None)
_leaving = 0


class ServerProcess(ABC):
    """One that we started, in a process group of its own. It is ended and reaped at exit if nobody does it before."""

    stop_timeout_s: ClassVar[float]
    """How long it may take to end in order before it is killed."""
    dies_by: ClassVar[signal.Signals]
    """What the kernel sends it if the bench itself is killed."""
    adopts_orphans: ClassVar[bool] = False
    """Whether what it leaves behind becomes our child; whoever has ended all of that says `adopt_orphans(-1)`."""

    def __init__(
        self,
        command: Sequence[str],
        core: int,
        *,
        stdout: int | IO[bytes],
        stderr: int | IO[bytes],
        cwd: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command` on `core`, with `environment` added to ours."""
        self.command = list(command)
        # An interrupt must not fall between the birth of the process and the moment somebody knows of it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
        try:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env={**os.environ, **(environment or {})},
                preexec_fn=lambda: _become_child(core, self.dies_by),
            )
            if self.adopts_orphans:
                adopt_orphans(1)
            atexit.register(self._end)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)

    @property
    def pid(self) -> int:
        """The process that we started; if there are others, they are below it."""
        return self._process.pid

    @abstractmethod
    def errors(self) -> str:
        """The end of what it complained of."""

    @abstractmethod
    def _end(self) -> object:
        """End and reap it, however it is; idempotent."""

    def _end_process(self, *, gentle: bool = True) -> bool:
        """SIGTERM, if it is `gentle`, and SIGKILL if it is still there. True if it was asked and did not end in
        time."""
        forced, process = False, self._process
        if gentle and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)
            try:
                process.wait(self.stop_timeout_s)
            except subprocess.TimeoutExpired:
                forced = True
        if process.poll() is None:
            process.kill()
            process.wait()
        return forced

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def pause(self) -> None:
        """Stop the process that serves where it is; returns once it stands still."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let it go on, with everything that arrived meanwhile."""
        self.signal(signal.SIGCONT)

    @abstractmethod
    def cpu_ns(self) -> int:
        """CPU time so far, user and system, all threads."""

    @abstractmethod
    def waited_ns(self) -> int:
        """Time that it was ready to run and something else had its core."""

    @abstractmethod
    def resident_bytes(self) -> int:
        """Resident memory."""

    @abstractmethod
    def _is_asleep(self) -> bool:
        """Does nothing of it run or wait for its core?"""

    def settled_cpu_ns(self) -> int:
        """CPU time once nothing of it runs any more, so that a measurement neither begins nor ends inside its work."""
        deadline = time.monotonic() + START_TIMEOUT_S
        before = self.cpu_ns()
        while time.monotonic() < deadline:
            time.sleep(QUIET_POLL_S)
            now = self.cpu_ns()
            if now - before < QUIET_NS_MAX and self._is_asleep():
                return now
            before = now
        raise BenchError(f"{' '.join(self.command)} does not come to rest; nothing can be measured")


def adopt_orphans(more: int) -> None:
    """So many more servers run that may leave something behind. While there is any, that becomes our child and not that
    of init: only then can we wait until it is gone."""
    global _leaving
    _leaving += more
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, int(_leaving > 0))


def tail(log: IO[bytes], most_bytes: int) -> str:
    """The end of a file."""
    log.seek(max(0, log.seek(0, os.SEEK_END) - most_bytes))
    return log.read().decode(errors="replace").strip() or "(nothing)"


def _become_child(core: int, dies_by: signal.Signals) -> None:
    """Runs between fork and exec: pin before the first thread exists, and die with the bench even if that is killed.
    Ctrl-C at the terminal is for the bench alone, which tells what it has before it ends its servers."""
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
    os.sched_setaffinity(0, {core})
    _libc.prctl(_PR_SET_PDEATHSIG, dies_by)
