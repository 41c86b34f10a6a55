"""`Watch`: the async iterator over the changes of some users."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from presenced.client.protocol.changes import Change, Feed
from presenced.client.streams import Stream
from presenced.client.values import check_names
from presenced.wire.messages import Record

if TYPE_CHECKING:
    from presenced.client.connection import Connection


class Watch(Stream[Change]):
    """The users that one part of a program watches; made by `watch`.

    Iterating yields a `snapshot` of each user and then each change; after a lost link only what really changed in
    between. A consumer that is slower than the changes gets the latest state of each user and not every step, so
    nothing piles up. `async with me.watch("bob") as watch:` unwatches at a definite point.
    """

    def __init__(self, connection: Connection, users: list[str]) -> None:
        wake = asyncio.Event()
        self._feed = Feed(wake.set)
        self._users = users
        super().__init__(connection, self._feed, wake, connection._release_feed)

    @property
    def records(self) -> Mapping[str, Record]:
        """The newest record of each watched user, whether yielded yet or not; a live view."""
        return MappingProxyType(self._feed.records)

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
            await self._client._watch(self._feed, users)
        except BaseException:
            self._users = users
            raise

    async def add(self, *users: str) -> None:
        """Watch more users; each yields a snapshot. Errors as in `start`, and the watch stays as it was."""
        names = check_names(users)
        self._refuse_closed()
        await self.start()
        await self._client._watch(self._feed, [name for name in names if name not in self._feed.names])

    async def remove(self, *users: str) -> None:
        """Watch some users no more; what was waiting of them is not yielded."""
        names = check_names(users)
        self._refuse_closed()
        await self.start()
        await self._client._unwatch(self._feed, names)
