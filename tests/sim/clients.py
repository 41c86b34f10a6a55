"""A client: what it says, and everything that it was told, kept in the slow and obvious way.

What protocol.md promises to every client is checked as it arrives: one answer to each request, records that only get
newer on a link, pushes of watched users alone, channels and events that add up (`tests.core.told`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from presenced.limits import SERVER_FRAME_BYTES_MAX
from presenced.wire.codec import decode_server, encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import (
    ClientMessage,
    Done,
    Error,
    Goodbye,
    Hello,
    Presence,
    Record,
    Records,
    Role,
    ServerMessage,
    Taken,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchAll,
    Welcome,
    WhoPage,
)
from tests.core.told import Told
from tests.sim.sockets import Connection

Notice = Callable[["Client", ServerMessage], None]


class Link:
    """What a client knows on one connection. A new one begins with nothing (protocol.md 6.4)."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.welcome: Welcome | None = None
        self.goodbye = ""
        self.said_bye = False
        self.may_end = False
        """It has sent what the server may end it for."""
        self.listen: Callable[[ServerMessage], object] | None = None
        """Hears of all that arrives."""
        self.delivered_ms = 0
        """When the server was last given something of what was sent on it."""
        self.view: dict[str, Record] = {}
        """The newest record of each user."""
        self.watched: dict[str, None] = {}
        self.watches_all = False
        self.pushed: dict[str, None] = {}
        """Whom it was told of since it watches all: that it is told the state of everybody it was not promised."""
        self.told = Told()
        self.waiting: dict[int, ClientMessage] = {}
        """Requests that have no answer yet."""
        self.reader = FrameReader(SERVER_FRAME_BYTES_MAX)

    @property
    def is_open(self) -> bool:
        """Whether requests make sense on it."""
        return self.welcome is not None and not self.goodbye and not self.said_bye and not self.connection.is_broken


class Client:
    """One program: an app on one device, or a service (`device` empty)."""

    def __init__(self, number: int, user: str, device: str, role: Role, notice: Notice, *, sync: bool = False) -> None:
        self.number = number
        """Also its instance number."""
        self.user = user
        self.device = device
        self.role = role
        self.sync = sync
        self.link: Link | None = None
        self.has_been = False
        """It has been welcomed before: it comes back as it was."""
        self.refs: dict[int, tuple[str, str]] = {}
        """Of a service: what it holds, as far as it knows."""
        self._notice = notice
        self._last_id = 0

    def __str__(self) -> str:
        return f"{self.user}/{self.device}" if self.device else f"{self.user}#{self.number}"

    # --- what it does -------------------------------------------------------------------------------------------

    def connect(self, make: Callable[[Callable[[bytes], None]], Connection]) -> Link:
        """Take up a new connection, and say hello on it."""
        self.refs.clear()
        connection = make(lambda data: self._arrive(link, data))
        link = self.link = Link(connection)
        return link

    def hello(self, **described: Any) -> Hello:
        """As it says it on each link; after the first as a client that comes back."""
        return Hello(
            [1],
            "",
            self.user,
            self.device,
            role=self.role,
            sync=self.sync,
            as_was=self.has_been,
            only_free=self.has_been and bool(self.device),
            instance=self.number,
            **described,
        )

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    def say(self, *messages: ClientMessage) -> bytes:
        """Send messages in one piece; gives the bytes."""
        assert self.link is not None
        for message in messages:
            request_id = getattr(message, "id", 0)
            if request_id:
                self.link.waiting[request_id] = message
        data = b"".join(frame(encode(message)) for message in messages)
        self.link.connection.send(data)
        return data

    # --- what it is told ----------------------------------------------------------------------------------------

    def _arrive(self, link: Link, data: bytes) -> None:
        link.reader.feed(data)
        for payload in link.reader.take(1_000_000):
            message = decode_server(payload)
            assert not link.goodbye, f"{self} was told {message} after its goodbye"
            self._learn(link, message)
            if link.listen is not None:
                link.listen(message)
            self._notice(self, message)

    def _learn(self, link: Link, message: ServerMessage) -> None:
        if isinstance(message, Welcome):
            assert link.welcome is None, f"{self} was welcomed twice"
            link.welcome = message
            self.has_been = True
            return
        if isinstance(message, Goodbye):
            link.goodbye = message.code
            return
        asked: ClientMessage | None = None
        request_id = getattr(message, "id", 0)
        if request_id:
            asked = link.waiting.pop(request_id, None)
            assert asked is not None, f"{self} was told {message}, which it has not asked, or was told already"
        if isinstance(message, Presence):
            self._pushed(link, message.record)
        elif isinstance(message, Records | WhoPage):
            for record in message.records:
                self._answered(link, record)
                if isinstance(asked, Watch):
                    link.watched[record.user] = None
        elif isinstance(message, Done):
            self._done(link, asked)
        elif isinstance(message, Taken):
            self.refs.pop(message.ref, None)
        if not isinstance(message, Error):
            link.told.learn(message, asked)

    def _pushed(self, link: Link, record: Record) -> None:
        name = record.user
        assert name in link.watched or link.watches_all, f"{self} is pushed {name}, which it does not watch"
        known = link.view.get(name)
        if known is not None:
            # A hidden record has version 0 and is always taken.
            assert not record.version or record.version >= known.version, f"{self}: {record} is pushed after {known}"
        link.view[name] = record
        if link.watches_all:
            link.pushed[name] = None

    def _answered(self, link: Link, record: Record) -> None:
        known = link.view.get(record.user)
        is_newer = known is None or not record.version or record.version >= known.version
        assert is_newer, f"{self}: {record} is answered after {known}"
        link.view[record.user] = record

    def _done(self, link: Link, asked: ClientMessage | None) -> None:
        if isinstance(asked, Unwatch):
            for name in asked.users:
                link.watched.pop(name, None)
        elif isinstance(asked, WatchAll):
            link.watches_all = asked.on
            link.pushed.clear()
        elif isinstance(asked, UnwatchChannel):
            link.told.rooms.pop(asked.channel, None)
