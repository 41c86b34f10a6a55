"""Nothing is learned by the side: two lives of the same server, in one of which somebody who may not be seen does all
that a user can do, and in the other nothing. Whatever others are sent is the same, write by write and byte by byte."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from presenced.server import greeting
from presenced.wire.messages import Block, HideFrom, Join, SetAudience
from tests.support.tiers import samples
from tests.visibility.lives import OBSERVER_ACTS, PRIVATE_ACTS, SECRET, SECRET_ACTS, TO_THE_BLOCKER, Life
from tests.visibility.pairs import VERA, WALT
from tests.visibility.stage import policy

PAUSES_MS = (0, 1, 7, 250, 1_000, 6_000, 40_000)
"""The last is longer than a grace."""


def nothing(life: Life) -> None:
    """There is no ground, and the name was never heard."""


def blocked_by(life: Life) -> None:
    """The observers have blocked the secret user, before that user has ever come."""
    for ear in (life.vera, life.walt):
        ear.done(Block(ear.next_id(), SECRET))


def come_hidden(life: Life) -> None:
    """Who was seen once hides from all of them."""
    life.come("desk")
    life.says(Join, "general")
    for viewer in (VERA, WALT):
        life.says(HideFrom, viewer)


def come_blocking(life: Life) -> None:
    """Who was seen once has blocked them."""
    life.come("desk")
    for viewer in (VERA, WALT):
        life.says(Block, viewer)


def come_private(life: Life) -> None:
    """Who shows only a status is there, in a room as well."""
    life.come("desk")
    life.says(SetAudience, "nobody", "nobody", "nobody")
    life.says(Join, "general")


class Way(NamedTuple):
    """How somebody comes to be unseen."""

    grounds: tuple[str, ...]
    allowed: list[str]
    """What may be done in secret."""
    both: Callable[[Life], None] = nothing
    """How both lives begin."""
    alone: Callable[[Life], None] = nothing
    """How the secret one begins; what others are told of that is not compared."""


WAYS = {
    "no ground": Way(("contacts",), list(SECRET_ACTS)),
    "no ground, other domain": Way(("contacts", "domain"), list(SECRET_ACTS)),
    "blocked by all": Way(("everyone",), [*SECRET_ACTS, *TO_THE_BLOCKER], blocked_by),
    "blocked in one room": Way(("channels", "contacts"), [*SECRET_ACTS, *TO_THE_BLOCKER], blocked_by),
    "hides": Way(("everyone", "channels"), list(SECRET_ACTS), nothing, come_hidden),
    "has blocked": Way(("everyone", "channels"), list(SECRET_ACTS), nothing, come_blocking),
    "shows a status alone": Way(("everyone",), list(PRIVATE_ACTS), come_private),
}

steps = st.lists(
    st.tuples(
        st.sampled_from(PAUSES_MS),
        st.lists(st.integers(0, 1_000), max_size=3),
        st.sampled_from([*OBSERVER_ACTS]),
    ),
    min_size=1,
    max_size=25,
)
Steps = list[tuple[int, list[int], str]]


def lived(way: str, steps: Steps, spacing_ms: int, *, secretly: bool) -> dict[str, list[tuple[int, bytes]]]:
    """All that the observers were sent. The tokens of their links are no more different than they are."""
    tokens = map(str, count(1))
    with patch.object(greeting, "draw_token", lambda: next(tokens)):
        return _lived(way, steps, spacing_ms, secretly=secretly)


def _lived(way: str, steps: Steps, spacing_ms: int, *, secretly: bool) -> dict[str, list[tuple[int, bytes]]]:
    grounds, allowed, both, alone = WAYS[way]
    life = Life(policy(grounds, change_spacing_ms=spacing_ms))
    both(life)
    if secretly:
        alone(life)
    for ear in life.ears:
        ear.heard.clear()
    acts = SECRET_ACTS | TO_THE_BLOCKER
    for pause_ms, secret_acts, act in steps:
        life.advance(pause_ms)
        for number in secret_acts if secretly else ():
            acts[allowed[number % len(allowed)]](life)
        OBSERVER_ACTS[act](life)
    life.vera.drain()
    life.walt.drain()
    life.advance(40_000)
    return life.heard()


def hold_equal(one: dict[str, list[tuple[int, bytes]]], other: dict[str, list[tuple[int, bytes]]]) -> None:
    assert one.keys() == other.keys()
    for who, heard in one.items():
        for number, (told, wanted) in enumerate(zip(heard, other[who], strict=False)):
            assert told == wanted, f"{who}, write {number}"
        assert len(heard) == len(other[who]), f"{who}: {heard[len(other[who]) :]} {other[who][len(heard) :]}"


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=samples(25), deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps, spacing_ms=st.sampled_from((0, 200)))
def test_nobody_notices_a_life_that_they_may_not_see(way: str, steps: Steps, spacing_ms: int) -> None:
    hold_equal(lived(way, steps, spacing_ms, secretly=True), lived(way, steps, spacing_ms, secretly=False))
