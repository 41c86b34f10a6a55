"""Watching every user: the pages of who is online, then every change; after a lost link only what has changed.

The server lists users page by page while changes are pushed, so that a user may come in both. `held_records` takes
the newer of the two. Once everybody is listed the server is asked now and then for a position, and on the next link it
tells who has changed since that (protocol.md, section 22.4). It tells nothing of a change that it has lost since: so
whoever was told after the position and is not told again is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from presenced.client.protocol.changes import Feed
from presenced.client.protocol.held_records import HeldRecords
from presenced.client.protocol.pending_requests import Make, OnReply, Reply, Send, error_of
from presenced.client.protocol.watched_users import WatchedUsers, chunks
from presenced.errors import PresenceError
from presenced.wire.messages import Check, Checked, Error, Get, Position, Record, Records, WatchAll, Who, WhoPage


class EveryoneWatched:
    """Lists all users once, and on each later link what has changed, for all feeds together. A `Part`."""

    def __init__(
        self,
        held: HeldRecords,
        users: WatchedUsers,
        users_per_request_max: Callable[[], int],
        is_resumed: Callable[[], bool],
        send: Send,
    ) -> None:
        self._held = held
        self._users = users
        self._users_per_request_max = users_per_request_max
        self._is_resumed = is_resumed
        self._send = send
        self._is_told = False
        """The server may tell of everybody, on the present link or on the lost one."""
        self._feeds: dict[Feed, None] = {}
        self._is_listed = False
        self._listing = 0
        """Number of the present listing, or return: answers to an earlier one come too late to count."""
        self._position: tuple[int, int] | None = None
        """Epoch and version of the newest position; None = everybody has to be listed."""
        self._is_whole = False
        """All that was missed has come on the present link: a position of the server's is one of this client's."""
        self._is_reset = False
        """Nothing that is held is known to be right: also of who is offline it is asked for."""
        self._is_listed_anew = False
        """Everybody was listed once more on this link, since the server gave no position."""

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
        self._is_listed = self._is_whole = False
        self._position = None
        self._listing += 1
        self._send(*self._ending())
        for chunk in chunks(watched, self._users_per_request_max()):
            self._send(*self._users.watch_again(chunk))

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`."""
        if self._is_told and self._is_resumed() and not self._feeds:
            yield self._ending()
        self._is_told = bool(self._feeds)
        self._is_whole = self._is_reset = self._is_listed_anew = False
        if not self._feeds:
            return
        self._listing += 1
        if self._position is not None:
            yield self._returning(*self._position)
        else:
            yield lambda request_id: WatchAll(request_id, True), self._refused
            yield self._page("")

    def beat(self) -> None:
        """A heartbeat is due: ask for a newer position with it."""
        if self._is_whole:
            self._send(*self._checking())

    def end(self, error: PresenceError | None) -> None:
        """See `Part`; `watched_users` ends the feeds."""
        self._feeds.clear()
        self._is_whole = False

    def _ending(self) -> tuple[Make, OnReply]:
        def answered(reply: Reply) -> None:
            self._is_told = bool(self._feeds)

        return lambda request_id: WatchAll(request_id, False), answered

    # --- everybody --------------------------------------------------------------------------------------------

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
        self._ask_for(self._old() if self._is_reset else self._users.unconfirmed())
        self._is_listed = True
        for feed in self._feeds:
            feed.listed()

    # --- what has changed -------------------------------------------------------------------------------------

    def _returning(self, epoch: int, version: int) -> tuple[Make, OnReply]:
        listing = self._listing

        def answered(reply: Reply) -> None:
            if listing != self._listing:
                return
            if isinstance(reply, Position) and not reply.reset:
                self._returned(version)
            elif isinstance(reply, Error) and reply.code != "bad_position":
                self._refused(reply)
            else:
                # Also of a server of an earlier version, which has said Done, or of a backup.
                self._list_anew(again=isinstance(reply, Error))

        return lambda request_id: WatchAll(request_id, True, epoch, version), answered

    def _returned(self, version: int) -> None:
        """All who have changed since this version were told. Who was told since then on an earlier link, and was not
        told now, may be as before."""
        old = self._old()
        versions = {record.user: record.version for record in self._held.records()}
        self._held.all_hold([user for user in old if 0 < versions[user] < version])
        self._ask_for([user for user in old if not 0 < versions[user] < version])

    def _old(self) -> list[str]:
        """Of whom the present link has said nothing."""
        return [record.user for record in self._held.records() if not self._held.is_of_link(record.user)]

    def _list_anew(self, *, again: bool) -> None:
        self._position, self._is_reset = None, True
        if again:
            self._send(lambda request_id: WatchAll(request_id, True), self._refused)
        self._send(*self._page(""))

    # --- within -----------------------------------------------------------------------------------------------

    def _ask_for(self, users: list[str]) -> None:
        """Ask for the records of these users. With the last of them everything is known."""
        listing = self._listing
        waiting = chunks(users, self._users_per_request_max())
        left = len(waiting)

        def answered(reply: Reply) -> None:
            nonlocal left
            if listing != self._listing:
                return
            if isinstance(reply, Records):
                self._put(reply.records)
                left -= 1
            if not left:
                self._have_all()

        for chunk in waiting:
            self._send(
                lambda request_id, users=chunk: Get(request_id, users),  # type: ignore[misc]
                answered,
            )
        if not waiting:
            self._have_all()

    def _have_all(self) -> None:
        self._is_whole = True
        self._send(*self._checking())

    def _checking(self) -> tuple[Make, OnReply]:
        listing = self._listing

        def answered(reply: Reply) -> None:
            if listing == self._listing and isinstance(reply, Checked):
                if reply.epoch:
                    self._position = (reply.epoch, reply.version)
                elif self._is_whole and not self._is_listed_anew:
                    # A new token shows others: what it has not shown before was not told.
                    self._is_whole, self._is_listed_anew = False, True
                    self._list_anew(again=True)

        return Check, answered

    def _put(self, records: list[Record]) -> None:
        for record in records:
            self._held.tell(record)

    def _refused(self, reply: Reply) -> None:
        if isinstance(reply, Error):
            for feed in list(self._feeds):
                feed.end(error_of(reply))
