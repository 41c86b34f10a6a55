"""The client's heartbeat: how long the person has been idle, when to say so, and when the server is silent."""

from __future__ import annotations

from typing import Literal

from presenced.limits import IDLE_MS_MAX

REPORT_SPACING_MS = 1_000
"""Reports of fresh input outside the heartbeat are at least this far apart."""

INTERVAL_MS_MIN = 20
"""A welcome that dictates a shorter interval is not obeyed: it would make the client spin."""


class Activity:
    """The person's idle level, over all links of a client.

    Until the app has reported once, nothing is told, and the server takes nobody for idle: a bot never goes away by
    itself. To tell 0 instead would say that somebody is at this device, and then no notification goes to another, and
    what the server foretells never comes. From the first report on the level grows with time and each report resets it.
    """

    __slots__ = ("_input_ms", "_told_ms")

    def __init__(self) -> None:
        self._input_ms: int | None = None
        self._told_ms = 0

    def report(self, now_ms: int, idle_ms: int) -> None:
        """The last input was `idle_ms` ago."""
        self._input_ms = now_ms - idle_ms

    @property
    def is_reported(self) -> bool:
        """Whether the app has reported."""
        return self._input_ms is not None

    def idle_ms(self, now_ms: int) -> int | None:
        """The level; None = the app has not reported any."""
        return None if self._input_ms is None else min(max(0, now_ms - self._input_ms), IDLE_MS_MAX)

    def tell(self, now_ms: int) -> int | None:
        """The level to put into a heartbeat or hello that leaves now."""
        idle_ms = self.idle_ms(now_ms)
        self._told_ms = now_ms - (idle_ms or 0)
        return idle_ms

    def is_urgent(self, now_ms: int, next_heartbeat_ms: int, away_after_ms: int) -> bool:
        """Would the server take the person for away until the next heartbeat if nothing were said now?

        Only fresh input is urgent: a server lets the last input move forward only, and counts idleness itself.
        """
        if away_after_ms <= 0 or (self.idle_ms(now_ms) or 0) >= away_after_ms:
            return False
        away_at_ms = self._told_ms + away_after_ms
        spacing_ms = min(REPORT_SPACING_MS, away_after_ms // 4)
        return next_heartbeat_ms >= away_at_ms and now_ms - self._told_ms >= spacing_ms


class Heartbeats:
    """What one link has to send when: heartbeats at the dictated interval, a ping if the server has been silent.

    A server has nothing to say to a client that asks and watches nothing, so silence alone proves nothing: after
    two intervals of it a ping asks, and only silence after that means that the link is lost.
    """

    __slots__ = ("_answer_ms", "_asked_ms", "_interval_ms", "heartbeat_ms")

    def __init__(self, now_ms: int, interval_ms: int, answer_ms: int, jitter: float) -> None:
        """`answer_ms`: how long a ping may go unanswered. `jitter` (0 to 1) places the first heartbeat in the
        second half of an interval, so that clients which came back together do not beat together."""
        self._interval_ms = max(interval_ms, INTERVAL_MS_MIN)
        self._answer_ms = answer_ms
        self._asked_ms: int | None = None
        self.heartbeat_ms = now_ms + int(self._interval_ms * (1 + jitter) / 2)

    def due(self, now_ms: int, heard_ms: int) -> Literal["heartbeat", "ping", "lost"] | None:
        """What is to be done now; ask again until None. `heard_ms`: when the server was last heard."""
        if self._asked_ms is not None and heard_ms >= self._asked_ms:
            self._asked_ms = None
        if self._asked_ms is not None:
            if now_ms >= self._asked_ms + self._answer_ms:
                return "lost"
        elif now_ms >= heard_ms + 2 * self._interval_ms:
            self._asked_ms = now_ms
            return "ping"
        if now_ms >= self.heartbeat_ms:
            self.heartbeat_ms = now_ms + self._interval_ms
            return "heartbeat"
        return None

    def next_ms(self, heard_ms: int) -> int:
        """When to ask `due` again."""
        if self._asked_ms is not None:
            return min(self.heartbeat_ms, self._asked_ms + self._answer_ms)
        return min(self.heartbeat_ms, heard_ms + 2 * self._interval_ms)
