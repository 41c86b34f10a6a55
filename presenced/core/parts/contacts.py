"""Contacts: who has asked, may see, or has named whom (protocol.md, section 21.4).

A pair of users has two sides, one in the list of each. Every act changes both in one step and leaves one fact that says
both, so that the two agree after any loss of what comes behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import nsmallest

from presenced.core.contacts.agreement import check_contacts
from presenced.core.contacts.facts import Pair, own_fact_of, saved_facts
from presenced.core.contacts.news import ContactNews, has_blocked, info_of, shown_contact
from presenced.core.contacts.pairs import Pairs, contact_in
from presenced.core.contacts.told_lists import ToldLists, with_flags
from presenced.core.contacts.transitions import Act, agreed, apart, both_sides
from presenced.core.contacts.unfinished_lists import UnfinishedLists
from presenced.core.ledger import Ledger
from presenced.core.model import Session, User
from presenced.core.part import Part, Restoring, Start, TakeUp
from presenced.core.parts.users import Users
from presenced.core.publisher import Publisher
from presenced.core.records import ContactSet, ContactSide, ContactsKept, ContactsSet, Fact
from presenced.core.roster import APPROVED, ASKS, LISTED, Contact, Known, flags_of
from presenced.errors import RequestError
from presenced.limits import CONTACT_REQUESTS_MAX, CONTACTS_MAX, USERS_PER_REQUEST_MAX
from presenced.wire.messages import ContactEntry, ContactInfo

_NO_SIDES: tuple[ContactSide | None, ContactSide | None] = (None, None)

ASKING = ASKS | ASKS << 8
"""One of two asks, by the flags of both sides in a `ContactsSet`."""


class Contacts(Part):
    """What users do about their contacts. Each act is silent if it has been done already."""

    def __init__(self, users: Users, ledger: Ledger, publisher: Publisher, news: ContactNews) -> None:
        self.lists = UnfinishedLists()
        self.pairs = Pairs(users, ledger, publisher, news)
        self.told_lists = ToldLists(users, self.pairs, ledger)
        self._users = users
        self._news = news

    # --- acts -------------------------------------------------------------------------------------------------

    def subscribe(self, user: User, contact: str, note: str, now_ms: int) -> None:
        """The user asks to see the contact, and does at once if the contact has approved that before. A request may not
        be told from one to somebody who does not exist, or who has blocked the user.

        Raises `RequestError` (`contact_limit`). O(1), or O(requests) if the oldest has to make room.
        """
        other = self._users.get(contact)
        mine, theirs = self.pairs.sides(user, contact)
        flags, other_flags = both_sides(
            "subscribe", mine.flags, theirs.flags, may_grant=not has_blocked(other, user.name)
        )
        if other_flags & ASKS:
            theirs = theirs._replace(note=note)
        self._check_room(user, mine.flags, flags)
        if other_flags & ASKS and not theirs.flags & ASKS:
            self._make_room(other, now_ms)
        self._change(user, contact, mine, theirs, (flags, other_flags), now_ms)

    def approve(self, user: User, contact: str, now_ms: int) -> None:
        """The contact may see the user: now, if they have asked, else as soon as they do.

        Raises `RequestError` (`contact_limit`). O(1).
        """
        self._act("approve", user, contact, now_ms)

    def cancel(self, user: User, contact: str, now_ms: int) -> None:
        """The contact may not see the user, and what they have asked is refused. O(1)."""
        self._act("cancel", user, contact, now_ms)

    def unsubscribe(self, user: User, contact: str, now_ms: int) -> None:
        """The user does not want to see the contact, nor asks to. O(1)."""
        self._act("unsubscribe", user, contact, now_ms)

    def set(self, user: User, contact: str, name: str | None, groups: Sequence[str] | None, now_ms: int) -> None:
        """Put the contact into the user's list, if they are not in it, with this name and these groups; None leaves
        what there is. Raises `RequestError` (`contact_limit`). O(1)."""
        mine, theirs = self.pairs.sides(user, contact)
        self._check_room(user, mine.flags, mine.flags | LISTED)
        new = Contact(
            mine.flags | LISTED,
            mine.name if name is None else name,
            mine.groups if groups is None else tuple(groups),
            mine.note,
        )
        self.pairs.change(now_ms, user, contact, new, theirs)

    def remove(self, user: User, contact: str, now_ms: int) -> None:
        """Take the contact off the user's list, and end all that is between the two. O(1)."""
        mine, theirs = self.pairs.sides(user, contact)
        flags = apart(mine.flags, theirs.flags)
        self._change(user, contact, Contact(mine.flags), theirs, flags, now_ms)

    def set_all(self, user: User, entries: Mapping[str, ContactEntry], now_ms: int) -> None:
        """The user's list is this and nothing else, but for requests that it does not answer. One fact.

        Raises `RequestError` (`contact_limit`) with nothing changed. O(contacts before and after).
        """
        changed: list[Pair] = []
        sides, users, own = self.pairs.sides, self._users, user.name
        before = user.contacts.contacts if user.contacts is not None else {}
        for name, entry in entries.items():
            known = before.get(name, 0)
            other = users.get(name)
            yours = other.contacts.contacts.get(own, 0) if other is not None and other.contacts is not None else 0
            both = agreed(entry.subscription, flags_of(known), flags_of(yours))
            if isinstance(known, int) and isinstance(yours, int) and not (known | yours) & ASKS:
                # Nearly all are like this, and an import has millions.
                if not entry.name and not entry.groups:
                    if both != (known, yours):
                        self._check_other(other, yours, both[1])
                        changed.append((name, *both))
                    continue
            mine, theirs = sides(user, name)
            new = Contact(both[0], entry.name, tuple(entry.groups), mine.note if both[0] & ASKS else "")
            new_theirs = with_flags(theirs, both[1])
            if (new, new_theirs) != (mine, theirs):
                self._check_other(other, yours, both[1])
                changed.append((name, new, new_theirs))
        for name in before:
            if name not in entries:
                mine, theirs = sides(user, name)
                flags, other_flags = apart(mine.flags, theirs.flags, keeps_request=True)
                if flags != mine.flags or other_flags != theirs.flags:
                    new = Contact(flags, note=mine.note if flags & ASKS else "")
                    changed.append((name, new, with_flags(theirs, other_flags)))
        self.pairs.change_all(now_ms, user, changed)

    def _act(self, act: Act, user: User, contact: str, now_ms: int) -> None:
        mine, theirs = self.pairs.sides(user, contact)
        flags = both_sides(act, mine.flags, theirs.flags)
        self._check_room(user, mine.flags, flags[0])
        self._change(user, contact, mine, theirs, flags, now_ms)

    def _change(
        self, user: User, contact: str, mine: Contact, theirs: Contact, flags: tuple[int, int], now_ms: int
    ) -> None:
        self.pairs.change(now_ms, user, contact, with_flags(mine, flags[0]), with_flags(theirs, flags[1]))

    def _check_room(self, user: User, before: int, flags: int) -> None:
        """Raise `RequestError` if the contact would come into a list that is full."""
        if flags & ~ASKS and not before & ~ASKS and user.contacts is not None:
            if user.contacts.listed >= CONTACTS_MAX:
                raise RequestError(
                    "contact_limit", f"{user.name} has {CONTACTS_MAX} contacts, as many as are allowed; remove some"
                )

    def _check_other(self, other: User | None, before: Known, flags: int) -> None:
        if other is not None:
            self._check_room(other, flags_of(before), flags)

    def _make_room(self, user: User | None, now_ms: int) -> None:
        """Refuse the oldest requests to see the user if there are as many as may be open. O(those)."""
        roster = user.contacts if user is not None else None
        while user is not None and roster is not None and len(roster.asking or ()) >= CONTACT_REQUESTS_MAX:
            assert roster.asking is not None
            self._act("cancel", user, next(iter(roster.asking)), now_ms)

    # --- blocks -----------------------------------------------------------------------------------------------

    def blocked(self, now_ms: int, user: User, contact: User, version: int = 0) -> int:
        """The user has blocked somebody: a request of theirs is not seen any longer. Returns the version of the user's
        list with that, which is `version` if another node has decided it; 0 = it is the same. O(links of the user)."""
        return self.pairs.block_changed(user, contact.name, contact_in(user, contact.name), now_ms, version)

    def unblocked(self, now_ms: int, user: User, contact: User, version: int = 0) -> int:
        """The user blocks somebody no longer: a request of theirs is seen, unless it is to be granted. As `blocked`."""
        mine = contact_in(user, contact.name)
        if not mine.flags & ASKS or mine.flags & APPROVED:
            return 0
        was = Contact(mine.flags & ~ASKS, mine.name, mine.groups)
        return self.pairs.block_changed(user, contact.name, was, now_ms, version)

    def grant_held(self, now_ms: int, user: User, contact: User) -> None:
        """The user blocks somebody no longer: a request of theirs is granted if it was approved before it was made.
        O(links of the user)."""
        mine = contact_in(user, contact.name)
        if mine.flags & ASKS and mine.flags & APPROVED:
            self._act("approve", user, contact.name, now_ms)

    # --- questions --------------------------------------------------------------------------------------------

    def page(self, user: User, after: str) -> tuple[list[ContactInfo], str]:
        """The contacts whose names come after this one, in order, as many as a page has, and the name to go on after
        ("" = there are no more). O(contacts)."""
        names = (name for name in (user.contacts.contacts if user.contacts is not None else ()) if name > after)
        seen = (name for name in names if shown_contact(user, name).flags)
        found = nsmallest(USERS_PER_REQUEST_MAX + 1, seen)
        following = found[-2] if len(found) > USERS_PER_REQUEST_MAX else ""
        return [info_of(name, shown_contact(user, name)) for name in found[:USERS_PER_REQUEST_MAX]], following

    def changes(self, user: User, since: int) -> tuple[list[ContactInfo], list[str]] | None:
        """The contacts that have changed since this version of the list, and those who are gone; None if that is not
        known. O(changes kept)."""
        names = user.contacts.changed_since(since) if user.contacts is not None and since else None
        if names is None:
            return None
        contacts = {name: shown_contact(user, name) for name in names}
        infos = [info_of(name, contact) for name, contact in contacts.items() if contact.flags]
        return infos, [name for name, contact in contacts.items() if not contact.flags]

    def follow(self, session: Session) -> None:
        """Tell the session's link of each change of its user's list from now on. Idempotent. O(1)."""
        self._news.follow(session)
        user = self._users.get(session.user_name)
        if user is not None and user.contacts is not None:
            user.contacts.keep_changes()

    # --- links ------------------------------------------------------------------------------------------------

    def is_told(self, session: Session) -> bool:
        """Whether the session's link is told of changes of its user's list. O(1)."""
        return self._news.is_told_to(session)

    def end_session(self, session: Session, now_ms: int) -> None:
        """The session is told nothing any longer, and what it had not completed is dropped."""
        self._news.end_session(session)
        self.lists.end_session(session)

    def resume_session(self, session: Session) -> None:
        """Tell of the contacts that have changed meanwhile."""
        self._news.resume_session(session, self._users.get(session.user_name))

    # --- the disk ---------------------------------------------------------------------------------------------

    def keeps(self, user: User) -> bool:
        """Whether the user has a contact, or somebody asks to see them."""
        return user.contacts is not None and bool(user.contacts.contacts)

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """The pairs that the user's facts tell of, and the version of the list. O(contacts)."""
        if user.contacts is None or not user.contacts.version and not user.contacts.contacts:
            return ()
        return saved_facts(user, user.contacts, self._users)

    def facts_asleep(self, user: User, now_ms: int, run: int) -> Iterable[Fact]:
        """The user's side of all pairs, and what clients of the user may have missed. O(contacts)."""
        roster = user.contacts
        return () if roster is None else (own_fact_of(user, roster, roster.contacts, run),)

    def restorers(self) -> Mapping[type, TakeUp]:
        """One pair, several, and one side of several."""
        return {ContactSet: self._restore, ContactsSet: self._restore_all, ContactsKept: self._restore_own}

    def _restore_own(self, source: Restoring, fact: ContactsKept) -> None:
        user = source.user(fact.user)
        sides = {place: _shared_side(source, side) for place, side in fact.sides}
        roster = self.pairs.take_up_own(user, fact.contacts, fact.flags, sides)
        roster.move_to(fact.version)
        if fact.changes is not None and fact.changes.run == source.run:
            roster.go_on(fact.changes.changes, fact.changes.whole_until)

    def _restore(self, source: Restoring, fact: ContactSet) -> None:
        user = source.user(fact.user)
        sides = _shared(source, fact.side), _shared(source, fact.other_side)
        other = self.pairs.take_up(user, fact.contact, fact.flags, fact.other_flags, *sides)
        self._move(user, fact.version)
        if other is not None:
            self._move(other, fact.other_version)

    def appliers(self) -> Mapping[type, TakeUp]:
        """One pair, several, and one side of several, where links are told of it."""
        return {ContactSet: self._apply, ContactsSet: self._apply_all}

    def _apply(self, source: Restoring, fact: ContactSet) -> None:
        sides = _shared(source, fact.side), _shared(source, fact.other_side)
        pair = fact.contact, (fact.flags, sides[0]), (fact.other_flags, sides[1])
        self.pairs.apply(source.now_ms, source.user(fact.user), pair, (fact.version, fact.other_version))

    def _apply_all(self, source: Restoring, fact: ContactsSet) -> None:
        sides = {place: (_shared(source, side), _shared(source, other)) for place, side, other in fact.sides}
        pairs = [
            (name, (both & 0xFF, sides.get(place, _NO_SIDES)[0]), (both >> 8, sides.get(place, _NO_SIDES)[1]))
            for place, (name, both) in enumerate(zip(fact.contacts, fact.flags, strict=True))
        ]
        user = source.user(fact.user)
        self.pairs.apply_all(source.now_ms, user, pairs, (fact.version, fact.other_version))
        self._move(user, fact.version)

    def _restore_all(self, source: Restoring, fact: ContactsSet) -> None:
        user, version = source.user(fact.user), fact.other_version
        contacts, flags = fact.contacts, fact.flags
        if not fact.sides and not any(both & ASKING for both in flags):
            self.pairs.take_up_flags(user, contacts, flags, version)
        else:
            sides = {place: (side, other_side) for place, side, other_side in fact.sides}
            for place, (name, both) in enumerate(zip(contacts, flags, strict=True)):
                side, other_side = sides.get(place, (None, None))
                known = _shared(source, side), _shared(source, other_side)
                other = self.pairs.take_up(user, name, both & 0xFF, both >> 8, *known)
                if other is not None:
                    self._move(other, version)
        self._move(user, fact.version)

    def _move(self, user: User, version: int) -> None:
        if version:
            self.pairs.roster(user).move_to(version)

    def erase(self, user: User, now_ms: int) -> None:
        """Forget the user's list, and the user in the lists of others, whose links are told. O(users)."""
        self.pairs.erase(user, now_ms)

    def number_from(self, version: int | None) -> None:
        """What is about to change, another node has decided when its counter stood there: lists go on from that, and
        followers of events hear of it from that node. None: the next is decided here again."""
        self.pairs.number_from(version)

    def resume(self, users: Sequence[User], start: Start) -> None:
        """Count, and let the clients of this run begin with what there is."""
        self.pairs.count_all(users)

    def check(self, users: Iterable[User]) -> None:
        """The two sides of each pair agree, and what is counted is right."""
        check_contacts(self._users, self.pairs)


def _shared(source: Restoring, side: ContactSide | None) -> ContactSide | None:
    return None if side is None else _shared_side(source, side)


def _shared_side(source: Restoring, side: ContactSide) -> ContactSide:
    """The same side with one object for each group, of which people have few."""
    if not side.groups:
        return side
    return ContactSide(side.name, tuple(source.shared(group) for group in side.groups), side.note, side.asked)
