"""`Watch`: the async iterator over the changes of some users."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING

from presenced.client.changes import Change, Feed
from presenced.client.values import check_names
from presenced.errors import ConnectionLost
from presenced.wire.messages import Record

if TYPE_CHECKING:
    from presenced.client.client import Client


class Watch:
    """The users that one part of a program watches; made by `Client.watch`.

    Iterating yields a `snapshot` of each user and then each change; it survives lost links, after which it yields
    only what really changed in between. A consumer that is slower than the changes gets the latest state of each
    user and not every step, so nothing piles up. Iteration ends when the watch or the client is closed, and raises
    `PresenceError` if the client came to its end otherwise.

    `async with me.watch("bob") as watch:` unwatches at a definite point. Without it, that happens when the object
    is dropped, which Python does at a time of its own choosing if something still refers to it.
    """

    def __init__(self, client: Client, users: list[str]) -> None:
        self._client = client
        self._wake = asyncio.Event()
        self._feed = Feed(self._wake.set)
        self._users = users
        self._is_started = False
        self._finalizer = weakref.finalize(self, client._drop_feed, self._feed)
        self._finalizer.atexit = False

    @property
    def records(self) -> Mapping[str, Record]:
        """The newest record of each watched user, whether yielded yet or not; a live view."""
        return MappingProxyType(self._feed.records)

    @property
    def users(self) -> list[str]:
        return list(self._feed.names) if self._is_started else list(self._users)

    async def start(self) -> None:
        """Tell the server whom to watch, and wait until it has answered. Entering and iterating do it too.

        Raises `RequestError` (`watch_limit`), `RequestTimeout` or `ConnectionLost`; then nothing is watched.
        """
        if self._feed.is_over or self._is_started:
            return
        self._is_started = True
        users, self._users = self._users, []
        try:
            await self._client._watch(self._feed, users)
        except BaseException:
            self._users = users
            self._is_started = False
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

    async def aclose(self) -> None:
        """End the watch and its iteration. Does nothing the second time."""
        if self._finalizer.detach() is not None:
            await self._client._close_feed(self._feed)

    async def __aenter__(self) -> Watch:
        try:
            await self.start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Change:
        if not self._is_started and not self._feed.is_over:
            await self.start()
        feed = self._feed
        while True:
            change = feed.take()
            if change is not None:
                return change
            if feed.error is not None:
                raise feed.error
            if feed.is_over:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()

    def _refuse_closed(self) -> None:
        if self._feed.is_over:
            raise self._feed.error or ConnectionLost("closed", "this watch is closed", temporary=False)
