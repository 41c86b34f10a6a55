"""The async iterators over a user's contacts: their presence, and the list itself. See `streams`."""

from __future__ import annotations

import asyncio

from presenced.client.exchange import ClientExchange
from presenced.client.protocol.changes import Change, Feed
from presenced.client.protocol.contact_lists import ContactChange, ContactFeed, ContactLists
from presenced.client.protocol.watched_contacts import WatchedContacts
from presenced.client.streams import Stream
from presenced.wire.messages import ContactInfo, Record


class ContactsWatch(Stream[Change]):
    """The presence of all contacts whom the user sees; made by `contacts`.

    Iterating yields a `snapshot` of each contact and then each change, as a `Watch` does. A contact who is gained later
    yields a snapshot, and one who is lost, or hides, is told as offline. A consumer that is slower than the changes
    gets the latest state of each contact.
    """

    def __init__(self, exchange: ClientExchange, owner: object, contacts: WatchedContacts) -> None:
        wake = asyncio.Event()
        self._feed = Feed(wake.set)
        self._contacts = contacts
        super().__init__(exchange, owner, self._feed, wake, contacts.release)

    @property
    def records(self) -> dict[str, Record]:
        """The newest record of each contact, whether yielded yet or not; a copy."""
        return self._contacts.records if self._is_started and not self._feed.is_over else {}

    async def _begin(self) -> None:
        self._contacts.attach(self._feed)
        await self._until(lambda: self._contacts.is_listed)


class ContactChanges(Stream[ContactChange]):
    """The user's list of contacts; made by `contact_changes`.

    Iterating yields a `snapshot` of each contact, and of each request that waits for an answer, and then what changes;
    after a lost link only what really changed in between. A consumer that is slower than the changes gets the latest
    state of each contact.
    """

    def __init__(self, exchange: ClientExchange, owner: object, lists: ContactLists) -> None:
        wake = asyncio.Event()
        self._feed = ContactFeed(wake.set)
        self._lists = lists
        super().__init__(exchange, owner, self._feed, wake, lists.release)

    @property
    def contacts(self) -> dict[str, ContactInfo]:
        """What holds of each contact in the list, whether yielded yet or not; a copy."""
        return self._feed.infos

    async def _begin(self) -> None:
        self._lists.attach(self._feed)
        await self._until(lambda: self._feed.is_listed)
