"""What the async iterators of the client have in common: a feed, waiting for it, and its end."""

from __future__ import annotations

import asyncio
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from presenced.client.protocol.changes import Change, Feed
from presenced.client.protocol.channels import ChannelFeed, MemberChange
from presenced.client.protocol.event_feed import Event, EventFeed
from presenced.errors import ConnectionLost, PresenceError
from presenced.wire.messages import Record

if TYPE_CHECKING:
    from presenced.client.connection import Connection

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class AnyFeed(Protocol[T_co]):
    """What waits for a consumer."""

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
        self, connection: Connection, feed: AnyFeed[T], wake: asyncio.Event, release: Callable[[Any], None]
    ) -> None:
        self._client = connection
        self._any_feed = feed
        self._wake = wake
        self._is_started = False
        self._finalizer = weakref.finalize(self, connection._later, release, feed)
        self._finalizer.atexit = False
        self._release = release

    async def start(self) -> None:
        """Ask the server, and wait until it has answered. Entering and iterating do it too.

        Raises `RequestError`, `RequestTimeout` or `ConnectionLost`; then nothing is asked any more.
        """
        if self._any_feed.is_over or self._is_started:
            return
        self._client._refuse_closed()
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
            async with asyncio.timeout(self._client._request_timeout_s):
                while not is_ready() and not self._any_feed.is_over:
                    self._wake.clear()
                    await self._wake.wait()
        except TimeoutError:
            await self.aclose()
            raise self._client._late() from None
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

    A consumer that is slower than the changes gets the latest of each member. Of a channel of more than a thousand
    members not all are listed, and one with as many watchers is told of in batches, once a second.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        wake = asyncio.Event()
        self._feed = ChannelFeed(wake.set)
        self.channel = name
        super().__init__(connection, self._feed, wake, connection._channels.release)

    @property
    def members(self) -> dict[str, Record]:
        """The members that are known of, by name; a copy. All who are online if `is_complete`."""
        return dict(self._feed.channel.members) if self._feed.channel is not None else {}

    @property
    def is_complete(self) -> bool:
        return self._feed.channel is not None and self._feed.channel.is_complete

    @property
    def total(self) -> int:
        """Members who are online: exact, as of the last news."""
        return self._feed.channel.total if self._feed.channel is not None else 0

    @property
    def counts(self) -> dict[str, int]:
        """Of those, how many by status; if not `is_complete`, as of the last batch or page."""
        return dict(self._feed.channel.counts) if self._feed.channel is not None else {}

    def _of(self) -> str:
        return f" of {self.channel}"

    async def _begin(self) -> None:
        self._client._channels.attach(self._feed, self.channel)
        await self._until(lambda: self._feed.is_ready)


class Events(Stream[Event]):
    """The events that a service follows; made by `events`. Each is yielded once, in order, also over lost links.

    A consumer that is much slower than the events is caught up from what the server keeps (65,536 events); if it is
    slower still, or the server was restarted, it gets one event of kind `reset`.
    """

    def __init__(self, connection: Connection, feed: EventFeed, wake: asyncio.Event) -> None:
        self._feed = feed
        self._last = ""
        super().__init__(connection, feed, wake, connection._followed.release)

    @property
    def cursor(self) -> str:
        """Of the event yielded last; before the first, of where it began (empty until it has begun)."""
        return self._last

    async def __anext__(self) -> Event:
        event = await super().__anext__()
        self._last = event.cursor
        return event

    def _of(self) -> str:
        return f" behind {self._last}" if self._last else ""

    async def _begin(self) -> None:
        self._client._followed.attach(self._feed)
        await self._until(lambda: self._feed.position is not None)
        if not self._last:
            self._last = str(self._feed.position)


class EveryoneWatch(Stream[Change]):
    """Every user of the server; made by `watch_all`. Iterating yields a `snapshot` of each user who is online, and
    then every change of every user, latest wins. Holds a record of each user that it was told of."""

    def __init__(self, connection: Connection) -> None:
        wake = asyncio.Event()
        self._feed = Feed(wake.set)
        super().__init__(connection, self._feed, wake, connection._everyone.release)

    @property
    def records(self) -> dict[str, Record]:
        """The newest record of each user told of; a copy."""
        return dict(self._feed.records)

    async def _begin(self) -> None:
        self._client._everyone.attach(self._feed)
        await self._until(lambda: self._feed.is_listed or bool(self._feed.records))
