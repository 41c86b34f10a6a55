"""Reads how much memory the kernel's control groups allow this process, and how much they charge it for.

Supports version 2 (`memory.high`, `memory.max`) and version 1 (`memory.limit_in_bytes`). A file that cannot be read
counts as no limit: the figures only serve a budget, and the kernel enforces its limits itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")

UNLIMITED_BYTES = 1 << 60
"""A limit from here up means none: version 1 writes the largest number of pages, which is more than this."""

V2_LIMITS = ("memory.high", "memory.max")
V1_LIMITS = ("memory.limit_in_bytes",)


def groups(own_cgroup: Path = OWN_CGROUP, cgroups: Path = CGROUPS) -> Iterator[tuple[Path, bool]]:
    """The groups that hold this process, its own first and the root last, and whether they are of version 2.

    Raises `OSError` if they cannot be read, such as when no file descriptor is left. The functions that call it raise
    it, too.
    """
    for line in own_cgroup.read_text().splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if not colon:
            continue
        if not controllers:
            # A machine with both versions has version 2 in a directory of its own.
            root = cgroups / "unified" if (cgroups / "unified").is_dir() else cgroups
        elif "memory" in controllers.split(","):
            root = cgroups / "memory"
        else:
            continue
        group = root / path.lstrip("/")
        if ".." in group.parts or not group.is_dir():
            # The group is outside of what is mounted, as in a container. The root is then the nearest group.
            group = root
        while True:
            yield group, not controllers
            if group == root:
                break
            group = group.parent


def tightest_limit(own_cgroup: Path = OWN_CGROUP, cgroups: Path = CGROUPS) -> int:
    """The smallest limit of all groups of this process in bytes; 0 = no limit. Reads a few small files."""
    limits = (
        number_in(group / name)
        for group, is_v2 in groups(own_cgroup, cgroups)
        for name in (V2_LIMITS if is_v2 else V1_LIMITS)
    )
    return min((limit for limit in limits if 0 < limit < UNLIMITED_BYTES), default=0)


def charged_bytes(own_cgroup: Path = OWN_CGROUP, cgroups: Path = CGROUPS, pid: int = 0) -> int:
    """Bytes that this process's own group is charged for and cannot drop.

    Besides the memory of the process this includes memory of the kernel on its behalf, such as full socket buffers. The
    result is 0 if other processes are in the group, or if the files cannot be read.
    """
    for group, is_v2 in groups(own_cgroup, cgroups):
        if not is_alone_in(group, pid or os.getpid()):
            continue
        if is_v2:
            used, kept_on_disk = number_in(group / "memory.current"), stat_of(group, "file", "shmem")
        else:
            used, kept_on_disk = number_in(group / "memory.usage_in_bytes"), stat_of(group, "cache", "shmem")
        if used:
            return max(0, used - kept_on_disk)
    return 0


def is_alone_in(group: Path, pid: int) -> bool:
    """Whether the process is the only one directly in the group. (A group of version 2 with limits for its children has
    no processes of its own, so there are no others below.)"""
    try:
        return (group / "cgroup.procs").read_text().split() == [str(pid)]
    except OSError:
        return False


def stat_of(group: Path, name: str, less: str = "") -> int:
    """The entry `name` of `memory.stat`, minus the entry `less` that is part of it."""
    try:
        pairs = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, int(pairs.get(name, 0)) - int(pairs.get(less, 0)))
    except (OSError, ValueError):
        return 0


def number_in(path: Path) -> int:
    """The number in a file; 0 if the file has none, such as `max`."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
