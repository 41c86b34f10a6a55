"""The users that a client watches by name, and the feeds that want them; and the feeds that want everybody.

The server is told of each name once on a link, with what the client has of that user, and answers what differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from presenced.client.protocol.changes import Feed
from presenced.client.protocol.held_records import HeldRecords
from presenced.client.protocol.pending_requests import Make, OnReply, Reply, Send, error_of
from presenced.errors import PresenceError
from presenced.wire.messages import Error, Record, Records, Unwatch, Watch


class WatchedUsers:
    """See the module's docstring. A `Part`."""

    def __init__(
        self, held: HeldRecords, users_per_request_max: Callable[[], int], is_resumed: Callable[[], bool], send: Send
    ) -> None:
        self._held = held
        self._send = send
        self._users_per_request_max = users_per_request_max
        self._is_resumed = is_resumed
        self._users: dict[str, dict[Feed, None]] = {}
        """The feeds of each user whom at least one of them names."""
        self._feeds: dict[Feed, None] = {}
        self._everyone: dict[Feed, None] = {}
        """Feeds that want every user."""
        self._last = 0
        self._asked: dict[str, int] = {}
        """Users whom the server was asked to watch and not asked to leave since, on this link or on the lost one that
        was taken back: the number of the last request."""
        self._said: dict[str, int] = {}
        """Those of whom it has answered: the number of the last request that it has."""
        self._taken_back: dict[str, None] = {}
        """Those of whom the lost link had not answered, or whom it was to leave: the server may tell of them."""
        self._left: dict[str, int] = {}
        """Of those who are being left: the number of the last request before that."""
        self._is_asked_early = False
        """The coming link was asked for all of them behind its hello."""
        self._leaving: dict[str, int] = {}
        """Users whom no feed names any longer while the server may still tell of them, to the replies that are due."""
        self._told: Callable[[], None] = lambda: None
        self._count: Callable[[int], None] | None = None
        held.show_to(self)

    def tell_named(self, told: Callable[[], None]) -> None:
        """Call `told` before users are watched by name."""
        self._told = told

    def count_by(self, count: Callable[[int], None]) -> None:
        """Call `count` with the number of users who are watched by name, whenever it may have changed."""
        self._count = count

    # --- some users -------------------------------------------------------------------------------------------

    def attach(self, feed: Feed, users: Iterable[str], since: Mapping[str, int] | None = None) -> None:
        """`feed` wants these users; of some of them the app has what these digests say. It gets the records that are
        held already; ask the server for `unknown`."""
        self._told()
        self._feeds[feed] = None
        for user in users:
            had = since.get(user) if since is not None else None
            record = self._held.hold(user, had)
            self._users.setdefault(user, {})[feed] = None
            feed.want(user, had)
            if record is not None:
                feed.put(record)
        if self._count is not None:
            self._count(len(self._users))

    def unknown(self, users: Iterable[str]) -> list[str]:
        """Those of the watched ones among `users` whom the server does not watch by name yet, as far as it has said, or
        whose record has not come."""
        return [
            user
            for user in users
            if user in self._users and (user not in self._said or self._held.record(user) is None)
        ]

    def detach(self, feed: Feed, users: Iterable[str]) -> list[str]:
        """`feed` does not want these users any longer. Returns the users whom no feed names now: send `unwatching`."""
        wanted = [user for user in users if user in feed.names]
        feed.drop(wanted)
        unwanted: list[str] = []
        for user in wanted:
            feeds = self._users.get(user)
            if feeds is None:
                continue
            feeds.pop(feed, None)
            if not feeds:
                del self._users[user]
                unwanted.append(user)
        if self._count is not None:
            self._count(len(self._users))
        return unwanted

    def release(self, feed: Feed) -> list[str]:
        """`feed` is closed. Returns the users whom no feed names now."""
        self._feeds.pop(feed, None)
        feed.end(None)
        return self.detach(feed, list(feed.names))

    def watched(self) -> list[str]:
        """The users whom the server has said to watch by name, and who are still wanted."""
        return [user for user in self._users if user in self._said]

    def named(self) -> list[str]:
        """All users who are wanted by name."""
        return list(self._users)

    @property
    def is_settled(self) -> bool:
        """The server watches just those who are wanted by name, and has said so."""
        return not self._leaving and self._said == self._asked and self._said.keys() == self._users.keys()

    def is_watched(self, user: str) -> bool:
        """Whether the server may tell of this user because of a name that it was given."""
        return user in self._said or user in self._leaving or user in self._taken_back

    # --- every user -------------------------------------------------------------------------------------------

    def attach_everyone(self, feed: Feed) -> None:
        """`feed` wants every user; it gets the records that are held already. O(users known)."""
        self._everyone[feed] = None
        for record in self._held.records():
            feed.put(record)

    def release_everyone(self, feed: Feed) -> list[str] | None:
        """`feed` is closed. If it was the last that wants everybody, returns the users who are watched by name: watch
        them anew, since the server may never have been asked for them. None if another feed wants everybody."""
        feed.end(None)
        if feed not in self._everyone:
            return None
        del self._everyone[feed]
        if self._everyone:
            return None
        self._held.forget([record.user for record in self._held.records()])
        return list(self._users)

    def unconfirmed(self) -> list[str]:
        """Users who are known as not offline, but not from the present link. O(users known)."""
        return [
            record.user
            for record in self._held.records()
            if record.status != "offline" and not self._held.is_of_link(record.user)
        ]

    # --- see `Wanting` ----------------------------------------------------------------------------------------

    def wants(self, record: Record, *, is_reply: bool) -> bool:
        return self.keeps(record.user)

    def keeps(self, user: str) -> bool:
        # Of one who is left the record may be wanted: the server does not tell it to a contact who is just gained.
        return user in self._users or user in self._leaving or bool(self._everyone)

    def show(self, record: Record) -> None:
        for feed in self._users.get(record.user, ()):
            feed.put(record)
        for feed in self._everyone:
            feed.put(record)

    # --- what is asked of the server --------------------------------------------------------------------------

    def watching(self, users: list[str]) -> tuple[Make, OnReply]:
        """The request that watches these users, and what to do with the reply: it has what differs from what is held as
        the request is made. Of a user of whom nothing is held, and nothing known to the app, that is everything."""
        question = self._held.ask(users)
        self._last = number = self._last + 1
        for user in users:
            self._asked[user] = number

        def answered(reply: Reply) -> None:
            if not isinstance(reply, Records):
                for user in users:
                    if self._asked.get(user) != number:
                        continue
                    # Nothing was applied: an earlier request may hold.
                    if user in self._said:
                        self._asked[user] = self._said[user]
                    else:
                        del self._asked[user]
                return
            for user in users:
                self._taken_back.pop(user, None)
                if user in self._asked and number > self._left.get(user, 0):
                    self._said[user] = max(number, self._said.get(user, 0))
            # A request that waited for this link may have outlived its feed.
            stray = [user for user in users if user not in self._asked and user not in self._leaving]
            if stray:
                self._send(*self.unwatching(stray))
            self._held.answer(question, reply.records)

        # Where everything is asked for, nothing more is said.
        have = question.have if any(question.have) else None
        return lambda request_id: Watch(request_id, users, have), answered

    def watch_again(self, users: list[str]) -> tuple[Make, OnReply]:
        """The same when no caller waits for the reply."""
        make, watched = self.watching(users)

        def answered(reply: Reply) -> None:
            watched(reply)
            if isinstance(reply, Error):
                # Nobody waits for this reply, so the feeds have to tell of the refusal.
                for user in users:
                    for feed in list(self._users.get(user, ())):
                        feed.end(error_of(reply))

        return make, answered

    def unwatching(self, users: list[str]) -> tuple[Make, OnReply]:
        """The request that ends the watch of these users; until its reply, pushes of theirs may come."""
        leaving = self._leaving
        for user in users:
            leaving[user] = leaving.get(user, 0) + 1
            self._left[user] = self._last
            self._asked.pop(user, None)
            self._said.pop(user, None)

        def answered(reply: Reply) -> None:
            for user in users if leaving is self._leaving else ():
                leaving[user] -= 1
                if not leaving[user]:
                    del leaving[user]
                    self._left.pop(user, None)
            self._held.forget(users)

        return lambda request_id: Unwatch(request_id, users), answered

    def behind_hello(self, *, is_early: bool) -> Iterator[tuple[Make, OnReply]]:
        """Another attempt to connect begins. If the link begins with nothing, all are asked for behind its hello."""
        self._is_asked_early = is_early
        if is_early:
            self._begin()
            for chunk in self._chunks(list(self._users)):
                yield self.watch_again(chunk)

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`."""
        is_early, self._is_asked_early = self._is_asked_early, False
        if not (is_early or self._is_resumed()):
            self._begin()
        leaving, self._leaving, self._left = self._leaving, {}, {}
        unwanted = [user for user in leaving | self._asked if user not in self._users]
        self._held.forget(leaving)
        for chunk in self._chunks(unwanted):
            yield self.unwatching(chunk)
        # What was asked on the lost link without an answer the server may have, or not.
        asked, said = self._asked, self._said
        known = () if is_early else [*leaving, *asked]
        self._taken_back = {user: None for user in known if user in self._users}
        unsaid = [user for user in self._users if user not in asked or not (is_early or said.get(user) == asked[user])]
        self._asked = {user: number for user, number in asked.items() if user in self._users}
        for chunk in self._chunks(unsaid):
            yield self.watch_again(chunk)

    def _begin(self) -> None:
        """The server watches nobody."""
        leaving, self._leaving = self._leaving, {}
        self._asked, self._said, self._left, self._taken_back = {}, {}, {}, {}
        self._held.forget(leaving)

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        for feed in [*self._feeds, *self._everyone]:
            feed.end(error)
        self._feeds.clear()
        self._everyone.clear()
        self._users.clear()
        if self._count is not None:
            self._count(0)

    def _chunks(self, users: list[str]) -> list[list[str]]:
        return chunks(users, self._users_per_request_max())


def chunks(users: list[str], size: int) -> list[list[str]]:
    """`users` in pieces of at most `size`."""
    return [users[start : start + size] for start in range(0, len(users), size)]
