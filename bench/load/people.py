"""One of a crowd: a user with one device, and what it knows of others."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.load.links import Link
from presenced.wire.messages import Record, StatusRequest

HERE, AWAY, LEAVING, GONE = range(4)
"""Connected; link lost and about to return; bye said and not yet closed by the server; logged out."""


@dataclass(slots=True)
class Person:
    """One user with one device."""

    user: str
    watches: list[str]
    state: int = GONE
    link: Link | None = None
    idle_since_ns: int = 0
    """Since when nothing was touched; 0 = it is in use."""
    byes: int = 0
    number: int = 0
    """Of the last change; 0 = none."""
    said: StatusRequest = "auto"
    known: dict[str, Record] = field(default_factory=dict)
    offline_seen: dict[str, int] = field(default_factory=dict)
    outstanding: int = 0
    """Requests without an answer so far."""
    rest: bytes = b""
    login_due_ns: int = 0
    """When the login was due whose answer is not there yet; 0 = none."""
