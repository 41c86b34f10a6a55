"""Nobody learns of a person what was not granted: every combination of what may hold, against the rule's own words.

Each world has other grounds, and hundreds of subjects who stand in all manner of ways to two viewers. Every answer and
every push is held byte by byte against what the rule (`tests.visibility.rule`) makes of it.
"""

from __future__ import annotations

import random
from itertools import chain, combinations

import pytest

from tests.visibility.changes import CHANGES, Watching
from tests.visibility.pairs import STRANGER, VERA, WALT, Shows, draw, met, to_meet
from tests.visibility.questions import KINDS, Asking
from tests.visibility.rule import GROUNDS, Facts, Viewer
from tests.visibility.stage import Stage

SETS = list(chain.from_iterable(combinations(GROUNDS, size) for size in range(1, len(GROUNDS) + 1)))
"""Every choice of grounds but none."""

SUBJECTS = 100
CELLS_MIN = 10_000
"""In each world."""

VIEWERS = (
    Viewer(VERA),
    Viewer(WALT, see=("s00*", "*@two.example")),
    Viewer("backend", "service"),
    Viewer("narrow", "service", ("s00*", "*@one.example")),
    Viewer("root", "admin"),
    Viewer("keeper", "admin", ("s01*", STRANGER)),
)
OWN_AUDIENCES = {VERA: Shows("everyone", "contacts", "everyone", (), ("s0001@one.example",)), WALT: Shows()}


def _stage(number: int) -> Stage:
    facts = Facts(SETS[number], reciprocal=number % 2 == 0)
    return Stage(facts, number, SUBJECTS, audiences=OWN_AUDIENCES)


@pytest.mark.parametrize("number", range(len(SETS)), ids=["+".join(grounds) for grounds in SETS])
def test_everybody_is_told_what_the_rule_says_and_nothing_else(number: int) -> None:
    stage = _stage(number)
    cells = 0
    for viewer in VIEWERS:
        asking = Asking(stage, viewer, stage.full())
        for ask in KINDS:
            asking.full = stage.full()
            ask(asking)
        cells += asking.cells
        asking.link.lose()
    watching = [Watching(stage, viewer) for viewer in VIEWERS]
    for change in CHANGES:
        full = stage.full()
        for one in watching:
            one.note(full)
        change(stage)
        full = stage.full()
        for one in watching:
            one.hold_watch(full, change.__name__)
            one.hold_contacts(full, change.__name__)
            one.hold_rooms(full, change.__name__)
    cells += sum(one.cells for one in watching)
    assert cells >= CELLS_MIN, f"{cells} cells"


@pytest.mark.parametrize("number", [0, 5, 9], ids=lambda number: "+".join(SETS[number]))
def test_a_users_link_without_a_device_is_told_the_same(number: int) -> None:
    """Such as requests over HTTP have."""
    stage = _stage(number)
    for viewer in VIEWERS[:2]:
        asking = Asking(stage, viewer, stage.full(), device="")
        for ask in KINDS:
            asking.full = stage.full()
            ask(asking)
        asking.link.lose()


def test_any_two_values_of_any_two_dimensions_meet() -> None:
    for viewer in (VERA, WALT):
        found = set()
        for seed in range(len(SETS)):
            dice = random.Random(seed)
            found |= met([draw(dice, number) for number in range(SUBJECTS)], viewer)
        lacking = [pair for pair in to_meet() if pair not in found]
        assert not lacking, f"{viewer}: {len(lacking)}, such as {lacking[0]}"
