"""What is said of a user beside devices: claims, the text that is shown instead, the schedule. Data only."""

from __future__ import annotations

from typing import NamedTuple

from presenced.wire.messages import Source, Status, Window


class Claim:
    """Somebody's statement of a status for the whole user."""

    __slots__ = ("name", "source", "status", "since_ms", "until_ms", "due_ms", "by_wall", "ends", "device")

    def __init__(
        self,
        name: str,
        source: Source,
        status: Status,
        since_ms: int,
        until_ms: int,
        due_ms: int,
        by_wall: bool = False,
        ends: tuple[int, int] | None = None,
        device: str = "",
    ) -> None:
        """By position where many are made: with names it takes half as long again."""
        self.name = name
        self.source: Source = source
        self.status: Status = status
        self.since_ms = since_ms
        self.until_ms = until_ms
        """Wall time of its end; 0 = none."""
        self.due_ms = due_ms
        """The same moment on the monotonic clock; 0 = none."""
        self.by_wall = by_wall
        """Which of the two holds if the wall clock is set: the wall time, or the time from when it was said."""
        self.ends = ends
        """Of one that was given an end of each kind: the moment on the monotonic clock and the wall time. The earlier
        one counts, and which that is depends on the wall clock."""
        self.device = device
        """The device with which it ends; empty = none."""


class Shown(NamedTuple):
    """The text and emoji that others see of somebody who has set another since they appear offline."""

    text: str
    emoji: str
    until_ms: int
    due_ms: int
    by_wall: bool


class Schedule:
    """A status that recurs each week in the user's zone."""

    __slots__ = ("zone", "windows", "status", "due_ms")

    def __init__(self, zone: str, windows: list[Window], status: Status) -> None:
        self.zone = zone
        self.windows = windows
        self.status: Status = status
        self.due_ms = 0
        """When to look at it again."""
