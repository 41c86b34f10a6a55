"""`presenced` as a process that runs to its end."""

from __future__ import annotations

import os
import subprocess

from tests.support import warm

USAGE, BUSY, PERMISSION, CONFIG = 2, 75, 77, 78
SECRET = "0123456789abcdef" * 2


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return warm.run("presenced", *arguments, env=os.environ | environment)


def refused(code: int, *arguments: str) -> str:
    """Hold it to this exit code, silence on stdout and, unless it is about usage, one line on stderr."""
    ended = run("serve", *arguments)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    if code != USAGE:
        assert ended.stderr.startswith("presenced: ")
        assert ended.stderr.count("\n") == 1
    return ended.stderr
