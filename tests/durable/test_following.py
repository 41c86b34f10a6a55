"""`kill -9` of a daemon whose events are followed: nobody misses one, and who keeps its cursor is told none twice."""

from __future__ import annotations

from pathlib import Path

from tests.durable.following import FollowLoop
from tests.durable.node import Node
from tests.support.tiers import samples

ROUNDS = max(20, samples(200))


def test_who_follows_is_told_each_event_over_kills(tmp_path: Path) -> None:
    with Node(tmp_path, "--rate", "0") as node:
        loop = FollowLoop(node, seed=1)
        for _ in range(ROUNDS):
            loop.round(events_max=300)
        loop.last()
    print(loop.counts)
    assert loop.counts.rounds == ROUNDS and loop.counts.events > 10 * ROUNDS and loop.counts.told_again
