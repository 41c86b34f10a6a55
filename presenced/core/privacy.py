"""What users have said about who may see them, and how each is shown to those who do not see all. Data only.

`parts.privacy` writes the first, `parts.watches` and the publisher the second. What follows from it for one viewer is
decided in `faces`.
"""

from __future__ import annotations

from typing import NamedTuple

from presenced.core.model import Device, Session, Sink, User
from presenced.wire.codec import encode
from presenced.wire.messages import AudienceLevel, Record


class Audience(NamedTuple):
    """To whom a user shows which field (protocol.md, section 21.1)."""

    text: AudienceLevel = "everyone"
    last_seen: AudienceLevel = "everyone"
    device: AudienceLevel = "everyone"
    always: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()


EVERYTHING = Audience()
"""Of a user who has set nothing."""


class Privacy:
    """Whom one user does not see or is not seen by, and how much of the user others see. Few users have one."""

    __slots__ = ("audience", "blocked", "hidden", "shown_to", "unseen")

    def __init__(self) -> None:
        self.blocked: dict[str, None] = {}
        """Whom the user has blocked."""
        self.hidden: dict[str, None] = {}
        """Whom the user hides from."""
        self.unseen: dict[str, None] = {}
        """The other side: who has blocked the user, or hides from the user."""
        self.audience = EVERYTHING
        self.shown_to: dict[str, dict[Device, None]] = {}
        """Viewers to whom live devices of the user have shown themselves."""

    @property
    def is_blank(self) -> bool:
        """Whether nothing is said here."""
        return not (self.blocked or self.hidden or self.unseen or self.shown_to or self.audience != EVERYTHING)


class Face:
    """How a user is shown to the viewers who do not see the full record, for one kind of face (`faces`)."""

    __slots__ = ("encoded", "kind", "push_credit", "push_refilled_ms", "push_waits", "record", "user", "watchers")

    def __init__(self, user: User, kind: int, record: Record) -> None:
        self.user = user
        self.kind = kind
        self.record = record
        """As it was told last, with the version of that moment."""
        self.encoded: bytes | None = None
        self.watchers: dict[Session, Sink] = {}
        # spacing, as of a user
        self.push_credit = 0
        self.push_refilled_ms = -1
        self.push_waits = False

    def encoded_record(self) -> bytes:
        """The record as msgpack: encoded once, however many are told. O(1) but for the first call."""
        encoded = self.encoded
        if encoded is None:
            encoded = self.encoded = encode(self.record)
        return encoded
