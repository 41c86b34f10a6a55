"""What the kernel's control groups allow this process in memory, and what they count against it.

Version 2 (`memory.high`, `memory.max`) and version 1 (`memory.limit_in_bytes`). A file that cannot be read is taken as
one without a limit: this is for a budget, and the kernel holds to its limits by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")

UNLIMITED_BYTES = 1 << 60
"""Version 1 has no word for no limit but the largest number of pages, which is more than this."""

V2_LIMITS = ("memory.high", "memory.max")
V1_LIMITS = ("memory.limit_in_bytes",)


def groups(own_cgroup: Path = OWN_CGROUP, cgroups: Path = CGROUPS) -> Iterator[tuple[Path, bool]]:
    """The groups that hold this process, its own first and the root last, and whether they are of version 2.

    Raises `OSError` if they cannot be told, as when no file descriptor is left; so do those that are made with it.
    """
    for line in own_cgroup.read_text().splitlines():
        _, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if not colon:
            continue
        if not controllers:
            # A machine with both versions has the second one in a place of its own.
            root = cgroups / "unified" if (cgroups / "unified").is_dir() else cgroups
        elif "memory" in controllers.split(","):
            root = cgroups / "memory"
        else:
            continue
        group = root / path.lstrip("/")
        if ".." in group.parts or not group.is_dir():
            # Outside of what is mounted here, as in a container: then the root is the nearest.
            group = root
        while True:
            yield group, not controllers
            if group == root:
                break
            group = group.parent


def tightest_limit(own_cgroup: Path = OWN_CGROUP, cgroups: Path = CGROUPS) -> int:
    """The smallest limit of all these groups in bytes; 0 = there is none. A few small files."""
    limits = (
        number_in(group / name)
        for group, is_v2 in groups(own_cgroup, cgroups)
        for name in (V2_LIMITS if is_v2 else V1_LIMITS)
    )
    return min((limit for limit in limits if 0 < limit < UNLIMITED_BYTES), default=0)


def charged_bytes(own_cgroup: Path = OWN_CGROUP, cgroups: Path = CGROUPS, pid: int = 0) -> int:
    """What this process's own group is charged with and cannot drop: beside the process's memory that of the kernel on
    its behalf, such as socket buffers that nobody reads. 0 if others are in the group, or it cannot be read."""
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
    """Whether the process is the only one directly in the group, which a group with limits has no others below."""
    try:
        return (group / "cgroup.procs").read_text().split() == [str(pid)]
    except OSError:
        return False


def stat_of(group: Path, name: str, less: str = "") -> int:
    """One entry of `memory.stat`, without another one that is part of it."""
    try:
        pairs = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(0, int(pairs.get(name, 0)) - int(pairs.get(less, 0)))
    except (OSError, ValueError):
        return 0


def number_in(path: Path) -> int:
    """The number in a file; 0 if there is none, such as `max`."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
