"""Which facts are about two users at once, or about what one user shows to others.

The homes of two users might disagree about such a fact for ever. So one node of a cluster, the registrar, decides all
of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from presenced.core.dormants import NOTHING, tally_of
from presenced.core.records import AudienceSet, BlockSet, ContactSet, ContactsKept, ContactsSet, Fact, HidingSet

PAIRS: Final = (ContactSet, ContactsSet, BlockSet, HidingSet, AudienceSet)
"""The kinds of facts that the registrar decides."""

KEPT_PAIRS: Final = (*PAIRS, ContactsKept)
"""These kinds, and the one that has the whole contact list of a user."""


def without_pairs(facts: Iterable[Fact]) -> list[Fact]:
    """The facts that the home of their user decides alone. O(facts)."""
    return [fact for fact in facts if not isinstance(fact, KEPT_PAIRS)]


def tells_pairs(known: bytes | Sequence[Fact]) -> bool:
    """Whether what is known of a user (`Copies.facts_of`) says something of them and others. O(facts)."""
    if isinstance(known, bytes):
        return tally_of(known) != NOTHING
    return any(isinstance(fact, KEPT_PAIRS) for fact in known)
