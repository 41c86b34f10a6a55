"""A program that watches everybody, and comes back with its position to any node of a town (protocol.md, 22.4)."""

from __future__ import annotations

from collections.abc import Sequence

from presenced.core.model import User
from presenced.digests import digest
from presenced.wire.messages import (
    Check,
    Checked,
    Get,
    Position,
    Presence,
    Record,
    Records,
    ServerMessage,
    WatchAll,
    Who,
    WhoPage,
)
from tests.cluster.client import Client
from tests.cluster.town import TownNode


class Returner:
    """It keeps what it was told, over all its links, and holds it against what the node knows whenever it is told that
    this is all."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names`: of whom it asks besides when it takes everything, for no page has who is offline."""
        self.names = names
        self.link: Client | None = None
        self.records: dict[str, Record] = {}
        self.position: tuple[int, int] | None = None
        self.told: dict[str, None] = {}
        """Of whom the present link has said something."""
        self.told_first: list[Record] = []
        """What was told for the position."""
        self.is_whole = False
        """All that was missed has come on this link."""
        self.resets = self.returns = self.checks = 0
        self._read = 0
        self._since = 0
        self._checked: Checked | None = None
        self._ids = 0

    @property
    def is_there(self) -> bool:
        """Whether it has a link."""
        return self.link is not None and self.link.is_open

    def come(self, node: TownNode) -> None:
        """Say hello to this node, and what it has."""
        self.link = node.dial("root", role="service", instance=5)
        self.told, self.told_first = {}, []
        self.is_whole, self._read, self._checked = False, 0, None
        epoch, self._since = self.position or (0, 0)
        self._say(WatchAll(self._next_id(), True, epoch, self._since))
        if self.position is None:
            self._list()

    def check(self) -> None:
        """Ask whether that was all, which gives a position."""
        if self.is_there and self.is_whole:
            self._say(Check(self._next_id()))

    def lose(self) -> None:
        """The connection breaks."""
        if self.is_there:
            assert self.link is not None
            self.link.lose()

    def read(self) -> None:
        """Take what has come."""
        link = self.link
        while link is not None and self._read < len(link.messages):
            message = link.messages[self._read]
            self._read += 1
            self._take(message)
        if self._checked is not None:
            checked, self._checked = self._checked, None
            self._hold(checked)

    def _take(self, message: ServerMessage) -> None:
        if isinstance(message, Presence):
            self._learn(message.record)
        elif isinstance(message, Position):
            self.told_first = [self.records[name] for name in self.told]
            self.returns += 1
            if message.reset:
                self.resets += 1
                self._list()
            else:
                old = [name for name in self.records if name not in self.told]
                self._get([name for name in old if not 0 < self.records[name].version < self._since])
        elif isinstance(message, WhoPage):
            for record in message.records:
                self._learn(record)
            if message.next:
                self._say(Who(self._next_id(), message.next))
            else:
                self._get([name for name in {**self.records, **dict.fromkeys(self.names)} if name not in self.told])
        elif isinstance(message, Records):
            for record in message.records:
                self._learn(record)
            self._have_all()
        elif isinstance(message, Checked):
            self._checked = message

    def _learn(self, record: Record) -> None:
        known = self.records.get(record.user)
        # What was told on another link has no version here.
        if record.user in self.told and known is not None and 0 < record.version < known.version:
            return
        self.records[record.user] = record
        self.told[record.user] = None

    def _hold(self, checked: Checked) -> None:
        """What it has is what the node knows, but for what is told later."""
        assert self.link is not None
        self.checks += 1
        engine = self.link.world.engine
        users, waiting = engine.users, {one.name for one in engine.pushes.untold() if isinstance(one, User)}
        known = {user.name: user.record for user in map(users.get, [*users, *self.records]) if user is not None}
        for name in {*known, *self.records} - waiting:
            mine, right = self.records.get(name), known.get(name)
            is_same = (digest(mine) if mine else 0) == (digest(right) if right else 0)
            assert is_same, f"since {self._since} {self.link.world.name} has told {mine}, and it is {right}"
        if checked.epoch:
            self.position = checked.epoch, checked.version

    def _list(self) -> None:
        self._say(Who(self._next_id()))

    def _get(self, names: list[str]) -> None:
        if names:
            self._say(Get(self._next_id(), names))
        else:
            self._have_all()

    def _have_all(self) -> None:
        self.is_whole = True
        self.check()

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids

    def _say(self, message: WatchAll | Who | Get | Check) -> None:
        if self.is_there:
            assert self.link is not None
            self.link.say(message)
            self.read()
