"""What a user has said about who may see them. Data only: `parts.privacy` writes it, and what follows from it for one
viewer is decided in `faces`."""

from __future__ import annotations

from typing import NamedTuple

from presenced.wire.messages import AudienceLevel


class Audience(NamedTuple):
    """To whom a user shows which field (protocol.md, section 21.6)."""

    text: AudienceLevel = "everyone"
    last_seen: AudienceLevel = "everyone"
    device: AudienceLevel = "everyone"
    always: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()


EVERYTHING = Audience()
"""Of a user who has set nothing."""


class Privacy:
    """Whom one user does not see or is not seen by, and how much of the user others see. Few users have one."""

    __slots__ = ("audience", "blocked", "hidden", "shown_by", "shown_to", "unseen")

    def __init__(self) -> None:
        self.blocked: dict[str, None] = {}
        """Whom the user has blocked."""
        self.hidden: dict[str, None] = {}
        """Whom the user hides from."""
        self.unseen: dict[str, None] = {}
        """The other side: who has blocked the user, or hides from the user."""
        self.audience = EVERYTHING
        self.shown_to: dict[str, dict[str, None]] = {}
        """Viewers to whom live devices of the user have shown themselves, with the ids of these."""
        self.shown_by: dict[str, None] = {}
        """The other side: users of whom a device has shown itself to this one."""

    @property
    def is_blank(self) -> bool:
        """Whether nothing is said here."""
        return not (
            self.blocked or self.hidden or self.unseen or self.shown_to or self.shown_by or self.audience != EVERYTHING
        )
