"""The log lines of a trouble that lasts: one when it begins, and one with its duration when it ends."""

from __future__ import annotations

import logging

from presenced.durations import format_duration

log = logging.getLogger("presenced")

QUIET_MS = 2_000
"""A trouble is over once it has not been seen for so long: one that comes and goes is one trouble, and not a line each
time."""


class Trouble:
    """One kind of trouble of one part of the server. Knows no clock."""

    def __init__(self, part: str) -> None:
        """`part` stands before what is told."""
        self._part = part
        self._kind = ""
        self._began_ms = 0
        self._seen_ms = 0

    @property
    def is_on(self) -> bool:
        """Whether one has begun and its end has not been told."""
        return bool(self._kind)

    def see(self, now_ms: int, kind: str, text: str = "", *, for_ms: int = 0) -> None:
        """There is a trouble of this `kind` now, which `text` describes and which has lasted for so long, or none ("").
        To be called when it changes, and from time to time while there is one."""
        if kind:
            if kind != self._kind:
                log.error("%s: %s", self._part, text)
                self._began_ms = self._began_ms if self._kind else now_ms - for_ms
                self._kind = kind
            self._seen_ms = now_ms
        elif self._kind and now_ms - self._seen_ms >= QUIET_MS:
            log.info("%s: all is well again, after %s", self._part, format_duration(self._seen_ms - self._began_ms))
            self._kind = ""
