"""How faults of a cluster come together: rounds, after each of which everything is checked."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from tests.torture.node_faults import Faults

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

_FAILING_HOMES = frozenset({"node_killed", "node_paused", "way_cut"})
_LANES = 2
"""How many nodes something befalls at a time."""
_MIXED = (*OF_NODES, "node_killed", "node_killed", "node_killed")
_HARMLESS_TO_HOMES = tuple(kind for kind in OF_NODES if kind not in _FAILING_HOMES)


class Round(NamedTuple):
    """What befalls nodes, two at a time, while all of `engines` befalls the engine, one after the other."""

    nodes: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """All of its faults."""
        return self.nodes + self.engines

    @property
    def is_both(self) -> bool:
        """Whether a home and the engine may fail at once."""
        return not _FAILING_HOMES.isdisjoint(self.nodes) and not {*OF_ENGINES}.isdisjoint(self.engines)

    def may_lose(self, ack: str) -> bool:
        """Whether something acknowledged may be lost: as documented, or since a home and the engine failed at once."""
        return self.is_both or any(ack in LOSING.get(kind, ()) for kind in self.kinds)

    def may_lose_with_failover(self) -> bool:
        """Whether it may be lost if the Sentinels took the engine for dead that nothing was done to."""
        return not _FAILING_HOMES.isdisjoint(self.nodes)


def single(kind: str) -> Round:
    """One fault."""
    return Round(nodes=(kind,)) if kind in OF_NODES else Round(engines=(kind,))


def drawn_groups(chance: random.Random, count: int) -> list[Round]:
    """So many faults, nine or ten in a round: in every third nodes fail and the engine lives, in every third the engine
    fails and no home does, and in every third both do."""
    mixed, harmless = _Bag(chance, _MIXED), _Bag(chance, _HARMLESS_TO_HOMES)
    engines, with_homes = _Bag(chance, OF_ENGINES), _Bag(chance, (*OF_ENGINES, "both_killed"))
    rounds: list[Round] = []
    left = count
    while left:
        drawn = (
            lambda: (mixed.take(9), ("engine_paused",)),
            lambda: (harmless.take(6), engines.take(3)),
            lambda: (mixed.take(6), with_homes.take(3)),
        )
        of_nodes, of_engine = drawn[len(rounds) % 3]()
        of_engine = of_engine[:left]
        rounds.append(Round(of_nodes[: left - len(of_engine)], of_engine))
        left -= len(rounds[-1].kinds)
    return rounds


class _Bag:
    """Kinds in any order, none of them more often than the others."""

    def __init__(self, chance: random.Random, kinds: tuple[str, ...]) -> None:
        self._chance = chance
        self._kinds = kinds
        self._left: list[str] = []

    def take(self, count: int) -> tuple[str, ...]:
        """The next ones."""
        while len(self._left) < count:
            self._left += self._chance.sample(self._kinds, len(self._kinds))
        taken, self._left = self._left[:count], self._left[count:]
        return tuple(taken)


def bring_about(faults: Faults, what: Round) -> None:
    """Bring about a round, and return when it is over. Raises the first thing that failed."""
    failures: list[BaseException] = []

    def lane(kinds: deque[str]) -> Callable[[], None]:
        def run() -> None:
            try:
                while kinds and not failures:
                    getattr(faults, kinds.popleft())()
            except IndexError:
                pass
            except BaseException as failure:
                failures.append(failure)

        return run

    nodes = deque(what.nodes)
    threads = [threading.Thread(target=lane(nodes)) for _ in what.nodes[:_LANES]]
    threads.append(threading.Thread(target=lane(deque(what.engines))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        raise failure
