"""The token by which the next link takes back what the lost one watched and held (protocol.md, section 22.3).

It is kept in memory alone, and is good once. Whether it was is told by the welcome; nothing depends on it.
"""

from __future__ import annotations

from presenced.errors import PresenceError
from presenced.wire.messages import Welcome

_KEPT = frozenset({"link_lost", "silent", "garbled", "lease_expired", "frame_timeout"})
"""Ends of a link after which the server keeps what it had: after any other goodbye it does not."""


class Resumption:
    """What one client knows of its last link's token."""

    def __init__(self) -> None:
        self._token = ""
        self._good_ms = 0
        """How long it is good once its link is lost."""
        self._ends_ms = 0

    def welcomed(self, welcome: Welcome) -> None:
        """A link is open."""
        self._token, self._good_ms = welcome.resume, welcome.resume_ms

    def lost(self, reason: PresenceError, now_ms: int) -> None:
        """The link is lost."""
        if reason.code not in _KEPT:
            self._token = ""
        self._ends_ms = now_ms + self._good_ms

    def token(self, now_ms: int) -> str:
        """What the hello of an attempt says: the token, or nothing if there is none that could be good."""
        return self._token if now_ms < self._ends_ms else ""
