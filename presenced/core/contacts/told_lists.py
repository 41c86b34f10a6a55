"""Contact lists that another node sends as a whole. Each has one user's side of every pair of contacts.

A node that does not serve yet is sent the lists of all users, and each takes the place of the list on its own disk. A
node that serves has all lists already. It gets only what the disk of another node alone knew, or knew better, from the
node that decides pairs. If a sender dies before it has sent all, the other sides of some lists are missing, or are
those of the own disk: the node makes them agree before it serves.
"""

from __future__ import annotations

from presenced.core.contacts.facts import PER_FACT, contact_of, fact_of, joint_fact_of
from presenced.core.contacts.pairs import Pairs, contact_in
from presenced.core.contacts.transitions import mirrored
from presenced.core.dormants import Tally
from presenced.core.ledger import Ledger
from presenced.core.model import User
from presenced.core.parts.users import Users
from presenced.core.records import ContactsKept
from presenced.core.roster import ASKS, Contact


class ToldLists:
    """Takes them up."""

    def __init__(self, users: Users, pairs: Pairs, ledger: Ledger) -> None:
        self._users = users
        self._ledger = ledger
        self._pairs = pairs

    def replace(self, user: User, fact: ContactsKept | None) -> None:
        """The user's list is this, and nothing that it was; None = there is none. Nobody is told, and other sides stay
        as they are. O(contacts)."""
        pairs = self._pairs
        pairs.drop_side(user)
        if fact is None:
            return
        roster = pairs.take_up_own(user, fact.contacts, fact.flags, dict(fact.sides))
        roster.move_to(fact.version)
        pairs.count(roster.listed, len(roster.asking or ()))

    def replace_asleep(self, before: Tally, after: Tally) -> None:
        """Replace the list of a user who sleeps on, by what is counted of lists. O(1)."""
        self._pairs.count(after.contacts - before.contacts, after.requests - before.requests)

    def decide(self, now_ms: int, user: User, fact: ContactsKept, *, says_all: bool) -> None:
        """This node decides what is between users, and another tells of this list, which its disk knew. If it is newer
        than what is known of the user, it holds: what it says of each contact, and that there are no others. But where
        the list of the contact is newer still, that one holds. All nodes are told so. `says_all`: they are told what
        holds of these contacts though nothing has changed. O(contacts and links of all of them)."""
        is_newer = fact.version > (user.contacts.version if user.contacts is not None else 0)
        if is_newer:
            sides, told = dict(fact.sides), set(fact.contacts)
            roster = self._pairs.roster(user)
            # What follows raises the version of each list by no more than one a contact, so that another list of these,
            # which is still to come, is newer than what this one makes of it.
            self._pairs.number_from(1)
            try:
                for name in [name for name in roster.contacts if name not in told]:
                    self._decide(now_ms, user, name, contact_of(0, None)[0], fact.version)
                for place, (name, flags) in enumerate(zip(fact.contacts, fact.flags, strict=True)):
                    self._decide(now_ms, user, name, contact_of(flags, sides.get(place))[0], fact.version)
            finally:
                self._pairs.number_from(None)
            for place, side in sides.items():
                if side.asked:
                    # The list of who asks may have come before this one, and does not say when they did.
                    roster.note_asked(fact.contacts[place], side.asked)
            roster.move_to(fact.version)
        if (says_all or is_newer) and user.contacts is not None:
            names = {**dict.fromkeys(fact.contacts), **user.contacts.contacts}
            others = [(name, self._users.get(name)) for name in names if name != user.name]
            for start in range(0, max(1, len(others)), PER_FACT):
                some = others[start : start + PER_FACT]
                self._ledger.add(joint_fact_of(user, some, user.contacts.version, 0))

    def tell(self, user: User) -> None:
        """This node decides what is between users, and others may not know what was decided of this one: all nodes are
        told what holds of the user and each contact, with the versions of both lists. O(contacts)."""
        roster = user.contacts
        if roster is None:
            return
        for name in roster.contacts:
            other = self._users.get(name)
            theirs = other.contacts if other is not None else None
            versions = roster.version, theirs.version if theirs is not None else 0
            self._ledger.add(fact_of(user, name, other, *versions))

    def agree(self, now_ms: int, user: User) -> list[str]:
        """Where the two sides of one of the user's pairs contradict each other, what the newer list says holds. Returns
        the contacts of whom nothing was known before. O(contacts and links of all of them)."""
        users, roster = self._users, user.contacts
        if roster is None:
            return []
        apart: list[str] = []
        for name in roster.contacts:
            theirs = contact_in(users.get(name), user.name).flags
            if mirrored(roster.flags(name), theirs) != theirs:
                apart.append(name)
        made = [name for name in apart if not users.knows(name)]
        version = roster.version
        # As in `decide`: a list that is told of later is newer than what this one makes of it.
        self._pairs.number_from(1)
        try:
            for name in apart:
                self._decide(now_ms, user, name, roster.contact(name), version)
        finally:
            self._pairs.number_from(None)
        return made

    def _decide(self, now_ms: int, user: User, name: str, mine: Contact, version: int) -> None:
        other = self._users.get(name)
        theirs = contact_in(other, user.name)
        if other is not None and other.contacts is not None and other.contacts.version >= version:
            mine = with_flags(mine, mirrored(theirs.flags, mine.flags))
        else:
            theirs = with_flags(theirs, mirrored(mine.flags, theirs.flags))
        self._pairs.change(now_ms, user, name, mine, theirs)


def with_flags(contact: Contact, flags: int) -> Contact:
    """A copy of the contact with these flags. O(1)."""
    return Contact(flags, contact.name, contact.groups, contact.note if flags & ASKS else "")
