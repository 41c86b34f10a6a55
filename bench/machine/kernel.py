"""The kernel's own account of processes, from /proc: CPU, memory, who is below whom, who listens.

CPU is that of all threads, user and system time, in nanoseconds, up to date even while the process runs, so that
other work on the machine disturbs it as little as anything can.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import time
from pathlib import Path
from typing import Final

_PORTS: Final = range(10_000, 32_000)
"""Below those that the kernel gives to connections."""


def cpu_ns(pid: int) -> int:
    """CPU time of the process so far, user and system, all threads; `OSError` if it is gone."""
    return time.clock_gettime_ns((~pid << 3) | 2)  # clock_getcpuclockid(3)


def resident_bytes(pid: int) -> int:
    """Resident memory, walked from the page tables (statm is only approximate under load); 0 if it has none any more,
    `OSError` if the process is gone."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Rss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def peak_bytes(pid: int) -> int:
    """The most memory that was ever resident, as the kernel counts it; `OSError` if the process is gone."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def waited_ns(schedstat: str) -> int:
    """Time that a thread was ready to run and something else had its core, from its `schedstat`."""
    return int(schedstat.split()[1])


def is_asleep(stat: str) -> bool:
    """Does a thread wait for events? From its `stat`. One that others keep from its core uses no CPU and is not at
    rest."""
    return stat.rpartition(")")[2].split()[0] == "S"


def tree(pid: int) -> list[int]:
    """The process and everything below it, parents first."""
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                children = Path(f"/proc/{one}/task/{task}/children").read_text()
                found += map(int, children.split())
        except OSError:
            continue
    return found


def of_threads(pid: int, name: str) -> list[str]:
    """That file of every thread of the tree."""
    found = []
    for one in tree(pid):
        try:
            found += [Path(f"/proc/{one}/task/{task}/{name}").read_text() for task in os.listdir(f"/proc/{one}/task")]
        except OSError:
            continue
    return found


# --- ports -------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nobody listens on, and that no outgoing connection is given: who has it may end, and have it again.
    Drawn from many, so that other processes hardly come to the same."""
    while True:
        port = secrets.choice(_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def port_is_taken(port: int) -> bool:
    """Does anybody listen on it?"""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def listens(pid: int, port: int) -> bool:
    """Does the tree below `pid`, and not somebody else, listen on `port`?"""
    return bool(_listening(port) & _sockets(pid))


def _listening(port: int) -> set[str]:
    """The sockets that listen on `port`, by inode."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}


def _sockets(pid: int) -> set[str]:
    """The sockets of the tree, by inode."""
    found = set()
    for one in tree(pid):
        try:
            for descriptor in os.listdir(f"/proc/{one}/fd"):
                kind, _, inode = os.readlink(f"/proc/{one}/fd/{descriptor}").partition(":")
                if kind == "socket":
                    found.add(inode.strip("[]"))
        except OSError:
            continue
    return found
