"""A command that is run to its end: how long it takes, and its CPU."""

from __future__ import annotations

import os
import subprocess
import time
from typing import NamedTuple

from bench.errors import BenchError
from bench.paths import REPOSITORY


class Took(NamedTuple):
    """What one run of a command took."""

    ms: float
    cpu_ms: float
    """As the kernel counts it, user and system."""


def run_timed(words: list[str], core: int, expected: int = 0) -> Took:
    """Run it once on `core`, without its output. `BenchError` if it ends with another code than `expected`."""
    began_ns = time.monotonic_ns()
    process = subprocess.Popen(
        ["taskset", "--cpu-list", str(core), *words],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    with process.stderr as errors:
        said = errors.read()
    _, status, used = os.wait4(process.pid, 0)
    took_ns = time.monotonic_ns() - began_ns
    process.returncode = code = os.waitstatus_to_exitcode(status)
    if code != expected:
        raise BenchError(f"{' '.join(words)} ended with code {code}; it said:\n{said.decode(errors='replace')}")
    return Took(round(took_ns / 1e6, 1), round((used.ru_utime + used.ru_stime) * 1e3, 1))
