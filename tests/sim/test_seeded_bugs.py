"""The lives can fail: each mistake of the table is found by one of those that judge a change."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.sim.seeded_bugs import BUGS, found


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)


@pytest.mark.parametrize("name", BUGS)
def test_it_is_found(name: str) -> None:
    assert found(name) is not None
