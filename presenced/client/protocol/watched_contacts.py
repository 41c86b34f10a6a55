"""The contacts that a link watches without naming them, and the feeds that want them (protocol.md, section 21.5).

The server tells of a contact by the same messages as of a user who is watched by name. So a record counts for a contact
if the list says that it is one, or if nobody here has named the user: then only a contact can be meant.
"""

from __future__ import annotations

from collections.abc import Iterator

from presenced.client.protocol.changes import Feed
from presenced.client.protocol.pending_requests import Make, OnReply
from presenced.client.protocol.watched_users import WatchedUsers, is_newer
from presenced.errors import PresenceError
from presenced.wire.messages import ContactChange, ContactRecords, Record


class WatchedContacts:
    """See the module's docstring. A `Part`."""

    def __init__(self, users: WatchedUsers, is_wanted: bool) -> None:
        self.is_wanted = is_wanted
        """The hello of each link asks for them."""
        self._users = users
        self._records: dict[str, Record | None] = {}
        """The contacts whom the user is subscribed to, as far as the server has told of them."""
        self._confirmed: dict[str, None] = {}
        """Those of whom the present link has told."""
        self._feeds: dict[Feed, None] = {}
        self.is_listed = False
        """The present link has told all of them."""
        if is_wanted:
            users.tell_too(self.presence)

    @property
    def records(self) -> dict[str, Record]:
        """The newest record of each contact; a copy."""
        return {user: record for user, record in self._records.items() if record is not None}

    def attach(self, feed: Feed) -> None:
        """`feed` wants all contacts; it gets the records that are known already."""
        self._feeds[feed] = None
        for record in self.records.values():
            feed.put(record)

    def release(self, feed: Feed) -> None:
        """`feed` is closed. Idempotent."""
        self._feeds.pop(feed, None)
        feed.end(None)

    # --- what the server says ---------------------------------------------------------------------------------

    def listed(self, push: ContactRecords) -> None:
        """A part of what comes behind the welcome."""
        for record in push.records:
            self._records.setdefault(record.user, None)
            self.presence(record)
        if push.more:
            return
        # A contact of the last link of whom this one says nothing is seen no longer.
        for user in [user for user in self._records if user not in self._confirmed]:
            self._lose(user)
        self.is_listed = True
        for feed in self._feeds:
            feed.wake()

    def presence(self, record: Record) -> None:
        """The present link brought a record, of a contact or of somebody else."""
        user = record.user
        if user not in self._records:
            if self._users.is_named(user) or not record.version:
                return
            self._records[user] = None
        if not is_newer(record, self._records[user], user in self._confirmed):
            return
        self._confirmed[user] = None
        self._records[user] = record
        for feed in self._feeds:
            feed.put(record)

    def changed(self, push: ContactChange) -> None:
        """The list itself has changed."""
        if not self.is_wanted:
            return
        contact = push.contact
        if push.removed or contact.subscription in ("none", "from"):
            self._lose(contact.contact)
        elif contact.contact not in self._records:
            self._records[contact.contact] = None
            # To a link that watches the user by name already, nothing is told that it knows.
            record = self._users.record_of(contact.contact)
            if record is not None:
                self.presence(record)

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`: the hello has said it already."""
        self._confirmed = {}
        self.is_listed = False
        return iter(())

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        for feed in self._feeds:
            feed.end(error)
        self._feeds.clear()
        self._records.clear()

    def _lose(self, user: str) -> None:
        self._confirmed.pop(user, None)
        if self._records.pop(user, None) is not None:
            hidden = Record(user, "offline", "", "", 0, 0, "", 0)
            for feed in self._feeds:
                feed.put(hidden)
