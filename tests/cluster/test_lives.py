"""Random lives of a town (`lives`), by the faults that may befall it. `python -m tests.cluster` lives others."""

from __future__ import annotations

import pytest

from tests.cluster.lives import FAULTS, Life
from tests.support.tiers import samples

LIVES = max(4, samples(16))
"""Of each kind; every other one is observed."""


FOUND = [
    *[("stills", 44), ("disks", 48), ("cut", 81), ("cut", 85), ("cut", 6024)],
    *[("torn", 5038), ("founders", 7014), ("all", 7020), ("mortal", 8001)],
    *[("torn", 92000), ("stills", 92022), ("torn", 94016), ("torn", 9916)],
]
"""Lives in which nodes once disagreed, or sent a request to and fro for ever, or that could not go on."""


@pytest.mark.parametrize("seed", range(LIVES))
@pytest.mark.parametrize("kind", FAULTS)
def test_a_life(kind: str, seed: int) -> None:
    live(kind, seed, 25, is_observed=seed % 2 == 1)


@pytest.mark.parametrize(("kind", "seed"), FOUND)
def test_a_life_that_once_went_wrong(kind: str, seed: int) -> None:
    live(kind, seed, 60)


def live(kind: str, seed: int, steps: int, *, is_observed: bool = False) -> None:
    life = Life(seed, faults=FAULTS[kind], is_observed=is_observed)
    try:
        life.live(steps)
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(life.trace)) from error
