"""What clients send to bring what they show up to date, and to prove that it is: types 56 and 57 (protocol.md, section
22)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from presenced.limits import USERS_PER_REQUEST_MAX
from presenced.wire.types import Digest, Message, RequestId


class Compare(Message, tag=56):
    """Here is what this client has of these users: answer what differs from what it is to see."""

    id: RequestId
    users: Annotated[list[str], Meta(max_length=USERS_PER_REQUEST_MAX)]
    have: Annotated[list[Digest], Meta(max_length=USERS_PER_REQUEST_MAX)]
    """A digest for each of the users, in that order; 0 = nothing."""
    more: bool = False
    """More of what it has follows in another of these."""
    failed: bool = False
    """It is sent because a checksum was not the server's. Only counted."""


class Check(Message, tag=57):
    """Ask for the checksum of all that this link watches."""

    id: RequestId
