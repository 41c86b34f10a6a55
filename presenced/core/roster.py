"""A user's list of contacts (protocol.md, section 21.4). Data only: `parts.contacts` writes it.

Most contacts have neither a name nor groups, and then a number says all of them: a list takes 50 bytes a contact.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

TO: Final = 1
"""The user sees the contact."""
FROM: Final = 2
"""The contact sees the user."""
ASKED: Final = 4
"""The user has asked to see the contact."""
ASKS: Final = 8
"""The contact has asked to see the user."""
APPROVED: Final = 16
"""The contact will see the user as soon as they ask."""
LISTED: Final = 32
"""The user has put the contact into the list."""


class Contact(NamedTuple):
    """A contact of whom more is known than these flags."""

    flags: int
    name: str
    groups: tuple[str, ...]
    note: str
    """What the contact wrote who `ASKS`."""


class Roster:
    """The contacts of one user, by name."""

    __slots__ = ("changes", "contacts", "version", "whole_until")

    def __init__(self) -> None:
        self.contacts: dict[str, int | Contact] = {}
        self.version = 0
        """Of its last change."""
        self.changes: deque[tuple[int, str]] = deque()
        """The last changes, each with its version and whose it was."""
        self.whole_until = 0
        """A client that has the list of an older version is sent all of it."""

    def flags(self, name: str) -> int:
        """What holds between the user and this contact; 0 = nothing. O(1)."""
        contact = self.contacts.get(name, 0)
        return contact if isinstance(contact, int) else contact.flags
