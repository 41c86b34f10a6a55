"""A directory for the sockets of one run: the engine's, and those by which the nodes tell how they are."""

from __future__ import annotations

import errno
import os
import re
import shutil

from presenced.config.kinds import SOCKET_PATH_BYTES_MAX
from presenced.ops.admin import CannotOpenAdmin, make_directory

LONGEST_SOCKET = "notices-00000"
"""No socket in it has a longer name."""

_NAME = re.compile(r"nodes-([0-9]+)")


def make_runtime_directory(parent: str) -> str:
    """Make the directory of this process in `parent`, which is made too, and remove those of processes that are gone.
    Raises `CannotOpenAdmin` if `parent` is not ours alone, or so long that no socket could be in it; `OSError`."""
    path = os.path.join(parent, f"nodes-{os.getpid()}")
    excess = len(os.fsencode(os.path.join(path, LONGEST_SOCKET))) - SOCKET_PATH_BYTES_MAX
    if excess > 0:
        sentence = (
            f"the sockets of the nodes lie in {parent}/nodes-PID, and their paths would be longer than the "
            f"{SOCKET_PATH_BYTES_MAX} bytes that the system allows; set RUNTIME_DIRECTORY or XDG_RUNTIME_DIR to a "
            f"directory whose path is at least {excess} bytes shorter"
        )
        raise CannotOpenAdmin(errno.ENAMETOOLONG, sentence)
    make_directory(parent)
    for name in os.listdir(parent):
        found = _NAME.fullmatch(name)
        if found and not os.path.exists(f"/proc/{found[1]}"):
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)
    # One of that name can only be of an earlier process with our number.
    shutil.rmtree(path, ignore_errors=True)
    os.mkdir(path, 0o700)
    return path


def remove_runtime_directory(path: str) -> None:
    """Remove it with all that is in it. Idempotent."""
    shutil.rmtree(path, ignore_errors=True)
