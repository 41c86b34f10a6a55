"""What clients ask about events: types 62 and 128 to 130. Follow stands with the others of its time (`requests`)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from presenced.limits import HISTORY_EVENTS_MAX
from presenced.wire.types import Message, RequestId, WallMs


class GetHistory(Message, tag=62):
    """Ask when a user was who they were: a page of the changes of their record in a span of time."""

    id: RequestId
    user: str = ""
    since_ms: WallMs = 0
    until_ms: WallMs = 0
    """Only what happened before this, which is not before `since_ms`; 0 = until now."""
    after: WallMs = 0
    """The `next` of the page before, with `since_ms` the time of the last event on it; 0 = from the first."""
    limit: Annotated[int, Meta(ge=1, le=HISTORY_EVENTS_MAX)] = HISTORY_EVENTS_MAX


class Acknowledge(Message, tag=128):
    """The named follower on this link has handled the events up to this one. No reply."""

    seq: WallMs


class GetFollowers(Message, tag=129):
    """Ask for the named followers of a user's links."""

    id: RequestId
    user: str = ""


class ForgetFollower(Message, tag=130):
    """Forget a named follower and its position."""

    id: RequestId
    name: str
    user: str = ""
