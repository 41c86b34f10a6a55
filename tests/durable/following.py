"""Rounds of following events, `kill -9` and starting again: who keeps its cursor is told each event exactly once, and a
named follower each at least once."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from presenced.wire.messages import Acknowledge, Follow, SetStatus
from tests.durable.node import Node
from tests.durable.swarm import Frame, Peer, Swarm, ask, opened, operator

EVENT, FOLLOWING = 80, 81
SEQ, AT_MS, KIND, USER, OLD, NEW = range(1, 7)
TEXT_OF_RECORD = 2

USERS = [f"user-{number}" for number in range(6)]
NAME = "index"


@dataclass
class Counts:
    """What happened over all rounds."""

    rounds: int = 0
    events: int = 0
    told_again: int = 0
    """To the named follower."""


class FollowLoop:
    """`round` after `round` on one directory; raises `AssertionError` at the first broken promise."""

    def __init__(self, node: Node, seed: int, at_start: Callable[[Node], None] = lambda node: None) -> None:
        self.node = node
        self.at_start = at_start
        self.counts = Counts()
        self.random = random.Random(seed)
        self.epoch = self.seq = 0
        """The cursor, which is kept together with what is made of the events."""
        self.texts: dict[str, str] = {}
        """What the events have made of each user."""
        self.seqs: dict[int, None] = {}
        self.named: dict[int, None] = {}
        self.written = 0

    def round(self, events_max: int) -> None:
        """One life: the cursor is taken up, events are told, killed at a random moment."""
        self.node.start()
        self.at_start(self.node)
        stop_at = self.counts.events + self.random.randrange(events_max)
        with Swarm(self.node.port) as swarm:
            keeper, named, app = self._follow(swarm), self._follow_by_name(swarm), operator(swarm)
            while self.counts.events < stop_at:
                self._write(app)
                swarm.run(partial(self._has_more_than, keeper, self.counts.events), "an event was told")
                self._take_named(named)
            self.node.kill()
            # What had reached our side of the sockets was told, and counts.
            swarm.drain()
            self._take(keeper)
            self._take_named(named)
        self.counts.rounds += 1

    def last(self) -> None:
        """Start once more: what the events have made of the users is what they are. Stop in order."""
        self.node.start()
        with Swarm(self.node.port) as swarm:
            keeper, named = self._follow(swarm), self._follow_by_name(swarm)
            app = operator(swarm)
            app.answer(SetStatus(1, text="the end", user=USERS[0]))
            swarm.run(lambda: self._take(keeper) >= 0 and self.texts.get(USERS[0]) == "the end", "all was told")
            swarm.run(lambda: self._take_named(named) == self.seq, "all was told by name")
            records, _ = ask(app, USERS)
        self.node.stop()
        for name in USERS:
            assert records[name][TEXT_OF_RECORD] == self.texts.get(name, ""), f"{name} is {records[name]}"
        missed = [seq for seq in self.seqs if seq not in self.named]
        assert not missed, f"the named follower was never told {missed[:5]}"

    def _follow(self, swarm: Swarm) -> Peer:
        peer = opened(swarm, "keeper", "", role="service")
        following = peer.answer(Follow(1, self.epoch, self.seq))
        assert following[0] == FOLLOWING, following
        assert not following[4], f"the cursor {self.epoch}-{self.seq} is reset to {following}"
        self.epoch, self.seq = following[2], following[3]
        return peer

    def _follow_by_name(self, swarm: Swarm) -> Peer:
        peer = opened(swarm, "named", "", role="service")
        following = peer.answer(Follow(1, name=NAME))
        assert following[0] == FOLLOWING and not following[4], following
        return peer

    def _write(self, app: Peer) -> None:
        """Some changes, for whose answers nobody waits."""
        requests = []
        for _ in range(self.random.randrange(1, 40)):
            self.written += 1
            requests.append(SetStatus(self.written, text=str(self.written), user=self.random.choice(USERS)))
        app.send(*requests)
        app.told.clear()

    def _has_more_than(self, keeper: Peer, events: int) -> bool:
        return self._take(keeper) > events

    def _take(self, peer: Peer) -> int:
        """Handle what the keeper of the cursor was told; returns how many events that makes by now."""
        for event in events_of(peer):
            assert event[SEQ] > self.seq, f"{event} was told again behind {self.seq}"
            assert self.texts.get(event[USER], "") == event[OLD], f"{event} follows on {self.texts.get(event[USER])}"
            self.texts[event[USER]] = event[NEW]
            self.seq = event[SEQ]
            self.seqs[self.seq] = None
            self.counts.events += 1
        return self.counts.events

    def _take_named(self, peer: Peer) -> int:
        seq = 0
        for event in events_of(peer):
            seq = event[SEQ]
            self.counts.told_again += seq in self.named
            self.named[seq] = None
        if seq and not peer.over and self.random.random() < 0.7:
            peer.send(Acknowledge(seq))
        return max(self.named, default=0)


def events_of(peer: Peer) -> list[Frame]:
    """The changes of a text that the link was told, which are forgotten there."""
    events = [got for got in peer.told if got[0] == EVENT]
    peer.told.clear()
    assert all(event[KIND] == "text_change" for event in events), events
    return events
