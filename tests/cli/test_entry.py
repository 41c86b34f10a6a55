"""The programs from their first instruction on: Ctrl-C while they import."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from presenced.cli import exits
from tests.conftest import REPOSITORY

HELD = """
import sys, time
print("importing", flush=True)
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    time.sleep(0.01)
"""
"""A module that takes long to import."""


@pytest.mark.parametrize(("program", "late"), [("daemon", "jwt"), ("ctl", "msgspec")])
def test_ctrl_c_during_the_imports_says_nothing(program: str, late: str, tmp_path: Path) -> None:
    (tmp_path / f"{late}.py").write_text(HELD)
    with subprocess.Popen(
        [sys.executable, "-c", f"from presenced.cli.entry import {program}; {program}()"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
        assert (process.returncode, told) == (exits.INTERRUPTED, "")
