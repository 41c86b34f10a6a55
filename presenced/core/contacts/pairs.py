"""The two sides of a pair of users, written together. Whatever changes a list of contacts goes through here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from presenced.core.contacts.facts import Pair, contact_of, fact_of, joint_fact_of, take_up_side
from presenced.core.contacts.news import ContactNews, shown
from presenced.core.ledger import Ledger
from presenced.core.model import User
from presenced.core.parts.users import Users
from presenced.core.publisher import Publisher
from presenced.core.records import ContactSide
from presenced.core.roster import ASKS, NOBODY, TO, Contact, Known, Roster, flags_of


class _Told(NamedTuple):
    """What is to be told of one side, once both are written."""

    user: User
    name: str
    old: Contact
    new: Contact
    version: int
    """The version of the user's list; 0 = the user sees no change."""


KnownSide = tuple[int, ContactSide | None]
"""The flags of one side, and what more is known of it."""

KnownPair = tuple[str, KnownSide, KnownSide]
"""A contact's name, and the two sides as a fact has them."""


class Pairs:
    """Owns the lists of all users."""

    def __init__(self, users: Users, ledger: Ledger, publisher: Publisher, news: ContactNews) -> None:
        self.contacts = 0
        """Contacts in the lists of all users together."""
        self.requests = 0
        """Requests without an answer."""
        self._users = users
        self._ledger = ledger
        self._publisher = publisher
        self._news = news
        self._numbered_from: int | None = None

    def number_from(self, version: int | None) -> None:
        """See `Contacts.number_from`."""
        self._numbered_from = version

    # --- what is there ----------------------------------------------------------------------------------------

    def sides(self, user: User, name: str) -> tuple[Contact, Contact]:
        """What the user knows of the contact, and the contact of the user. O(1)."""
        return contact_in(user, name), contact_in(self._users.get(name), user.name)

    def roster(self, user: User) -> Roster:
        """The user's list, made if need be. O(1)."""
        roster = user.contacts
        if roster is None:
            roster = user.contacts = Roster()
            if self._news.is_followed(user.name):
                roster.keep_changes()
        return roster

    # --- changes ----------------------------------------------------------------------------------------------

    def change(self, now_ms: int, user: User, name: str, mine: Contact, theirs: Contact) -> None:
        """This holds between the two from now on, and whoever is to know is told. What is so already changes nothing.
        O(links of the two)."""
        before = self.sides(user, name)
        if (mine, theirs) == before:
            return
        self._note_sight(user, name, before, mine.flags, theirs.flags)
        other = self._users.get_or_new(name) if theirs.flags else self._users.get(name)
        told = [self._put(user, other.name if other is not None else name, mine)]
        if other is not None:
            told.append(self._put(other, user.name, theirs))
        other_version = told[1].version if len(told) > 1 else 0
        self._ledger.add(fact_of(user, told[0].name, other, told[0].version, other_version))
        for one in told:
            self._tell(one, now_ms)

    def change_all(self, now_ms: int, user: User, pairs: Sequence[Pair]) -> None:
        """Change many contacts of one user, each of them another contact than before. It is one fact, and each contact
        has a version of its own, so that a client knows at every moment how far it has come. O(pairs)."""
        if not pairs:
            return
        users, own = self._users, user.name
        roster = self.roster(user)
        others = [users.get_or_new(name) if flags_of(theirs) else users.get(name) for name, _, theirs in pairs]
        before = max((other.contacts.version for other in others if other is not None and other.contacts), default=0)
        version, other_version = self._next(roster.version), self._next(before)
        told: list[_Told] = []
        written: list[tuple[str, User | None]] = []
        for place, (other, (name, mine, theirs)) in enumerate(zip(others, pairs, strict=True), version):
            if other is None:
                written.append((name, None))
                self._put_either(user, roster, name, mine, place, told)
                continue
            written.append((other.name, other))
            if self._is_looked_at(user, other):
                self._note_sight(user, other.name, self.sides(user, name), flags_of(mine), flags_of(theirs))
            self._put_either(user, roster, other.name, mine, place, told)
            self._put_either(other, other.contacts or self.roster(other), own, theirs, other_version, told)
        # Also if the user does not see the last of it: from the last version and their number others know them all.
        roster.move_to(version + len(pairs) - 1)
        self._ledger.add(joint_fact_of(user, written, roster.version, other_version))
        for one in told:
            self._tell(one, now_ms)

    def erase(self, user: User, now_ms: int) -> None:
        """End all that is between the user and anybody, at both sides, also where others have listed a user who knows
        nothing of it. No fact says so. O(users)."""
        own = user.name
        self._users.wake_who_list(own)
        for other in self._users.order:
            if other is not user and other.contacts is not None and own in other.contacts.contacts:
                self._note_sight(other, own, self.sides(other, own), 0, 0)
                told = self._put(other, own, NOBODY)
                if user.contacts is not None and other.name in user.contacts.contacts:
                    self._put(user, other.name, NOBODY)
                self._tell(told, now_ms)
        for name in list(user.contacts.contacts) if user.contacts is not None else ():
            self._put(user, name, NOBODY)
        user.contacts = None

    def block_changed(self, user: User, name: str, was: Contact, now_ms: int, version: int = 0) -> int:
        """The user sees another of this contact than `was`, since a block has begun or ended. Returns the version of
        the list with that, which is `version` if another node has decided it; 0 = it is the same. O(links of the
        user)."""
        new = shown(user, name, contact_in(user, name))
        if new == was:
            return 0
        roster = self.roster(user)
        roster.move_to(version or self._next(roster.version))
        roster.note(name)
        self._news.changed(user, name, was, new, roster.version, now_ms, is_event=not version)
        return roster.version

    # --- what another node has decided ------------------------------------------------------------------------

    def apply(self, now_ms: int, user: User, pair: KnownPair, versions: tuple[int, int]) -> None:
        """This holds between the two from now on. `versions`: of the lists of both with it; 0 = that has not changed.
        O(links of the two)."""
        for one in self._write(user, pair, versions):
            self._tell(one, now_ms, is_event=False)

    def _write(self, user: User, pair: KnownPair, versions: tuple[int, int]) -> list[_Told]:
        name, (flags, side), (other_flags, other_side) = pair
        (mine, asked), (theirs, other_asked) = contact_of(flags, side), contact_of(other_flags, other_side)
        before = self.sides(user, name)
        self._note_sight(user, name, before, flags, other_flags)
        other = self._users.get_or_new(name) if other_flags else self._users.get(name)
        told = [self._put(user, other.name if other is not None else name, mine, versions[0], asked)]
        if other is not None:
            told.append(self._put(other, user.name, theirs, versions[1], other_asked))
        return told

    def apply_all(self, now_ms: int, user: User, pairs: Sequence[KnownPair], versions: tuple[int, int]) -> None:
        """Apply this to several contacts of one user, each with a version of its own, of which the last is given.
        O(pairs)."""
        users, own, roster = self._users, user.name, self.roster(user)
        told: list[_Told] = []
        for place, pair in enumerate(pairs, max(1, versions[0] - len(pairs) + 1)):
            name, (flags, side), (other_flags, other_side) = pair
            other = users.get_or_new(name) if other_flags else users.get(name)
            is_plain = side is None and other_side is None and _is_plain(user, name) and _is_plain(other, own)
            if not is_plain:
                told += self._write(user, pair, (place, versions[1]))
                continue
            if other is None:
                self._put_either(user, roster, name, flags, place, told)
                continue
            if self._is_looked_at(user, other):
                self._note_sight(user, other.name, self.sides(user, name), flags, other_flags)
            self._put_either(user, roster, other.name, flags, place, told)
            if other_flags or other.contacts is not None:
                self._put_either(other, self.roster(other), own, other_flags, versions[1], told)
        for one in told:
            self._tell(one, now_ms, is_event=False)

    # --- within -----------------------------------------------------------------------------------------------

    def _is_looked_at(self, user: User, other: User) -> bool:
        """Whether somebody may see one of the two by what is between them. O(1)."""
        return bool(user.devices or other.devices) or self._news.has_viewer(user) or self._news.has_viewer(other)

    def _put(self, user: User, name: str, contact: Contact, version: int | None = None, asked: int = 0) -> _Told:
        """Write one side. Its list gets this version, or the next one, if its user sees a change; with 0 it keeps the
        one that it has, since who decides it has seen none. `asked`: when the contact asked, as another node says; 0 =
        now, if that is new. O(1)."""
        old = contact_in(user, name)
        if old == contact:
            if asked and user.contacts is not None:
                # The node that decides it has been told otherwise than this one, and all are to have one order.
                user.contacts.note_asked(name, asked)
            return _Told(user, name, old, contact, 0)
        roster = self.roster(user)
        if not asked and not old.flags & ASKS:
            asked = max(self._ledger.version, roster.last_asked + 1)
        self.contacts += contact.is_listed - old.is_listed
        self.requests += (contact.flags & ASKS != 0) - (old.flags & ASKS != 0)
        roster.put(name, contact, asked)
        if shown(user, name, old) == shown(user, name, contact):
            version = 0
        else:
            version = self._next(roster.version) if version is None else version or roster.version
            roster.move_to(version)
            roster.note(name)
        if not roster.contacts:
            # Perhaps nothing keeps the user known now.
            self._publisher.mark_dirty(user)
        return _Told(user, name, old, contact, version)

    def _note_sight(self, user: User, name: str, before: tuple[Contact, Contact], mine: int, theirs: int) -> None:
        """What one of the two sees of the other is about to change, perhaps. O(links of the two)."""
        if (before[0].flags ^ mine) & TO:
            self._news.note_sight(user.name, name)
        if (before[1].flags ^ theirs) & TO:
            self._news.note_sight(name, user.name)

    def _put_either(
        self, user: User, roster: Roster, name: str, contact: Known, version: int, told: list[_Told]
    ) -> None:
        """The same for one of many, of whom nearly all are plain (`facts.Pair`)."""
        if not isinstance(contact, int):
            told.append(self._put(user, name, contact, version))
            return
        old = roster.flags(name)
        if old == contact:
            return
        self.contacts += (contact != 0) - (old != 0)
        roster.put_flags(name, contact)
        roster.move_to(version)
        if roster.changes is not None:
            roster.note(name)
        if not roster.contacts:
            self._publisher.mark_dirty(user)
        if self._news.is_told(user):
            told.append(_Told(user, name, Contact(old), Contact(contact), version))

    def _tell(self, told: _Told, now_ms: int, *, is_event: bool = True) -> None:
        user, name, old, new, version = told
        is_event = is_event and self._numbered_from is None
        if version:
            before, after = shown(user, name, old), shown(user, name, new)
            self._news.changed(user, name, before, after, version, now_ms, is_event=is_event)
        # A node that is still told of all users may not know the other yet.
        if (old.flags ^ new.flags) & TO and (subject := self._users.get(name)) is not None:
            self._news.sight_changed(user, subject, new.flags, now_ms)

    def _next(self, before: int) -> int:
        """The next version of a list that had the version `before`. Of several one after the other are taken. The
        counter itself does not move: others are told it. O(1)."""
        if self._numbered_from is not None:
            return max(self._numbered_from, before + 1)
        return self._ledger.next_version(before)

    # --- the disk ---------------------------------------------------------------------------------------------

    def take_up(
        self,
        user: User,
        name: str,
        flags: int,
        other_flags: int,
        side: ContactSide | None = None,
        other_side: ContactSide | None = None,
    ) -> User | None:
        """A fact says this of the two; nobody is told. Returns the other user, if they are known for it. O(1)."""
        users = self._users
        other = users.get(name)
        if other is None and other_flags:
            other = users.new(name)
        if other is None:
            take_up_side(self.roster(user), name, flags, side)
            return None
        # The name as its user has it: one object for all lists that it is in.
        take_up_side(self.roster(user), other.name, flags, side)
        if other_flags or other.contacts is not None:
            take_up_side(self.roster(other), user.name, other_flags, other_side)
        return other

    def take_up_flags(self, user: User, contacts: Sequence[str], flags: Sequence[int], version: int) -> None:
        """A fact says this of many contacts, with the flags of both sides as in `ContactsSet`; none of them asks, and
        nothing more is known of them. Their lists get this version. O(contacts)."""
        find, own, mine = self._users.get, user.name, self.roster(user)
        for name, both in zip(contacts, flags, strict=True):
            other, theirs = find(name), both >> 8
            if other is None and theirs:
                other = self._users.new(name)
            if other is None:
                mine.put_flags(name, both & 0xFF)
                continue
            mine.put_flags(other.name, both & 0xFF)
            roster = other.contacts
            if roster is None:
                if not theirs:
                    continue
                roster = self.roster(other)
            roster.put_flags(own, theirs)
            if version:
                roster.move_to(version)

    def take_up_own(
        self, user: User, contacts: Sequence[str], flags: Sequence[int], sides: Mapping[int, ContactSide]
    ) -> Roster:
        """A fact says this of the user's side alone. Returns the list. O(contacts)."""
        awake, roster = self._users.awake, self.roster(user)
        for place, (name, mine) in enumerate(zip(contacts, flags, strict=True)):
            other = awake(name)
            take_up_side(roster, name if other is None else other.name, mine, sides.get(place))
        return roster

    def drop_side(self, user: User) -> None:
        """Forget the user's list alone, and tell nobody. O(1)."""
        roster, user.contacts = user.contacts, None
        if roster is not None:
            self.count(-roster.listed, -len(roster.asking or ()))

    def count(self, contacts: int, requests: int) -> None:
        """So many more are in lists that were taken up while others are in use. O(1)."""
        self.contacts += contacts
        self.requests += requests

    def count_all(self, users: Sequence[User]) -> None:
        """All facts are read: count. O(users)."""
        rosters = [user.contacts for user in users if user.contacts is not None]
        asleep = self._users.dormants.tally
        self.contacts = sum(roster.listed for roster in rosters) + asleep.contacts
        self.requests = sum(len(roster.asking or ()) for roster in rosters) + asleep.requests


def _is_plain(user: User | None, name: str) -> bool:
    """Whether flags say all that the user knows of the contact, who does not ask. O(1)."""
    known = user.contacts.contacts.get(name, 0) if user is not None and user.contacts is not None else 0
    return isinstance(known, int) and not known & ASKS


def contact_in(user: User | None, name: str) -> Contact:
    """What a user knows of a contact. O(1)."""
    roster = user.contacts if user is not None else None
    return roster.contact(name) if roster is not None else NOBODY
