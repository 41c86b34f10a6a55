"""A home and another node that has a copy of all its users, on one clock, and clients that ask the same on both.

Whatever the home's turns leave for the log is applied at the other node in its own turn. A pair of clients has a link
at each: what changes something is said at the home, what only asks or watches at both. What the two were told is
compared by `agree`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from presenced.core.copies import Copies
from presenced.core.handovers import Handovers
from presenced.core.parts.schedules import Calendar, no_calendar
from presenced.core.policy import Policy
from presenced.core.records import EventsErased, Fact, PositionsKnown
from presenced.wire.messages import (
    Awaited,
    ChannelCounts,
    ChannelEvent,
    Checked,
    ClientMessage,
    ContactChange,
    ContactList,
    MembersPage,
    Presence,
    Record,
    Records,
    ServerMessage,
    WhoPage,
)
from tests.core.world import WALL_MS, FakeLink, World

TOLD = (
    Awaited,
    ChannelCounts,
    ChannelEvent,
    Checked,
    ContactChange,
    ContactList,
    MembersPage,
    Presence,
    Records,
    WhoPage,
)
"""What is about users, and so the same on all nodes."""


class Home(World):
    """A world whose facts go on to a node that only has copies."""

    def __init__(self, policy: Policy | None = None, *, calendar: Calendar = no_calendar, skew_ms: int = 0) -> None:
        """`skew_ms`: how far the other node's clock is ahead."""
        super().__init__(policy, calendar=calendar)
        self.away = World(policy, calendar=calendar, wall_ms=WALL_MS + skew_ms)
        self.away.engine.users.copy_by(lambda name: True)
        self.copies = Copies(self.away.engine)
        self.copies_here = Copies(self.engine)
        self.handovers = Handovers(self.away.engine)
        self.handovers_here = Handovers(self.engine)
        """Of users who are at home at the other node."""
        self.standing_max = 30
        self.applied = 0
        """How many facts the other node has."""
        self.asked: list[tuple[FakeLink, ClientMessage]] = []
        """What is asked at the other node once it has them."""

    def turn(self) -> None:
        super().turn()
        away = self.away
        away.now_ms = self.now_ms
        facts = self.log.facts[self.applied :]
        self.applied += len(facts)
        if facts:
            self.copies.apply(self.passed_on(facts), self.now_ms)
        asked, self.asked = self.asked, []
        for link, message in asked:
            if link.open:
                link.say(message)
        away.turn()
        moments = [ms for ms in (self.next_ms, away.next_ms) if ms is not None]
        self.next_ms = min(moments, default=None)
        # Nothing is made of what others decide, but that an erasure takes out events of one's own time as a home.
        # Positions are about the links here.
        made = [fact for fact in away.log.facts if not isinstance(fact, EventsErased | PositionsKnown)]
        assert not made, f"{made} is made of what another node has decided"

    def passed_on(self, facts: list[Fact]) -> list[Fact]:
        """What the other node is told: as it comes from the wire."""
        decoded: list[Fact] = msgspec.msgpack.decode(msgspec.msgpack.encode(facts), type=list[Fact])
        return decoded


@dataclass(eq=False)
class Pair:
    """The same client at both nodes."""

    here: FakeLink
    there: FakeLink

    @property
    def open(self) -> bool:
        return self.here.open and self.there.open

    def say(self, message: ClientMessage) -> None:
        """Say it at the home alone, and run a turn."""
        self.here.say(self._numbered(message))
        self.here.world.turn()

    def ask(self, message: ClientMessage) -> None:
        """Say it at both, and run a turn."""
        message = self._numbered(message)
        home = self.here.world
        assert isinstance(home, Home)
        self.here.say(message)
        home.asked.append((self.there, message))
        home.turn()

    def _numbered(self, message: ClientMessage) -> ClientMessage:
        return replace(message, id=self.here.next_id()) if hasattr(message, "id") else message

    def stall(self) -> None:
        """Neither reads from now on. At home the client has more to read, so both are full at once."""
        for link in (self.here, self.there):
            if link.reading:
                link.fill()

    def drain(self) -> None:
        self.here.drain()
        self.there.drain()
        self.here.world.turn()

    def lose(self) -> None:
        for link in (self.here, self.there):
            if link.open:
                link.lose()

    def agree(self) -> None:
        """What both were told since the last time is the same. Of one user, list or channel in order; in which order
        users are told of in one turn is nobody's business."""
        here, there = _by_subject(self.here.messages), _by_subject(self.there.messages)
        for about in {**here, **there}:
            assert there.get(about) == here.get(about), (
                f"{self.here.session.user_name} is told of {about}\nhere {here.get(about)}\nthere {there.get(about)}"
            )
        self.here.forget()
        self.there.forget()


def open_pair(home: Home, address: str, **said: Any) -> Pair:
    """A client that says hello at both. At the other node it has no device: that is held at the home."""
    here = home.open(address, **said)
    user = address.partition("/")[0]
    there = home.away.open(user, **{name: said[name] for name in said if name in ("role", "rights", "instance")})
    # Contacts are pushed without being named.
    here.watches_all = there.watches_all = here.session.viewer is not None
    return Pair(here, there)


def watch_contacts(home: Home, pair: Pair) -> None:
    """As after a hello that wants contacts and to be told nothing of them."""
    for link in (pair.here, pair.there):
        if link.session.watched_contacts is None:
            link.world.engine.watches.add_contacts(home.now_ms, link.session)


def _by_subject(messages: list[ServerMessage]) -> dict[tuple[str, str], list[Any]]:
    told: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for message in messages:
        if isinstance(message, TOLD):
            subject = getattr(message, "channel", "") or getattr(getattr(message, "record", None), "user", "")
            told[type(message).__name__, subject].append(_comparable(message))
    return told


def _comparable(message: ServerMessage) -> ServerMessage:
    """The message without what may differ. The counters of two nodes are not the same, and records that are not whole
    have the version of a moment. Which device is shown of one who hides depends on heartbeats, which are heard at home
    alone. Of whole records both are compared besides."""
    if isinstance(record := getattr(message, "record", None), Record):
        message = replace(message, record=replace(record, device="", version=0))
    if isinstance(message, Records | WhoPage | MembersPage | ChannelCounts):
        message = replace(message, records=[replace(record, device="", version=0) for record in message.records])
    return replace(message, version=0) if isinstance(message, Records | WhoPage | MembersPage | Checked) else message
