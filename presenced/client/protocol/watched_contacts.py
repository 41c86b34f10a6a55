"""The contacts that a link watches without naming them, and the feeds that want them (protocol.md, section 21.5).

The server tells of a contact by the same messages as of a user who is watched by name. So a record counts for a contact
if the list says that it is one, or if the server was not given the user's name: then only a contact can be meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from presenced.client.protocol.changes import Feed
from presenced.client.protocol.held_records import HeldRecords, hidden
from presenced.client.protocol.pending_requests import Make, OnReply
from presenced.client.protocol.watched_users import WatchedUsers
from presenced.errors import PresenceError
from presenced.wire.messages import ContactChange, ContactInfo, ContactRecords, Record


class WatchedContacts:
    """See the module's docstring. A `Part`."""

    def __init__(self, held: HeldRecords, users: WatchedUsers, is_wanted: bool) -> None:
        self.is_wanted = is_wanted
        """The hello of each link asks for them."""
        self._held = held
        self._users = users
        self._contacts: dict[str, None] = {}
        """The contacts whom the user is subscribed to, as far as the server has told of them."""
        self._named: dict[str, None] = {}
        """Those whom the present link has listed."""
        self._feeds: dict[Feed, None] = {}
        self.is_known = False
        """All of them were listed, on this link or on an earlier one."""
        self.is_listed = False
        """What is held of all of them holds on the present link."""
        if is_wanted:
            held.show_to(self)

    @property
    def records(self) -> dict[str, Record]:
        """The newest record of each contact; a copy."""
        held = self._held
        return {user: record for user in self._contacts if (record := held.record(user)) is not None}

    @property
    def names(self) -> list[str]:
        return list(self._contacts)

    def attach(self, feed: Feed) -> None:
        """`feed` wants all contacts; it gets the records that are known already."""
        self._feeds[feed] = None
        for record in self.records.values():
            feed.put(record)

    def release(self, feed: Feed) -> None:
        """`feed` is closed. Idempotent."""
        self._feeds.pop(feed, None)
        feed.end(None)

    # --- see `Wanting` ----------------------------------------------------------------------------------------

    def wants(self, record: Record, *, is_reply: bool) -> bool:
        if record.user in self._contacts:
            return True
        if is_reply or self._users.is_watched(record.user) or not record.version:
            return False
        self._contacts[record.user] = None
        return True

    def keeps(self, user: str) -> bool:
        return user in self._contacts

    def show(self, record: Record) -> None:
        for feed in self._feeds:
            feed.put(record)

    # --- what the server says ---------------------------------------------------------------------------------

    def listed(self, push: ContactRecords) -> None:
        """A part of what comes behind the welcome."""
        for record in push.records:
            is_new = record.user not in self._contacts
            self._contacts[record.user] = self._named[record.user] = None
            self._held.tell(record)
            if is_new and (held := self._held.record(record.user)) is not None:
                # The link may have told of the user by name before, and more.
                self.show(held)
        if not push.more:
            # A contact of the last link of whom this one says nothing is seen no longer.
            for user in [user for user in self._contacts if user not in self._named]:
                self._lose(user)
            self.settled()

    def settled(self) -> None:
        """What is held of all contacts holds on the present link."""
        self.is_known = self.is_listed = True
        for feed in self._feeds:
            feed.wake()

    def changed(self, push: ContactChange) -> None:
        """The list itself has changed."""
        if not self.is_wanted:
            return
        self.changed_to([push.contact], [push.contact.contact] if push.removed else [])

    def changed_to(self, contacts: Iterable[ContactInfo], removed: Iterable[str]) -> None:
        """This holds of these contacts now, and those who are `removed` are none."""
        for info in contacts:
            if info.subscription in ("to", "both"):
                self._gain(info.contact)
            else:
                self._lose(info.contact)
        for user in removed:
            self._lose(user)

    def page(self, after: str, following: str, contacts: Sequence[ContactInfo]) -> None:
        """These are the contacts behind the name `after`, up to the name `following` (empty: to the end)."""
        listed = {info.contact for info in contacts}
        for user in [user for user in self._contacts if user > after and not user > following > ""]:
            if user not in listed:
                self._lose(user)
        self.changed_to(contacts, ())

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`: the hello has said it already."""
        self._named = {}
        self.is_listed = False
        return iter(())

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        for feed in self._feeds:
            feed.end(error)
        self._feeds.clear()
        self._contacts.clear()

    def unknown(self) -> list[str]:
        """Contacts of whom no record is held."""
        return [user for user in self._contacts if self._held.record(user) is None]

    def refuse(self, error: PresenceError) -> None:
        """The server does not tell of the contacts."""
        for feed in list(self._feeds):
            feed.end(error)

    def _gain(self, user: str) -> None:
        if user in self._contacts:
            return
        self._contacts[user] = None
        # To a link that watches the user by name already, nothing is told that it knows.
        record = self._held.record(user)
        if record is not None:
            self.show(record)

    def _lose(self, user: str) -> None:
        if user not in self._contacts:
            return
        del self._contacts[user]
        if self._held.record(user) is not None:
            for feed in self._feeds:
                feed.put(hidden(user))
        self._held.forget([user])
