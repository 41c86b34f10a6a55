"""How much of what a link was sent its peer leaves unread. Reads only."""

from __future__ import annotations

from presenced.core.model import Session
from presenced.server.transports.base import Transport

OWED_USER_BYTES = 64
"""About what one user costs in the dict of the users that a slow link is owed."""


def unread_reply_bytes(session: Session, transport: Transport | None) -> int:
    """Replies that are not written yet and, while the peer does not read, what the transport holds. O(1)."""
    if session.owed is None or transport is None:
        return session.reply_bytes
    return session.reply_bytes + transport.unsent_bytes


def unread_bytes(session: Session, transport: Transport) -> int:
    """About how many bytes the server holds because the peer does not read. O(1)."""
    if session.owed is None:
        return transport.unsent_bytes
    return transport.unsent_bytes + OWED_USER_BYTES * len(session.owed) + session.reply_bytes
