"""A control group with a limit of memory for one process, where the kernel and our rights allow to make one."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from presenced.server.cgroup import groups, number_in


class NoControlGroup(Exception):
    """None can be made here, and why."""


class ControlGroup:
    """One group. `join` is a statement for a process that is to be in it."""

    def __init__(self, path: Path, is_v2: bool, limit_bytes: int) -> None:
        self.path = path
        self._is_v2 = is_v2
        (path / ("memory.max" if is_v2 else "memory.limit_in_bytes")).write_text(str(limit_bytes))
        if is_v2:
            with contextlib.suppress(OSError):
                (path / "memory.swap.max").write_text("0")
        self.join = f"import os; open({str(path / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"

    @property
    def oom_kills(self) -> int:
        """Processes in it that the kernel has killed."""
        text = (self.path / ("memory.events" if self._is_v2 else "memory.oom_control")).read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])

    @property
    def most_used_bytes(self) -> int:
        """Most that was charged to it at a time, so far."""
        return number_in(self.path / ("memory.peak" if self._is_v2 else "memory.max_usage_in_bytes"))


@contextlib.contextmanager
def control_group(limit_bytes: int) -> Iterator[ControlGroup]:
    """A group beside or below our own; its processes must be gone at the end. Raises `NoControlGroup`."""
    reasons = ["this machine has no memory controller that we see"]
    for parent, is_v2 in groups():
        if is_v2 and not _passes_memory_on(parent):
            continue
        path = parent / f"presenced-test-{secrets.token_hex(8)}"
        try:
            path.mkdir()
        except OSError as error:
            reasons.append(f"cannot make a control group: {error}")
            continue
        try:
            try:
                group = ControlGroup(path, is_v2, limit_bytes)
            except OSError as error:
                reasons.append(f"cannot limit a control group: {error}")
                continue
            yield group
            return
        finally:
            path.rmdir()
    raise NoControlGroup(reasons[-1])


def _passes_memory_on(group: Path) -> bool:
    try:
        return "memory" in (group / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def may_make_one() -> str:
    """Why there can be none; empty if there can."""
    if os.geteuid() != 0:
        return "needs root to make a control group with a limit of memory"
    try:
        with control_group(1 << 30):
            return ""
    except (NoControlGroup, OSError) as reason:
        return str(reason)
