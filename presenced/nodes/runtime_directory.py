"""A directory for the sockets of one run: the engine's, and those by which the nodes tell how they are."""

from __future__ import annotations

import os
import re
import shutil

from presenced.ops.admin import make_directory

_NAME = re.compile(r"nodes-([0-9]+)")


def make_runtime_directory(parent: str) -> str:
    """Make the directory of this process in `parent`, which is made too, and remove those of processes that are gone.
    Raises `CannotOpenAdmin` if `parent` is not ours alone, `OSError`."""
    make_directory(parent)
    for name in os.listdir(parent):
        found = _NAME.fullmatch(name)
        if found and not os.path.exists(f"/proc/{found[1]}"):
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
    path = os.path.join(parent, f"nodes-{os.getpid()}")
    # One of that name can only be of an earlier process with our number.
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path, 0o700)
    return path


def remove_runtime_directory(path: str) -> None:
    """Remove it with all that is in it. Idempotent."""
    shutil.rmtree(path, ignore_errors=True)
