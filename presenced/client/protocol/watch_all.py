"""Watching every user: the pages of who is online, then every change; after a lost link only what differs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from presenced.client.protocol.changes import Feed
from presenced.client.protocol.pending import Make, OnReply, Reply, Send
from presenced.client.protocol.session import Session, chunks, error_of
from presenced.errors import PresenceError
from presenced.limits import USERS_PER_REQUEST_MAX
from presenced.wire.messages import Error, Get, Record, Records, Watch, WatchAll, Who, WhoPage


class Everyone:
    """Lists everybody once per link, for all feeds together. The records are the session's."""

    def __init__(self, session: Session[Any], send: Send) -> None:
        self._session = session
        self._send = send
        self._feeds: dict[Feed, Callable[[], None]] = {}
        self._is_listed = False
        self._listing = 0
        """Number of the listing under way: what belongs to an earlier one is too late."""

    def attach(self, feed: Feed) -> None:
        """`feed` wants everybody; asked of the server if nobody did yet."""
        self._session.attach_everyone(feed)
        self._feeds[feed] = feed.wake
        if len(self._feeds) == 1:
            for make, on_reply in self.standing(0):
                self._send(make, on_reply)
        elif self._is_listed:
            feed.is_listed = True
            feed.wake()

    def release(self, feed: Feed) -> None:
        """`feed` is closed; with the last one the server is told. Idempotent."""
        self._feeds.pop(feed, None)
        watched = self._session.release_everyone(feed)
        if watched is None:
            return
        self._is_listed = False
        self._listing += 1
        self._send(lambda request_id: WatchAll(request_id, False), None)
        for chunk in chunks(watched, self._session.users_per_request_max):
            self._send(lambda request_id, users=chunk: Watch(request_id, users), None)  # type: ignore[misc]

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`."""
        if self._feeds:
            self._listing += 1
            yield lambda request_id: WatchAll(request_id, True), self._refused
            yield self._page("")

    def end(self, error: PresenceError | None) -> None:
        """See `Part`; the session ends the feeds."""
        self._feeds.clear()

    def _page(self, after: str) -> tuple[Make, OnReply]:
        listing = self._listing

        def paged(reply: Reply | Error) -> None:
            if listing == self._listing and isinstance(reply, WhoPage):
                self._paged(reply, after)

        limit = min(USERS_PER_REQUEST_MAX, self._session.users_per_request_max)
        return lambda request_id: Who(request_id, after, limit), paged

    def _paged(self, page: WhoPage, after: str) -> None:
        self._told(page.records)
        if page.next and page.next > after:
            self._send(*self._page(page.next))
            return
        # Whoever was online on the last link and is in no page of this one is offline now.
        for chunk in chunks(self._session.unconfirmed(), self._session.users_per_request_max):
            self._send(
                lambda request_id, users=chunk: Get(request_id, users),  # type: ignore[misc]
                lambda reply: self._told(reply.records) if isinstance(reply, Records) else None,
            )
        self._is_listed = True
        for feed in self._feeds:
            feed.is_listed = True
            feed.wake()

    def _told(self, records: list[Record]) -> None:
        for record in records:
            self._session.presence(record)

    def _refused(self, reply: Reply | Error) -> None:
        if isinstance(reply, Error):
            for feed in list(self._feeds):
                feed.end(error_of(reply))
