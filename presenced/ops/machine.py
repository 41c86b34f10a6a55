"""What the doctor asks of the machine. A file that cannot be read is left out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from presenced.server.cgroup import CGROUPS, OWN_CGROUP, groups, number_in, stat_of


def memory(own_cgroup: Path = OWN_CGROUP, cgroups: Path = CGROUPS) -> tuple[int, int]:
    """Bytes in use and the limit of the nearest control group (v2) that has a limit; 0, 0 if none has.

    Page cache that the kernel drops when memory is short does not count: a daemon that writes a log fills it up.
    """
    try:
        for group, is_v2 in groups(own_cgroup, cgroups):
            limit = number_in(group / "memory.max") if is_v2 else 0
            if limit:
                return max(0, number_in(group / "memory.current") - stat_of(group, "inactive_file")), limit
    except OSError:
        pass
    return 0, 0


def mode_of(path: str) -> int:
    """The permission bits of a file; 0 if there is none."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return 0
