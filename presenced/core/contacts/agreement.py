"""What must hold of all lists of contacts between turns. For tests and `--check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from presenced.core.contacts.facts import contact_of
from presenced.core.contacts.pairs import Pairs
from presenced.core.contacts.transitions import MIRRORED, STATE, STATES
from presenced.core.dormants import unpacked
from presenced.core.parts.users import Users
from presenced.core.records import ContactsKept, Fact
from presenced.core.roster import APPROVED, ASKS, FROM, LISTED, Roster

_decode: Final[Callable[[bytes], list[Fact]]] = msgspec.msgpack.Decoder(list[Fact]).decode


def check_contacts(users: Users, pairs: Pairs) -> None:
    """Raise `AssertionError` with what is wrong. O(contacts)."""
    contacts = requests = 0
    awake = {user.name: user.contacts for user in users.values() if user.contacts is not None}
    asleep = rosters_asleep(users)
    listed = sum(roster.listed for roster in asleep.values())
    assert listed == users.dormants.tally.contacts, f"{listed} contacts of who sleeps are counted otherwise"
    rosters = awake | asleep
    for user, roster in rosters.items():
        for name in roster.contacts:
            _check_contact(user, roster, name, rosters.get(name))
        asking = [name for name in roster.contacts if roster.flags(name) & ASKS]
        assert sorted(roster.asking or ()) == sorted(asking), f"{user} is asked by others than the list says"
        strangers = sum(roster.flags(name) == ASKS for name in asking)
        assert strangers == roster.strangers, f"{strangers} who ask {user} are counted as {roster.strangers}"
        kept = [version for version, _ in roster.changes or ()]
        assert kept == sorted(kept) and all(roster.whole_until < version <= roster.version for version in kept), (
            f"the changes of {user} are out of order"
        )
        contacts += roster.listed
        requests += len(asking)
    assert contacts == pairs.contacts, f"{contacts} contacts are counted as {pairs.contacts}"
    assert requests == pairs.requests, f"{requests} requests are counted as {pairs.requests}"


def rosters_asleep(users: Users) -> dict[str, Roster]:
    """The lists of those who sleep, by their names. O(all that is known of them)."""
    found: dict[str, Roster] = {}
    for name, both in users.dormants.items():
        for fact in _decode(unpacked(both)[1]):
            if isinstance(fact, ContactsKept):
                roster = found[name] = Roster()
                sides = dict(fact.sides)
                for place, contact in enumerate(fact.contacts):
                    roster.put(contact, *contact_of(fact.flags[place], sides.get(place)))
                roster.move_to(fact.version)
    return found


def _check_contact(user: str, roster: Roster, name: str, others: Roster | None) -> None:
    where = f"{name} in the list of {user}"
    contact = roster.contact(name)
    flags = contact.flags
    theirs = others.flags(user) if others is not None else 0
    assert flags and name != user, f"{where} has nothing to do there"
    assert flags & STATE in STATES, f"{where} is in no state of the tables: {flags}"
    assert not (flags & FROM and flags & APPROVED), f"{where} is approved and sees the user already"
    for mine, yours in MIRRORED.items():
        assert bool(flags & mine) == bool(theirs & yours), f"{where} has {flags}, and the other side has {theirs}"
    is_plain = isinstance(roster.contacts[name], int)
    assert is_plain == (not (contact.name or contact.groups or contact.note)), f"{where} takes more than it has to"
    assert flags & LISTED or not (contact.name or contact.groups), f"{where} has a name and was not set"
    assert flags & ASKS or not contact.note, f"{where} has a note and does not ask"
