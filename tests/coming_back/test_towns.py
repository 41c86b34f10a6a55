"""In random lives of a town each watcher that comes back is told exactly of whom it sees otherwise, each once."""

from __future__ import annotations

import pytest

from presenced.core import outboxes, wide_fan_outs
from tests.coming_back.visits import LateTown, VisitedTown
from tests.support.tiers import samples
from tests.visibility.rule import GROUNDS

STEPS = 120
OPENNESS = [GROUNDS[:1], GROUNDS[1:2], GROUNDS[2:3], GROUNDS[3:], GROUNDS[1:]]


@pytest.mark.parametrize("reciprocal", [False, True], ids=["", "reciprocal"])
@pytest.mark.parametrize("grounds", OPENNESS)
@pytest.mark.parametrize("seed", range(samples(2)))
def test_who_comes_back_is_told_what_differs_and_no_more(seed: int, grounds: tuple[str, ...], reciprocal: bool) -> None:
    town = VisitedTown(100 * seed + len("".join(grounds)), grounds, reciprocal=reciprocal)
    town.run(STEPS)
    assert sum(visitor.returns for visitor in town.visitors) > 20
    assert sum(visitor.differed for visitor in town.visitors) > 2
    assert sum(visitor.resumed for visitor in town.visitors) > 5


@pytest.mark.parametrize("grounds", OPENNESS)
@pytest.mark.parametrize("seed", range(samples(2)))
def test_a_checksum_comes_behind_all_that_is_told_late(
    seed: int, grounds: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "WATCHERS", 2)
    monkeypatch.setattr(wide_fan_outs, "SLICE", 1)
    town = LateTown(100 * seed + len("".join(grounds)), grounds)
    town.run(STEPS)
    assert sum(visitor.returns for visitor in town.visitors) > 20
