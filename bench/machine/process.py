"""The processes under measurement: the daemon and the C limit. Starts, pins, stops them; reads their CPU and
memory.

Knows nothing about loads. CPU comes from the kernel's own account of the process (all threads, user and
system time, in nanoseconds, up to date even while the process runs), so that other work on the machine
disturbs it as little as anything can.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

BENCH = Path(__file__).parents[1]
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 30.0
"""How long a server may take to end in order before it is killed; ours is longer about it with many links."""
DESCRIPTORS_SPARE = 192
"""For everything but the links: the daemon keeps back 128."""

QUIET_POLL_S = 0.002
QUIET_NS_MAX = 30_000
"""A server that used less CPU than this between two polls has nothing left to do but its timers."""

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class BenchError(Exception):
    """The run could not be made or is void; the text says what to do."""


class Cores(NamedTuple):
    """The core of the servers and that of the load; the same one if there is no second."""

    server: int
    load: int

    @property
    def shared(self) -> bool:
        return self.server == self.load


def take_cores() -> Cores:
    """Pin this process to the first core it may use and name the last for the servers."""
    allowed = sorted(os.sched_getaffinity(0))
    cores = Cores(server=allowed[-1], load=allowed[0])
    os.sched_setaffinity(0, {cores.load})
    return cores


def need_descriptors(links: int) -> None:
    """Raise the soft limit of open files to the hard one; `BenchError` if `links` links do not fit beside the rest."""
    count = links + DESCRIPTORS_SPARE
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if count > hard:
        raise BenchError(
            f"this run needs {count} file descriptors in one process and the limit is {hard}; "
            f"raise it (ulimit -Hn {count}) or ask for fewer links"
        )


class Server:
    """One child process, pinned, that told its port. A context manager: the process is always ended and reaped."""

    def __init__(
        self, command: list[str], core: int, ready: str, *, timeout_s: float = START_TIMEOUT_S, strict: bool = False
    ) -> None:
        """`ready` finds the port in what it prints. With `strict` it must end in order, with exit code 0."""
        self.command = command
        self._strict = strict
        self._killed = False
        self._errors = tempfile.TemporaryFile()
        # An interrupt must not fall between the birth of the process and the moment somebody knows of it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                cwd=BENCH.parent,
                preexec_fn=lambda: _become_child(core),
            )
            atexit.register(self._end)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
        try:
            self.port = self._wait_for_port(ready, timeout_s)
        except BaseException:
            self._end()
            raise
        self._clock_id = (~self._process.pid << 3) | 2  # clock_getcpuclockid(3) of a process

    @property
    def pid(self) -> int:
        return self._process.pid

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
            time.sleep(0.01)
        raise BenchError(f"{' '.join(self.command)} did not start; it said:\n{self.errors()}")

    def errors(self) -> str:
        """The end of what the process wrote to stderr."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - 4000))
        return self._errors.read().decode(errors="replace").strip() or "(nothing)"

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
        forced = False
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                forced = True
        trouble = ""
        if forced or (process.returncode and not self._killed):
            how = f"did not end within {STOP_TIMEOUT_S:.0f} s" if forced else f"ended with code {process.returncode}"
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

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def pause(self) -> None:
        """Stop the process where it is; returns once it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let it go on, with everything that arrived meanwhile."""
        os.kill(self.pid, signal.SIGCONT)

    def cpu_ns(self) -> int:
        """CPU time of the process so far, user and system, all threads."""
        return time.clock_gettime_ns(self._clock_id)

    def waited_ns(self) -> int:
        """Time the main thread was ready to run and something else had its core."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1])

    def settled_cpu_ns(self) -> int:
        """CPU time once the process has gone quiet, so that a measurement neither begins nor ends inside its
        work.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        before = self.cpu_ns()
        while time.monotonic() < deadline:
            time.sleep(QUIET_POLL_S)
            now = self.cpu_ns()
            if now - before < QUIET_NS_MAX and self._is_asleep():
                return now
            before = now
        raise BenchError(f"{' '.join(self.command)} does not come to rest; nothing can be measured")

    def _is_asleep(self) -> bool:
        """Does the main thread wait for events? One that others keep from its core uses no CPU and is not at rest."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"

    def resident_bytes(self) -> int:
        """Resident memory, walked from the page tables (statm is only approximate under load)."""
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        found = re.search(r"^Rss:\s+(\d+) kB", rollup, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024


def _become_child(core: int) -> None:
    """Runs between fork and exec: pin before the first thread exists, and die with the bench even if it is
    killed. Ctrl-C at the terminal is for the bench alone, which tells what it has before it ends its servers.
    """
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
    os.sched_setaffinity(0, {core})
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def start_daemon(core: int, options: tuple[str, ...] = (), *, timeout_s: float = START_TIMEOUT_S) -> Server:
    """The daemon with the loads' common settings: no spacing, no rate limit, leases longer than any run."""
    command = [sys.executable, "-m", "presenced", "serve", "--dev", "--listen", "127.0.0.1:0"]
    command += ["--change-spacing", "0", "--rate", "0", "--heartbeat", "10m", "--away-after", "1h"]
    ready = r"listening on presence://127\.0\.0\.1:(\d+)"
    return Server([*command, *options], core, ready, timeout_s=timeout_s, strict=True)


def start_limit(core: int, mode: str) -> Server:
    """The C server in `mode` (`star`, `coalesced` or `read`), compiled first if its source is new."""
    return Server([str(_compiled_limit()), mode], core, r"(\d+)\n")


def stop_limit(limit: Server) -> dict[str, int]:
    """End the C server and return its counts; a run in which it dropped anything is void."""
    said = limit.stop()
    if not said:
        raise BenchError("the C server ended before its counts were read")
    counts: dict[str, int] = json.loads(said)
    if counts["dropped"]:
        raise BenchError(f"the C server dropped {counts['dropped']} writes (full buffers); the run is void")
    return counts


def _compiled_limit() -> Path:
    source = BENCH / "native" / "limit.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    binary = BENCH / "build" / f"limit-{digest}"
    if binary.exists():
        return binary
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise BenchError(
            "no C compiler (cc, gcc or clang) for the bench's limit; install one, e.g. apt-get install gcc"
        )
    binary.parent.mkdir(exist_ok=True)
    partial = binary.with_suffix(f".{os.getpid()}")
    done = subprocess.run(
        [compiler, "-O2", "-o", str(partial), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError(f"{compiler} could not compile {source}:\n{done.stderr.strip()}")
    partial.rename(binary)
    return binary
