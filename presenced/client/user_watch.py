"""The async iterator over some users, and what it asks of the server. See `streams`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from presenced.client.exchange import ClientExchange
from presenced.client.protocol.changes import Change, Feed
from presenced.client.protocol.positions import had_in, position_of
from presenced.client.protocol.watched_users import WatchedUsers, chunks
from presenced.client.streams import Stream
from presenced.client.values import check_names
from presenced.wire import messages
from presenced.wire.messages import Record


class Watch(Stream[Change]):
    """The users that one part of a program watches; made by `watch`.

    Iterating yields a `snapshot` of each user and then each change; after a lost link only what really changed in
    between. With the position of an earlier watch, the users who are as they were then yield nothing, and are not in
    `records` before they change; the others yield a `snapshot`. A consumer that is slower than the changes gets the
    latest state of each user and not every step, so nothing piles up. `async with me.watch("bob") as watch:` unwatches
    at a definite point.
    """

    def __init__(
        self, exchange: ClientExchange, owner: object, watched: WatchedUsers, users: list[str], since: str | None
    ) -> None:
        wake = asyncio.Event()
        self._feed = Feed(wake.set)
        self._users = users
        self._since = had_in(since, users) if since else None
        self._watching = _Watching(exchange, watched)
        super().__init__(exchange, owner, self._feed, wake, self._watching.release)

    @property
    def records(self) -> Mapping[str, Record]:
        """The newest record of each watched user, whether yielded yet or not; a live view."""
        return MappingProxyType(self._feed.records)

    @property
    def position(self) -> str:
        """What has been yielded so far, to be kept and passed as `since` to a later `watch`, of this program or of the
        next one: then only what differs is told and yielded. URL-safe, 10 characters for each user. O(users)."""
        return position_of(self._feed.seen() if self._is_started else self._since or {})

    @property
    def users(self) -> list[str]:
        return list(self._feed.names) if self._is_started else list(self._users)

    def _of(self) -> str:
        users = self.users
        more = f" and {len(users) - 3} more" if len(users) > 3 else ""
        return f" of {', '.join(users[:3])}{more}"

    async def _begin(self) -> None:
        users, self._users = self._users, []
        try:
            await self._watching.attach(self._feed, users, self._since)
        except BaseException:
            self._users = users
            raise

    async def add(self, *users: str) -> None:
        """Watch more users; each yields a snapshot. Errors as in `start`, and the watch stays as it was."""
        names = check_names(users)
        self._refuse_closed()
        await self.start()
        await self._watching.attach(self._feed, [name for name in names if name not in self._feed.names])

    async def remove(self, *users: str) -> None:
        """Stop watching some users; changes of theirs that were waiting are not yielded."""
        names = check_names(users)
        self._refuse_closed()
        await self.start()
        await self._watching.detach(self._feed, names)


class _Watching:
    """What is asked of the server for a `Watch`: overlapping watches ask once."""

    def __init__(self, exchange: ClientExchange, watched: WatchedUsers) -> None:
        self._exchange = exchange
        self._watched = watched

    async def attach(self, feed: Feed, users: list[str], since: Mapping[str, int] | None = None) -> None:
        """Raises as `ClientExchange.request`; then `feed` has none of these users. `since`: what the app has."""
        self._exchange.link_state.refuse_closed()
        self._watched.attach(feed, users, since)
        try:
            for chunk in self._chunks(users):
                unknown = self._watched.unknown(chunk)
                if unknown:
                    make, watched = self._watched.watching(unknown)
                    await self._exchange.request(make, messages.Records, watched)
        except BaseException:
            self._say_unwatch(self._watched.detach(feed, users))
            raise

    async def detach(self, feed: Feed, users: list[str]) -> None:
        """Raises as `ClientExchange.request`; the users are detached all the same."""
        self._exchange.link_state.refuse_closed()
        unwanted = self._watched.detach(feed, users)
        pieces = self._chunks(unwanted)
        opened = [self._exchange.open(*self._watched.unwatching(names)) for names in pieces]
        # All are sent before the first wait. The users are detached now, and a watch that names one of them anew
        # meanwhile has to reach the server after this, or this would cut it off.
        self._exchange.send(*[request for _, request in opened])
        await self._exchange.replies([waiter for waiter, _ in opened])

    def release(self, feed: Feed) -> None:
        """The watch is closed: its owner has no use for errors, and need not wait for the reply."""
        self._say_unwatch(self._watched.release(feed))

    def _say_unwatch(self, users: list[str]) -> None:
        # Without a link nothing is said: the next link is told of what is wanted by then.
        for chunk in self._chunks(users):
            self._exchange.say(*self._watched.unwatching(chunk))

    def _chunks(self, users: list[str]) -> list[list[str]]:
        return chunks(users, self._exchange.users_per_request_max)
