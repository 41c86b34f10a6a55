"""Where the server listens, and for how many."""

from __future__ import annotations

import errno
import resource
import socket
from typing import Any

from presenced import limits
from presenced.config.settings import Settings, SettingsError


class CannotListen(Exception):
    """The address cannot be listened on; `address` names it where it is not that of `listen.address`."""

    def __init__(self, reason: OSError, address: str = "") -> None:
        super().__init__(reason.strerror or str(reason))
        self.reason = reason
        self.address = address


_ABSENT = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""What binding an address of a family fails with that this machine does not have, such as IPv6 in many containers."""


def resolve(host: str, port: int, key: str = "listen.address") -> list[tuple[socket.AddressFamily, tuple[Any, ...]]]:
    """Families and addresses to bind for what the setting `key` says: a name may stand for one of each family.

    Raises `SettingsError`; may ask a name server.
    """
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise SettingsError(f"{key} {host}: {error.strerror}; give an address of this machine") from None
    except UnicodeError:
        raise SettingsError(f"{key} {host!r} is not the name of a host; give an address of this machine") from None
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def listen(host: str, port: int, key: str = "listen.address", *, is_shared: bool = False) -> list[socket.socket]:
    """Bound sockets, one for each address that the host stands for (an empty one: every address of this machine); with
    port 0 all of them have one port. `key` is the setting that says so. `is_shared`: other processes of the same user
    may bind the same, and the system deals out the connections among those that listen.

    An address of a family that this machine does not have is passed over while another can be bound. Raises `OSError`.
    """
    listeners: list[socket.socket] = []
    absent: OSError | None = None
    try:
        found = resolve(host, port, key)
        for family, address in found:
            if not port and listeners:
                address = (address[0], listeners[0].getsockname()[1], *address[2:])
            try:
                listeners.append(_bound(family, address, is_alone=len(found) == 1, is_shared=is_shared))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = absent or error
        if not listeners and absent is not None:
            raise absent
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _bound(family: socket.AddressFamily, address: tuple[Any, ...], *, is_alone: bool, is_shared: bool) -> socket.socket:
    """A bound socket whose options every accepted connection inherits (tcp(7)): set once instead of per link.

    TCP_USER_TIMEOUT is left alone: it counts the time for which a peer's window is closed, and would reset a watcher
    that stops reading though it heartbeats. A peer that is dead sends no heartbeat, and its lease ends the link,
    whatever lies unsent in its buffers.
    """
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family == socket.AF_INET6 and not is_alone:
            # The IPv4 address of the same name has a socket of its own. `[::]` alone takes both families.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.SEND_BUFFER_BYTES)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


HTTP_CONNECTIONS_LEAST = 32
"""So many are within the descriptors that are kept back for others than links."""

HTTP_SHARE = 16
"""HTTP connections never have more than this part of the descriptors."""


def http_connections_for(settings: Settings) -> int:
    """How many HTTP connections there may be: as many as the settings say, if the file-descriptor limit is high."""
    if not settings.http:
        return HTTP_CONNECTIONS_LEAST
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(settings.http_max_connections, max(HTTP_CONNECTIONS_LEAST, hard // HTTP_SHARE))


def links_max_for(settings: Settings) -> int:
    """How many links to admit, having raised the file-descriptor limit as far as it goes."""
    wanted, possible = settings.max_links, links_possible(settings)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return wanted or possible


def links_possible(settings: Settings) -> int:
    """How many links the file-descriptor limit allows; raises `SettingsError` if those are fewer than are wanted."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_links
    possible = hard - limits.DESCRIPTORS_RESERVED - (http_connections_for(settings) - HTTP_CONNECTIONS_LEAST)
    if possible < 1:
        raise SettingsError(f"the limit of {hard} file descriptors leaves none for links; raise it (ulimit -n)")
    if wanted > possible:
        raise SettingsError(
            f"listen.max_links {wanted} is more than the limit of {hard} file descriptors allows ({possible}); "
            "raise it (ulimit -n, or LimitNOFILE= in the unit)"
        )
    return possible
