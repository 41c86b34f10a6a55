"""After every change of permission everybody knows what a fresh question would tell them, and was told it once."""

from __future__ import annotations

import pytest

from tests.support.tiers import samples
from tests.visibility.rule import GROUNDS
from tests.visibility.town import Town

STEPS = 60


@pytest.mark.parametrize("reciprocal", [False, True], ids=["", "reciprocal"])
@pytest.mark.parametrize("grounds", [GROUNDS[:1], GROUNDS[1:2], GROUNDS[2:3], GROUNDS[3:], GROUNDS[1:]])
def test_what_is_known_is_what_would_be_answered(grounds: tuple[str, ...], reciprocal: bool) -> None:
    Town(len("".join(grounds)), grounds, reciprocal=reciprocal).run(STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(samples(10)))
def test_the_same_for_long(seed: int) -> None:
    grounds = GROUNDS[1:] if seed % 3 else GROUNDS[:1]
    Town(100 + seed, grounds, reciprocal=seed % 2 == 0).run(4 * STEPS)
