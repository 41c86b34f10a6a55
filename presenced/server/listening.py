"""Where the server listens, for how many, and with which certificate."""

from __future__ import annotations

import resource
import socket
import ssl

from presenced import limits
from presenced.config.settings import Settings, SettingsError

TCP_USER_TIMEOUT_MS = 20_000
"""Sent bytes that stay unacknowledged this long end a connection; the lease finds silent ones."""


class CannotListen(Exception):
    """The address cannot be listened on; `address` names it where it is not that of `--listen`."""

    def __init__(self, reason: OSError, address: str = "") -> None:
        super().__init__(reason.strerror or str(reason))
        self.reason = reason
        self.address = address


def listen(host: str, port: int) -> socket.socket:
    """A bound socket whose options every accepted connection inherits (tcp(7)): set once instead of per link."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise SettingsError(f"--listen {host}: {error.strerror}; give an address of this machine") from None
    except UnicodeError:
        raise SettingsError(f"--listen {host!r} is not the name of a host; give an address of this machine") from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.SEND_BUFFER_BYTES)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def links_max_for(wanted: int) -> int:
    """How many links to admit, having raised the file-descriptor limit as far as it goes."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    possible = hard - limits.DESCRIPTORS_RESERVED
    if possible < 1:
        raise SettingsError(f"the limit of {hard} file descriptors leaves none for links; raise it (ulimit -n)")
    if wanted > possible:
        raise SettingsError(
            f"--max-links {wanted} is more than the limit of {hard} file descriptors allows ({possible}); "
            "raise it (ulimit -n, or LimitNOFILE= in the unit)"
        )
    return wanted or possible


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS settings of the listener; None = plain TCP. Raises `SettingsError`."""
    if not settings.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"--tls-cert {settings.tls_cert} and --tls-key {settings.tls_key} cannot be used: {error}"
        ) from None
    return context
