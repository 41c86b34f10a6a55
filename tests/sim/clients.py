"""A client: what it says, and everything that it was told, kept in the slow and obvious way.

What protocol.md promises to every client is checked as it arrives: one answer to each request, records that only get
newer on a link, pushes of watched users alone, channels and events that add up (`tests.core.told`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from presenced.limits import SERVER_FRAME_BYTES_MAX
from presenced.wire.codec import decode_server, encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import (
    Checked,
    ClientMessage,
    Compare,
    ContactRecords,
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
    WatchChannel,
    Welcome,
    WhoPage,
)
from tests.coming_back.words import digest_of
from tests.core.told import Room, Told
from tests.sim.promises import Views, WhatWasHad
from tests.sim.sockets import Connection

Notice = Callable[["Client", ServerMessage], None]
HAD_BEFORE: Final = 1
"""The version of a record that a link begins with."""


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
        self.listens = False
        """It watches its user's contacts, without knowing them."""
        self.watches_all = False
        self.pushed: dict[str, None] = {}
        """Whom it was told of since it watches all: that it is told the state of everybody it was not promised."""
        self.told = Told()
        self.waiting: dict[int, ClientMessage] = {}
        """Requests that have no answer yet."""
        self.had: dict[int, WhatWasHad] = {}
        """With which of these it has said what it has."""
        self.reader = FrameReader(SERVER_FRAME_BYTES_MAX)

    @property
    def is_unsure(self) -> bool:
        """Whether its client does not know what it watched when it was lost, or has ended it itself."""
        asked = (Watch, Unwatch, WatchAll, WatchChannel, UnwatchChannel)
        return self.welcome is None or self.said_bye or any(isinstance(one, asked) for one in self.waiting.values())

    @property
    def is_open(self) -> bool:
        """Whether requests make sense on it."""
        return self.welcome is not None and not self.goodbye and not self.said_bye and not self.connection.is_broken


class Client:
    """One program: an app on one device, or a service (`device` empty)."""

    def __init__(
        self,
        number: int,
        user: str,
        device: str,
        role: Role,
        notice: Notice,
        views: Views,
        *,
        sync: bool = False,
        listens: bool = False,
    ) -> None:
        """`listens`: it logs in with its user's contacts."""
        self.number = number
        """Also its instance number."""
        self.user = user
        self.device = device
        self.role = role
        self.sync = sync
        self.listens = listens
        self.link: Link | None = None
        self._last: Link | None = None
        """The newest, open or not."""
        self.has_been = False
        """It has been welcomed before: it comes back as it was."""
        self.refs: dict[int, tuple[str, str]] = {}
        """Of a service: what it holds, as far as it knows."""
        self.views = views
        """The account of what clients are told who come back."""
        self.book: dict[str, Record] = {}
        """The newest record of each user, over all links."""
        self.token = ""
        """With which it takes back what its last link had."""
        self.before: Link | None = None
        """The last link."""
        self._is_taking_back = False
        """It is not known yet whether what the last link had is taken back."""
        self._refs_before: dict[int, tuple[str, str]] = {}
        self._notice = notice
        self._last_id = 0

    def __str__(self) -> str:
        return f"{self.user}/{self.device}" if self.device else f"{self.user}#{self.number}"

    # --- what it does -------------------------------------------------------------------------------------------

    def connect(self, make: Callable[[Callable[[bytes], None]], Connection]) -> Link:
        """Take up a new connection, and say hello on it."""
        self._refs_before, self.refs = self.refs, {}
        self.before = self._last
        connection = make(lambda data: self._arrive(link, data))
        link = self.link = self._last = Link(connection)
        return link

    def come(self, way: str, **described: Any) -> list[ClientMessage]:
        """What it says first on a new link, without waiting for an answer. `way`: as if it had nothing (`plain`), with
        what it has (`have`), or to take back what its last link had (`resume`)."""
        before = self.before
        if before is None or before.is_unsure or not self.token:
            way = "have" if way == "resume" and before is not None else "plain" if before is None else way
        self._is_taking_back = way == "resume"
        resume = self.token if self._is_taking_back else ""
        self.token = ""
        is_quiet = self.listens and way != "plain"
        messages: list[ClientMessage] = [self.hello(resume=resume, contacts=self.listens, quiet=is_quiet, **described)]
        if way == "plain":
            return messages
        assert before is not None
        self.views.returns[way] += 1
        if self._is_taking_back or self.listens:
            messages.append(self.compare([*{**before.watched, **self.book}]))
        if not self._is_taking_back and before.watched:
            messages.append(self.watch_again([*before.watched]))
        return messages + [self.watch_room_again(name) for name in before.told.rooms]

    def forget_some(self, chance: random.Random) -> None:
        """Some of what it has is lost or garbled."""
        for name, record in list(self.book.items()):
            lot = chance.random()
            if lot < 0.2:
                del self.book[name]
            elif lot < 0.4 and record.version:
                self.book[name] = replace(record, text="garbled")

    def to_come(self) -> list[tuple[str, str]]:
        """The devices that it may hold again without naming them."""
        return [*self._refs_before.values()] if self._is_taking_back else []

    def compare(self, names: list[str], had: WhatWasHad | None = None, *, more: bool = False) -> Compare:
        """A comparison of what it has of these, or says that it has."""
        assert self._last is not None
        request_id = self.next_id()
        had = self._last.had[request_id] = self._had(names) if had is None else had
        return Compare(request_id, names, [digest_of(had.get(name)) for name in names], more)

    def watch_again(self, names: list[str]) -> Watch:
        assert self._last is not None
        request_id = self.next_id()
        had = self._last.had[request_id] = self._had(names)
        return Watch(request_id, names, [digest_of(had.get(name)) for name in names])

    def watch_room_again(self, channel: str) -> WatchChannel:
        """With the members that its last link knew."""
        assert self._last is not None
        room = self.before.told.rooms.get(channel) if self.before is not None else None
        known = (room.members or {}).items() if room is not None else ()
        members = {name: _had_before(record) for name, record in known}
        request_id = self.next_id()
        self._last.told.had[request_id] = members
        have = [digest_of(record) for record in members.values()]
        return WatchChannel(request_id, channel, 100, [*members], have)

    def _had(self, names: list[str]) -> WhatWasHad:
        return {name: self.book.get(name) for name in names}

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
            self._be_welcomed(link, message)
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
        elif isinstance(message, Records | WhoPage | ContactRecords):
            if isinstance(asked, Watch):
                link.watched.update(dict.fromkeys(asked.users))
            for record in message.records:
                self._answered(link, record)
            if request_id in link.had:
                self._compared(link, link.had.pop(request_id), message.records)
        elif isinstance(message, Checked):
            if not link.listens:
                self.views.hold_checked(f"{self}", message, [link.view.get(name) for name in link.watched])
        elif isinstance(message, Done):
            self._done(link, asked)
        elif isinstance(message, Taken):
            self.refs.pop(message.ref, None)
        if not isinstance(message, Error):
            link.told.learn(message, asked)

    def _be_welcomed(self, link: Link, welcome: Welcome) -> None:
        self.has_been = True
        self.token = welcome.resume
        link.listens = self.listens
        is_taking_back, self._is_taking_back, before = self._is_taking_back, False, self.before
        assert is_taking_back or not welcome.resumed, f"{self} is given back what it has not asked for"
        if welcome.resumed:
            assert before is not None
            self.views.resumed += 1
            link.watched.update(before.watched)
            link.watches_all = before.watches_all
            link.told.rooms.update({name: Room(room.total, None) for name, room in before.told.rooms.items()})
            self.refs.update(self._refs_before)
        elif is_taking_back and before is not None and before.watched:
            # The rest it has said behind the hello.
            self.say(self.watch_again([*before.watched]))

    def _compared(self, link: Link, had: WhatWasHad, records: Sequence[Record]) -> None:
        """What was not told is as it had it."""
        self.views.hold_told(f"{self}", had, records)
        for name, record in had.items():
            if name not in link.view and record is not None:
                link.view[name] = _had_before(record)

    def _pushed(self, link: Link, record: Record) -> None:
        name = record.user
        is_watched = name in link.watched or link.watches_all or link.listens
        assert is_watched, f"{self} is pushed {name}, which it does not watch"
        known = link.view.get(name)
        if known is not None:
            # A hidden record has version 0 and is always taken.
            assert not record.version or record.version >= known.version, f"{self}: {record} is pushed after {known}"
        link.view[name] = self.book[name] = record
        if link.watches_all:
            link.pushed[name] = None

    def _answered(self, link: Link, record: Record) -> None:
        known = link.view.get(record.user)
        is_newer = known is None or not record.version or record.version >= known.version
        assert is_newer, f"{self}: {record} is answered after {known}"
        link.view[record.user] = self.book[record.user] = record

    def _done(self, link: Link, asked: ClientMessage | None) -> None:
        if isinstance(asked, Unwatch):
            for name in asked.users:
                link.watched.pop(name, None)
        elif isinstance(asked, WatchAll):
            link.watches_all = asked.on
            link.pushed.clear()
        elif isinstance(asked, UnwatchChannel):
            link.told.rooms.pop(asked.channel, None)


def _had_before(record: Record) -> Record:
    """As it is known on a new link: without a version, so that any other is taken."""
    return replace(record, version=min(record.version, HAD_BEFORE))
