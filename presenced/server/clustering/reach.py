"""Whether a node reaches the engine, by the calls that read and those that write. Pure, except that it logs.

An engine may answer reads and refuse writes: a primary that was demoted, or that lacks the replicas which it must have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, Literal

from presenced.backplane.errors import Refused, Unreplicated
from presenced.backplane.port import CLOCK_STEP_MS_MAX

log = logging.getLogger("presenced")

BUSY_MS: Final = 5_000
"""How long requests wait for an engine that is away. After that they are refused."""

PAUSE_MS: Final = 4_000
"""A failed call that took longer than this proves nothing: this process was paused meanwhile."""

TELL_MS: Final = 10_000
"""The shortest time between two lines about changed reasons."""

EngineWay = Literal["read", "write"]


class Reach:
    """What is known about the engine. All times are monotonic."""

    def __init__(self, now_ms: int, changed: Callable[[bool], object]) -> None:
        """`changed` is called with whether the engine is away, each time that this changes."""
        self.heard_ms = now_ms
        """When the last write was sent that was answered. Only writes renew the lease."""
        self._changed = changed
        self._closed: set[EngineWay] = set()
        self._since_ms = now_ms
        self.is_away = False
        """Whether the engine cannot be read or cannot be written to. A field, because each turn asks four times."""
        self.trouble = ""
        """Why it is away, by the newest call; empty = it is not away."""
        self.lacks_replicas = False
        """It is away because its replicas lack what they must have."""
        self._refusals: set[str] = set()
        """Refusals that were logged since it was last reached. Reads and writes may be refused for two reasons."""
        self._told: dict[EngineWay, str] = {}
        """The reason that was last logged for reads and for writes."""
        self._told_ms = now_ms
        self._place: Callable[[], str] = lambda: ""
        self._known_place = ""
        """Where the engine was when it was last reached."""

    def find_place_by(self, place: Callable[[], str]) -> None:
        """`place` returns where the engine is, which is reached now."""
        self._place = place
        self._known_place = place()

    def lease_left_ms(self, now_ms: int, lease_ms: int) -> int:
        """For how long this node may believe that it lives, with a lease of this length; 0 = no longer. That ends
        before other nodes can believe that it is gone, even if the engine's clock is set meanwhile."""
        return max(0, self.heard_ms + lease_ms - CLOCK_STEP_MS_MAX - now_ms)

    def away_ms(self, now_ms: int) -> int:
        """For how long the engine has been away; 0 = it is not away."""
        return max(1, now_ms - self._since_ms) if self._closed else 0

    def is_busy(self, now_ms: int) -> bool:
        """Whether the engine has been away for so long that nothing durable can be promised."""
        return self.away_ms(now_ms) > BUSY_MS

    @property
    def busy_ms(self) -> int | None:
        """When that will be so if the engine stays away; None = it is not away."""
        return self._since_ms + BUSY_MS + 1 if self._closed else None

    def failed(self, way: EngineWay, sent_ms: int, now_ms: int, reason: object) -> None:
        """A call that was sent at `sent_ms` has failed."""
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
        """A call that was sent at `sent_ms` was answered."""
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
