"""Sockets that systemd opened for this process (sd_listen_fds(3)). They stay bound while the daemon restarts, so that
clients wait in the backlog and are not refused.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping

from presenced.config import Loaded
from presenced.config.settings import SettingsError

FIRST_FD = 3
NAMES = ("client", "http", "admin")
"""The values of `FileDescriptorName=` in a socket unit. A socket without a name is for clients."""


def take_sockets(environ: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """The inherited listening sockets by name. Their variables are removed from the environment.

    Raises `SettingsError` if one of the sockets cannot be used.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    taken: dict[str, socket.socket] = {}
    faults = []
    for index in range(int(count)):
        name = names[index] if index < len(names) else ""
        if name not in NAMES and (not name or name == "unknown" or name.endswith(".socket")):
            name = "client"
        try:
            inherited = socket.socket(fileno=FIRST_FD + index)
        except OSError as error:
            faults.append(
                f"the descriptor that systemd passes as {name} is no socket ({error.strerror}); see the socket unit"
            )
            continue
        inherited.set_inheritable(False)
        inherited.setblocking(False)
        if name not in NAMES:
            faults.append(
                f"the socket unit passes a socket named {name!r}; FileDescriptorName= may be client, http or admin"
            )
        elif name in taken:
            faults.append(f"the socket units pass two sockets named {name}; one is enough")
        elif not _listens(inherited, name):
            faults.append(f"the socket {name} from systemd is not a listening stream socket of the right kind")
        else:
            taken[name] = inherited
    if faults:
        raise SettingsError(*faults)
    return taken


def unused_addresses(sockets: Mapping[str, socket.socket], loaded: Loaded) -> list[str]:
    """A sentence for each configured address that is not used, because systemd passes a socket instead."""
    settings, found = loaded.settings, []
    for name, key, value, unit in (
        ("client", "listen.address", settings.listen, "presenced.socket"),
        ("http", "http.address", settings.http, "the socket unit"),
        ("admin", "admin.socket", settings.admin_socket, "the socket unit"),
    ):
        origin = loaded.origins[key]
        if name not in sockets or origin.source == "default" or not value:
            continue
        passed = _address_of(sockets[name])
        if passed != value:
            found.append(
                f"{origin}: {key} {value} is not used, because systemd passes the socket {passed}; set it in "
                f"ListenStream= of {unit}, or disable that unit"
            )
    return found


def _address_of(inherited: socket.socket) -> str:
    name = inherited.getsockname()
    if not isinstance(name, tuple):
        return str(name)
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def _listens(inherited: socket.socket, name: str) -> bool:
    families = (socket.AF_UNIX,) if name == "admin" else (socket.AF_INET, socket.AF_INET6)
    return (
        inherited.family in families
        and inherited.type == socket.SOCK_STREAM
        and inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    )
