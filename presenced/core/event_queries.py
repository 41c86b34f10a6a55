"""When was who online: what is kept of the changes of one user's record, by time (protocol.md, 19.3).

Only chunks are read whose index tells of the user, so that a page costs little however much is kept.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from presenced.core.event_chunks import Chunk, Rows, events_of, has_record, has_status, is_of_record, is_status
from presenced.core.event_facts import EventAdded
from presenced.core.parts.event_history import EventHistory
from presenced.wire.messages import Event

CHUNKS_MAX = 16
"""Chunks that are read for a page, at about a third of a millisecond each."""

FRUITLESS_MAX = 16
"""Chunks that are read for the change before a span and have none."""


class Span(NamedTuple):
    """A part of a user's history."""

    user: str
    since_ms: int
    until_ms: int
    """It ends before this."""
    skip: int
    """So many of the events at its first millisecond are left out."""
    limit: int


def page(history: EventHistory, span: Span) -> tuple[list[Event], int]:
    """The first events of a span, by time and as they happened, and how many there are of them at the time of the
    last; 0 = there are no more. O(chunks of history), with a small factor, and at most `CHUNKS_MAX` are read; more only
    until there is an event to tell. A page that is short for that reason is no last page.
    """
    chunks = [
        chunk
        for chunk in history.chunks
        if chunk.last_ms >= span.since_ms
        and chunk.first_ms < span.until_ms
        and has_record(chunk.index, span.user)
        and not _is_emptied_of(chunk, span.user)
    ]
    # By time: a clock that was set back puts earlier events behind later ones.
    chunks.sort(key=lambda chunk: chunk.first_ms)
    events = _merged([], history.tail, span)
    is_all = True
    for read, chunk in enumerate(chunks):
        # Nothing comes in between any longer: the other chunks begin after these.
        told = [event for event in events if event.at_ms < chunk.first_ms]
        ready = len(told) - _skipped(told, span)
        if ready > span.limit or (ready and read >= CHUNKS_MAX):
            events, is_all = told, False
            break
        history.clean(chunk)
        events = _merged(events, Rows(chunk.data).holding(span.user), span)
    first = _skipped(events, span)
    told = events[first : first + span.limit]
    if not told or (is_all and len(events) <= first + span.limit):
        return _unnumbered(told), 0
    last_ms = told[-1].at_ms
    return _unnumbered(told), sum(event.at_ms == last_ms for event in events[: first + span.limit])


def _is_emptied_of(chunk: Chunk, user: str) -> bool:
    """Whether nothing is left of the user, who was erased, though the chunk is not rewritten yet."""
    return chunk.erased.get(user, -1) >= chunk.last


def _unnumbered(events: list[Event]) -> list[Event]:
    return [replace(event, seq=0) for event in events]


def _skipped(events: list[Event], span: Span) -> int:
    return sum(event.at_ms == span.since_ms for event in events[: span.skip])


def _merged(events: list[Event], facts: list[EventAdded], span: Span) -> list[Event]:
    events += [
        event
        for fact in facts
        if fact.user == span.user and is_of_record(fact) and span.since_ms <= fact.at_ms < span.until_ms
        for event in events_of(fact, fact.seq)
    ]
    events.sort(key=lambda event: (event.at_ms, event.seq))
    return events


def status_before(history: EventHistory, user: str, before_ms: int) -> Event | None:
    """The last change of the user's status before this time; None if it is not known. O(chunks), with a small factor,
    and one or two of them are read."""
    found = _last_status(history.tail, user, before_ms)
    fruitless = 0
    for chunk in reversed(history.chunks):
        if found is not None or fruitless >= FRUITLESS_MAX:
            break
        if chunk.first_ms < before_ms and has_status(chunk.index, user) and not _is_emptied_of(chunk, user):
            history.clean(chunk)
            found = _last_status(Rows(chunk.data).holding(user), user, before_ms)
            fruitless += 1
    return found


def _last_status(facts: list[EventAdded], user: str, before_ms: int) -> Event | None:
    for fact in reversed(facts):
        if fact.user == user and fact.at_ms < before_ms and is_status(fact):
            return next(replace(event, seq=0) for event in events_of(fact, fact.seq) if event.kind == "status_change")
    return None
