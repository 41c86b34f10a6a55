"""A few people who change all the time who sees them, each with links that watch everybody; held after each turn."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, ClassVar, Final, Protocol

import msgspec

from presenced.wire.messages import (
    AddClaim,
    Approve,
    Block,
    Cancel,
    ChannelCounts,
    ChannelEvent,
    ClientMessage,
    EndClaim,
    Error,
    GetMembers,
    Heartbeat,
    HideFrom,
    Join,
    Leave,
    MembersPage,
    Record,
    RemoveContact,
    SetAudience,
    SetStatus,
    ShowAgain,
    ShowTo,
    StopShowing,
    Subscribe,
    Unblock,
    Unsubscribe,
    Watch,
    WatchAll,
    WatchChannel,
)
from tests.core.world import World
from tests.visibility.rule import Facts, Viewer, listed, never_seen, seen_by
from tests.visibility.stage import ViewLink, policy, seems_online

PEOPLE: Final = ("ann@one", "ben@one", "cat@two", "dan")
NAMES: Final = (*PEOPLE, "eve@two")
"""The last is only spoken of."""
DEVICES: Final = ("desk", "phone")
ROOMS: Final = ("den", "hall")
LEVELS: Final = ("everyone", "contacts", "nobody")
VIEWERS: Final = (
    *(Viewer(name) for name in PEOPLE[:-1]),
    Viewer(PEOPLE[-1], see=("ann*",)),
    Viewer("backend", "service"),
    Viewer("narrow", "service", ("*@two", "ann@one")),
)


class Looker:
    """One viewer: a link that asks, and others that watch in each way there is."""

    def __init__(self, town: Town, viewer: Viewer) -> None:
        self.town = town
        self.viewer = viewer
        self.asker = self._open("asker")
        self.watcher = self._open("watcher")
        self.rooms = self._open("rooms")
        self.knows: dict[str, dict[str, Record]] = {room: {} for room in ROOMS}
        self.totals = dict.fromkeys(ROOMS, 0)
        self.listens = self._open("contacts", contacts=True) if viewer.role == "user" else None
        self.everybody = self._open("everybody") if viewer.role != "user" else None
        self.watcher.say(Watch(self.watcher.next_id(), list(NAMES)))
        for room in ROOMS:
            self.rooms.say(WatchChannel(self.rooms.next_id(), room, 100))
        if self.everybody is not None:
            self.everybody.say(WatchAll(self.everybody.next_id()))
        town.world.turn()
        self.answers = self.ask()
        self._learn_rooms()
        for link in self.links():
            link.take_pushed()

    def _open(self, device: str, *, contacts: bool = False) -> ViewLink:
        is_user = self.viewer.role == "user"
        return ViewLink(
            self.town.world, self.viewer, device if is_user else "", contacts=contacts, priority=-1 if is_user else 0
        )

    def links(self) -> list[ViewLink]:
        links = (self.asker, self.watcher, self.rooms, self.listens, self.everybody)
        return [link for link in links if link is not None]

    def ask(self) -> dict[str, Record]:
        """What Get says now."""
        return {record.user: record for record in self.asker.records(NAMES)}

    def hold(self, full: dict[str, Record], what: str) -> None:
        """After a turn: the answers against the rule, and what is told and known against the answers."""
        before, self.answers = self.answers, self.ask()
        where = f"{what}, {self.viewer.name}"
        changed = {}
        for name, record in self.answers.items():
            self.town.hold_rule(self.viewer, name, record, full[name], where)
            if not is_same(before[name], record):
                changed[name] = record
            elif not record.version:
                assert record == never_seen(name)
        self._hold_watch(self.watcher, changed, where)
        if self.everybody is not None:
            self._hold_watch(self.everybody, changed, where)
        self._hold_contacts(changed, where)
        self._hold_rooms(full, where)
        self.asker.forget()
        self.asker.said.clear()

    def _hold_watch(self, link: ViewLink, changed: dict[str, Record], where: str) -> None:
        pushed = link.take_pushed()
        told = {record.user: record for record in pushed}
        assert len(told) == len(pushed), f"{where}: something is told twice: {pushed}"
        assert told.keys() == changed.keys(), (
            f"{where}: told is {list(told.values())}, changed {list(changed.values())}"
        )
        for name, record in told.items():
            assert is_same(record, changed[name]), f"{where}: {record} is told, and {changed[name]} answered"
        if link is self.watcher:
            for name, record in self.answers.items():
                assert is_same(link.view[name], record), f"{where}: {link.view[name]} is known, and {record} answered"

    def _hold_contacts(self, changed: dict[str, Record], where: str) -> None:
        """Who has come to be a contact is told, who is one is told like any other, and who is none is gone."""
        if self.listens is None:
            return
        link, facts = self.listens, self.town.facts
        pushed = link.take_pushed()
        assert len({record.user for record in pushed}) == len(pushed), f"{where}: a contact is told twice: {pushed}"
        for name in NAMES:
            known = link.view.get(name, never_seen(name))
            if (self.viewer.name, name) in facts.sees:
                assert is_same(known, self.answers[name]), f"{where}: of a contact {known} is known"
            else:
                assert known == never_seen(name), f"{where}: of no contact {known} is known"
        for record in pushed:
            pair = (self.viewer.name, record.user)
            assert record.user in changed or pair in facts.sees or not record.version, f"{where}: {record} is told"

    def _learn_rooms(self) -> None:
        stale: dict[str, None] = {}
        for message in self.rooms.messages:
            if isinstance(message, MembersPage):
                self.knows[message.channel] = {record.user: record for record in message.records}
                self.totals[message.channel] = message.total
            elif isinstance(message, ChannelEvent):
                known = self.knows[message.channel]
                self.totals[message.channel] = message.total
                if message.kind == "leave":
                    assert known.pop(message.record.user, None) is not None, f"{message} of nobody who is known"
                else:
                    assert (message.record.user in known) == (message.kind == "change"), f"{message} and {known}"
                    known[message.record.user] = message.record
            elif isinstance(message, ChannelCounts):
                assert not message.complete and not message.records and not message.left
                stale[message.channel] = None
        self.rooms.messages.clear()
        for room in stale:
            # Whoever joins or leaves may see many others at once, and is told to ask for them anew.
            page = self.rooms.expect(GetMembers(self.rooms.next_id(), room), MembersPage)
            self.knows[room] = {record.user: record for record in page.records}
            self.totals[room] = page.total
        self.rooms.messages.clear()

    def _hold_rooms(self, full: dict[str, Record], where: str) -> None:
        self._learn_rooms()
        for room in ROOMS:
            page = self.asker.expect(GetMembers(self.asker.next_id(), room), MembersPage)
            there = listed(self._in_room(room, full))
            assert [record.user for record in page.records] == [record.user for record in there], f"{where}, {room}"
            assert page.total == len(there) == self.totals[room], f"{where}, {room}: {page} {self.totals}"
            assert all(is_same(one, other) for one, other in zip(page.records, there, strict=True)), f"{where}: {page}"
            known = sorted(self.knows[room].values(), key=lambda record: record.user)
            assert len(known) == len(there), f"{where}, {room}: {known} are known, and {there} are there"
            assert all(is_same(one, other) for one, other in zip(known, there, strict=True)), f"{where}: {known}"

    def _in_room(self, room: str, full: dict[str, Record]) -> Iterator[Record]:
        """The records of those in the room, by what counts there."""
        facts = self.town.facts
        for name in {user for channel, user, _ in facts.rooms if channel == room}:
            yield seen_by(facts.face(self.viewer, name, room), full[name], None, 1)


def is_same(one: Record, other: Record) -> bool:
    """The same but for the version."""
    return msgspec.structs.replace(one, version=0) == msgspec.structs.replace(other, version=0)


class Observer(Protocol):
    """Who is to know, after each step, what the rule says."""

    def links(self) -> list[ViewLink]:
        """Those that have to show that they are alive."""

    def hold(self, full: dict[str, Record], what: str) -> None:
        """`full`: the records as of who sees all. `what` has happened."""


class Town:
    """The people, and the dice that move them."""

    restarts: ClassVar[float] = 0.02
    """How many of the steps are restarts."""

    def __init__(self, seed: int, grounds: tuple[str, ...], *, reciprocal: bool, **changed: Any) -> None:
        """`changed`: of the server's policy."""
        self.dice = random.Random(seed)
        self.facts = Facts(grounds, reciprocal, seems_online=lambda name: seems_online(self.world, name))
        self.world = World(policy(grounds, reciprocal=reciprocal, **changed))
        self.links: dict[tuple[str, str], ViewLink] = {}
        """Of the people's devices that are there."""
        self.hiding: dict[str, None] = {}
        """Who appears offline."""
        self.steps = 0
        self._open_lookers()

    def _open_lookers(self) -> None:
        # Once a step is enough.
        self.world.checks = False
        self.app = ViewLink(self.world, Viewer("app", "service"))
        self.lookers: list[Observer] = [Looker(self, viewer) for viewer in VIEWERS]

    def run(self, steps: int) -> None:
        for self.steps in range(steps):
            self.step()

    def step(self) -> None:
        """Something happens, a turn is run, and everybody is asked what they know."""
        dice = self.dice
        user = dice.choice(PEOPLE)
        self.world.now_ms += dice.choice((0, 1, 20, 500))
        roll = dice.random()
        if roll < 0.12 or not any(owner == user for owner, _ in self.links):
            what = self._come_or_go(user)
        elif roll < 0.3:
            what = self._be_busy(user)
        elif roll < 0.42:
            what = self._move(user)
        elif roll < 0.42 + self.restarts:
            what = self._restart()
        else:
            what = self._permit(user)
        self.world.turn()
        self.world.check()
        for link in [self.app, *self.links.values(), *(link for one in self.lookers for link in one.links())]:
            link.say(Heartbeat())
        full = {record.user: record for record in self.app.records(NAMES)}
        for looker in self.lookers:
            looker.hold(full, f"step {self.steps}: {what}")

    def hold_rule(self, viewer: Viewer, name: str, record: Record, full: Record, where: str) -> None:
        """What the viewer was answered about somebody, of whom `full` is the whole record, is what the rule says."""
        face = self.facts.face(viewer, name)
        if face.kind == "shown":
            assert record.status != "offline" or full.status == "offline" and name not in self.hiding, where
            return
        expected = seen_by(face, full, None, record.version)
        assert record == expected, f"{where}: {record} is answered, and {face} makes {expected}"

    # --- what happens -----------------------------------------------------------------------------------------

    def say(self, user: str, message: ClientMessage, device: str) -> str:
        """The user says this on the device; the facts follow if it is taken."""
        link = self.links[user, device]
        answer = link.ask(message)
        assert not isinstance(answer, Error), f"{message}: {answer}"
        self.facts.apply(user, message, device)
        return f"{user}/{device} {message}"

    def _some_device(self, user: str) -> str:
        return self.dice.choice([device for owner, device in self.links if owner == user])

    def _come_or_go(self, user: str) -> str:
        device = self.dice.choice(DEVICES)
        link = self.links.pop((user, device), None)
        if link is None:
            self.links[user, device] = ViewLink(self.world, Viewer(user), device)
            return f"{user}/{device} comes"
        link.bye()
        self.facts.end_device(user, device)
        return f"{user}/{device} goes"

    def _be_busy(self, user: str) -> str:
        device, dice = self._some_device(user), self.dice
        link = self.links[user, device]
        choice = dice.randrange(4)
        if choice == 0:
            status = dice.choice(("offline", "dnd", "auto", "auto"))
            self.hiding.pop(user, None)
            if status == "offline":
                self.hiding[user] = None
            return self.say(user, SetStatus(link.next_id(), status), device)
        if choice == 1:
            return self.say(user, SetStatus(link.next_id(), None, dice.choice(("", "one", "two")), "*"), device)
        if choice == 2:
            return self.say(user, AddClaim(link.next_id(), "trip", "calendar", dice.choice(("xa", "away"))), device)
        return self.say(user, EndClaim(link.next_id(), "trip"), device)

    def _move(self, user: str) -> str:
        device = self._some_device(user)
        message = self.dice.choice((Join, Join, Leave))
        return self.say(user, message(self.links[user, device].next_id(), self.dice.choice(ROOMS)), device)

    def _permit(self, user: str) -> str:
        device, dice = self._some_device(user), self.dice
        contact = dice.choice([name for name in NAMES if name != user])
        request_id = self.links[user, device].next_id()
        if dice.random() < 0.15:
            return self.say(user, self._audience(request_id, user), device)
        kinds: list[Any] = [Block, Unblock, Unblock, HideFrom, ShowAgain, ShowAgain, Unsubscribe, RemoveContact]
        if not self.facts.is_blocked(user, contact):
            # What these do during a block shows when it ends, which other tests are about.
            kinds += [Subscribe, Approve, Subscribe, Approve, Cancel]
        if (user, contact) not in self.facts.blocks:
            kinds += [ShowTo, StopShowing]
        return self.say(user, dice.choice(kinds)(request_id, contact), device)

    def _audience(self, request_id: int, user: str) -> SetAudience:
        dice = self.dice
        lists = ([name for name in NAMES if name != user and dice.random() < 0.15] for _ in range(2))
        return SetAudience(request_id, *(dice.choice(LEVELS) for _ in range(3)), *lists)

    def _restart(self) -> str:
        """The server starts again from what it logged, and everybody comes back to it in time."""
        self.world = self.world.restarted(down_ms=1_000, now_ms=self.world.now_ms + 1_000)
        for user, device in self.links:
            self.links[user, device] = ViewLink(self.world, Viewer(user), device)
        self.world.turn()
        self._open_lookers()
        return "restart"
