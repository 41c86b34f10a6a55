"""A server's events without a server: what a named follower is told, and what it acknowledges."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from presenced.wire.messages import (
    Acknowledge,
    ClientMessage,
    Event,
    Follow,
    Following,
    Goodbye,
    Heartbeat,
    ServerMessage,
    Welcome,
)

EPOCH = 1_767_225_600_000
PER_WRITE = 50


def event(seq: int, user: str, kind: str = "text_change") -> Event:
    """Any event of this user."""
    return Event(seq, EPOCH + seq, kind, user, "old", f"new {seq}", "")


class Feed:
    """Events that are kept, and one follower whose position is."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.begins = 0
        """Events up to this number are not kept any longer."""
        self.position = 0
        self.links: list[FeedLink] = []

    @property
    def seq(self) -> int:
        return self.events[-1].seq if self.events else 0

    def add(self, user: str, kind: str = "text_change") -> Event:
        """Something happens."""
        self.events.append(event(self.seq + 1, user, kind))
        for link in self.links:
            link.wake()
        return self.events[-1]

    def open(self, receive: Callable[[ServerMessage], object], closed: Callable[[Goodbye], object]) -> FeedLink:
        """A link of the follower."""
        link = FeedLink(self, receive, closed)
        self.links.append(link)
        return link


class FeedLink:
    """One link; it tells what comes after its cursor whenever the follower takes anything."""

    def __init__(
        self, feed: Feed, receive: Callable[[ServerMessage], object], closed: Callable[[Goodbye], object]
    ) -> None:
        self.takes_nothing = False
        self.looks = 0
        """How often the follower has looked whether the server takes anything."""
        self.is_on_hold = False
        """The follower takes nothing for now."""
        self._feed = feed
        self._receive = receive
        self._closed = closed
        self._cursor: int | None = None
        self._loop = asyncio.get_running_loop()
        self._is_woken = False
        self._loop.call_soon(receive, _WELCOME)

    @property
    def is_held(self) -> bool:
        self.looks += 1
        return self.takes_nothing

    def ask(self, message: ClientMessage) -> None:
        match message:
            case Follow():
                self._loop.call_soon(self._follow, message)
            case Acknowledge():
                assert self._feed.position <= message.seq <= (self._cursor or 0)
                self._feed.position = message.seq
            case Heartbeat():
                pass
            case _:
                raise AssertionError(message)

    def _follow(self, message: Follow) -> None:
        wanted = message.seq if message.epoch else self._feed.position
        is_reset = wanted < self._feed.begins
        self._cursor = self._feed.seq if is_reset else wanted
        self._receive(Following(message.id, EPOCH, self._cursor, is_reset))
        self.wake()

    def hold(self) -> None:
        self.is_on_hold = True

    def take_on(self) -> None:
        self.is_on_hold = False
        self.wake()

    def leave(self) -> None:
        if self in self._feed.links:
            self._feed.links.remove(self)
            self._loop.call_soon(self._closed, Goodbye("", ""))

    def end(self, goodbye: Goodbye) -> None:
        """The server ends it."""
        self._feed.links.remove(self)
        self._loop.call_soon(self._closed, goodbye)

    def tell(self, message: ServerMessage) -> None:
        """The server says this, too."""
        self._loop.call_soon(self._receive, message)

    def wake(self) -> None:
        """Tell what there is, soon."""
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon(self._tell)

    def _tell(self) -> None:
        self._is_woken = False
        if self.is_on_hold or self._cursor is None or self not in self._feed.links:
            return
        if self._cursor < self._feed.begins:
            self._cursor = self._feed.seq
            self._receive(Following(0, EPOCH, self._cursor, True))
            return
        first = self._cursor - (self._feed.events[0].seq if self._feed.events else 0) + 1
        told = self._feed.events[max(0, first) : max(0, first) + PER_WRITE]
        for one in told:
            self._cursor = one.seq
            self._receive(one)
        if told:
            self.wake()


_WELCOME = Welcome(1, "presenced", "", "service", 30_000, 45_000, 15_000, 0, 0, 65_536, 1000, 1000, EPOCH, EPOCH)
