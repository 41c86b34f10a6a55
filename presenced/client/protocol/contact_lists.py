"""A user's own list of contacts as a client knows it: asked for once on each link, then kept by what the server pushes.

Pages and pushes cross. Each carries the version of the list, and of two words about one contact that of the higher
version counts (protocol.md, section 21.4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Literal, NamedTuple

from presenced.client.protocol.pending_requests import Make, OnReply, Reply, Send, error_of
from presenced.client.values import ContactsPage
from presenced.errors import PresenceError
from presenced.wire import messages
from presenced.wire.messages import ContactInfo, ContactList, Error, GetContacts

ContactKind = Literal["snapshot", "request", "change", "removed"]


class ContactChange(NamedTuple):
    """One step of a contact in the user's list, from what was yielded last (`old`) to what holds now (`new`).

    `kind`: `snapshot` (each contact of the list, first), `request` (the contact asks to see the user), `change` (any
    other), `removed` (not in the list any longer: `new` is None).
    """

    kind: ContactKind
    contact: str
    old: ContactInfo | None
    new: ContactInfo | None


def contact_kind(old: ContactInfo | None, new: ContactInfo | None) -> ContactKind | None:
    """The kind of a step after the snapshot; None if it is none."""
    if old == new:
        return None
    if new is None:
        return "removed"
    return "request" if new.asks and not (old is not None and old.asks) else "change"


class ContactFeed:
    """What one reader of the list has not seen yet. Latest wins, so that it holds each contact once."""

    __slots__ = ("_bases", "_infos", "_order", "error", "is_listed", "is_over", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.error: PresenceError | None = None
        self.is_over = False
        self.is_listed = False
        """The whole list has been told: whoever is new from now on was not in it."""
        self._infos: dict[str, ContactInfo] = {}
        self._order: deque[str] = deque()
        self._bases: dict[str, tuple[ContactInfo | None, bool]] = {}
        """Of each contact that waits: what was yielded last, and whether its step is a snapshot."""

    @property
    def infos(self) -> dict[str, ContactInfo]:
        """The list as it is; a copy."""
        return dict(self._infos)

    def put(self, contact: str, info: ContactInfo | None) -> None:
        """What holds now; None: not in the list."""
        old = self._infos.get(contact)
        if info is None:
            self._infos.pop(contact, None)
        else:
            self._infos[contact] = info
        if contact not in self._bases and old != info:
            self._bases[contact] = old, not self.is_listed
            self._order.append(contact)
            self.wake()

    def listed(self) -> None:
        """The whole list has been told."""
        self.is_listed = True
        self.wake()

    def take(self) -> ContactChange | None:
        """The next step, or None if the reader has seen everything."""
        while self._order:
            contact = self._order.popleft()
            old, is_snapshot = self._bases.pop(contact)
            new = self._infos.get(contact)
            kind = contact_kind(old, new)
            if kind is not None:
                return ContactChange("snapshot" if is_snapshot and new is not None else kind, contact, old, new)
        return None

    def end(self, error: PresenceError | None) -> None:
        """Nothing more comes; `error` says why, None if the owner closed it."""
        if not self.is_over:
            self.is_over, self.error = True, error
            self.wake()


class ContactLists:
    """The list of the link's own user, for all readers together. A `Part`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._feeds: dict[ContactFeed, None] = {}
        self._infos: dict[str, ContactInfo] = {}
        self._versions: dict[str, int] = {}
        """The version of the list at the last word about each contact, in the list or not."""
        self._version = 0
        """Of the list, as far as it is known without a gap. That of an empty list may be 0."""
        self._is_listed = False
        """The whole list is known."""
        self._listing = 0
        """Number of the present listing: the pages of an earlier one come too late to count."""

    def attach(self, feed: ContactFeed) -> None:
        """`feed` wants the list; the server is asked if this is the first such feed."""
        self._feeds[feed] = None
        if len(self._feeds) == 1:
            self._infos.clear()
            self._versions.clear()
            self._version, self._is_listed = 0, False
            for make, on_reply in self.standing(0):
                self._send(make, on_reply)
        elif self._is_listed:
            for contact, info in self._infos.items():
                feed.put(contact, info)
            feed.listed()

    def release(self, feed: ContactFeed) -> None:
        """The reader is closed. Idempotent."""
        self._feeds.pop(feed, None)
        feed.end(None)

    def pushed(self, push: messages.ContactChange) -> None:
        """A push arrived."""
        if self._feeds:
            self._apply(push.contact.contact, None if push.removed else push.contact, push.version)
            if self._is_listed:
                self._version = max(self._version, push.version)

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`."""
        if self._feeds:
            self._listing += 1
            yield self._page(self._version, "", set(), self._listing)

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        for feed in self._feeds:
            feed.end(error)
        self._feeds.clear()

    def _page(self, since: int, after: str, named: set[str], listing: int) -> tuple[Make, OnReply]:
        """The request for a page, and what to do with it. `named`: who was in the pages before."""

        def paged(reply: Reply) -> None:
            if isinstance(reply, Error):
                for feed in list(self._feeds):
                    feed.end(error_of(reply))
            elif isinstance(reply, ContactList) and listing == self._listing:
                self._paged(reply, since, after, named)

        return lambda request_id: GetContacts(request_id, since, after), paged

    def _paged(self, page: ContactList, since: int, after: str, named: set[str]) -> None:
        for info in page.contacts:
            named.add(info.contact)
            self._apply(info.contact, info, page.version)
        for contact in page.removed:
            self._apply(contact, None, page.version)
        if page.next and page.next > after:
            self._send(*self._page(since, page.next, named, self._listing))
            return
        if page.is_whole:
            for contact in [contact for contact in self._infos if contact not in named]:
                self._apply(contact, None, page.version)
        self._version, self._is_listed = page.version, True
        for feed in self._feeds:
            feed.listed()

    def _apply(self, contact: str, info: ContactInfo | None, version: int) -> None:
        if version < self._versions.get(contact, 0):
            return
        self._versions[contact] = version
        if info is None:
            self._infos.pop(contact, None)
        else:
            self._infos[contact] = info
        for feed in self._feeds:
            feed.put(contact, info)


async def collected(ask: Callable[[str], Awaitable[ContactList]]) -> ContactsPage:
    """The answer to a question about the list from its pages. `ask` gets the page behind a name."""
    infos: dict[str, ContactInfo] = {}
    removed: dict[str, None] = {}
    after = ""
    while True:
        page = await ask(after)
        infos.update((info.contact, info) for info in page.contacts)
        removed.update(dict.fromkeys(page.removed))
        if not page.next or page.next <= after:
            return ContactsPage(page.version, list(infos.values()), list(removed), page.is_whole)
        after = page.next
