"""Has what a client shows checked from time to time; the check itself is `protocol.view`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator

from presenced.client.protocol.pending_requests import Make, OnReply
from presenced.errors import PresenceError


class ViewTimer:
    """A timer of the loop, from the first link to the end of the client. A `Part`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, check: Callable[[], None], every_s: float) -> None:
        self._loop = loop
        self._check = check
        self._every_s = every_s
        self._timer: asyncio.TimerHandle | None = None

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`. The first check comes at any moment of the interval: clients that come back together do not check
        together."""
        self._arm(self._every_s * random.random())
        return iter(())

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(delay_s, self._due)

    def _due(self) -> None:
        self._check()
        self._arm(self._every_s)
