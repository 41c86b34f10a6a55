"""Watching every user: the pages of who is online, then every change; after a lost link only what differs.

The server lists users page by page while changes are pushed, so that a user may come in both. `watched_users` holds the
records and takes the newer of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from presenced.client.protocol.changes import Feed
from presenced.client.protocol.pending_requests import Make, OnReply, Reply, Send, error_of
from presenced.client.protocol.watched_users import WatchedUsers, chunks
from presenced.errors import PresenceError
from presenced.wire.messages import Error, Get, Record, Records, WatchAll, Who, WhoPage


class EveryoneWatched:
    """Lists all users once on each link, for all feeds together. A `Part`."""

    def __init__(self, users: WatchedUsers, users_per_request_max: Callable[[], int], send: Send) -> None:
        self._users = users
        self._users_per_request_max = users_per_request_max
        self._send = send
        self._feeds: dict[Feed, None] = {}
        self._is_listed = False
        self._listing = 0
        """Number of the present listing: the pages of an earlier one come too late to count."""

    def attach(self, feed: Feed) -> None:
        """`feed` wants everybody; the server is asked if this is the first such feed."""
        self._users.attach_everyone(feed)
        self._feeds[feed] = None
        if len(self._feeds) == 1:
            for make, on_reply in self.standing(0):
                self._send(make, on_reply)
        elif self._is_listed:
            feed.listed()

    def release(self, feed: Feed) -> None:
        """`feed` is closed; with the last one the server is told. Idempotent."""
        self._feeds.pop(feed, None)
        watched = self._users.release_everyone(feed)
        if watched is None:
            return
        self._is_listed = False
        self._listing += 1
        self._send(lambda request_id: WatchAll(request_id, False), None)
        for chunk in chunks(watched, self._users_per_request_max()):
            self._send(*self._users.watch_again(chunk))

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`."""
        if self._feeds:
            self._listing += 1
            yield lambda request_id: WatchAll(request_id, True), self._refused
            yield self._page("")

    def end(self, error: PresenceError | None) -> None:
        """See `Part`; `watched_users` ends the feeds."""
        self._feeds.clear()

    def _page(self, after: str) -> tuple[Make, OnReply]:
        listing = self._listing

        def paged(reply: Reply) -> None:
            if listing == self._listing and isinstance(reply, WhoPage):
                self._paged(reply, after)

        limit = self._users_per_request_max()
        return lambda request_id: Who(request_id, after, limit), paged

    def _paged(self, page: WhoPage, after: str) -> None:
        self._put(page.records)
        if page.next and page.next > after:
            self._send(*self._page(page.next))
            return
        # A user who was online on the last link and is in no page of this one is offline now.
        for chunk in chunks(self._users.unconfirmed(), self._users_per_request_max()):
            self._send(
                lambda request_id, users=chunk: Get(request_id, users),  # type: ignore[misc]
                lambda reply: self._put(reply.records) if isinstance(reply, Records) else None,
            )
        self._is_listed = True
        for feed in self._feeds:
            feed.listed()

    def _put(self, records: list[Record]) -> None:
        for record in records:
            self._users.presence(record)

    def _refused(self, reply: Reply) -> None:
        if isinstance(reply, Error):
            for feed in list(self._feeds):
                feed.end(error_of(reply))
