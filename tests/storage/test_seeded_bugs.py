"""The checks of the crash tests against a store that is broken on purpose: each bug must be noticed."""

from __future__ import annotations

import pytest

from tests.storage.seeded_bugs import BUGS, caught, check_without_bugs
from tests.support.tiers import samples


def test_the_store_as_it_is_passes() -> None:
    assert check_without_bugs() > samples(1_000)


@pytest.mark.parametrize("name", BUGS)
def test_a_bug_is_caught(name: str) -> None:
    assert caught(name), f"a store that {name.replace('_', ' ')} passes the checks"
