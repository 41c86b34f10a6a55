"""Running lives: many until one fails, or one again; and cutting a failing one down to the steps that matter."""

from __future__ import annotations

import gc
import traceback
from collections import Counter
from typing import NamedTuple

from tests.sim.life import Failure, Life
from tests.sim.world import small_units

LIVES = 4_000
"""The lives of seeds 0 to 3,999 judge a change (`test_lives`); `make torture` runs 10,000."""

COLLECT_EVERY = 50
"""Lives between two collections of garbage: a world is one large circle."""


class FailedLife(NamedTuple):
    """A seed whose life fails, and what it fails of."""

    seed: int
    step: int
    error: BaseException


def run_lives(first: int, lives: int, tally: Counter[str] | None = None) -> FailedLife | None:
    """Run the lives of consecutive seeds until one fails. O(lives). `tally` counts what happened in them."""
    gc.disable()
    try:
        with small_units():
            for seed in range(first, first + lives):
                life = Life(seed)
                failure = life.run()
                if tally is not None:
                    tally.update(life.counts())
                if failure is not None:
                    return FailedLife(seed, failure.step, failure.error)
                if seed % COLLECT_EVERY == 0:
                    gc.collect()
    finally:
        gc.enable()
    return None


def needed_steps(seed: int, failure: Failure) -> tuple[list[int], Failure]:
    """The steps of a failing life that it takes to fail the same way, and how it fails then: whatever comes behind the
    failure is cut off, and each other step is left out if that changes nothing. O(steps²)."""
    life = Life(seed)
    last = min(failure.step, life.steps)
    skip = dict.fromkeys(range(last + 1, life.steps + 1))
    kind = type(failure.error)
    best = failure
    for step in range(last, 0, -1):
        tried = Life(seed, skip={**skip, step: None}).run()
        if tried is not None and type(tried.error) is kind:
            skip[step] = None
            best = tried
    return [step for step in range(1, last + 1) if step not in skip], best


def one_again(seed: int) -> int:
    """Run one life, and print what happens in it if it fails: of the steps that matter alone."""
    with small_units():
        failure = Life(seed).run()
        if failure is None:
            print(f"the life of seed {seed} goes well")
            return 0
        steps, _ = needed_steps(seed, failure)
        life_steps = Life(seed).steps
        trace: list[str] = []
        skip = [step for step in range(1, life_steps + 1) if step not in steps]
        shorter = Life(seed, skip=skip, trace=trace).run()
        print("\n".join(trace))
        print(f"seed {seed}: {len(steps)} of {life_steps} steps make it fail")
        failure = shorter or failure
        traceback.print_exception(failure.error)
    return 1
