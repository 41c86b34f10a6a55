"""How long to wait before coming back after a lost link. The random source is passed in."""

from __future__ import annotations

from collections.abc import Callable

BASE_MS = 100
CAP_MS = 20_000
LASTED_MS = 10_000
"""After a link that lasted this long, the next loss starts from the short delay again. Without this bound every client
would call a server that accepts and drops ten times a second."""


class Backoff:
    """Full jitter: each delay is uniform between 0 and a ceiling that doubles from 0.1 s to 20 s.

    Full rather than partial jitter because all clients of a restarted server lose their links in the same instant;
    only a spread over the whole interval keeps them from returning together.
    """

    __slots__ = ("_attempts", "_random")

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._attempts = 0

    def delay_ms(self, retry_ms: int = 0) -> int:
        """How long to wait before the next attempt; at least `retry_ms`, the server's own advice, plus jitter."""
        ceiling_ms = min(CAP_MS, BASE_MS << min(self._attempts, 16))
        self._attempts += 1
        # The advice is the same for all clients, so the spread behind it grows with it.
        ceiling_ms = max(ceiling_ms, min(retry_ms, CAP_MS))
        return retry_ms + int(ceiling_ms * self._random())

    def link_ended(self, lasted_ms: int) -> None:
        """A link was open for `lasted_ms`."""
        if lasted_ms >= LASTED_MS:
            self._attempts = 0
