"""Facts about pairs of users: the fact that is written for a change, and what is applied when it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from presenced.core.dormants import NOTHING
from presenced.core.model import User
from presenced.core.parts.users import Users
from presenced.core.records import ChangesKept, ContactSet, ContactSide, ContactsKept, ContactsSet
from presenced.core.roster import ASKS, NOBODY, Contact, Known, Roster, flags_of

PER_FACT = 1_000
"""Contacts in one fact of a snapshot."""

Pair = tuple[str, Known, Known]
"""A contact's name, what the user knows of the contact, and what the contact knows of the user; as flags if these say
all of both, and neither asks to see the other."""


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


def joint_fact_of(
    user: User, pairs: Iterable[tuple[str, User | None]], version: int, other_version: int
) -> ContactsSet:
    """What holds now between users and their contacts, as one fact. O(contacts)."""
    contacts: list[str] = []
    flags: list[int] = []
    sides: list[tuple[int, ContactSide | None, ContactSide | None]] = []
    own = user.name
    roster = user.contacts or Roster()
    for place, (name, other) in enumerate(pairs):
        mine = roster.contacts.get(name, 0)
        theirs = other.contacts.contacts.get(own, 0) if other is not None and other.contacts is not None else 0
        contacts.append(name)
        if isinstance(mine, int) and isinstance(theirs, int):
            flags.append(mine | theirs << 8)
            if not (mine | theirs) & ASKS:
                continue
        else:
            flags.append(flags_of(mine) | flags_of(theirs) << 8)
        sides.append((place, _side(user, name)[1], _side(other, own)[1]))
    return ContactsSet(own, contacts, flags, version, other_version, sides)


def saved_facts(user: User, roster: Roster, users: Users) -> Iterator[ContactsSet | ContactsKept]:
    """What a snapshot is to say of the user's list. A pair is said once, by the one whose name comes first, or by the
    only one of the two who has the other in a list; but of a contact who sleeps the user's side alone, since the other
    is among what sleeps. O(contacts)."""
    own = user.name
    asleep = users.dormants if users.dormants.tally != NOTHING else ()
    all_pairs = [(name, users.awake(name)) for name in roster.contacts]
    apart = [name for name, other in all_pairs if other is None and name in asleep]
    left_out = frozenset(apart)
    mine = (
        (name, other) for name, other in all_pairs if name not in left_out and (own < name or not _knows(other, own))
    )
    pairs = list(islice(mine, PER_FACT))
    # Also without a contact: the version of the list is said by its own user alone.
    yield joint_fact_of(user, pairs, roster.version, 0)
    while len(pairs) == PER_FACT and (pairs := list(islice(mine, PER_FACT))):
        yield joint_fact_of(user, pairs, roster.version, 0)
    if apart:
        yield own_fact_of(user, roster, apart)


def own_fact_of(user: User, roster: Roster, names: Iterable[str], run: int = 0) -> ContactsKept:
    """The user's side of these contacts; with a `run` also what clients of the user may have missed in it. O(these)."""
    contacts: list[str] = []
    flags: list[int] = []
    sides: list[tuple[int, ContactSide]] = []
    for place, name in enumerate(names):
        known = roster.contacts[name]
        contacts.append(name)
        flags.append(flags_of(known))
        if flags[-1] & ASKS or not isinstance(known, int):
            side = side_of(roster, name, roster.contact(name))
            if side is not None:
                sides.append((place, side))
    changes = None
    if run and roster.changes is not None:
        changes = ChangesKept(run, roster.whole_until, list(roster.changes))
    return ContactsKept(user.name, contacts, flags, roster.version, sides, changes)


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


def take_up_side(roster: Roster, name: str, flags: int, side: ContactSide | None) -> None:
    """The list has what a fact says of the contact. O(1)."""
    if side is None and not flags & ASKS:
        roster.put_flags(name, flags)
    else:
        roster.put(name, *contact_of(flags, side))
