"""A user's list of contacts (protocol.md, section 21.4), which keeps account of itself. `core.contacts` writes it.

Most contacts have neither a name nor groups, and then a number says all of them: a list takes about 40 bytes a contact.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from presenced.limits import CONTACT_CHANGES_KEPT

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
    name: str = ""
    groups: tuple[str, ...] = ()
    note: str = ""
    """What the contact wrote who `ASKS`."""

    @property
    def is_listed(self) -> bool:
        """Whether the contact is in the user's list, and is not merely somebody who asks. O(1)."""
        return self.flags & ~ASKS != 0


Known = int | Contact
"""What a list has of a contact: the flags, if these say all."""

NOBODY: Final = Contact(0)
"""Somebody with whom a user has nothing to do."""


def flags_of(known: Known) -> int:
    """The flags of a contact. O(1)."""
    return known if isinstance(known, int) else known.flags


class Roster:
    """The contacts of one user, by name."""

    __slots__ = ("_asking", "_is_in_order", "changes", "contacts", "strangers", "version", "whole_until")

    def __init__(self) -> None:
        self.contacts: dict[str, Known] = {}
        self.version = 0
        """The version of its last change."""
        self._asking: dict[str, int] | None = None
        self._is_in_order = True
        self.strangers = 0
        """Those of them who are not in the list."""
        self.changes: deque[tuple[int, str]] | None = None
        """The last changes, each with its version and whose it was; None while no client of the user wants to know. An
        empty deque takes 760 bytes."""
        self.whole_until = 0
        """A client that has the list of an older version is sent all of it."""

    @property
    def listed(self) -> int:
        """How many contacts are in the list. O(1)."""
        return len(self.contacts) - self.strangers

    @property
    def asking(self) -> dict[str, int] | None:
        """Who asks to see the user, the oldest first, with the version counter of that moment, or more where it stands
        still; None = nobody. O(1), or O(those log those) if they came in another order: from a disk, which has lists as
        they are, or from another node, which says something again."""
        if not self._is_in_order:
            assert self._asking is not None
            self._asking = dict(sorted(self._asking.items(), key=lambda one: one[1]))
            self._is_in_order = True
        return self._asking

    @property
    def last_asked(self) -> int:
        """When somebody asked last, of those who still ask; 0 if nobody does. O(1)."""
        return next(reversed(self.asking.values())) if self.asking else 0

    def flags(self, name: str) -> int:
        """What holds between the user and this contact; 0 = nothing. O(1)."""
        contact = self.contacts.get(name, 0)
        return contact if isinstance(contact, int) else contact.flags

    def contact(self, name: str) -> Contact:
        """All that is known of this contact. O(1)."""
        contact = self.contacts.get(name, 0)
        return Contact(contact) if isinstance(contact, int) else contact

    def put(self, name: str, contact: Contact, asked: int) -> None:
        """This is known of the contact from now on. `asked`: when the contact asked to see the user; 0 = as is known,
        if it is. O(1)."""
        before, flags = self.flags(name), contact.flags
        # Taken out first: the key is the name as the other user has it, who may not have been known before.
        self.contacts.pop(name, None)
        if flags:
            is_plain = not (contact.name or contact.groups or contact.note)
            self.contacts[name] = flags if is_plain else contact
        if (before | flags) & ASKS:
            self._count(name, before, flags, asked)

    def put_flags(self, name: str, flags: int) -> None:
        """These flags are all that is known of the contact, who does not ask to see the user. O(1)."""
        before = self.contacts.get(name, 0)
        if not isinstance(before, int) or before & ASKS:
            self.put(name, Contact(flags), 0)
        else:
            if before:
                del self.contacts[name]
            if flags:
                self.contacts[name] = flags

    def _count(self, name: str, before: int, flags: int, asked: int) -> None:
        self.strangers += (flags == ASKS) - (before == ASKS)
        if not flags & ASKS:
            assert self._asking is not None
            del self._asking[name]
            if not self._asking:
                self._asking, self._is_in_order = None, True
        elif not before & ASKS:
            if self._asking is None:
                self._asking = {}
            elif self._is_in_order:
                self._is_in_order = asked >= next(reversed(self._asking.values()))
            self._asking[name] = asked
        elif asked:
            self.note_asked(name, asked)

    def note_asked(self, name: str, asked: int) -> None:
        """Who decides it says that the contact, if they ask to see the user, did so then. O(1)."""
        if self._asking is not None and self._asking.get(name, asked) != asked:
            self._asking[name] = asked
            self._is_in_order = len(self._asking) == 1

    # --- what a client may have missed ------------------------------------------------------------------------

    def keep_changes(self) -> None:
        """Keep the last changes from now on. Idempotent. O(1)."""
        if self.changes is None:
            self.changes = deque()
            self.whole_until = self.version

    def go_on(self, changes: Iterable[tuple[int, str]], whole_until: int) -> None:
        """These changes were kept before. O(these)."""
        self.changes, self.whole_until = deque(changes), whole_until

    def move_to(self, version: int) -> None:
        """The list has come to this version, if it had not. O(1)."""
        self.version = max(self.version, version)

    def note(self, name: str) -> None:
        """The last change was one of this contact. O(1)."""
        if self.changes is not None:
            self.changes.append((self.version, name))
            if len(self.changes) > CONTACT_CHANGES_KEPT:
                self.whole_until = self.changes.popleft()[0]

    def changed_since(self, version: int) -> list[str] | None:
        """Whose entries have changed since this version, the last change last; None if that is not known. Only a
        version that the list has had in this run will do: another may have been told, and lost with the end of a log.
        O(changes kept)."""
        if version == self.version:
            return []
        if self.changes is None or not version:
            return None
        if version != self.whole_until and all(known != version for known, _ in self.changes):
            return None
        # The first of these from the end is the last change of a name.
        newest_first = dict.fromkeys(name for known, name in reversed(self.changes) if known > version)
        return list(reversed(newest_first))
