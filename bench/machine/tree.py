"""A server that may be several processes (an Erlang machine has helpers), ended with everything that it started.

What is read is the sum over the tree below the process that we started.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.machine import kernel
from bench.machine.process import START_TIMEOUT_S, ServerProcess, adopt_orphans, tail

LOG_BYTES_MAX = 2000
POLL_S = 0.02


class ServerTree(ServerProcess):
    """One running server with its helpers. `stop` ends and reaps them."""

    stop_timeout_s = 3.0
    dies_by = signal.SIGKILL
    adopts_orphans = True

    def __init__(
        self,
        command: Sequence[str],
        core: int,
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        gentle: bool = True,
    ) -> None:
        """`log` takes what it prints; without `gentle` it is ended by SIGKILL alone: it takes long to stop, and its
        files are thrown away."""
        self.log = log
        self._gentle = gentle
        self._stopped = False
        self.trouble = ""
        """What was wrong with its end, once it has been stopped."""
        self._spent_ns: dict[int, int] = {}
        with log.open("ab") as out:
            super().__init__(
                command, core, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent, environment=environment
            )

    def wait_for_port(self, port: int, *, timeout_s: float = START_TIMEOUT_S) -> bool:
        """Until it, and not somebody else, listens on `port`; false if it has ended or the time is over."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self._process.poll() is None:
            if kernel.listens(self.pid, port):
                return True
            time.sleep(POLL_S)
        return False

    def errors(self) -> str:
        """The end of its own log."""
        try:
            with self.log.open("rb") as log:
                return tail(log, LOG_BYTES_MAX)
        except OSError:
            return "(no log)"

    def stop(self) -> None:
        """End it and everything that it started, and reap them; idempotent."""
        self._end()

    def _end(self) -> None:
        process = self._process
        if self._stopped:
            return
        if process.poll() is not None:
            self.trouble = f"it had ended by itself with code {process.returncode}"
        below = kernel.tree(process.pid)[1:]
        if self._end_process(gentle=self._gentle):
            self.trouble = f"it did not end within {self.stop_timeout_s:.0f} s of SIGTERM and was killed"
        # Parents come first: once they are gone, their children are ours to wait for.
        for pid in below:
            _kill(pid)
        self._stopped = True
        adopt_orphans(-1)
        atexit.unregister(self._end)

    def cpu_ns(self) -> int:
        """CPU time of the tree so far, user and system, all threads, those included that have ended since they were
        first seen. O(processes)."""
        for pid in kernel.tree(self.pid):
            try:
                self._spent_ns[pid] = kernel.cpu_ns(pid)
            except OSError:
                continue
        return sum(self._spent_ns.values())

    def waited_ns(self) -> int:
        """Time that the thread which waited most was ready to run and something else had its core, which may also be
        another thread of the server."""
        return max((kernel.waited_ns(text) for text in kernel.of_threads(self.pid, "schedstat")), default=0)

    def _is_asleep(self) -> bool:
        """No thread runs or waits for its core."""
        return all(kernel.is_asleep(text) for text in kernel.of_threads(self.pid, "stat"))

    def resident_bytes(self) -> int:
        """Resident memory of the tree; pages that two of them share count twice."""
        total = 0
        for pid in kernel.tree(self.pid):
            try:
                total += kernel.resident_bytes(pid)
            except OSError:
                continue
        return total


def _kill(pid: int) -> None:
    """End and reap one that was below a server."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
