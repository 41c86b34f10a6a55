"""What a careful client makes of what it is told of channels, events and its own state, and what it may rely on."""

from __future__ import annotations

from dataclasses import dataclass, field

from presenced.wire.messages import (
    ChannelCounts,
    ChannelEvent,
    ClientMessage,
    Event,
    Follow,
    Following,
    GetMembers,
    MembersPage,
    OwnState,
    Record,
    ServerMessage,
    WatchChannel,
)

STATUSES = ("chat", "online", "away", "xa", "dnd")


@dataclass
class Room:
    """A channel as its watcher knows it."""

    total: int
    members: dict[str, Record] | None
    """None = it was told that it does not know all of them."""
    counts: list[int] | None = None
    listed: bool = False
    """It has asked for the members again since it began to watch."""

    def agrees(self) -> None:
        if self.members is not None:
            assert self.total == len(self.members), f"{self.total} are counted and these known: {list(self.members)}"
            if self.counts is not None:
                shown = [record.status for record in self.members.values()]
                assert self.counts == [shown.count(status) for status in STATUSES], f"{self.counts} is not {shown}"


@dataclass
class Told:
    """Everything of this kind that one link was told."""

    rooms: dict[str, Room] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    seq: int = 0
    """The cursor of a service that follows."""
    resets: int = 0
    own: list[OwnState] = field(default_factory=list)
    room_events: list[tuple[str, str, str]] = field(default_factory=list)
    """Channel, kind and user of each channel event."""
    batches: list[ChannelCounts] = field(default_factory=list)
    had: dict[int, dict[str, Record]] = field(default_factory=dict)
    """By request: the members that a client has of a channel, when it asks for what differs."""
    _statuses: dict[str, str] = field(default_factory=dict)

    def learn(self, message: ServerMessage, asked: ClientMessage | None) -> None:
        if isinstance(message, MembersPage):
            if isinstance(asked, WatchChannel):
                had = self.had.pop(asked.id, None)
                whole = not message.next and bool(asked.limit or not message.total)
                self._enter(message, whole=whole and (had is not None or not message.is_partial), had=had)
            elif isinstance(asked, GetMembers) and message.channel in self.rooms and not asked.after and asked.limit:
                self._enter(message, whole=not message.next)
        elif isinstance(message, ChannelEvent):
            self.room_events.append((message.channel, message.kind, message.record.user))
            self._event(message)
        elif isinstance(message, ChannelCounts):
            self.batches.append(message)
            self._batch(message)
        elif isinstance(message, Following):
            if message.reset:
                self.resets += 1
            if message.reset or isinstance(asked, Follow) and not asked.epoch and not asked.name:
                # From now on: what was between is not told.
                self._statuses.clear()
            self.seq = message.seq
        elif isinstance(message, Event):
            self._happened(message)
        elif isinstance(message, OwnState):
            assert not self.own or message.version >= self.own[-1].version, "an older own state came after a newer"
            self.own.append(message)

    def _enter(self, page: MembersPage, *, whole: bool, had: dict[str, Record] | None = None) -> None:
        kept = {name: record for name, record in (had or {}).items() if name not in page.left}
        told = {record.user: record for record in page.records}
        members = dict(sorted((kept | told).items())) if whole else None
        listed = page.channel in self.rooms
        room = self.rooms[page.channel] = Room(page.total, members, page.counts, listed)
        assert sum(page.counts) == page.total, f"{page.counts} do not make {page.total}"
        assert [record.user for record in page.records] == sorted(record.user for record in page.records)
        room.agrees()

    def _event(self, event: ChannelEvent) -> None:
        room = self.rooms[event.channel]
        room.total, room.counts = event.total, None
        if room.members is None:
            return
        user = event.record.user
        known = room.members.get(user)
        if event.kind == "leave":
            room.members.pop(user, None)
        else:
            assert known is None or event.record.version >= known.version, f"{user} goes back in {event.channel}"
            room.members[user] = event.record
        if not room.listed and event.kind != "leave":
            # Whoever asks for a list in between may be told again of what is in it, and others of its end.
            assert (known is None) == (event.kind == "join"), f"{user} is told as {event.kind} in {event.channel}"
        assert event.kind == "leave" or event.record.status != "offline"

    def _batch(self, batch: ChannelCounts) -> None:
        room = self.rooms[batch.channel]
        room.total, room.counts = batch.total, batch.counts
        assert sum(batch.counts) == batch.total, f"{batch.counts} do not make {batch.total}"
        assert len({record.user for record in batch.records}) == len(batch.records), "somebody is in a batch twice"
        assert not {record.user for record in batch.records} & set(batch.left), "somebody came and left in one batch"
        if not batch.complete:
            room.members = None
        if room.members is not None:
            for record in batch.records:
                room.members[record.user] = record
            for user in batch.left:
                room.members.pop(user, None)
        room.agrees()

    def agree(self) -> None:
        """Hold what is known of all channels against itself. To be called when nothing waits to be told."""
        for room in self.rooms.values():
            room.agrees()

    def _happened(self, event: Event) -> None:
        # The numbers leap after a kill.
        assert event.seq == self.seq + 1 or event.seq > self.seq + 2**31, f"event {event.seq} follows on {self.seq}"
        self.seq = event.seq
        self.events.append(event)
        if event.kind == "status_change":
            known = self._statuses.get(event.user)
            assert known in (None, event.old), f"{event.user} was {known} and changes from {event.old}"
            assert event.old != event.new
            self._statuses[event.user] = event.new

    def kinds(self, user: str = "") -> list[str]:
        """The kinds of the events of a user (empty = all), in order; of those of offline also the reason."""
        return [
            event.kind + (f" {event.reason}" if event.kind == "offline" else "")
            for event in self.events
            if user in ("", event.user)
        ]
