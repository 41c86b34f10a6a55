"""Random lives of a town (`lives`), by the faults that may befall it. `python -m tests.cluster` lives others."""

from __future__ import annotations

import pytest

from tests.cluster.lives import FAULTS, Life

LIVES = 16
"""Of each kind."""


@pytest.mark.parametrize("seed", range(LIVES))
@pytest.mark.parametrize("kind", FAULTS)
def test_a_life(kind: str, seed: int) -> None:
    life = Life(seed, faults=FAULTS[kind])
    try:
        life.live(25)
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(life.trace)) from error
