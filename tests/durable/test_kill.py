"""`kill -9` under load: nothing acknowledged is lost, nobody is shown as gone, and nobody's view stays wrong."""

from __future__ import annotations

from pathlib import Path

from tests.durable.killing import KillLoop
from tests.durable.node import Node

ROUNDS = 20
WRITERS = 200


def test_kill_under_two_hundred_writers(tmp_path: Path) -> None:
    with Node(tmp_path, "--rate", "0") as node:
        loop = KillLoop(node, WRITERS, seed=1)
        for _ in range(ROUNDS):
            loop.round(acks_max=3_000)
        loop.last()
    print(loop.counts)
    assert loop.counts.rounds == ROUNDS and loop.counts.lost == loop.counts.false_offline == 0
