"""Where and how figures were made: they mean nothing without it."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.machine.cores import Cores
from bench.paths import REPOSITORY

LIBRARIES = ("uvloop", "msgspec")


def machine_facts(cores: Cores) -> dict[str, object]:
    """The machine, the versions, the commit and the command, for every form of the output."""
    commit = _commit()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command_line": "python -m bench " + shlex.join(sys.argv[1:]),
        "commit": commit.removesuffix("-dirty"),
        "dirty": commit.endswith("-dirty"),
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count() or 0,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "presenced": _version("presenced"),
        **{name: _version(name) for name in LIBRARIES},
        "pinning": (
            f"servers and load share core {cores.server}: there is no second one"
            if cores.shared
            else f"servers on core {cores.server}, load on core {cores.load}"
        ),
        "change_spacing": "off unless a profile sets it",
        "rate_limit": "off",
    }


def machine_lines(facts: dict[str, object]) -> list[str]:
    """The same as a few lines for the foot of a table."""
    dirty = ", with changes that are not committed" if facts.get("dirty") else ""
    libraries = ", ".join(f"{name} {facts[name]}" for name in LIBRARIES if facts.get(name))
    return [
        f"{facts.get('cpu')}, {facts.get('cpu_count')} cores; {facts.get('pinning')}",
        f"presenced {facts.get('presenced') or 'unknown'}, Linux {facts.get('kernel')}, Python {facts.get('python')}, "
        f"{libraries}",
        f"commit {facts.get('commit') or 'unknown'}{dirty}; {facts.get('date')}; change spacing "
        f"{facts.get('change_spacing')}, rate limit off",
        f"{facts.get('command_line')}",
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """The commit measured, marked if the tree differs from it; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
