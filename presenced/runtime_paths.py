"""Where the daemon's sockets lie when nobody says so. The daemon and its commands must come to the same answer."""

from __future__ import annotations

import os
from collections.abc import Mapping

SYSTEM_ADMIN_PATH = "/run/presenced/admin.sock"
"""Where the service that comes with the package has its admin socket."""


def admin_path(environ: Mapping[str, str], uid: int) -> str:
    """The admin socket that `auto` stands for: in systemd's directory for the service, else in that of the person's
    session, else in one of `/tmp` that is named after the user."""
    runtime = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if runtime:
        return f"{runtime}/admin.sock"
    session = environ.get("XDG_RUNTIME_DIR", "")
    if session:
        return f"{session}/presenced/admin.sock"
    return f"/tmp/presenced-{uid}/admin.sock"


def instance_admin_path(name: str) -> str:
    """The admin socket of the service presenced@NAME."""
    return f"/run/presenced-{name}/admin.sock"


def node_admin_path(path: str, number: int) -> str:
    """The admin socket of node `number`, of several that one command runs, where that of a single daemon is `path`:
    admin-2.sock beside admin.sock."""
    stem, extension = os.path.splitext(path)
    return f"{stem}-{number}{extension}"


def admin_path_for_commands(environ: Mapping[str, str], uid: int) -> str:
    """Where a command looks for a daemon that it was not told of: the service's, else one's own.

    A directory of the service that one may not look into is the service's too: connecting then says what is missing.
    """
    directory = os.path.dirname(SYSTEM_ADMIN_PATH)
    is_closed = os.path.isdir(directory) and not os.access(directory, os.X_OK)
    has_service = any(map(os.path.exists, (SYSTEM_ADMIN_PATH, node_admin_path(SYSTEM_ADMIN_PATH, 1))))
    return SYSTEM_ADMIN_PATH if is_closed or has_service else admin_path(environ, uid)
