"""What clients send about channels: types 23 to 27 (protocol.md, sections 13.13 to 13.17)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from presenced.limits import USERS_PER_REQUEST_MAX
from presenced.wire.types import Digest, Message, RequestId


class Join(Message, tag=23):
    """Put the device into the channel, until it leaves the channel or is gone."""

    id: RequestId
    channel: str
    user: str = ""
    device: str = ""
    as_was: bool = False
    """Do nothing if a link other than its own has taken the device out of a channel since it came."""


class Leave(Message, tag=24):
    """Take the device out of the channel. It is no error if it was not in it."""

    id: RequestId
    channel: str
    user: str = ""
    device: str = ""


class GetMembers(Message, tag=25):
    """Ask who is online in a channel: for a page in order of name, and for exact counts."""

    id: RequestId
    channel: str
    after: str = ""
    limit: Annotated[int, Meta(ge=0, le=USERS_PER_REQUEST_MAX)] = 100


class WatchChannel(Message, tag=26):
    """Watch a channel: the reply has its first page and counts; joins, leaves and changes follow."""

    id: RequestId
    channel: str
    limit: Annotated[int, Meta(ge=0, le=USERS_PER_REQUEST_MAX)] = 100
    users: Annotated[list[str], Meta(max_length=USERS_PER_REQUEST_MAX)] = []
    """Members whom the client has of the page."""
    have: Annotated[list[Digest], Meta(max_length=USERS_PER_REQUEST_MAX)] | None = None
    """What it has of them, a digest for each; then the reply has only what differs."""


class UnwatchChannel(Message, tag=27):
    """Stop watching a channel."""

    id: RequestId
    channel: str
