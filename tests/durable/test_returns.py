"""`kill -9` again and again: whoever watched and comes back is told of what differs from what it has, and no more."""

from __future__ import annotations

from pathlib import Path

from tests.durable.node import Node
from tests.durable.returning import ReturnLoop
from tests.support.tiers import samples

ROUNDS = max(20, samples(200))
"""In fewer than twenty lives hardly a watcher has seen what a kill has undone."""
WRITERS = 12
WATCHERS = 24


def test_watchers_come_back_after_kills(tmp_path: Path) -> None:
    with Node(tmp_path, "--rate", "0") as node:
        loop = ReturnLoop(node, WRITERS, WATCHERS, seed=1)
        for _ in range(ROUNDS):
            loop.round(acks_max=24)
        loop.last()
    print(loop.tally)
    tally = loop.tally
    assert tally.rounds == ROUNDS and tally.returns > ROUNDS * WATCHERS // 2
    assert tally.told > tally.undone and tally.known and tally.checks
