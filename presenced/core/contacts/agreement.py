"""What must hold of all lists of contacts between turns. For tests and `--check`."""

from __future__ import annotations

from presenced.core.contacts.pairs import Pairs
from presenced.core.contacts.transitions import STATE, STATES
from presenced.core.model import User
from presenced.core.parts.users import Users
from presenced.core.roster import APPROVED, ASKED, ASKS, FROM, LISTED, TO, Roster

MIRRORED = {TO: FROM, FROM: TO, ASKED: ASKS, ASKS: ASKED}
"""What the other side has if one side has this."""


def check_contacts(users: Users, pairs: Pairs) -> None:
    """Raise `AssertionError` with what is wrong. O(contacts)."""
    contacts = requests = 0
    for user in users.values():
        roster = user.contacts
        if roster is None:
            continue
        for name in roster.contacts:
            _check_contact(user, roster, name, users.get(name))
        asking = [name for name in roster.contacts if roster.flags(name) & ASKS]
        assert sorted(roster.asking or ()) == sorted(asking), f"{user.name} is asked by others than the list says"
        strangers = sum(roster.flags(name) == ASKS for name in asking)
        assert strangers == roster.strangers, f"{strangers} who ask {user.name} are counted as {roster.strangers}"
        kept = [version for version, _ in roster.changes or ()]
        assert kept == sorted(kept) and all(roster.whole_until < version <= roster.version for version in kept), (
            f"the changes of {user.name} are out of order"
        )
        contacts += roster.listed
        requests += len(asking)
    assert contacts == pairs.contacts, f"{contacts} contacts are counted as {pairs.contacts}"
    assert requests == pairs.requests, f"{requests} requests are counted as {pairs.requests}"


def _check_contact(user: User, roster: Roster, name: str, other: User | None) -> None:
    where = f"{name} in the list of {user.name}"
    contact = roster.contact(name)
    flags = contact.flags
    theirs = other.contacts.flags(user.name) if other is not None and other.contacts is not None else 0
    assert flags and name != user.name, f"{where} has nothing to do there"
    assert flags & STATE in STATES, f"{where} is in no state of the tables: {flags}"
    assert not (flags & FROM and flags & APPROVED), f"{where} is approved and sees the user already"
    for mine, yours in MIRRORED.items():
        assert bool(flags & mine) == bool(theirs & yours), f"{where} has {flags}, and the other side has {theirs}"
    is_plain = isinstance(roster.contacts[name], int)
    assert is_plain == (not (contact.name or contact.groups or contact.note)), f"{where} takes more than it has to"
    assert flags & LISTED or not (contact.name or contact.groups), f"{where} has a name and was not set"
    assert flags & ASKS or not contact.note, f"{where} has a note and does not ask"
    if theirs & STATE:
        assert other is not None and name is other.name, f"{where} has a name of its own"
