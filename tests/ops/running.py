"""The daemon as a process, with what a service manager gives one: an environment, sockets, a notification socket,
limits. Its standard error goes to a file, its standard output is the one line that says where it listens."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support import warm
from tests.support.readiness import first_line, readable

REPOSITORY = Path(__file__).parents[2]
WAIT_S = 60.0
"""A deadline for what should come soon; nothing waits this long unless it is about to fail."""

_HEAD = """
import fcntl, os
# As systemd does it: the sockets at 3, 4, ..., and the process's own id beside them.
wanted = [int(fd) for fd in os.environ.pop("TEST_SOCKETS", "").split()]
moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in wanted]
for number, fd in enumerate(moved):
    os.dup2(fd, 3 + number)
    os.close(fd)
for fd in wanted:
    if fd >= 3 + len(wanted):
        os.close(fd)
if wanted:
    os.environ["LISTEN_PID"] = str(os.getpid() + int(os.environ.pop("TEST_OTHER_PID", "0")))
    os.environ["LISTEN_FDS"] = str(len(wanted))
"""


class Running:
    """`presenced serve` with these options. It is listening when this returns, unless `starts` is false.

    `patches` are statements that run in the process before it starts, `sockets` are passed as systemd passes them.
    """

    def __init__(
        self,
        log_path: Path,
        *options: str,
        environ: dict[str, str] | None = None,
        sockets: tuple[socket.socket, ...] = (),
        patches: str = "",
        nofile: int = 0,
        dev: bool = True,
        listen: str | None = "127.0.0.1:0",
        starts: bool = True,
    ) -> None:
        self.log_path = log_path
        words = [*(["--dev"] if dev else []), *(["--listen", listen] if listen else []), *options]
        variables = {**os.environ, **(environ or {})}
        if sockets:
            variables["TEST_SOCKETS"] = " ".join(str(one.fileno()) for one in sockets)

        def lower_limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))

        with log_path.open("ab") as log:
            self.process: subprocess.Popen[bytes] | warm.Warm
            if patches or sockets or nofile:
                code = f"{_HEAD}{patches}\nfrom presenced.cli.daemon import main\nmain()"
                self.process = subprocess.Popen(
                    [sys.executable, "-c", code, "serve", *words],
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=REPOSITORY,
                    env=variables,
                    pass_fds=[one.fileno() for one in sockets],
                    preexec_fn=lower_limit if nofile else None,
                )
            else:
                pipe = subprocess.PIPE
                self.process = warm.start("presenced", "serve", *words, stdout=pipe, stderr=log.fileno(), env=variables)
        self.pid = self.process.pid
        self.line = ""
        self.port = 0
        if starts:
            self.line = self.first_line()
            if not self.line.startswith("listening on "):
                self.kill()
                raise AssertionError(f"the daemon said {self.line!r}\n{self.log()}")
            self.port = int(self.line.rpartition(":")[2])

    # --- what it says -----------------------------------------------------------------------------------------

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def until_log(self, text: str, times: int = 1) -> str:
        """Return once the log holds `text` this often."""
        until(lambda: self.log().count(text) >= times, lambda: f"{text!r} is not {times} times in\n{self.log()}")
        return self.log()

    def first_line(self) -> str:
        return first_line(self.process, WAIT_S)

    def cpu_s(self) -> float:
        """Processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    # --- ending -----------------------------------------------------------------------------------------------

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit status."""
        return self.process.wait(WAIT_S)

    def stop(self) -> float:
        """SIGTERM, status 0, and no exception in the log; gives how many seconds it took."""
        began_s = time.monotonic()
        try:
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
            status = self.wait()
        finally:
            self.kill()
        assert status == 0, f"status {status}\n{self.log()}"
        assert "Traceback" not in self.log(), self.log()
        return time.monotonic() - began_s

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.stop()
        else:
            self.kill()


def until(condition: Callable[[], object], otherwise: Callable[[], str], wait_s: float = WAIT_S) -> None:
    """Return once `condition` holds; fails with what `otherwise` says if it does not come to hold."""
    deadline = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.005)


class Manager:
    """The side of the service manager: a datagram socket that keeps what it is told."""

    def __init__(self, address: str) -> None:
        """`address` is a path, or begins with `@` for an abstract socket."""
        self.address = address
        self.told: list[list[str]] = []
        """A list of lines for each datagram that was read."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    @property
    def environ(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address}

    def next(self, wait_s: float = WAIT_S) -> list[str]:
        """The lines of the next datagram; fails if none comes in time."""
        self._socket.settimeout(wait_s)
        try:
            data = self._socket.recv(65_536)
        except TimeoutError:
            raise AssertionError(f"nothing was told within {wait_s:g} s after {self.told[-3:]}") from None
        self.told.append(data.decode().split("\n"))
        return self.told[-1]

    def until(self, head: str, wait_s: float = WAIT_S) -> list[str]:
        """The next datagram with a line that begins like this."""
        deadline = time.monotonic() + wait_s
        while not any(line.startswith(head) for line in self.next(max(0.001, deadline - time.monotonic()))):
            pass
        return self.told[-1]

    def waiting(self) -> list[list[str]]:
        """What has been told and not been read so far."""
        got = []
        while readable(self._socket):
            got.append(self.next())
        return got

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def listening(backlog: int = 128, kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    """A socket as a socket unit opens it."""
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            one.listen(backlog)
        yield one
