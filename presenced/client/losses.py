"""The async iterator over devices that a service loses. See `streams`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from presenced.client.exchange import ClientExchange
from presenced.client.protocol.attachments import TAKEN_MAX
from presenced.client.protocol.pending_requests import Make, OnReply
from presenced.client.streams import Stream
from presenced.client.values import Taken
from presenced.errors import PresenceError


class LossFeed:
    """Losses that wait for a consumer: the latest of each device, and `TAKEN_MAX` at most."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.error: PresenceError | None = None
        self.is_over = False
        self._wake = wake
        self._waiting: dict[tuple[str, str], Taken] = {}

    def put(self, taken: Taken) -> None:
        """A device was lost. O(1)."""
        key = taken.user, taken.device
        self._waiting.pop(key, None)
        if len(self._waiting) >= TAKEN_MAX:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[key] = taken
        self._wake()

    def take(self) -> Taken | None:
        """The oldest that waits."""
        return self._waiting.pop(next(iter(self._waiting))) if self._waiting else None

    def end(self, error: PresenceError | None) -> None:
        """Nothing more comes; `error` says why, None if the owner closed it."""
        if not self.is_over:
            self.is_over, self.error = True, error
            self._wake()


class LossFeeds:
    """The feeds of one service. A `Part`."""

    def __init__(self) -> None:
        self.feeds: list[LossFeed] = []

    def put(self, taken: Taken) -> None:
        """A device was lost. O(feeds)."""
        for feed in self.feeds:
            feed.put(taken)

    def release(self, feed: LossFeed) -> None:
        """`feed` is closed. Idempotent."""
        feed.end(None)
        if feed in self.feeds:
            self.feeds.remove(feed)

    def standing(self, now_ms: int) -> Iterable[tuple[Make, OnReply | None]]:
        """See `Part`: the server tells losses by itself."""
        return ()

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        feeds, self.feeds = self.feeds, []
        for feed in feeds:
            feed.end(error)


class Losses(Stream[Taken]):
    """The devices that a service loses without its own doing; made by `losses`.

    Yields a `Taken` for each, also for one that is attached again by itself (`lost`). A consumer that is slower than
    the losses gets the latest of each device.
    """

    def __init__(self, exchange: ClientExchange, owner: object, feeds: LossFeeds) -> None:
        wake = asyncio.Event()
        self._feed = LossFeed(wake.set)
        self._feeds = feeds
        super().__init__(exchange, owner, self._feed, wake, feeds.release)

    async def _begin(self) -> None:
        self._feeds.feeds.append(self._feed)
