"""The daemon as a process, with what a shell or a service manager hands to one: options, an environment, sockets, a
bound on descriptors. Its standard error is a file, and its standard output is the line that says where it listens."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.support import REPOSITORY, lowering, warm
from tests.support.readiness import first_line
from tests.support.until import PATIENCE_S, until

LISTENING = "listening on "

_LOWER_DESCRIPTORS = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, ({nofile}, {nofile}))\n"
_BE_PASSED_SOCKETS = """
import os
os.environ["LISTEN_PID"] = str(os.getpid() + int(os.environ.pop("TEST_OTHER_PID", "0")))
os.environ["LISTEN_FDS"] = "{count}"
"""
_MAIN = "from presenced.cli.daemon import main\nmain()"


class StartFailed(AssertionError):
    """The daemon ended, or said something else, before it listened."""

    def __init__(self, status: int, said: str, log: str) -> None:
        super().__init__(f"the daemon said {said!r} and ended with status {status}\n{log}")
        self.status = status


class Daemon:
    """`presenced serve` with these options. It listens by the time this returns, unless `starts` is false.

    `limits` are other values for bounds of `presenced.limits`. `patches` are statements that run in the process first.
    `sockets` are passed as systemd passes them. `nofile` is the most descriptors that it may have. With `apart` it
    starts from nothing, so that its memory is its own from the first byte; `tracer` is a command to run it under.

    Raises `StartFailed`.
    """

    def __init__(
        self,
        log_path: Path,
        *options: str,
        dev: bool = True,
        listen: str | None = "127.0.0.1:0",
        environ: Mapping[str, str] | None = None,
        limits: Mapping[str, float] | None = None,
        patches: str = "",
        sockets: Sequence[socket.socket] = (),
        nofile: int = 0,
        apart: bool = False,
        tracer: Sequence[str] = (),
        starts: bool = True,
    ) -> None:
        self.log_path = log_path
        words = ["serve", *(["--dev"] if dev else []), *(["--listen", listen] if listen else []), *options]
        variables = {**os.environ, **(environ or {})}
        is_fork = lowering.can_be_lowered_late(limits or {}) and warm.can_have(variables) and not (apart or tracer)
        before = lowering.statements(limits or {})
        if nofile:
            before += _LOWER_DESCRIPTORS.format(nofile=nofile)
        if sockets:
            before += _BE_PASSED_SOCKETS.format(count=len(sockets))
        before += patches
        self.process: subprocess.Popen[bytes] | warm.Warm
        with log_path.open("ab") as log:
            if is_fork:
                passed = [one.fileno() for one in sockets]
                self.process = warm.Warm(
                    "presenced", *words, stderr=log.fileno(), env=variables, before=before, passed=passed
                )
            else:
                assert not sockets, "only a fork is passed sockets"
                command = [*tracer, sys.executable, "-c", f"{before}\n{_MAIN}", *words]
                self.process = subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=log, cwd=REPOSITORY, env=variables
                )
        self.pid = self.process.pid
        self._is_killed = False
        self.line = ""
        """What it said on standard output when it listened."""
        self.address = ""
        self.port = 0
        if starts:
            self.wait_until_listening()

    def wait_until_listening(self) -> None:
        """For one that was made with `starts=False`. Raises `StartFailed`."""
        self.line = self.first_line()
        if not self.line.startswith(LISTENING):
            if self.line:
                self.process.kill()
            status = self.wait()
            self._close_output()
            raise StartFailed(status, self.line, self.log())
        self.address = self.line.rpartition("//")[2]
        self.port = int(self.address.rpartition(":")[2])

    def url(self, user: str, device: str) -> str:
        return f"presence://{user}@{self.address}/{device}"

    # --- what it says -----------------------------------------------------------------------------------------

    def log(self) -> str:
        """All that is in its log file."""
        return self.log_path.read_text(errors="replace")

    def until_log(self, text: str, times: int = 1) -> str:
        """Return the log once it holds `text` this often."""
        until(lambda: self.log().count(text) >= times, lambda: f"{text!r} is not {times} times in\n{self.log()}")
        return self.log()

    def first_line(self) -> str:
        return first_line(self.process, PATIENCE_S)

    # --- what it uses -----------------------------------------------------------------------------------------

    def cpu_s(self) -> float:
        """The processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_bytes(self) -> int:
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    # --- ending -----------------------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal, if it has not ended by itself."""
        if self.is_running:
            self.process.send_signal(number)

    def wait(self) -> int:
        """The exit status of one that is about to end."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._abort()
            self.kill()
            raise AssertionError(f"the daemon did not end\n{self.log()}") from None

    def _abort(self) -> None:
        """It does nothing that it should: have it write into its log what it does instead, and end."""
        self.signal(signal.SIGABRT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_S)

    def stop(self, meanwhile: Callable[[], None] | None = None) -> float:
        """SIGTERM, status 0, and no traceback in the log; returns how many seconds it took. `meanwhile` runs between
        the signal and the end. One that has ended by itself has to have ended so, too; to one that was killed this
        does nothing."""
        if self._is_killed:
            return 0.0
        began_s = time.monotonic()
        self.signal(signal.SIGTERM)
        if meanwhile is not None:
            meanwhile()
        status = self.wait()
        took_s = time.monotonic() - began_s
        self._close_output()
        assert status == 0, f"status {status}\n{self.log()}"
        assert "Traceback" not in self.log(), self.log()
        return took_s

    def kill(self) -> None:
        """SIGKILL, if it has not ended. Idempotent."""
        self._is_killed = True
        if self.is_running:
            self.process.kill()
            self.process.wait()
        self._close_output()

    def _close_output(self) -> None:
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()


StartDaemon = Callable[..., Daemon]
"""The fixture of that name: `start_daemon("--grace", "1s")`."""
