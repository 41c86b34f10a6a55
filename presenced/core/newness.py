"""Which of two states of a user is the newer one, where nodes of a cluster know different ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from presenced.core.records import Fact, RecordSet


class Newness(NamedTuple):
    """How new a state of a user is. Of two states the one with the greater value is newer."""

    said_ms: int
    """Wall time at which somebody last said something of the user."""
    version: int
    """The version of the record, which time alone may have made since then; 0 = there is none."""


NOTHING_KNOWN: Final = Newness(0, 0)


def newness_in(facts: Sequence[Fact]) -> Newness:
    """How new the state is that these facts of one user describe. O(facts)."""
    for fact in facts:
        if isinstance(fact, RecordSet):
            return Newness(fact.since_ms + fact.said_after_ms, fact.version)
    return NOTHING_KNOWN
