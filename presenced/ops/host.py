"""What the doctor wants to know of the machine and the files. Whatever cannot be read is left out."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from presenced.config import difference
from presenced.config.certificate import read_certificate
from presenced.ops.doctor import Facts
from presenced.server.cgroup import CGROUPS, OWN_CGROUP, groups, number_in, stat_of
from presenced.server.status import Status

if TYPE_CHECKING:
    from presenced.server.server import Server


def facts_of(server: Server, status: Status, socket_path: str) -> Facts:
    """The facts, read now: a few small files."""
    used_bytes, max_bytes = memory()
    python = sys.version_info
    faults, waiting = configuration_now(server)
    policy = server.engine.policy
    return Facts(
        memory_bytes=used_bytes or status.rss_bytes,
        memory_max_bytes=max_bytes,
        config_faults=faults,
        config_waiting=waiting,
        reload_faults=server.stats.reload_faults,
        socket_path=socket_path,
        socket_mode=mode_of(socket_path),
        secret_mode=mode_of(server.settings.secret_file),
        zones_missing=sorted(server.engine.claims.zones_missing),
        idle_kinds_unmet=[kind for kind in policy.idle_by_kind if kind not in policy.kinds_met],
        certificate=server.certificate.warning() if server.certificate else "",
        certificate_said=server.certificate.describe() if server.certificate else "",
        certificate_waits=another_certificate(server),
        python=(python.major, python.minor, python.micro),
    )


def configuration_now(server: Server) -> tuple[list[str], list[str]]:
    """Of the files as they are now: their faults, or else the keys that differ from what is in force."""
    if server.configuration is None:
        return [], []
    survey = server.configuration.look()
    if survey.faults:
        return list(survey.faults), []
    found = difference(server.settings, survey.loaded.settings)
    return [], [name for name, _, _ in (*found.applied, *found.needs_restart)]


def memory(own_cgroup: Path = OWN_CGROUP, cgroups: Path = CGROUPS) -> tuple[int, int]:
    """Bytes in use and the limit of the nearest control group (v2) that has one; 0, 0 if none has.

    Without the page cache that the kernel drops when memory is short: a daemon that writes a log fills it up.
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


def another_certificate(server: Server) -> bool:
    """Whether the file holds another certificate than the one that links are shown."""
    if server.certificate is None:
        return False
    found = read_certificate(server.settings.tls_cert)
    return found is not None and found.digest != server.certificate.digest
