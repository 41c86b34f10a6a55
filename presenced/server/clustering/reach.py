"""Whether a node reaches the engine, as its calls show it: those that read, and those that write. Pure but for the log.

An engine may do the one and refuse the other: a primary that was demoted, or that lacks the replicas which it must
have, answers whoever reads, and takes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Literal

from presenced.backplane.errors import Refused, Unreplicated
from presenced.backplane.port import CLOCK_STEP_MS_MAX

log = logging.getLogger("presenced")

BUSY_MS: Final = 5_000
"""For so long requests wait for an engine that is away; behind that they are refused."""

PAUSE_MS: Final = 4_000
"""A call that took longer says nothing of the engine: this process stood still meanwhile."""

TELL_MS: Final = 10_000
"""Reasons that change are told no more often than this."""

EngineWay = Literal["read", "write"]


class Reach:
    """What is known of it by now. All times are monotonic."""

    def __init__(self, now_ms: int, changed: Callable[[bool], object]) -> None:
        """`changed` is told that the engine is away, and that it is back."""
        self.heard_ms = now_ms
        """When the last call that writes and was answered was sent: it has renewed the lease, as reading does not."""
        self._changed = changed
        self._closed: set[EngineWay] = set()
        self._since_ms = now_ms
        self.is_away = False
        """Whether the engine cannot be read or cannot be written to. A field, because each turn asks four times."""
        self.trouble = ""
        """Why it is away, as the newest call says; empty = it is not."""
        self.lacks_replicas = False
        """It is that the engine's replicas do not have what they must."""
        self._refusals: set[str] = set()
        """Those that the log was told since it was reached last; reading and writing may be refused in two ways."""
        self._told: dict[EngineWay, str] = {}
        """Why it is away, as the log was told last, by reading and by writing."""
        self._told_ms = now_ms
        self._place: Callable[[], str] = lambda: ""
        self._known_place = ""
        """Where the engine was when it was reached last."""

    def find_place_by(self, place: Callable[[], str]) -> None:
        """The engine, which is reached, is where this says."""
        self._place = place
        self._known_place = place()

    def lease_left_ms(self, now_ms: int, lease_ms: int) -> int:
        """For how long this node believes that it lives, whose lease lasts so long; 0 = it does not. It ends before the
        others can believe that it does not, though the engine's clock is set meanwhile."""
        return max(0, self.heard_ms + lease_ms - CLOCK_STEP_MS_MAX - now_ms)

    def away_ms(self, now_ms: int) -> int:
        """For how long it has been away; 0 = it is not."""
        return max(1, now_ms - self._since_ms) if self._closed else 0

    def is_busy(self, now_ms: int) -> bool:
        """Whether it is away for so long that nothing durable can be promised."""
        return self.away_ms(now_ms) > BUSY_MS

    @property
    def busy_ms(self) -> int | None:
        """From when on that is so, if it stays away; None = it is not away."""
        return self._since_ms + BUSY_MS + 1 if self._closed else None

    def failed(self, way: EngineWay, sent_ms: int, now_ms: int, reason: object) -> None:
        """A call that was sent then came to nothing."""
        self.lacks_replicas = isinstance(reason, Unreplicated)
        if self.lacks_replicas:
            self.heard_ms = max(self.heard_ms, sent_ms)
        if way not in self._closed and now_ms - sent_ms >= PAUSE_MS:
            return
        was_away = self.is_away
        self._closed.add(way)
        self.is_away = True
        self.trouble = str(reason)
        if not was_away:
            self._since_ms = sent_ms
            self._told, self._told_ms = {"read": self.trouble, "write": self.trouble}, now_ms
            log.warning("the cluster's Redis is away: %s", reason)
            self._changed(True)
        if isinstance(reason, Refused) and self.trouble not in self._refusals:
            self._refusals.add(self.trouble)
            self._told[way] = self.trouble
            log.error("the cluster's Redis refuses this node, which tries again until it does not: %s", reason)
        elif self.trouble in self._told.values():
            self._told[way] = self.trouble
        elif now_ms - self._told_ms >= TELL_MS:
            self._told[way], self._told_ms = self.trouble, now_ms
            log.warning("the cluster's Redis is still away: %s", reason)

    def answered(self, way: EngineWay, sent_ms: int) -> None:
        """A call that was sent then was answered."""
        if way == "write":
            self.heard_ms = max(self.heard_ms, sent_ms)
        if way in self._closed:
            self._closed.discard(way)
            if not self._closed:
                self.is_away = False
                self.trouble = ""
                self._refusals.clear()
                self.lacks_replicas = False
                before, self._known_place = self._known_place, self._place()
                moved = f" at {self._known_place}; it was at {before}" if before != self._known_place else ""
                log.warning("the cluster's Redis is back%s", moved)
                self._changed(False)
