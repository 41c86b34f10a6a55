"""Facts about pairs of users: what is written down of a change, and what is made of it when it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from presenced.core.model import User
from presenced.core.parts.users import Users
from presenced.core.records import ContactSet, ContactSide, ContactsSet
from presenced.core.roster import NOBODY, Contact, Roster

PER_FACT = 1_000
"""Contacts in one fact of a snapshot."""

Pair = tuple[str, Contact, Contact]
"""A contact's name, what the user knows of the contact, and what the contact knows of the user."""


def side_of(roster: Roster | None, name: str, contact: Contact) -> ContactSide | None:
    """What a fact says of the contact beside the flags; None = there is no more. O(1)."""
    asked = (roster.asking or {}).get(name, 0) if roster is not None else 0
    if contact.name or contact.groups or contact.note or asked:
        return ContactSide(contact.name, contact.groups, contact.note, asked)
    return None


def fact_of(user: User, contact: str, other: User | None, version: int, other_version: int) -> ContactSet:
    """What holds between the two now. O(1)."""
    mine, side = _side(user, contact)
    theirs, other_side = _side(other, user.name)
    return ContactSet(user.name, contact, mine.flags, theirs.flags, version, other_version, side, other_side)


def facts_of(user: User, contacts: Sequence[str], users: Users, version: int, other_version: int) -> ContactsSet:
    """The same of several contacts, as one fact. O(contacts)."""
    flags: list[int] = []
    sides: list[tuple[int, ContactSide | None, ContactSide | None]] = []
    for place, name in enumerate(contacts):
        mine, side = _side(user, name)
        theirs, other_side = _side(users.get(name), user.name)
        flags.append(mine.flags | theirs.flags << 8)
        if side is not None or other_side is not None:
            sides.append((place, side, other_side))
    return ContactsSet(user.name, list(contacts), flags, version, other_version, sides)


def saved_facts(user: User, roster: Roster, users: Users) -> Iterator[ContactsSet]:
    """What a snapshot is to say of the user's list. A pair is said once, by the one whose name comes first, or by the
    only one of the two who has the other in a list. O(contacts)."""
    own = user.name
    mine = (name for name in roster.contacts if own < name or not _knows(users.get(name), own))
    names = list(islice(mine, PER_FACT))
    # Also without a contact: the version of the list is said by its own user alone.
    yield facts_of(user, names, users, roster.version, 0)
    while len(names) == PER_FACT and (names := list(islice(mine, PER_FACT))):
        yield facts_of(user, names, users, roster.version, 0)


def _side(user: User | None, name: str) -> tuple[Contact, ContactSide | None]:
    roster = user.contacts if user is not None else None
    if roster is None:
        return NOBODY, None
    contact = roster.contact(name)
    return contact, side_of(roster, name, contact)


def _knows(user: User | None, name: str) -> bool:
    return user is not None and user.contacts is not None and name in user.contacts.contacts


def contact_of(flags: int, side: ContactSide | None) -> tuple[Contact, int]:
    """The contact that a fact tells of, and when they asked. O(1)."""
    if side is None:
        return Contact(flags), 0
    return Contact(flags, side.name, side.groups, side.note), side.asked
