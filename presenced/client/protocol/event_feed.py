"""The events that a service follows: each reader gets each event once and in order, over all links.

The server keeps the newest events and one cursor per link. A reader here takes only an event that follows its last one
on the link, since the numbers leap where the server was killed. Whatever is missing in between (a lost link, a reader
that was full, another reader that asked for older ones) is healed in one way: the server is asked again from the oldest
position that some reader is at, and the others pass over what they have seen.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from presenced.client.protocol.pending_requests import Make, OnReply, Reply, Send, error_of
from presenced.errors import AddressError, PresenceError
from presenced.wire import messages
from presenced.wire.messages import Error, Follow, Following

QUEUE_MAX = 16_384
"""Events that wait for a slow reader. Beyond it the reader takes none until half is read, and is caught up then."""

LEAP = 2**32
"""By so much at least the numbers leap where the server was killed. Whatever is missing otherwise was lost."""

EventName = Literal[
    "online",
    "offline",
    "status_change",
    "text_change",
    "device_change",
    "contact_request",
    "contact_change",
    "erased",
    "reset",
]

_CURSOR = re.compile(r"([0-9]{1,16})-([0-9]{1,16})")


class Position(NamedTuple):
    """Behind which event a reader is."""

    epoch: int
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


class Event(NamedTuple):
    """Something that happened to a user.

    `online`, `offline` and `status_change` (which comes with both of them) tell the status before and after;
    `text_change` the text, and the emoji in fields of their own; `device_change` the primary device; `contact_change`
    the user's subscription to a contact; `contact_request` tells as `new` who asks to see the user. `erased`: the
    server's disk holds nothing any more of a user whom a service has erased (`Service.erase`). `reset`: the server
    cannot tell some events any longer, because it was restarted or too many came meanwhile; ask for the present state
    (`get_online_users`) and go on. Keep `cursor` to go on behind this event later: `events(cursor)`.
    """

    kind: EventName
    user: str
    """Empty for `reset`."""
    old: str
    new: str
    reason: str
    """Why the user or device is gone: `bye`, `lost`, `kicked`, `idle` or `hidden`. Of `contact_change` the contact's
    name, of `contact_request` the note of who asks."""
    at_ms: int
    """Wall time of the server; 0 for `reset`."""
    cursor: str
    old_emoji: str = ""
    new_emoji: str = ""
    """The emoji before and after; of `text_change`."""


def parse_cursor(cursor: str) -> Position:
    """Raises `AddressError` for a text that is not the cursor of an event."""
    match = _CURSOR.fullmatch(cursor)
    if match is None or max(int(match[1]), int(match[2])) > 2**53:
        raise AddressError(f"{cursor[:64]!r} is not a cursor; give one that an event had, or none", "bad_request")
    return Position(int(match[1]), int(match[2]))


class EventFeed:
    """What one reader has not read yet, and where it is."""

    __slots__ = ("_kinds", "_queue", "error", "is_full", "is_over", "position", "wake", "wanted")

    def __init__(
        self, wake: Callable[[], None], position: Position | None = None, kinds: frozenset[str] | None = None
    ) -> None:
        self.wake = wake
        self.position = position
        """Behind the last event that was queued; None = wherever the newest is."""
        self.error: PresenceError | None = None
        self.is_over = False
        self.is_full = False
        self.wanted: Callable[[], None] = wake
        """Called when a reader that was full takes events again."""
        self._kinds = kinds
        self._queue: deque[Event] = deque()

    def put(self, epoch: int, event: messages.Event) -> None:
        """The event behind the last one."""
        self.position = Position(epoch, event.seq)
        if event.kind == "erased" and not event.user:
            # It stands in the place of an event of somebody who was erased since.
            return
        if self._kinds is None or event.kind in self._kinds:
            cursor, emoji = str(self.position), (event.old_emoji, event.new_emoji)
            self._add(Event(event.kind, event.user, event.old, event.new, event.reason, event.at_ms, cursor, *emoji))

    def reset(self, position: Position) -> None:
        """The events between the last one and `position` are lost."""
        self.position = position
        if self._kinds is None or "reset" in self._kinds:
            self._add(Event("reset", "", "", "", "", 0, str(position)))

    def take(self) -> Event | None:
        """The next event, or None if the reader has read everything."""
        if not self._queue:
            return None
        event = self._queue.popleft()
        if self.is_full and len(self._queue) <= QUEUE_MAX // 2:
            self.is_full = False
            self.wanted()
        return event

    @property
    def has_more(self) -> bool:
        """Whether the reader has something to read."""
        return bool(self._queue)

    def end(self, error: PresenceError | None) -> None:
        """Nothing more comes; `error` says why, None if the owner closed it."""
        if not self.is_over:
            self.is_over, self.error = True, error
            self.wake()

    def _add(self, event: Event) -> None:
        self._queue.append(event)
        self.is_full = len(self._queue) >= QUEUE_MAX
        self.wake()


class FollowedEvents:
    """All readers of a client, and the requests for them. A `Part`."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._feeds: dict[EventFeed, None] = {}
        self._here: Position | None = None
        """The newest known event."""
        self._at = 0
        """The number of the event that the link was told last, or of the cursor that it follows from."""
        self._name = ""
        """The server keeps the position under this name; empty = it does not."""
        self._acknowledged = 0
        self._is_asking = False
        self._ask_again = False

    def attach(self, feed: EventFeed, name: str = "") -> None:
        """A new reader: from its position on, else from now on. With a `name` from where the server keeps it, and it is
        the only reader: two would acknowledge for each other. Raises `AddressError`."""
        if self._feeds and (name or self._name):
            raise AddressError(
                "a client that follows under a name has one reader of events; connect another client for another",
                "bad_request",
            )
        self._name = name
        self._acknowledged = 0
        self._feeds[feed] = None
        feed.wanted = self._ask
        if name or feed.position is not None or (self._here is None and not self._is_asking):
            self._ask()
        elif not self._is_asking:
            feed.position = self._here
            feed.wake()

    def release(self, feed: EventFeed) -> None:
        """The reader is closed. Idempotent."""
        self._feeds.pop(feed, None)
        feed.end(None)

    def acknowledge(self, feed: EventFeed, cursor: str) -> int:
        """The reader has handled the event with this cursor; returns the number to acknowledge to the server, 0 = that
        is done, or it keeps no position."""
        position = parse_cursor(cursor)
        here = self._here
        if not self._name or feed not in self._feeds or here is None or position.epoch != here.epoch:
            return 0
        if position.seq <= self._acknowledged:
            return 0
        self._acknowledged = position.seq
        return position.seq

    def event(self, event: messages.Event) -> None:
        """A push arrived. O(readers)."""
        here = self._here
        if here is None:
            return
        before, self._at = self._at, event.seq
        follows = event.seq == before + 1 or event.seq >= before + LEAP
        if event.seq > here.seq:
            self._here = Position(here.epoch, event.seq)
        for feed in self._feeds:
            position = feed.position
            if position is None or position.epoch != here.epoch or feed.is_full:
                continue
            if position.seq == before and follows:
                feed.put(here.epoch, event)
            elif event.seq > position.seq and not self._is_asking:
                self._ask()

    def fell_behind(self, message: Following) -> None:
        """A push arrived: this link goes on from another cursor. It read so slowly that the server has dropped some of
        the events that it missed, or the numbers leapt, or another client follows under its name."""
        if message.epoch:
            # Nothing was left out if it is no reset: where the link was is where it is.
            self._place(message, None if message.reset else Position(message.epoch, self._at))
        else:
            self.end(PresenceError("follower_replaced", f"another client follows as {self._name!r} now"))

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`."""
        self._is_asking = self._ask_again = False
        self._here = None
        self._at = self._acknowledged = 0
        if self._feeds:
            yield self._follow()

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        for feed in self._feeds:
            feed.end(error)
        self._feeds.clear()

    def _ask(self) -> None:
        if self._is_asking:
            self._ask_again = True
        elif self._feeds:
            self._send(*self._follow())

    def _follow(self) -> tuple[Make, OnReply]:
        self._is_asking, self._ask_again = True, False
        start = self._oldest()
        epoch, seq = start or (0, 0)

        def answered(reply: Reply) -> None:
            self._is_asking = False
            if isinstance(reply, Following):
                self._place(reply, start)
            elif isinstance(reply, Error):
                for feed in list(self._feeds):
                    feed.end(error_of(reply))

        name = self._name
        return lambda request_id: Follow(request_id, epoch, seq, name), answered

    def _oldest(self) -> Position | None:
        positions = [feed.position for feed in self._feeds if feed.position is not None and not feed.is_full]
        if not positions:
            # A full reader asks for what it missed once it takes events again. The others want new events alone.
            return None
        epochs = {position.epoch for position in positions}
        epoch = self._here.epoch if self._here is not None and self._here.epoch in epochs else max(epochs)
        return min(position for position in positions if position.epoch == epoch)

    def _place(self, message: Following, asked: Position | None) -> None:
        """The server continues behind the position in `message`. `asked` is the position that was asked for; None if
        nothing was asked, or only new events."""
        there = Position(message.epoch, message.seq)
        self._at = message.seq
        here = self._here
        self._here = max(here, there) if here is not None and here.epoch == there.epoch else there
        for feed in self._feeds:
            position = feed.position
            if position is None:
                # Under a name the server says where it is, and that may be behind what others were told.
                feed.position = there if self._name else self._here
                if message.reset:
                    # The position that the server kept under the name is too old.
                    feed.reset(there)
                feed.wake()
            elif position.epoch != there.epoch:
                feed.reset(there)
            elif message.reset and (asked is None or position <= asked):
                if position != there:
                    feed.reset(there)
            elif position == asked:
                feed.position = there
            elif position.seq < there.seq and not feed.is_full:
                self._ask_again = True
        if self._ask_again:
            self._ask()
