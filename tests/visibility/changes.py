"""What happens in a stage, and what each viewer is to be told of it: once who sees a difference, and nobody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from presenced.wire.messages import (
    Approve,
    Block,
    Cancel,
    ChannelEvent,
    HideFrom,
    Leave,
    MemberKind,
    Presence,
    Record,
    ShowAgain,
    ShowTo,
    Subscribe,
    Unblock,
    Unsubscribe,
    Watch,
    WatchAll,
    WatchChannel,
)
from tests.visibility.pairs import AUDIENCES, VERA, WALT, Shows, Subject
from tests.visibility.questions import chunks, members_of
from tests.visibility.rule import Viewer, never_seen
from tests.visibility.stage import OTHER_ROOM, SHARED, Stage, ViewLink

ROOMS = (SHARED, OTHER_ROOM)


class Watching:
    """One viewer's links: that watch everybody, the rooms, contacts, and as a service all users."""

    def __init__(self, stage: Stage, viewer: Viewer) -> None:
        self.stage = stage
        self.viewer = viewer
        device = "watcher" if viewer.role == "user" else ""
        self.link = ViewLink(stage.world, viewer, device)
        self.rooms = ViewLink(stage.world, viewer, f"{device}2" if device else "")
        self.all = ViewLink(stage.world, viewer) if viewer.role != "user" else None
        self.contacts = ViewLink(stage.world, viewer, f"{device}3", contacts=True) if device else None
        for names in chunks(stage.names):
            self.link.say(Watch(self.link.next_id(), names))
        for room in ROOMS:
            self.rooms.say(WatchChannel(self.rooms.next_id(), room, 256))
        if self.all is not None:
            self.all.say(WatchAll(self.all.next_id()))
        stage.world.turn()
        self.cells = 0

    def note(self, full: dict[str, Record]) -> None:
        """What holds before a change."""
        for link in self._links():
            link.forget()
        self.before = {room: self.stage.expected(self.viewer, full, room) for room in ("", *ROOMS)}
        self.faces = {room: self._faces(room) for room in ("", *ROOMS)}
        self.members = {room: members_of(self.stage, room, self.viewer, full) for room in ROOMS}

    def _faces(self, room: str) -> dict[str, str]:
        return {name: self.stage.facts.face(self.viewer, name, room).kind for name in self.stage.names}

    def hold_watch(self, full: dict[str, Record], what: str) -> None:
        """Hold what was told of those who are watched against what had to be."""
        after = self._told_after(full)
        expected = Counter(encode(record) for name, record in after.items() if self._differs(name, record, ""))
        for link in (self.link, self.all):
            if link is not None:
                told = Counter(
                    self._settled(message.record) for message in link.messages if isinstance(message, Presence)
                )
                _same(told, expected, f"{what}, {self.viewer}")
        self.cells += len(self.stage.names)

    def hold_contacts(self, full: dict[str, Record], what: str) -> None:
        """Hold what a login with contacts knows against what it has to: all of who is a contact, of others nothing."""
        if self.contacts is None:
            return
        for name, record in self._told_after(full).items():
            known = self.contacts.view.get(name, never_seen(name))
            wanted = record if (self.viewer.name, name) in self.stage.facts.sees else never_seen(name)
            assert _without_version(known) == _without_version(wanted), f"{what}, contacts of {self.viewer}: {known}"
        self.cells += len(self.stage.names)

    def hold_rooms(self, full: dict[str, Record], what: str) -> None:
        """The same of the members of rooms."""
        for room in ROOMS:
            self._hold_room(room, self._told_after(full, room), full, what)

    def _told_after(self, full: dict[str, Record], room: str = "") -> dict[str, Record]:
        """What is told now of whomever something is told. Whoever knew less and is shown all of it is told with the
        version of this moment: that of the last change may be lower than what they know, and they would not take it."""
        after = self.stage.expected(self.viewer, full, room)
        version = self.stage.world.engine.ledger.version
        for name, kind in self._faces(room).items():
            if after[name].version and (self.faces[room][name], kind) in (("reduced", "full"), ("shown", "full")):
                after[name] = msgspec.structs.replace(after[name], version=version)
        return after

    def _settled(self, record: Record) -> bytes:
        """The bytes of a record that was told. One that must be higher than an answer, or than what was told before, of
        the same millisecond counts as told with the version of that."""
        version = self.stage.world.engine.ledger.version
        is_of_now = version < record.version <= version + 2
        return encode(msgspec.structs.replace(record, version=version) if is_of_now else record)

    def _differs(self, name: str, after: Record, room: str) -> bool:
        """Whether the viewer is to be told."""
        return _without_version(self.before[room][name]) != _without_version(after)

    def _hold_room(self, room: str, after: dict[str, Record], full: dict[str, Record], what: str) -> None:
        events = [
            message for message in self.rooms.messages if isinstance(message, ChannelEvent) and message.channel == room
        ]
        before = {record.user: record for record in self.members[room]}
        members = {record.user for record in members_of(self.stage, room, self.viewer, full)}
        expected: Counter[tuple[MemberKind, bytes]] = Counter()
        # Whoever has left is seen by what else there is, and the room is no ground any longer.
        apart = self.stage.expected(self.viewer, full, "nowhere")
        for name in before.keys() | members:
            if name not in members:
                is_in = room in self.stage.facts.rooms_of(name)
                expected["leave", encode(after[name] if is_in else apart[name])] += 1
            elif name not in before:
                expected["join", encode(after[name])] += 1
            elif self._differs(name, after[name], room):
                expected["change", encode(after[name])] += 1
        told = Counter((event.kind, self._settled(event.record)) for event in events)
        _same(told, expected, f"{what}, {room}, {self.viewer}")
        if events:
            assert events[-1].total == len(members), f"{what}, {room}, {self.viewer}: {events[-1]} of {len(members)}"
        self.cells += len(before.keys() | members)

    def _links(self) -> list[ViewLink]:
        return [self.link, self.rooms] + ([self.all] if self.all is not None else [])


def encode(record: Record) -> bytes:
    """The bytes of a record within a frame."""
    return msgspec.msgpack.encode(record)


def _without_version(record: Record) -> Record:
    return msgspec.structs.replace(record, version=0)


def _same(told: Counter, expected: Counter, where: str) -> None:  # type: ignore[type-arg]
    missing, more = expected - told, told - expected
    assert not missing and not more, (
        f"{where}: {sum(more.values())} too many, first {next(iter(more), None)!r}; "
        f"{sum(missing.values())} are missing, first {next(iter(missing), None)!r}"
    )


# --- what happens: each in one turn -------------------------------------------------------------------------------


def _live(subject: Subject) -> bool:
    return subject.state == "online"


def new_text(stage: Stage) -> None:
    stage.over(_live, lambda subject: _set_text(stage, subject))


def _set_text(stage: Stage, subject: Subject) -> None:
    if subject.offline == "no":
        stage.set_text(subject.name, f"later {subject.name}", "!")


def new_status(stage: Stage) -> None:
    stage.over(_live, stage.claim)


def unblock_all(stage: Stage) -> None:
    def unblock(subject: Subject) -> None:
        for viewer in (VERA, WALT):
            for one, other in ((viewer, subject.name), (subject.name, viewer)):
                if (one, other) in stage.facts.blocks:
                    stage.act(one, Unblock, other)

    stage.over(lambda _: True, unblock)


def block_some(stage: Stage) -> None:
    def block(subject: Subject) -> None:
        number = int(subject.name[1:5])
        if number % 5 == 0:
            stage.act(VERA, Block, subject.name)
        if number % 5 == 1:
            stage.act(subject.name, Block, VERA)
        if number % 7 == 2:
            stage.act(subject.name, Block, WALT)

    stage.over(lambda _: True, block)


def other_audiences(stage: Stage) -> None:
    def turn_on(subject: Subject) -> None:
        place = (int(subject.name[1:5]) * 7) % len(AUDIENCES)
        stage.set_audience(subject.name, AUDIENCES[place] or Shows())

    stage.over(lambda _: True, turn_on)


def other_hiding(stage: Stage) -> None:
    def flip(subject: Subject) -> None:
        for viewer in (VERA, WALT):
            is_hiding = (subject.name, viewer) in stage.facts.hides
            if is_hiding or int(subject.name[1:5]) % 3 == 0:
                stage.act(subject.name, ShowAgain if is_hiding else HideFrom, viewer)

    stage.over(lambda _: True, flip)


def other_relations(stage: Stage) -> None:
    """Who sees stops, and who does not is let in."""

    def turn(subject: Subject) -> None:
        for viewer in (VERA, WALT):
            pair = (viewer, subject.name)
            if stage.facts.is_blocked(*pair):
                continue
            if pair in stage.facts.sees:
                stage.act(viewer, Unsubscribe, subject.name)
            elif pair in stage.facts.asked:
                stage.act(subject.name, Approve, viewer)
            else:
                stage.act(viewer, Subscribe, subject.name)

    stage.over(lambda _: True, turn)


def other_approvals(stage: Stage) -> None:
    """The viewers let in who asks, and put out who sees them: by reciprocity this decides what they see themselves."""

    def turn(subject: Subject) -> None:
        for viewer in (VERA, WALT):
            pair = (subject.name, viewer)
            if not stage.facts.is_blocked(*pair) and pair in stage.facts.sees | stage.facts.asked:
                stage.act(viewer, Cancel if pair in stage.facts.sees else Approve, subject.name)

    stage.over(lambda _: True, turn)


def show_more(stage: Stage) -> None:
    """The first device shows itself to those to whom it may."""

    def show(subject: Subject) -> None:
        if int(subject.name[1:5]) % 4 == 0:
            for viewer in (VERA, WALT):
                if (subject.name, viewer) not in stage.facts.blocks and subject.offline == "no":
                    stage.act(subject.name, ShowTo, viewer, device="web")

    stage.over(_live, show)


def leave_room(stage: Stage) -> None:
    def leave(subject: Subject) -> None:
        made = Leave(stage.app.next_id(), SHARED, subject.name, "web")
        stage.app.say(made)
        stage.facts.apply(subject.name, made)

    stage.over(lambda subject: subject.place in ("shared", "both"), leave)


def end_tabs(stage: Stage) -> None:
    """The second device goes, and with it whatever it alone has shown."""
    stage.over(lambda subject: f"{subject.name}/tab" in stage.refs and subject.offline != "no", _ender(stage, "tab"))


def go(stage: Stage) -> None:
    """Everybody leaves."""

    def end(subject: Subject) -> None:
        for device in ("tab", "web"):
            if f"{subject.name}/{device}" in stage.refs:
                stage.detach(subject.name, device)

    stage.over(lambda _: True, end)


def _ender(stage: Stage, device: str) -> Callable[[Subject], None]:
    return lambda subject: stage.detach(subject.name, device)


CHANGES: tuple[Callable[[Stage], None], ...] = (
    new_text,
    new_status,
    unblock_all,
    block_some,
    other_audiences,
    other_hiding,
    other_relations,
    other_approvals,
    show_more,
    leave_room,
    end_tabs,
    go,
)
