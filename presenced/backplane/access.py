"""Where an engine is, and how it is entered."""

from __future__ import annotations

import ssl
from typing import NamedTuple


class EngineAccess(NamedTuple):
    """One engine, and what is needed to enter it. Nothing here shows a password."""

    hosts: tuple[tuple[str, int], ...] = ()
    """Host and port of the engine, or of each Sentinel; none with `path`."""
    path: str = ""
    """Of the engine's Unix socket."""
    service: str = ""
    """The name by which Sentinels know the engine; empty = there are none."""
    user: str = ""
    """Empty = the default user."""
    password: str = ""
    """Empty = none is given. Sentinels that ask for one are given it, too."""
    database: int = 0
    tls: ssl.SSLContext | None = None
    """What the connections are encrypted with, those to the Sentinels, too."""

    def __str__(self) -> str:
        """Without user and password, as it may stand in a log."""
        if self.path:
            return f"unix://{self.path}"
        scheme = "rediss" if self.tls else "redis"
        hosts = ",".join(place_of(*host) for host in self.hosts)
        return f"{scheme}+sentinel://{hosts}/{self.service}" if self.service else f"{scheme}://{hosts}"

    def __repr__(self) -> str:
        return f"<{self}>"


def place_of(host: str, port: int) -> str:
    """HOST:PORT."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
