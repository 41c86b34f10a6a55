"""The users that a client watches: the newest record of each, and the feeds that want it.

Records come from three places: the reply to a watch, a push, and the pages of `watch_all`. All of them go through one
rule of what is newer (`_apply`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from presenced.client.protocol.changes import Feed
from presenced.client.protocol.pending_requests import Make, OnReply, Reply, error_of
from presenced.errors import PresenceError
from presenced.wire.messages import Error, Record, Records, Watch


class _WatchedUser:
    """A user whom at least one feed watches, or who is known because everybody is watched."""

    __slots__ = ("feeds", "link", "record")

    def __init__(self) -> None:
        self.record: Record | None = None
        self.link = 0
        """Number of the link on which the record came."""
        self.feeds: dict[Feed, None] = {}


class WatchedUsers:
    """See the module's docstring. A `Part`."""

    def __init__(self, users_per_request_max: Callable[[], int]) -> None:
        self._users_per_request_max = users_per_request_max
        self._users: dict[str, _WatchedUser] = {}
        self._feeds: dict[Feed, None] = {}
        self._everyone: dict[Feed, None] = {}
        """Feeds that want every user."""
        self._link = 0
        """Number of the present link."""

    # --- some users -------------------------------------------------------------------------------------------

    def attach(self, feed: Feed, users: Iterable[str]) -> None:
        """`feed` wants these users. It gets the records that are known already; ask the server for `unknown`."""
        self._feeds[feed] = None
        for user in users:
            watched = self._users.get(user)
            if watched is None:
                watched = self._users[user] = _WatchedUser()
            watched.feeds[feed] = None
            feed.want(user)
            if watched.record is not None:
                feed.put(watched.record)

    def unknown(self, users: Iterable[str]) -> list[str]:
        """The watched ones among `users` whose record has not come yet."""
        return [user for user in users if user in self._users and self._users[user].record is None]

    def detach(self, feed: Feed, users: Iterable[str]) -> list[str]:
        """`feed` does not want these users any longer. Returns the users whom no feed names now: unwatch them."""
        wanted = [user for user in users if user in feed.names]
        feed.drop(wanted)
        unwanted: list[str] = []
        for user in wanted:
            watched = self._users.get(user)
            if watched is None:
                continue
            watched.feeds.pop(feed, None)
            if not watched.feeds:
                if not self._everyone:
                    del self._users[user]
                unwanted.append(user)
        return unwanted

    def release(self, feed: Feed) -> list[str]:
        """`feed` is closed. Returns the users whom no feed names now."""
        self._feeds.pop(feed, None)
        feed.end(None)
        return self.detach(feed, list(feed.names))

    # --- every user -------------------------------------------------------------------------------------------

    def attach_everyone(self, feed: Feed) -> None:
        """`feed` wants every user; it gets the records that are known already. O(users known)."""
        self._everyone[feed] = None
        for watched in self._users.values():
            if watched.record is not None:
                feed.put(watched.record)

    def release_everyone(self, feed: Feed) -> list[str] | None:
        """`feed` is closed. If it was the last that wants everybody, returns the users who are watched by name: watch
        them anew, since the server may never have been asked for them. None if another feed wants everybody."""
        feed.end(None)
        if feed not in self._everyone:
            return None
        del self._everyone[feed]
        if self._everyone:
            return None
        self._users = {user: watched for user, watched in self._users.items() if watched.feeds}
        return list(self._users)

    def unconfirmed(self) -> list[str]:
        """Users who are known as not offline, but not from the present link. O(users known)."""
        return [
            user
            for user, watched in self._users.items()
            if watched.record is not None and watched.link != self._link and watched.record.status != "offline"
        ]

    # --- what the server says ---------------------------------------------------------------------------------

    def presence(self, record: Record) -> None:
        """The present link brought a record."""
        self._apply(record)

    def watched(self, reply: Reply) -> None:
        """The reply to a watch."""
        if isinstance(reply, Records):
            for record in reply.records:
                self._apply(record)

    def watch_again(self, users: list[str]) -> tuple[Make, OnReply]:
        """The request that watches users by name when no caller waits for the reply."""

        def answered(reply: Reply) -> None:
            self.watched(reply)
            if isinstance(reply, Error):
                # Nobody waits for this reply, so the feeds have to tell of the refusal.
                for user in users:
                    watched = self._users.get(user)
                    for feed in list(watched.feeds) if watched is not None else ():
                        feed.end(error_of(reply))

        return lambda request_id: Watch(request_id, users), answered

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`."""
        self._link += 1
        names = [user for user, watched in self._users.items() if watched.feeds]
        for chunk in chunks(names, self._users_per_request_max()):
            yield self.watch_again(chunk)

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        for feed in [*self._feeds, *self._everyone]:
            feed.end(error)
        self._feeds.clear()
        self._everyone.clear()
        self._users.clear()

    # --- within -----------------------------------------------------------------------------------------------

    def _apply(self, record: Record) -> None:
        watched = self._users.get(record.user)
        if watched is None:
            if not self._everyone:
                return
            watched = self._users[record.user] = _WatchedUser()
        known = watched.record
        # Versions order the records of one link (protocol.md 6.4). On a new link the server's word is the truth even if
        # its version is lower: a server that was killed may have lost a change that it had told of and not yet saved.
        # The feeds compare contents, so that neither case causes a second snapshot. Version 0 is no number to compare:
        # nothing is known of the user to this client, from now on.
        is_older = known is not None and watched.link == self._link and record.version <= known.version
        if is_older and record.version:
            return
        watched.record = record
        watched.link = self._link
        for feed in watched.feeds:
            feed.put(record)
        for feed in self._everyone:
            feed.put(record)


def chunks(users: list[str], size: int) -> list[list[str]]:
    """`users` in pieces of at most `size`."""
    return [users[start : start + size] for start in range(0, len(users), size)]
