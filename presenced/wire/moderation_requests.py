"""What services and admins send to take something away from a user: types 53 to 55 (protocol.md, 13.39 to 13.41)."""

from __future__ import annotations

from presenced.wire.types import Message, RequestId, WallMs


class Revoke(Message, tag=53):
    """Refuse the tokens of the user that were made earlier, and end the links that were opened with them."""

    id: RequestId
    user: str
    before_ms: WallMs = 0
    """Wall time, cut to whole seconds as `iat` is; 0 = the server's now."""


class Kick(Message, tag=54):
    """End all links of the user; the user's devices are gone at once."""

    id: RequestId
    user: str


class Erase(Message, tag=55):
    """Forget everything that is known of the user, in memory now and on the disk as soon as it can be."""

    id: RequestId
    user: str
