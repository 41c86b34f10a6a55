"""What the server sends of events: types 80, 81, 94 and 95."""

from __future__ import annotations

from presenced.wire.types import EventKind, FollowerInfo, Message


class Event(Message, tag=80):
    """Something happened to a user. Each event is told once, in order."""

    seq: int
    """0 on a page of a user's history."""
    at_ms: int
    kind: EventKind
    user: str
    old: str
    """The status, text, device or subscription before."""
    new: str
    """The same after it; of contact_request who asks."""
    reason: str
    """Of offline: bye, lost, kicked, idle or hidden. Of contact_request the note, of contact_change the contact."""
    old_emoji: str = ""
    """Of text_change: the emoji before."""
    new_emoji: str = ""


class Following(Message, tag=81):
    """The answer to follow. The events after the cursor come after it."""

    id: int
    epoch: int
    """0, with the id 0: another link follows under the same name, and this one does not any longer."""
    seq: int
    """The cursor: the events after it follow."""
    reset: bool
    """Events were missed that can no longer be told. Take a snapshot (`Who`) and go on from this cursor."""


class HistoryPage(Message, tag=94):
    """The answer to gethistory."""

    id: int
    user: str
    begins_ms: int
    """From when on everything is known that happened; 0 = nothing is."""
    before: Event | None
    """The last change of status before the span, so that one knows what held at its beginning. On the first page, if
    it is known."""
    events: list[Event]
    next: int
    """Ask for the next page with this as `after` and the time of the last event as `since_ms`; 0 = this is the last."""


class FollowerList(Message, tag=95):
    """The answer to getfollowers."""

    id: int
    user: str
    followers: list[FollowerInfo]
