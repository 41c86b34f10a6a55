"""What befalls nodes of a cluster, their engine and the network between them, one thing at a time. Each returns once
nothing is wrong any more but for what follows from it."""

from __future__ import annotations

import signal
import threading
import time

from tests.torture.stage import LEASE_S, NAMES, Stage

SPLIT_S = 4.0


class Faults:
    """The faults of one stage. How long something lasts is drawn: that is what is tried, so that it is slept."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._chance = stage.chance
        self._engines = stage.engines

    def _name(self) -> str:
        return self._chance.choice(NAMES)

    def _pause(self, most_s: float) -> None:
        time.sleep(self._chance.uniform(0.05, most_s))

    # --- nodes ------------------------------------------------------------------------------------------------

    def node_killed(self) -> None:
        """A node is killed, and started again, perhaps after its lease."""
        name = self._name()
        self._stage.kill(name)
        if self._chance.random() < 0.1:
            time.sleep(LEASE_S + 2)
        elif self._chance.random() < 0.5:
            self._pause(1.0)
        self._stage.start(name)

    def node_stopped(self) -> None:
        """A node ends in order, and is started again."""
        name = self._name()
        self._stage.stop(name)
        self._stage.start(name)

    def node_paused(self) -> None:
        """A node stands still, perhaps for longer than its lease."""
        name = self._name()
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
        way = self._stage.ways[self._name()]
        self._engines.network.cut(*way.all)
        if self._chance.random() < 0.2:
            time.sleep(LEASE_S + 3)
        else:
            self._pause(3.0)
        self._engines.network.mend(*way.all)

    def way_stalled(self) -> None:
        """Nothing passes between a node and the engine for a while, and all of it afterwards."""
        way = self._stage.ways[self._name()]
        self._engines.network.stall(*way.all)
        self._pause(4.0)
        self._engines.network.mend(*way.all)

    def replies_lost(self) -> None:
        """Some answers of the engine do not arrive, or half of them."""
        way = self._stage.ways[self._name()]
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
        name, before = self._name(), self._engines.primary
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
        odd = self._name()
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


NODE_KILLS = ("node_killed",)
FAILOVERS = ("primary_killed", "primary_paused", "tail_lost", "both_killed", "engine_split")
OTHERS = (
    *("node_stopped", "node_paused", "way_cut", "way_stalled", "replies_lost"),
    *("engine_paused", "engine_emptied", "engine_lost"),
)
LOSING = {"both_killed": ("engine", "replica"), "engine_split": ("engine",)}
"""What may lose something that was acknowledged, with these values of cluster.ack (README, More than one machine)."""
OF_NODES = ("node_killed", "node_stopped", "node_paused", "way_cut", "way_stalled", "replies_lost")
OF_ENGINES = ("primary_killed", "primary_paused", "tail_lost", "engine_split", "engine_emptied", "engine_lost")
"""One of each may come at once."""
KINDS = (*NODE_KILLS, *FAILOVERS, *OTHERS)


def may_lose(kind: str, ack: str) -> bool:
    """Whether something acknowledged may be lost: as documented, or since a home and the engine failed at once."""
    kinds = kind.split("+")
    is_both = len(kinds) > 1 and bool({"node_killed", "node_paused", "way_cut"} & {*kinds})
    return is_both or any(ack in LOSING.get(one, ()) for one in kinds)


def bring_about(faults: Faults, kind: str) -> None:
    """Bring about a fault, or two at once ("one+other"), and return when they are over."""
    failures: list[BaseException] = []

    def guarded(one: str) -> None:
        try:
            getattr(faults, one)()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(one,)) for one in kind.split("+")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure
