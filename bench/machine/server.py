"""A server that is one process and says on which port it listens: the daemon, the C loop, Redis with its log."""

from __future__ import annotations

import atexit
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from bench.errors import BenchError
from bench.machine import kernel
from bench.machine.process import START_TIMEOUT_S, ServerProcess, tail
from bench.paths import REPOSITORY

ERRORS_BYTES_MAX = 4000
POLL_S = 0.01


class Server(ServerProcess):
    """One child process, pinned, that told its port. A context manager: the process is always ended and reaped."""

    stop_timeout_s = 30.0  # ours is longer about it with many links
    dies_by = signal.SIGTERM

    def __init__(
        self,
        command: list[str],
        core: int,
        ready: str,
        *,
        timeout_s: float = START_TIMEOUT_S,
        strict: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`ready` finds the port in what it prints. With `strict` it must end in order, with exit code 0.
        `environment` is added to ours."""
        self._strict = strict
        self._killed = False
        self._errors = tempfile.TemporaryFile()
        super().__init__(
            command, core, stdout=subprocess.PIPE, stderr=self._errors, cwd=REPOSITORY, environment=environment
        )
        try:
            self.port = self._wait_for_port(ready, timeout_s)
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.stop()
        else:
            self._end()  # how it ended is not what went wrong first

    def _wait_for_port(self, ready: str, timeout_s: float) -> int:
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        deadline = time.monotonic() + timeout_s
        said = b""
        while time.monotonic() < deadline:
            said += self._process.stdout.read() or b""
            found = re.search(ready, said.decode(errors="replace"))
            if found:
                return int(found[1])
            if self._process.poll() is not None:
                break
            time.sleep(POLL_S)
        raise BenchError(f"{' '.join(self.command)} did not start; it said:\n{self.errors()}")

    def errors(self) -> str:
        """The end of what the process wrote to stderr."""
        return tail(self._errors, ERRORS_BYTES_MAX)

    def stop(self) -> str:
        """End the process and reap it; idempotent. Returns what else it wrote to stdout. `BenchError` if a strict one
        had to be killed, or ended with another exit code than 0: nothing that it did before can be believed."""
        said, trouble = self._end()
        if trouble and self._strict:
            raise BenchError(trouble)
        return said

    def _end(self) -> tuple[str, str]:
        """End and reap it: what else it wrote to stdout, and what was wrong with the end."""
        process = self._process
        if process.stdout is None or process.stdout.closed:
            return "", ""
        forced = self._end_process()
        trouble = ""
        if forced or (process.returncode and not self._killed):
            how = (
                f"did not end within {self.stop_timeout_s:.0f} s" if forced else f"ended with code {process.returncode}"
            )
            trouble = f"{' '.join(self.command)} {how}; it said:\n{self.errors()}"
        said = (process.stdout.read() or b"").decode()
        process.stdout.close()
        self._errors.close()
        atexit.unregister(self._end)
        return said, trouble

    def kill(self) -> None:
        """End it as a crash would: no signal handler runs. Returns once it is gone."""
        self._killed = True
        self._process.kill()
        self._process.wait()
        self._end()

    def cpu_ns(self) -> int:
        """CPU time of the process so far, user and system, all threads."""
        return kernel.cpu_ns(self.pid)

    def waited_ns(self) -> int:
        """Time the main thread was ready to run and something else had its core."""
        return kernel.waited_ns(Path(f"/proc/{self.pid}/schedstat").read_text())

    def _is_asleep(self) -> bool:
        """Does the main thread wait for events?"""
        return kernel.is_asleep(Path(f"/proc/{self.pid}/stat").read_text())

    def peak_bytes(self) -> int:
        """The most memory that was ever resident."""
        return kernel.peak_bytes(self.pid)

    def resident_bytes(self) -> int:
        """Resident memory."""
        found = kernel.resident_bytes(self.pid)
        assert found, f"{self.command[0]} has ended"
        return found
