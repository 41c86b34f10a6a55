"""Rounds of `kill -9` in which very many watchers come back with what they have, and are told of what differs.

A watcher keeps over all lives of the daemon what it was told, also of changes that the kill has undone. When it is back
it says what it has, and the answer must have exactly those whom it saw otherwise than they are now.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from presenced.digests import digest
from presenced.wire.messages import Check, Compare, Record, Watch
from tests.coming_back.words import DIGESTS
from tests.durable.node import Node
from tests.durable.swarm import (
    DONE,
    ERROR,
    GOODBYE,
    PRESENCE,
    RECORDS,
    STATUS,
    USER,
    VERSION,
    WELCOME,
    Frame,
    Peer,
    Swarm,
    Writer,
    ask,
    hello,
    number_of,
    operator,
)

CHECKED: Final = 90
WAYS: Final = ("watch", "compare")
THERE: Final = 0.7
"""How many of the watchers are there in a life of the daemon."""


@dataclass
class Tally:
    """What happened over all rounds."""

    rounds: int = 0
    returns: int = 0
    told: int = 0
    """Records in answers to watchers who came back."""
    undone: int = 0
    """Of these, such as take back what was told and then lost with the kill."""
    known: int = 0
    """Users of whom nothing had to be told."""
    checks: int = 0


def digest_of(frame: Frame | None) -> int:
    return digest(Record(*frame)) if frame is not None else 0


class Watcher:
    """A program that watches some users, and keeps what it has while the daemon is dead."""

    def __init__(self, name: str, users: Sequence[str], way: str) -> None:
        self.name = name
        self.users = list(users)
        self.way = way
        self.book: dict[str, Frame] = {}
        self.peer: Peer | None = None
        self.answers: list[Frame] = []
        self.faults: list[str] = []
        self.checks = 0
        self._versions: dict[str, int] = {}
        """On the present link."""

    def come_back(self, swarm: Swarm) -> dict[str, int]:
        """Say what it has, in one piece with the hello; gives the digests that it says."""
        have = {name: digest_of(self.book.get(name)) for name in self.users}
        self.answers.clear()
        self._versions.clear()
        self.peer = Peer(swarm, self._on_frame)
        requests: list[Watch | Compare] = [Watch(1, [*have], [*have.values()])]
        if self.way == "compare":
            # It watches without a word of what it has, and would be told all: the comparison comes first.
            requests = [Compare(1, [*have], [*have.values()]), Watch(2, [*have], [*have.values()])]
        self.peer.send(hello(self.name, "", role="service"), *requests)
        return have

    @property
    def is_back(self) -> bool:
        return len(self.answers) == (2 if self.way == "compare" else 1)

    def check(self) -> None:
        assert self.peer is not None
        self.peer.send(Check(9))

    def _on_frame(self, got: Frame) -> None:
        if got[0] == PRESENCE:
            self._take(got[1])
        elif got[0] == RECORDS:
            self.answers.append(got)
            for record in got[4]:
                self._take(record)
        elif got[0] == CHECKED:
            self.checks += 1
            mine = sum(map(digest_of, self.book.values())) % DIGESTS
            if got[4] != len(self.users) or got[5] != mine:
                self.faults.append(f"{self.name} has the sum {mine}, and is told {got}")
        elif got[0] == ERROR or (got[0] == GOODBYE and got[1] != "going_away"):
            self.faults.append(f"{self.name} is told {got}")
        else:
            assert got[0] in (WELCOME, DONE), got

    def _take(self, record: Frame) -> None:
        held = self.book.get(record[USER])
        if held is not None and held[STATUS] != "offline" and record[STATUS] == "offline":
            self.faults.append(f"{self.name} is told {record}, who is back in time")
        if record[VERSION] > self._versions.get(record[USER], -1):
            self.book[record[USER]] = record
            self._versions[record[USER]] = record[VERSION]


class ReturnLoop:
    """`round` after `round` on one directory; raises `AssertionError` at the first broken promise."""

    def __init__(self, node: Node, writers: int, watchers: int, seed: int) -> None:
        self.node = node
        self.tally = Tally()
        self.there: list[Watcher] = []
        """Those of the present life."""
        self.random = random.Random(seed)
        self.writers = [Writer(f"writer-{index:03d}") for index in range(writers)]
        names = [writer.name for writer in self.writers]
        self.watchers = [
            Watcher(f"watcher-{index}", self.random.sample(names, self.random.randint(1, writers)), WAYS[index % 2])
            for index in range(watchers)
        ]

    def round(self, acks_max: int) -> None:
        """One life: watchers come back, writers as well, who write until a random moment, killed."""
        self.node.start()
        with Swarm(self.node.port) as swarm:
            self._come_back(swarm)
            for writer in self.writers:
                writer.connect(swarm)
            swarm.run(lambda: all(writer.welcome for writer in self.writers), "everybody was welcomed")
            stop_at = sum(writer.acked for writer in self.writers) + self.random.randrange(1, acks_max)
            for writer in self.writers:
                writer.going = True
                writer.write()
            for watcher in self.there:
                watcher.check()
            swarm.run(lambda: sum(writer.acked for writer in self.writers) >= stop_at, "writes were acknowledged")
            self.node.kill()
            for writer in self.writers:
                writer.going = False
            # What had reached our side of the sockets was said, and counts.
            swarm.drain()
        self.tally.rounds += 1
        self.tally.checks = sum(watcher.checks for watcher in self.watchers)

    def last(self) -> None:
        """Start once more, see all come back, and stop in order."""
        self.node.start()
        with Swarm(self.node.port) as swarm:
            self._come_back(swarm)
            before = {watcher.name: watcher.checks for watcher in self.there}
            for watcher in self.there:
                watcher.check()
            swarm.run(lambda: all(one.checks > before[one.name] for one in self.there), "all were told a checksum")
            assert not any(watcher.faults for watcher in self.there)
        self.node.stop()

    def _come_back(self, swarm: Swarm) -> None:
        """Most watchers at once; nobody else says anything meanwhile, so that what is true stays true."""
        self.there = [watcher for watcher in self.watchers if self.random.random() < THERE]
        before = {watcher.name: dict(watcher.book) for watcher in self.there}
        had = {watcher.name: watcher.come_back(swarm) for watcher in self.there}
        swarm.run(lambda: all(watcher.is_back for watcher in self.there), "all watchers were answered")
        true, _ = ask(operator(swarm), [writer.name for writer in self.writers])
        for watcher in self.there:
            self._judge(watcher, had[watcher.name], before[watcher.name], true)
            assert not watcher.faults, watcher.faults[:3]

    def _judge(self, watcher: Watcher, had: dict[str, int], before: dict[str, Frame], true: dict[str, Frame]) -> None:
        tally, told = self.tally, [record for answer in watcher.answers for record in answer[4]]
        differing = [name for name in watcher.users if had[name] != digest_of(true[name])]
        if watcher.way == "compare":
            # To the second request, said before the answer to the first was read, the same differs.
            first, second = (sorted(record[USER] for record in answer[4]) for answer in watcher.answers)
            assert first == second, f"{watcher.name} is told first of {first}, and then of {second}"
            told = watcher.answers[0][4]
        assert sorted(record[USER] for record in told) == sorted(differing), (
            f"{watcher.name} is told {told}, and {differing} differ"
        )
        for name in watcher.users:
            mine = watcher.book.get(name)
            assert digest_of(mine) == digest_of(true[name]), f"{watcher.name} has {mine}, and true is {true[name]}"
        tally.returns += 1
        tally.told += len(told)
        tally.known += len(watcher.users) - len(told)
        tally.undone += sum(_number(before.get(record[USER])) > _number(record) for record in told)


def _number(frame: Frame | None) -> int:
    return number_of(frame) if frame is not None else 0
