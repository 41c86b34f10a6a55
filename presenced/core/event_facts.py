"""Facts about events, their streams, and those who follow under a name (protocol.md, section 19).

One fact stands for all events of one change, and every stream of events is derived from it when the log is read, with
the same numbers. The facts belong to no user: a snapshot has the events in chunks.
"""

from __future__ import annotations

from typing import Final

from presenced.core.fact import FactBase

FAREWELL: Final = "erased"
"""The reason of a fact, in memory, if the user is offline because of an erasure. Followers are told `kicked`."""


class EventAdded(FactBase, tag=28):
    """Something happened to a user. Of a change of the record it holds what has changed: several events, perhaps."""

    user: str
    seq: int
    """The number of the last of its events, in the stream of all."""
    at_ms: int
    count: int
    """How many events it makes."""
    kind: str
    """That of its one event; empty = a change of the record. `erased` without a user: emptied, since somebody whom it
    named was erased."""
    old: str
    """The status before, if that has changed; of other kinds what the event says."""
    new: str
    reason: str
    old_text: str = ""
    """This and the next three: all said if the text or the emoji has changed."""
    new_text: str = ""
    old_emoji: str = ""
    new_emoji: str = ""
    old_device: str = ""
    """This and the next: said if another device has become the primary one."""
    new_device: str = ""
    streams: list[int] = []
    """Of one that was emptied: the narrowed streams that count it."""


class EventsChunk(FactBase, tag=29):
    """Several of these facts in a row, compressed; in snapshots."""

    user: str
    """Always empty."""
    after: int
    """The number before that of its first event."""
    last: int
    count: int
    """How many facts it holds."""
    first_ms: int
    last_ms: int
    """The earliest and the latest wall time in it."""
    data: bytes
    index: bytes
    """Whom it names, as `event_chunks` says."""
    streams: list[tuple[int, int, int]]
    """For each narrowed stream that has events here its epoch, the number before its first one, and that of its
    last."""
    follows: int = 0
    """The number of the event before its first one, which is less than `after` if the numbers leapt in between; -1 = it
    is not known."""


class EventsAt(FactBase, tag=30):
    """The next event has a number after this one."""

    user: str
    """Always empty."""
    seq: int
    begins_ms: int
    """From when on all events are known; 0 = events are not kept at present."""
    above: int = 0
    """After a kill: what no number of any stream is below from here on; 0 = there is no such leap."""
    forgets: bool = False
    """Nothing is known any longer of what was before."""
    follows: int = 0
    """The number of the newest event, which is less than `seq` if the numbers have leapt; -1 = it is not known."""


class EventStreamSet(FactBase, tag=31):
    """There is a narrowed stream of these users."""

    user: str
    """Always empty."""
    epoch: int
    of: int
    """The epoch of the server's history in which it was begun."""
    names: list[str]
    prefixes: list[str]
    endings: list[str]
    since: int
    """It counts what happens after this event, by the number in the stream of all."""
    seq: int
    """Its own number at that moment; in a snapshot, behind the last chunk."""


class EventStreamEnded(FactBase, tag=32):
    """The narrowed stream is given up."""

    user: str
    """Always empty."""
    epoch: int


class EventsErased(FactBase, tag=33):
    """The events up to this number that name the user are emptied."""

    user: str
    seq: int


class FollowerSet(FactBase, tag=34):
    """Who follows under this name has handled the events up to this one."""

    user: str
    """The user of the link that follows."""
    name: str
    epoch: int
    seq: int
    at_ms: int
    taken_ms: int = 0
    """Wall time at which the link that follows took the name, and later than that of the link before; 0 = not said."""
    taken_by: int = 0
    """The number of the server that this link is on: of two with one time the larger one has the name."""


class FollowerForgotten(FactBase, tag=35):
    """There is no follower of this name any longer."""

    user: str
    name: str
    taken_ms: int = 0
    """As in `FollowerSet`: of the last link that is known to have followed under the name."""
    taken_by: int = 0


EventFact = (
    EventAdded
    | EventsChunk
    | EventsAt
    | EventStreamSet
    | EventStreamEnded
    | EventsErased
    | FollowerSet
    | FollowerForgotten
)
