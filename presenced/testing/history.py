"""What a user has shown, as a test may look at it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple, cast

from presenced.core.engine import Engine
from presenced.core.event_queries import Span, page
from presenced.wire.messages import Status

EVENTS_MAX = 1_000
"""On one page."""

LATEST_MS = 2**53


class StatusChange(NamedTuple):
    """One change of what a user shows."""

    at: datetime
    old: Status
    new: Status
    reason: str
    """Of one to offline: `bye`, `lost`, `kicked`, `idle` or `hidden`."""


def status_changes(engine: Engine, user: str) -> list[StatusChange]:
    """Each change of the user's status that the server knows, the oldest first."""
    span = Span(user, 0, LATEST_MS, 0, EVENTS_MAX)
    events, more = page(engine.events.history, span)
    found = list(events)
    while more:
        events, more = page(engine.events.history, span._replace(since_ms=found[-1].at_ms, skip=more))
        found += events
    return [
        StatusChange(
            datetime.fromtimestamp(event.at_ms / 1000, UTC),
            cast(Status, event.old),
            cast(Status, event.new),
            event.reason,
        )
        for event in found
        if event.kind == "status_change"
    ]
