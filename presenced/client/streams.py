"""The async iterators of the client: some users, a channel, every user. That over events has a file of its own.

Each reads one feed of `protocol`, asks the server for it when it starts, and releases it when it is closed or dropped.
"""

from __future__ import annotations

import asyncio
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

from presenced.client.exchange import ClientExchange
from presenced.client.protocol.changes import Change, Feed
from presenced.client.protocol.channels import ChannelFeed, MemberChange, WatchedChannels
from presenced.client.protocol.watch_all import EveryoneWatched
from presenced.errors import ConnectionLost, PresenceError
from presenced.wire.messages import Record

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class AnyFeed(Protocol[T_co]):
    """Items that wait for a consumer."""

    @property
    def error(self) -> PresenceError | None: ...
    @property
    def is_over(self) -> bool: ...
    def take(self) -> T_co | None: ...


class Stream(ABC, Generic[T]):
    """Iterates over a feed; survives lost links. Iteration ends when it or the client is closed, and raises
    `PresenceError` if the client came to its end otherwise.

    `async with ... as stream:` ends it at a definite point. Without that, it ends when the object is dropped, which
    Python does at a time of its own choosing if something still refers to it.
    """

    def __init__(
        self,
        exchange: ClientExchange,
        owner: object,
        feed: AnyFeed[T],
        wake: asyncio.Event,
        release: Callable[[Any], None],
    ) -> None:
        """`owner` is kept alive as long as the stream is. `release` must not refer to the stream."""
        self._exchange = exchange
        self._owner = owner
        self._any_feed = feed
        self._wake = wake
        self._is_started = False
        self._finalizer = weakref.finalize(self, _release_later, exchange.loop, release, feed)
        self._finalizer.atexit = False
        self._release = release

    async def start(self) -> None:
        """Ask the server, and wait until it has answered. Entering and iterating do it too.

        Raises `RequestError`, `RequestTimeout` or `ConnectionLost`; then nothing is watched.
        """
        if self._any_feed.is_over or self._is_started:
            return
        self._exchange.link_state.refuse_closed()
        self._is_started = True
        try:
            await self._begin()
        except BaseException:
            self._is_started = False
            raise

    @abstractmethod
    async def _begin(self) -> None:
        """Attach the feed and wait until it is ready."""

    async def _until(self, is_ready: Callable[[], bool]) -> None:
        """Wait for the first answer; without one in time the stream is over."""
        try:
            async with asyncio.timeout(self._exchange.request_timeout_s):
                while not is_ready() and not self._any_feed.is_over:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            await self.aclose()
            raise self._exchange.late_error() from None
        if self._any_feed.error is not None:
            raise self._any_feed.error

    async def aclose(self) -> None:
        """End it and its iteration. Does nothing the second time."""
        if self._finalizer.detach() is not None:
            self._release(self._any_feed)

    async def __aenter__(self) -> Self:
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

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._is_started and not self._any_feed.is_over:
            await self.start()
        feed = self._any_feed
        while True:
            item = feed.take()
            if item is not None:
                return item
            if feed.error is not None:
                raise feed.error
            if feed.is_over:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()

    def _of(self) -> str:
        """What it is about, for people."""
        return ""

    def __repr__(self) -> str:
        return f"<presenced.{type(self).__name__}{self._of()}{', ended' if self._any_feed.is_over else ''}>"

    def _refuse_closed(self) -> None:
        if self._any_feed.is_over:
            raise self._any_feed.error or ConnectionLost("closed", "this watch is closed", temporary=False)


class ChannelWatch(Stream[MemberChange]):
    """A watched channel; made by `watch_channel`. Iterating yields a `snapshot` of each member and then what changes.

    A consumer that is slower than the changes gets the latest state of each member. A channel with more than a thousand
    members is not listed as a whole, and changes of one with as many watchers come in batches, once a second.
    """

    def __init__(self, exchange: ClientExchange, owner: object, channels: WatchedChannels, name: str) -> None:
        wake = asyncio.Event()
        self._feed = ChannelFeed(wake.set)
        self._channels = channels
        self.channel = name
        super().__init__(exchange, owner, self._feed, wake, channels.release)

    @property
    def members(self) -> dict[str, Record]:
        """The known members by name; a copy. All members who are online if `is_complete`."""
        return dict(self._feed.channel.members) if self._feed.channel is not None else {}

    @property
    def is_complete(self) -> bool:
        return self._feed.channel is not None and self._feed.channel.is_complete

    @property
    def total(self) -> int:
        """How many members are online: exact, as of the server's last message."""
        return self._feed.channel.total if self._feed.channel is not None else 0

    @property
    def counts(self) -> dict[str, int]:
        """How many of them have each status; if not `is_complete`, as of the last batch or page."""
        return dict(self._feed.channel.counts) if self._feed.channel is not None else {}

    def _of(self) -> str:
        return f" of {self.channel}"

    async def _begin(self) -> None:
        self._channels.attach(self._feed, self.channel)
        await self._until(lambda: self._feed.is_ready)


class EveryoneWatch(Stream[Change]):
    """Every user of the server; made by `watch_all`. Iterating yields a `snapshot` of each user who is online, and
    then every change of every user, latest wins. Keeps a record of each user that it was told of: O(users) memory."""

    def __init__(self, exchange: ClientExchange, owner: object, everyone: EveryoneWatched) -> None:
        wake = asyncio.Event()
        self._feed = Feed(wake.set)
        self._everyone = everyone
        super().__init__(exchange, owner, self._feed, wake, everyone.release)

    @property
    def records(self) -> dict[str, Record]:
        """The newest record of each user that the server has told of; a copy."""
        return dict(self._feed.records)

    async def _begin(self) -> None:
        self._everyone.attach(self._feed)
        await self._until(lambda: self._feed.is_listed or bool(self._feed.records))


def _release_later(loop: asyncio.AbstractEventLoop, release: Callable[[Any], None], feed: Any) -> None:
    """A stream was collected; this may run in any thread, and after the loop's end."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(release, feed)
