"""What the server answers about a client's view: types 90 and 96 (protocol.md, section 22)."""

from __future__ import annotations

from presenced.wire.types import Message


class Checked(Message, tag=90):
    """The answer to check. All that the link was to be told before this moment has been told before it."""

    id: int
    epoch: int
    version: int
    """With the epoch a position, if that is not 0: every change with a lower version has been told."""
    users: int
    """How many users the link watches, by name or as contacts."""
    checksum: int
    """The sum of their digests, modulo 2**32."""


class Position(Message, tag=96):
    """The answer to watchall with a position. All that has changed since then has been told before it."""

    id: int
    epoch: int
    version: int
    """With the epoch the position of the link by now."""
    reset: bool
    """The position is not good any more, and nothing was told for it: take everything (`Who`)."""
