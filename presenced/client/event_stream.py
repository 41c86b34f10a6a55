"""The async iterator over what happens to users, for a service."""

from __future__ import annotations

import asyncio

from presenced.client.exchange import ClientExchange
from presenced.client.protocol.event_feed import Event, EventFeed, FollowedEvents
from presenced.client.streams import Stream
from presenced.wire import messages

ACK_EVENTS = 256
"""Events that are acknowledged together while more wait to be read."""


class Events(Stream[Event]):
    """The events that a service follows; made by `events`. Each is yielded once, in order, also over lost links.

    A consumer that is much slower than the events is caught up from what the server keeps (those of a day, by default);
    if it is slower still, or the server has lost its history, it gets one event of kind `reset`.

    With a name, an event is acknowledged when the next one is asked for: then it has been handled. Call `acknowledge`
    for the last one before the iteration is left for good, or it is told again the next time.
    """

    def __init__(
        self,
        exchange: ClientExchange,
        owner: object,
        events: FollowedEvents,
        feed: EventFeed,
        wake: asyncio.Event,
        name: str = "",
    ) -> None:
        self._feed = feed
        self._events = events
        self._name = name
        self._since_ack = 0
        self._last = ""
        self._handled = ""
        """The cursor of the last event that has been handled, as far as is known."""
        super().__init__(exchange, owner, feed, wake, events.release)

    @property
    def cursor(self) -> str:
        """The cursor of the event that was yielded last; before the first event, the one where the stream began (empty
        until it has begun)."""
        return self._last

    async def __anext__(self) -> Event:
        # Whoever asks for the next has handled the last.
        self._handled = self._last
        if self._name and not (self._since_ack < ACK_EVENTS and self._feed.has_more):
            self.acknowledge()
        event = await super().__anext__()
        self._last = event.cursor
        self._since_ack += 1
        return event

    def acknowledge(self) -> None:
        """The event that was yielded last has been handled; without a name, or a link, nothing comes of it."""
        self._handled = self._last
        self._send_ack()

    async def aclose(self) -> None:
        """See `Stream`. What is known to have been handled is acknowledged."""
        self._send_ack()
        await super().aclose()

    def _send_ack(self) -> None:
        self._since_ack = 0
        seq = self._events.acknowledge(self._feed, self._handled) if self._handled else 0
        if seq:
            self._exchange.send(messages.Acknowledge(seq))

    def _of(self) -> str:
        return f" behind {self._last}" if self._last else ""

    async def _begin(self) -> None:
        self._events.attach(self._feed, self._name)
        await self._until(lambda: self._feed.position is not None)
        if not self._last:
            self._last = str(self._feed.position)
