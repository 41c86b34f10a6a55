"""What befalls nodes of a cluster, their engine and the network between them. Each returns once nothing is wrong any
more but for what follows from it; `rounds` has how they come together."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.torture.stage import LEASE_S, NAMES, Stage

SPLIT_S = 4.0


class Faults:
    """The faults of one stage, from several threads: no two of them are about one node. How long something lasts is
    drawn: that is what is tried, so that it is slept."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._chance = stage.chance
        self._engines = stage.engines
        self._free = set(NAMES)
        """Nodes of which nothing is wrong."""
        self._freed = threading.Condition()

    @contextmanager
    def _node(self) -> Iterator[str]:
        """One that is free, and is nobody else's meanwhile. It runs at first."""
        with self._freed:
            self._freed.wait_for(lambda: self._free)
            name = self._chance.choice(sorted(self._free))
            self._free.remove(name)
        try:
            self._stage.revive(name)
            yield name
        finally:
            with self._freed:
                self._free.add(name)
                self._freed.notify()

    def _pause(self, most_s: float) -> None:
        time.sleep(self._chance.uniform(0.05, most_s))

    # --- nodes ------------------------------------------------------------------------------------------------

    def node_killed(self) -> None:
        """A node is killed, and started again, perhaps after its lease."""
        with self._node() as name:
            self._stage.kill(name)
            if self._chance.random() < 0.1:
                time.sleep(LEASE_S + 2)
            elif self._chance.random() < 0.5:
                self._pause(1.0)
            self._stage.start(name)

    def node_stopped(self) -> None:
        """A node ends in order, and is started again."""
        with self._node() as name:
            self._stage.stop(name)
            self._stage.start(name)

    def node_paused(self) -> None:
        """A node stands still, perhaps for longer than its lease."""
        with self._node() as name:
            self._stage.hide(name)
            self._stage.signal(name, signal.SIGSTOP)
            if self._chance.random() < 0.2:
                time.sleep(LEASE_S + 3)
            else:
                self._pause(4.0)
            self._stage.signal(name, signal.SIGCONT)
            self._stage.show(name)

    # --- the network ------------------------------------------------------------------------------------------

    def way_cut(self) -> None:
        """A node does not reach the engine, perhaps for longer than its lease."""
        with self._node() as name:
            way = self._stage.ways[name]
            self._engines.network.cut(*way.all)
            if self._chance.random() < 0.2:
                time.sleep(LEASE_S + 3)
            else:
                self._pause(3.0)
            self._engines.network.mend(*way.all)

    def way_stalled(self) -> None:
        """Nothing passes between a node and the engine for a while, and all of it afterwards."""
        with self._node() as name:
            way = self._stage.ways[name]
            self._engines.network.stall(*way.all)
            self._pause(4.0)
            self._engines.network.mend(*way.all)

    def replies_lost(self) -> None:
        """Some answers of the engine do not arrive, or half of them."""
        with self._node() as name:
            way = self._stage.ways[name]
            for _ in range(self._chance.randint(1, 6)):
                is_torn = self._chance.random() < 0.5
                self._engines.network.lose_replies(way.servers[self._engines.primary], 1, is_torn=is_torn)
                self._pause(0.3)
            self._engines.network.mend(*way.all)

    # --- the engine -------------------------------------------------------------------------------------------

    def engine_paused(self) -> None:
        """The engine stands still, too shortly for a failover."""
        primary = self._engines.primary
        self._engines.freeze(primary)
        self._pause(0.4)
        self._engines.thaw(primary)

    def engine_emptied(self) -> None:
        """Somebody empties the engine."""
        self._engines.servers[self._engines.primary].send("FLUSHALL")

    def engine_lost(self) -> None:
        """All servers are gone at once, with all that they held, and come back empty."""
        for number in range(len(self._engines.servers)):
            self._engines.kill(number)
        self._pause(1.0)
        for number in range(len(self._engines.servers)):
            self._engines.start(number)
        self._engines.wait_whole()

    # --- failovers --------------------------------------------------------------------------------------------

    def primary_killed(self) -> None:
        """The primary is killed, and comes back as a replica."""
        before = self._engines.primary
        self._engines.kill(before)
        self._engines.wait_other_than(before)
        self._engines.start(before)
        self._engines.wait_whole()

    def primary_paused(self) -> None:
        """The primary stands still until it is none any more, and goes on without knowing it."""
        before = self._engines.primary
        self._engines.freeze(before)
        self._engines.wait_other_than(before)
        self._pause(1.0)
        self._engines.thaw(before)
        self._engines.wait_whole()

    def tail_lost(self) -> None:
        """What the primary takes last reaches no replica, and then it is killed."""
        before = self._engines.primary
        self._engines.network.stall(self._engines.public[before])
        # Shorter than what the Sentinels need to notice.
        self._pause(0.4)
        self._engines.kill(before)
        self._engines.network.mend(self._engines.public[before])
        self._engines.wait_other_than(before)
        self._engines.start(before)
        self._engines.wait_whole()

    def both_killed(self) -> None:
        """A node and the primary are killed in one moment."""
        with self._node() as name:
            before = self._engines.primary
            self._stage.kill(name)
            self._engines.kill(before)
            self._engines.wait_other_than(before)
            self._engines.start(before)
            self._stage.start(name)
            self._engines.wait_whole()

    def engine_split(self) -> None:
        """Servers and Sentinels lose the primary and make another, while one node still talks with the old one."""
        engines, before = self._engines, self._engines.primary
        network = engines.network
        # What else befalls this node may do so meanwhile.
        odd = self._chance.choice(NAMES)
        network.stall(engines.public[before])
        self._stage.ways[odd].pinned = before
        engines.wait_other_than(before)
        for name, way in self._stage.ways.items():
            if name != odd:
                network.cut(way.servers[before])
        self._pause(SPLIT_S)
        for way in self._stage.ways.values():
            network.mend(way.servers[before])
        self._stage.ways[odd].pinned = None
        network.mend(engines.public[before])
        engines.wait_whole()
