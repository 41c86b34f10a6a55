"""What a client tells the log (`presenced.client`) of its links: opened, lost, tried again, back, given up.

A refused token, and an attempt that is repeated although its code is not temporary, is logged as an error each time:
somebody has to do something about it. A reason that comes and goes by itself is logged once between two links, and at
level debug after that: a server that is away for an hour costs a few lines and not thousands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from presenced.errors import AuthError, PresenceError

_log = logging.getLogger("presenced.client")


class LinkLog:
    """The lines of one client; `who` names it at their start."""

    def __init__(self, who: Callable[[], str]) -> None:
        self._who = who
        self._lost_ms: int | None = None
        self._told: set[str] = set()
        """The reasons told since the last link was lost."""

    def opened(self, now_ms: int) -> None:
        """A link is open: the first, or another one."""
        if self._lost_ms is None:
            _log.info("%s: connected", self._who())
        else:
            _log.info("%s: connected again after %.1f s", self._who(), (now_ms - self._lost_ms) / 1000)
        self._lost_ms = None
        self._told.clear()

    def lost(self, now_ms: int, reason: PresenceError) -> None:
        """The link is lost, and another will be tried."""
        self._lost_ms = now_ms
        self._told.add(reason.code)
        level = logging.ERROR if _needs_somebody(reason) else logging.WARNING
        _log.log(level, "%s: the link is lost, reconnecting: %s (%s)", self._who(), reason, reason.code)

    def failed(self, reason: PresenceError, wait_ms: int) -> None:
        """An attempt to come back has failed; the next comes `wait_ms` from now."""
        level = logging.DEBUG if reason.code in self._told else logging.WARNING
        if _needs_somebody(reason):
            level = logging.ERROR
        self._told.add(reason.code)
        sentence = "%s: trying again in %.1f s: %s (%s)"
        _log.log(level, sentence, self._who(), wait_ms / 1000, reason, reason.code)

    def ended(self, reason: PresenceError | None) -> None:
        """No link will follow: None if the owner closed the client."""
        if reason is None:
            _log.debug("%s: closed", self._who())
        else:
            _log.error("%s: ended for good: %s (%s)", self._who(), reason, reason.code)


def _needs_somebody(reason: PresenceError) -> bool:
    return isinstance(reason, AuthError) or not reason.temporary
