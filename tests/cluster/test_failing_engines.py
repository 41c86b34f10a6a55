"""Three real daemons, and an engine that fails over: nothing acknowledged is lost, and nobody is told offline."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.torture.nodes import torture
from tests.torture.rounds import NODE_KILLS, OF_ENGINES, OTHERS, drawn_groups
from tests.torture.stage import Stage

pytestmark = pytest.mark.slow

TOWNS, FAULTS_OF_EACH = 4, 50
"""In every run, however small its share of the samples is: about twenty seconds of processor time for each town, which
waits most of a minute or two, for a lease, a Sentinel or a start. They are dealt out singly, and wait side by side."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="presenced-") as path:
        yield Path(path)


@pytest.mark.parametrize("seed", range(TOWNS))
def test_promises_are_kept_while_the_engine_and_nodes_fail(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    with Stage(folder, chance, speakers=2, pause_s=0.05) as stage:
        torture(stage, drawn_groups(chance, FAULTS_OF_EACH))
        assert stage.tally.total() == FAULTS_OF_EACH


def test_the_towns_together_have_two_hundred_faults_of_every_kind() -> None:
    kinds = [
        kind
        for seed in range(TOWNS)
        for what in drawn_groups(random.Random(seed), FAULTS_OF_EACH)
        for kind in what.kinds
    ]
    assert len(kinds) >= 200 and {*NODE_KILLS, *OF_ENGINES, *OTHERS} <= {*kinds}
