"""What a client tells of its links: opened, lost, tried again, back, given up. The log
(`presenced.client.link`) is told, and the telemetry if there is one.

A refused token, and an attempt that is repeated although its code is not temporary, is logged as an error each time:
somebody has to do something about it. A reason that comes and goes by itself is logged once between two links, and at
level debug after that: a server that is away for an hour costs a few lines and not thousands.
"""

from __future__ import annotations

import logging

from presenced.client.identity import ClientIdentity
from presenced.client.log_fields import about, fields
from presenced.client.telemetry import ClientTelemetry
from presenced.errors import AuthError, PresenceError

_log = logging.getLogger("presenced.client.link")


class LinkLog:
    """What is told of one client, whose `identity` stands at the start of each line."""

    def __init__(self, identity: ClientIdentity, telemetry: ClientTelemetry | None) -> None:
        self._identity = identity
        self._telemetry = telemetry
        self._lost_ms: int | None = None
        self._told: set[str] = set()
        """The reasons told since the last link was lost."""

    def opened(self, now_ms: int) -> None:
        """A link is open: the first, or another one."""
        about_it = about(self._identity.url)
        if self._lost_ms is None:
            _log.info("%r: connected", self._identity, extra=fields("link_opened", **about_it))
        else:
            away_ms = now_ms - self._lost_ms
            extra = fields("link_back", away_ms=away_ms, **about_it)
            _log.info("%r: connected again after %.1f s", self._identity, away_ms / 1000, extra=extra)
        self._lost_ms = None
        self._told.clear()
        if self._telemetry is not None:
            self._telemetry.link_opened()

    def lost(self, now_ms: int, reason: PresenceError) -> None:
        """The link is lost, and another will be tried."""
        self._lost_ms = now_ms
        self._told.add(reason.code)
        level = logging.ERROR if _needs_somebody(reason) else logging.WARNING
        sentence = "%r: the link is lost, reconnecting: %s (%s)"
        extra = fields("link_lost", code=reason.code, **about(self._identity.url))
        _log.log(level, sentence, self._identity, reason, reason.code, extra=extra)
        if self._telemetry is not None:
            self._telemetry.link_lost(reason)

    def failed(self, reason: PresenceError, wait_ms: int) -> None:
        """An attempt to come back has failed; the next comes `wait_ms` from now."""
        level = logging.DEBUG if reason.code in self._told else logging.WARNING
        if _needs_somebody(reason):
            level = logging.ERROR
        self._told.add(reason.code)
        sentence = "%r: trying again in %.1f s: %s (%s)"
        extra = fields("link_failed", code=reason.code, wait_ms=wait_ms, **about(self._identity.url))
        _log.log(level, sentence, self._identity, wait_ms / 1000, reason, reason.code, extra=extra)
        if self._telemetry is not None:
            self._telemetry.attempt_failed(reason)

    def ended(self, reason: PresenceError | None) -> None:
        """No link will follow: None if the owner closed the client."""
        about_it = about(self._identity.url)
        if reason is None:
            _log.debug("%r: closed", self._identity, extra=fields("closed", **about_it))
        else:
            extra = fields("ended", code=reason.code, **about_it)
            _log.error("%r: ended for good: %s (%s)", self._identity, reason, reason.code, extra=extra)
        if self._telemetry is not None:
            self._telemetry.ended(reason)


def _needs_somebody(reason: PresenceError) -> bool:
    return isinstance(reason, AuthError) or not reason.temporary
