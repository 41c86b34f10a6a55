"""A peer's process: started by us in a process group of its own, pinned, measured and ended with everything it started.

A peer may be several processes (an Erlang machine has helpers), so that what is read is the sum over the tree below
the one that we started, from the kernel's account of each.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.machine.process import QUIET_NS_MAX, QUIET_POLL_S, START_TIMEOUT_S, BenchError

STOP_TIMEOUT_S = 3.0
LOG_BYTES_MAX = 2000
POLL_S = 0.02

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None)
_peers = 0
"""How many run."""


class PeerProcess:
    """One running peer. `stop` ends and reaps it, and is called at exit if nobody else does."""

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
        self.command = list(command)
        self.log = log
        self._gentle = gentle
        self._stopped = False
        self.trouble = ""
        """What was wrong with its end, once it has been stopped."""
        self._spent_ns: dict[int, int] = {}
        # An interrupt must not fall between the birth of the process and the moment somebody knows of it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
        try:
            with log.open("ab") as out:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    cwd=log.parent,
                    env={**os.environ, **(environment or {})},
                    preexec_fn=lambda: _become_child(core),
                )
            _adopt_orphans(1)
            atexit.register(self.stop)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)

    @property
    def pid(self) -> int:
        """The process that we started; the others are below it."""
        return self._process.pid

    def wait_for_port(self, port: int, *, timeout_s: float = START_TIMEOUT_S) -> bool:
        """Until it, and not somebody else, listens on `port`; false if it has ended or the time is over."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self._process.poll() is None:
            if _listening(port) & _sockets(self.pid):
                return True
            time.sleep(POLL_S)
        return False

    def errors(self) -> str:
        """The end of its own log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_BYTES_MAX))
                return log.read().decode(errors="replace").strip() or "(nothing)"
        except OSError:
            return "(no log)"

    def stop(self) -> None:
        """End it and everything that it started, and reap them; idempotent."""
        process = self._process
        if self._stopped:
            return
        if process.poll() is not None:
            self.trouble = f"it had ended by itself with code {process.returncode}"
        below = _tree(process.pid)[1:]
        if self._gentle and process.poll() is None:
            _signal(process.pid, signal.SIGTERM)
            _signal(process.pid, signal.SIGCONT)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.trouble = f"it did not end within {STOP_TIMEOUT_S:.0f} s of SIGTERM and was killed"
        if process.poll() is None:
            process.kill()
            process.wait()
        # Parents come first: once they are gone, their children are ours to wait for.
        for pid in below:
            _signal(pid, signal.SIGKILL)
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                continue
        self._stopped = True
        _adopt_orphans(-1)
        atexit.unregister(self.stop)

    def pause(self) -> None:
        """Stop the process that serves where it is; returns once it stands still."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self) -> None:
        """Let it go on, with everything that arrived meanwhile."""
        os.kill(self.pid, signal.SIGCONT)

    def cpu_ns(self) -> int:
        """CPU time of the tree so far, user and system, all threads, those included that have ended since they were
        first seen. O(processes)."""
        for pid in _tree(self.pid):
            try:
                self._spent_ns[pid] = time.clock_gettime_ns((~pid << 3) | 2)  # clock_getcpuclockid(3)
            except OSError:
                continue
        return sum(self._spent_ns.values())

    def waited_ns(self) -> int:
        """Time that the thread which waited most was ready to run and something else had its core, which may also be
        another thread of the peer."""
        return max((int(text.split()[1]) for text in _of_threads(self.pid, "schedstat")), default=0)

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
        raise BenchError(f"{self.command[0]} does not come to rest; nothing can be measured")

    def _is_asleep(self) -> bool:
        """No thread runs or waits for its core."""
        return all(text.rpartition(")")[2].split()[0] == "S" for text in _of_threads(self.pid, "stat"))

    def resident_bytes(self) -> int:
        """Resident memory of the tree, walked from the page tables; pages that two of them share count twice."""
        total = 0
        for pid in _tree(self.pid):
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            found = re.search(r"^Rss:\s+(\d+) kB", rollup, re.MULTILINE)
            total += int(found[1]) * 1024 if found else 0
        return total


def _adopt_orphans(more: int) -> None:
    """While any peer runs, what one leaves behind becomes our child and not that of init: only then can we wait until
    it is gone."""
    global _peers
    _peers += more
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, int(_peers > 0))


def free_port() -> int:
    """One that is free now; another process might yet get there first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _become_child(core: int) -> None:
    """Runs between fork and exec: a group of its own, pinned before the first thread exists, and it dies with the
    bench even if that is killed."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
    os.setpgid(0, 0)
    os.sched_setaffinity(0, {core})
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _tree(pid: int) -> list[int]:
    """The process and everything below it."""
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                children = Path(f"/proc/{one}/task/{task}/children").read_text()
                found += map(int, children.split())
        except OSError:
            continue
    return found


def _of_threads(pid: int, name: str) -> list[str]:
    """That file of every thread of the tree."""
    found = []
    for one in _tree(pid):
        try:
            found += [Path(f"/proc/{one}/task/{task}/{name}").read_text() for task in os.listdir(f"/proc/{one}/task")]
        except OSError:
            continue
    return found


def _listening(port: int) -> set[str]:
    """The sockets that listen on `port`, by inode."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}


def _sockets(pid: int) -> set[str]:
    """The sockets of the tree, by inode."""
    found = set()
    for one in _tree(pid):
        try:
            for descriptor in os.listdir(f"/proc/{one}/fd"):
                kind, _, inode = os.readlink(f"/proc/{one}/fd/{descriptor}").partition(":")
                if kind == "socket":
                    found.add(inode.strip("[]"))
        except OSError:
            continue
    return found
