"""What a run tells: machine facts, medians with their spread, a table for people and one JSON object for
programs.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.daemon import BENCH, Cores

Result = dict[str, object]


def machine_facts(cores: Cores) -> Result:
    """Where and how the figures were made; they mean nothing without it."""
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count() or 0,
        "commit": _commit(),
        "command_line": "python -m bench " + " ".join(sys.argv[1:]),
        "pinning": (
            f"servers and load share core {cores.server}: there is no second one"
            if cores.shared
            else f"servers on core {cores.server}, load on core {cores.load}"
        ),
        "change_spacing": "off",
        "rate_limit": "off",
    }


def percentile(ordered: Sequence[int], percent: float) -> int:
    """The nearest-rank percentile of sorted values; 0 if there are none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0


def latency_us(latencies_ns: list[int], prefix: str) -> Result:
    """p50 and p99, in microseconds; sorts the list in place."""
    latencies_ns.sort()
    return {
        f"{prefix}latency_p50_us": round(percentile(latencies_ns, 50) / 1000, 1),
        f"{prefix}latency_p99_us": round(percentile(latencies_ns, 99) / 1000, 1),
    }


def median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)


def spread(values: Sequence[float]) -> list[float]:
    """The smallest and the largest of the rounds."""
    return [round(min(values), 3), round(max(values), 3)]


def print_result(title: str, result: Result, *, as_json: bool) -> None:
    """The result on stdout: one JSON object on one line, or a line for each key."""
    if as_json:
        print(json.dumps(result))
        return
    print(title)
    width = max(map(len, result))
    for key, value in result.items():
        print(f"  {key.ljust(width)}  {_shown(value)}")


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """The commit measured, marked if the tree differs from it; empty outside a repository."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, cwd=BENCH, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()
