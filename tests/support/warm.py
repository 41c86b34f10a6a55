"""Programs of the package that start at once: forks of a process that has imported everything already.

A daemon spends nine tenths of its start in imports, and a command does so, too; with hundreds of them that is most of
what the tests cost. Each is still a process of its own, with its own standard streams, environment, signals and exit
status, and ends as the interpreter ends. What a fork cannot show is a start from nothing: tests of the start itself, of
the memory of a daemon, under strace, or with bounds changed before the imports use `subprocess`.
"""

from __future__ import annotations

import atexit
import fcntl
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import IO, Any

from tests.support import REPOSITORY
from tests.support.until import PATIENCE_S

REQUEST_BYTES_MAX = 150_000
PASSED_MAX = 16
AT_THE_START = ("PYTHON", "LC_", "LANG")
"""The interpreter reads variables with these names before anything else, so that a fork is too late for them."""


class Warm:
    """`python -m MODULE ARGUMENTS`, started; the part of `subprocess.Popen` that tests use.

    Standard streams are given as to `Popen`, and are pipes by default, but for the input. `before` is Python that runs
    in the process first: it may change classes and modules, but not what others imported a name of. `passed` are
    descriptors that it has from number 3 on, as a service manager passes sockets.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
        new_session: bool = False,
        before: str = "",
        passed: Sequence[int] = (),
    ) -> None:
        self.args = [module, *arguments]
        self.returncode: int | None = None
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        theirs: list[int] = []
        try:
            for name, wanted in (("stdin", stdin), ("stdout", stdout), ("stderr", stderr)):
                if wanted == subprocess.PIPE:
                    reader, writer = os.pipe()
                    mine, his = (writer, reader) if name == "stdin" else (reader, writer)
                    setattr(self, name, open(mine, "wb" if name == "stdin" else "rb", buffering=0))
                    theirs.append(his)
                else:
                    null = wanted == subprocess.DEVNULL
                    theirs.append(os.open(os.devnull, os.O_RDWR) if null else os.dup(wanted))
            self._told, his = socket.socketpair()
            theirs.append(his.detach())
            request = {
                "arguments": self.args,
                "env": dict(os.environ if env is None else env),
                "new_session": new_session,
                "before": before,
            }
            socket.send_fds(_forker(), [json.dumps(request).encode()], [*theirs, *passed])
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self.pid = int(self._told.recv(16))

    def poll(self) -> int | None:
        """The status if it has ended, like `Popen.returncode`."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._look(timeout)
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return status

    def _look(self, wait_s: float | None) -> int | None:
        if self.returncode is None:
            poll = select.poll()
            poll.register(self._told, select.POLLIN)
            if poll.poll(None if wait_s is None else max(0.0, wait_s) * 1000):
                said = self._told.recv(16)
                assert said, "the process that forks is gone"
                self.returncode = int(said)
                # Until then its number belongs to nobody else.
                self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        """Write, read both streams to their end, wait. What it reads from it does not get twice if the time is over."""
        deadline = None if timeout is None else time.monotonic() + timeout
        if self.stdin is not None:
            with self.stdin:
                self.stdin.write(input or b"")
        pieces: dict[int, list[bytes]] = {}
        poll = select.poll()
        for stream in (self.stdout, self.stderr):
            if stream is not None and not stream.closed:
                pieces[stream.fileno()] = []
                poll.register(stream, select.POLLIN)
        streams = (self.stdout, self.stderr)
        outs = [pieces.get(-1 if stream is None or stream.closed else stream.fileno(), []) for stream in streams]
        left = len(pieces)
        while left:
            ready = poll.poll(None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            for descriptor, _ in ready:
                piece = os.read(descriptor, 65_536)
                pieces[descriptor].append(piece)
                if not piece:
                    poll.unregister(descriptor)
                    left -= 1
        self.wait(None if deadline is None else deadline - time.monotonic())
        for stream in streams:
            if stream is not None:
                stream.close()
        return b"".join(outs[0]), b"".join(outs[1])

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


def run(
    module: str, *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Run to the end, with pipes and nothing to read."""
    with start(module, *arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            stdout, stderr = process.communicate(timeout=timeout_s)
        finally:
            process.kill()
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, stdout.decode(), stderr.decode())


def start(
    module: str, *arguments: str, env: Mapping[str, str] | None = None, **streams: Any
) -> Warm | subprocess.Popen[bytes]:
    """A fork; a start from nothing where the environment says something to the interpreter itself."""
    if not can_have(env):
        streams.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen([sys.executable, "-m", module, *arguments], env=env, cwd=REPOSITORY, **streams)
    return Warm(module, *arguments, env=env, **streams)


def can_have(env: Mapping[str, str] | None) -> bool:
    """Whether a fork can have this environment: it says nothing else to the interpreter itself than ours."""
    return env is None or _at_the_start(env) == _at_the_start(os.environ)


def _at_the_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(AT_THE_START)}


@cache
def _forker() -> socket.socket:
    """The process that forks, one for each process that runs tests; it ends with that one."""
    mine, his = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with his:
        command = [sys.executable, "-m", "tests.support.warm", str(his.fileno())]
        process = subprocess.Popen(command, pass_fds=[his.fileno()], cwd=REPOSITORY, stdin=subprocess.DEVNULL)

    def end() -> None:
        mine.close()
        process.wait()

    atexit.register(end)
    return mine


# --- in the process that forks ----------------------------------------------------------------------------------------


def _serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork for each request until nobody can ask any more. Returns in each fork, with what it is to do."""
    running: dict[int, tuple[int, int]] = {}
    """The descriptor that tells of a process's end, its id, the socket of the one who started it."""
    ended: dict[int, int] = {}
    """That socket, and the id that it still has."""
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    while True:
        for descriptor, event in poll.poll():
            if descriptor in running:
                pid, teller = running.pop(descriptor)
                poll.unregister(descriptor)
                os.close(descriptor)
                _tell_of_end(pid, teller)
                ended[teller] = pid
                poll.register(teller, 0)
            elif descriptor in ended and event & select.POLLHUP:
                poll.unregister(descriptor)
                os.waitpid(ended.pop(descriptor), 0)
                os.close(descriptor)
            elif descriptor == requests.fileno():
                data, given, _, _ = socket.recv_fds(requests, REQUEST_BYTES_MAX, 4 + PASSED_MAX)
                if not data:
                    return None
                pid = os.fork()
                if pid == 0:
                    requests.detach()
                    _take_descriptors([*given[:3], *given[4:]])
                    return dict(json.loads(data))
                for one in (*given[:3], *given[4:]):
                    os.close(one)
                os.write(given[3], b"%d" % pid)
                end = os.pidfd_open(pid)
                running[end] = (pid, given[3])
                poll.register(end, select.POLLIN)


def _take_descriptors(given: list[int]) -> None:
    """Have these from number 0 on, and no others."""
    above = [fcntl.fcntl(one, fcntl.F_DUPFD, len(given)) for one in given]
    for number, one in enumerate(above):
        os.dup2(one, number)
    os.closerange(len(given), os.sysconf("SC_OPEN_MAX"))


def _tell_of_end(pid: int, teller: int) -> None:
    """The status goes to who started it; the process keeps its id until that has been read."""
    end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert end is not None
    try:
        os.write(teller, b"%d" % (end.si_status if end.si_code == os.CLD_EXITED else -end.si_status))
    except OSError:
        pass  # Nobody wants to know.


def _become(request: dict[str, Any]) -> None:
    """Be the program, as if the interpreter had just started with it."""
    if request["new_session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _text(1, "strict")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _text(2, "backslashreplace")  # type: ignore[misc]
    module, *arguments = request["arguments"]
    sys.argv = [module, *arguments]
    exec(request["before"], {"__name__": "before"})
    # It runs as `__main__`, and once more under its name if others import it, as always with `-m`.
    sys.modules.pop(module, None)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _text(descriptor: int, errors: str) -> io.TextIOWrapper:
    binary = open(descriptor, "wb", closefd=False)
    lines = descriptor == 2 or os.isatty(descriptor)
    return io.TextIOWrapper(binary, encoding="utf-8", errors=errors, line_buffering=lines)


if __name__ == "__main__":
    import presenced.cli.ctl
    import presenced.cli.daemon
    import presenced.sync

    for _file in presenced.cli.ctl.MODULES:
        importlib.import_module(f"presenced.cli.{_file}")

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _request = _serve(socket.socket(fileno=int(sys.argv[1])))
    if _request is not None:
        _become(_request)
