"""Three real daemons, and an engine that fails over: nothing acknowledged is lost, and nobody is told offline."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tiers import samples
from tests.torture.nodes import torture
from tests.torture.stage import Stage

pytestmark = pytest.mark.slow

KINDS = (
    *("primary_killed", "replies_lost", "node_killed", "tail_lost"),
    *("engine_emptied", "primary_paused", "way_stalled"),
)
"""In this order, as many as a run takes."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="presenced-") as path:
        yield Path(path)


def test_promises_are_kept_while_the_engine_and_nodes_fail(folder: Path) -> None:
    with Stage(folder, random.Random(1), speakers=2) as stage:
        torture(stage, list(KINDS[: samples(len(KINDS))]))
        assert stage.tally.total() == samples(len(KINDS))
