"""What `history` says of the time from which on everything is known, beside the rows that it prints."""

from __future__ import annotations

from datetime import datetime

import pytest

from presenced.cli.ctl_events import known_from
from presenced.client.event_acts import UserHistory
from presenced.client.protocol.event_feed import Event

MINUTE_MS = 60_000
NOON_MS = int(datetime(2026, 12, 1, 12, 0).timestamp() * 1000)
"""By the local clock, as what is printed."""


def event_at(at_ms: int) -> Event:
    return Event("status_change", "bob", "online", "dnd", "set", at_ms, "7-3")


def known(history: UserHistory, since_ms: int) -> str:
    return known_from(history, since_ms, has_rows=bool(history.events or history.before))


def found(*at_ms: int, begins_ms: int, before: int = 0) -> UserHistory:
    events = [event_at(one) for one in at_ms]
    return UserHistory("bob", begins_ms, event_at(before) if before else None, events, True)


def test_a_beginning_that_the_server_rounds_up_is_not_behind_what_is_shown() -> None:
    """It tells the next minute to who does not see everybody."""
    begins_ms, first_ms = NOON_MS - MINUTE_MS, NOON_MS - 97_000
    note = known(found(first_ms, NOON_MS, begins_ms=begins_ms), 0)
    assert note == "nothing is kept from before 2026-12-01 11:58:23"
    assert known(found(NOON_MS, begins_ms=begins_ms), 0) == "nothing is kept from before 2026-12-01 11:59:00"


def test_what_held_before_is_something_that_is_kept() -> None:
    held = found(NOON_MS, begins_ms=NOON_MS - 5_000, before=NOON_MS - 3_600_000)
    assert known(held, NOON_MS - MINUTE_MS) == "nothing else is kept from before 2026-12-01 11:59:55"


@pytest.mark.parametrize("since_ms", [NOON_MS, NOON_MS + 1])
def test_of_a_span_that_is_known_nothing_is_said(since_ms: int) -> None:
    assert known(found(NOON_MS + 5, begins_ms=NOON_MS), since_ms) == ""


def test_where_nothing_has_changed_the_beginning_is_a_part_of_the_sentence() -> None:
    said = known(found(begins_ms=NOON_MS + 1_000), NOON_MS)
    assert said == "nothing of bob has changed in the time that is known, which begins 2026-12-01 12:00:01"
    assert known(found(begins_ms=NOON_MS), NOON_MS) == "nothing of bob has changed"
