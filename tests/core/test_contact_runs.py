"""Long random runs of all acts about contacts between a few users, held against a slow obvious twin: a table of who has
asked, may see, has approved or has listed whom. Between any two acts the world may start again from its log or from a
snapshot. Clients keep lists by what they are told, and these are always what the server says."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from presenced.wire.messages import (
    Approve,
    Block,
    Cancel,
    ContactChange,
    ContactEntry,
    ContactInfo,
    ContactList,
    GetContacts,
    RemoveContact,
    SetContact,
    SetContacts,
    Subscribe,
    Unblock,
    Unsubscribe,
)
from tests.core.world import FakeLink, World
from tests.support.tiers import samples

USERS = ("alice", "bob", "carol", "dave")
NOTES = ("", "hi", "it is me")
NAMES = ("", "Al", "Bo")
GROUPS: tuple[list[str], ...] = ([], ["work"], ["work", "chess"])


@dataclass
class Twin:
    """Each table says of a pair (who, whom) one thing, from the view of the first."""

    sees: set[tuple[str, str]] = field(default_factory=set)
    asks: dict[tuple[str, str], str] = field(default_factory=dict)
    approves: set[tuple[str, str]] = field(default_factory=set)
    lists: dict[tuple[str, str], tuple[str, list[str]]] = field(default_factory=dict)
    blocks: set[tuple[str, str]] = field(default_factory=set)

    def subscribe(self, user: str, other: str, note: str) -> None:
        if (user, other) in self.sees:
            return
        self.asks[user, other] = note
        self.grant(user, other)

    def grant(self, asker: str, user: str) -> None:
        """What was approved before is granted, unless a block is in the way."""
        if (asker, user) in self.asks and (user, asker) in self.approves and (user, asker) not in self.blocks:
            self.approve(user, asker)
            self.approves.discard((user, asker))

    def approve(self, user: str, other: str) -> None:
        if (other, user) in self.asks:
            del self.asks[other, user]
            self.sees.add((other, user))
            self.approves.discard((user, other))
        elif (other, user) not in self.sees:
            self.approves.add((user, other))

    def cancel(self, user: str, other: str) -> None:
        self.asks.pop((other, user), None)
        self.sees.discard((other, user))
        self.approves.discard((user, other))

    def unsubscribe(self, user: str, other: str) -> None:
        self.asks.pop((user, other), None)
        self.sees.discard((user, other))

    def set(self, user: str, other: str, name: str | None, groups: list[str] | None) -> None:
        before = self.lists.get((user, other), ("", []))
        self.lists[user, other] = before[0] if name is None else name, before[1] if groups is None else groups

    def remove(self, user: str, other: str, *, answers: bool = True) -> None:
        if self.has(other, user):
            self.lists.setdefault((other, user), ("", []))
        self.unsubscribe(user, other)
        if answers or (other, user) not in self.asks:
            self.cancel(user, other)
        self.approves.discard((user, other))
        self.lists.pop((user, other), None)

    def set_all(self, user: str, entries: dict[str, ContactEntry]) -> None:
        for other in USERS:
            if other == user:
                continue
            entry = entries.get(other)
            if entry is None:
                if self.knows(user, other):
                    self.remove(user, other, answers=False)
                continue
            self.unsubscribe(user, other)
            if entry.subscription in ("to", "both"):
                self.sees.add((user, other))
                self.approves.discard((other, user))
            asked = (other, user) in self.asks
            if entry.subscription in ("from", "both"):
                self.cancel(user, other)
                self.sees.add((other, user))
            elif asked:
                self.sees.discard((other, user))
            else:
                self.cancel(user, other)
            self.approves.discard((user, other))
            self.lists[user, other] = entry.name, entry.groups

    def has(self, user: str, other: str) -> bool:
        """Whether the other is in the user's list."""
        pair = user, other
        return (
            pair in self.sees
            or (other, user) in self.sees
            or pair in self.asks
            or pair in self.approves
            or pair in self.lists
        )

    def knows(self, user: str, other: str) -> bool:
        return self.has(user, other) or (other, user) in self.asks

    def block(self, user: str, other: str) -> None:
        self.blocks.add((user, other))

    def unblock(self, user: str, other: str) -> None:
        if (user, other) in self.blocks:
            self.blocks.discard((user, other))
            self.grant(other, user)

    def list_of(self, user: str) -> dict[str, ContactInfo]:
        infos = {}
        for other in USERS:
            asks = (other, user) in self.asks and (user, other) not in self.blocks
            if self.has(user, other) or asks:
                to, back = (user, other) in self.sees, (other, user) in self.sees
                infos[other] = ContactInfo(
                    other,
                    "both" if to and back else "to" if to else "from" if back else "none",
                    (user, other) in self.asks,
                    asks,
                    (user, other) in self.approves,
                    *self.lists.get((user, other), ("", [])),
                    self.asks[other, user] if asks else "",
                )
        return infos


class Client:
    """A user's link, and the list that it keeps by what it is told."""

    def __init__(self, link: FakeLink) -> None:
        self.link = link
        self.infos: dict[str, ContactInfo] = {}
        self.version = 0
        self.synced(whole=True)

    def synced(self, *, whole: bool = False) -> None:
        """Ask for what has changed since the version that it has."""
        self.link.forget()
        answer = self.link.expect(GetContacts(self.link.next_id(), 0 if whole else self.version), ContactList)
        self.link.messages[:] = [message for message in self.link.messages if message is not answer]
        if answer.is_whole:
            self.infos.clear()
        self.infos.update({info.contact: info for info in answer.contacts})
        for name in answer.removed:
            self.infos.pop(name, None)
        self.version = answer.version

    def learn(self) -> None:
        for message in self.link.messages:
            if isinstance(message, ContactChange):
                assert message.version >= self.version
                self.version = message.version
                if message.removed:
                    self.infos.pop(message.contact.contact, None)
                else:
                    self.infos[message.contact.contact] = message.contact
        self.link.forget()


class Run:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.twin = Twin()
        self.world = World()
        self.clients: dict[str, Client] = {}
        self.open()

    def open(self, missed: dict[str, Client] | None = None) -> None:
        self.app = self.world.open("app", role="service")
        for name in USERS:
            client = self.clients[name] = Client(self.world.open(f"{name}/laptop"))
            if missed is not None:
                # As after a lost link: it goes on from what it had.
                client.infos, client.version = missed[name].infos, missed[name].version
                client.synced()

    def step(self) -> None:
        pick = self.random.choice
        user, other = self.random.sample(USERS, 2)
        app = self.app
        act = pick(["subscribe"] * 3 + ["approve"] * 3 + ["cancel", "unsubscribe", "set", "remove", "block", "unblock"]
                   + ["all", "all", "stall", "log", "snapshot"])  # fmt: skip
        request_id = app.next_id()
        if act == "subscribe":
            note = pick(NOTES)
            app.done(Subscribe(request_id, other, note, user))
            self.twin.subscribe(user, other, note)
        elif act == "approve":
            app.done(Approve(request_id, other, user))
            self.twin.approve(user, other)
        elif act == "cancel":
            app.done(Cancel(request_id, other, user))
            self.twin.cancel(user, other)
        elif act == "unsubscribe":
            app.done(Unsubscribe(request_id, other, user))
            self.twin.unsubscribe(user, other)
        elif act == "set":
            name, groups = pick([None, *NAMES]), pick([None, *GROUPS])
            app.done(SetContact(request_id, other, name, groups, user))
            self.twin.set(user, other, name, groups)
        elif act == "remove":
            app.done(RemoveContact(request_id, other, user))
            self.twin.remove(user, other)
        elif act == "block":
            app.done(Block(request_id, other, user))
            self.twin.block(user, other)
        elif act == "unblock":
            app.done(Unblock(request_id, other, user))
            self.twin.unblock(user, other)
        elif act == "all":
            self.set_all(user, request_id)
        elif act == "stall":
            link = self.clients[user].link
            if link.reading:
                link.fill()
        elif act in ("log", "snapshot"):
            facts = None if act == "log" else [*self.world.snapshot(), *self.world.log.facts[-3:]]
            for client in self.clients.values():
                if not client.link.reading:
                    client.link.drain()
                client.learn()
            self.world = self.world.restarted(facts=facts)
            self.open(dict(self.clients))
        self.compare()

    def set_all(self, user: str, request_id: int) -> None:
        pick = self.random.choice
        others = [other for other in USERS if other != user and self.random.random() < 0.7]
        entries = {
            other: ContactEntry(other, pick(("none", "to", "from", "both")), pick(NAMES), pick(GROUPS))
            for other in others
        }
        self.app.done(SetContacts(request_id, user, list(entries.values())))
        self.twin.set_all(user, entries)

    def compare(self) -> None:
        for name, client in self.clients.items():
            expected = self.twin.list_of(name)
            said = self.app.expect(GetContacts(self.app.next_id(), user=name), ContactList)
            assert {info.contact: info for info in said.contacts} == expected, f"the list of {name}"
            if not client.link.reading and self.random.random() < 0.3:
                client.link.drain()
            if client.link.reading:
                client.learn()
                assert client.infos == expected, f"what {name} was told"


@pytest.mark.parametrize("seed", range(samples(3)))
def test_lists_are_what_the_acts_make_of_them(seed: int) -> None:
    run = Run(seed)
    for _ in range(150):
        run.step()
