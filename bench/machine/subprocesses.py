"""A part of the bench in a process of its own, so that what it leaves in memory weighs on nothing else."""

from __future__ import annotations

import subprocess
import sys

from bench.errors import BenchError
from bench.paths import REPOSITORY

WORDS_MAX = 4000
"""Of its last words, in characters."""


def run_apart(module: str, *arguments: str, core: int | None = None, timeout_s: float | None = None) -> str:
    """`python -m module arguments`, on `core` if one is given: what it printed. `BenchError` with its words if it
    failed."""
    command = [sys.executable, "-m", module, *arguments]
    if core is not None:
        command = ["taskset", "--cpu-list", str(core), *command]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=timeout_s)
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{done.stderr.strip()[-WORDS_MAX:]}")
    return done.stdout
