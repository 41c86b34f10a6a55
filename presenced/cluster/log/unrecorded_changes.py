"""Finds users of whom something was said that makes no new record, such as a schedule, or a claim under a stronger one.
Pure.

Where two disks know different states of a user, the newer state holds (`disputes`), and the version of a record cannot
tell which that is. So the home repeats the record, with its old version and the time at which something was last said.
Watchers are told nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from presenced.core.records import (
    ActivityAdded,
    ClaimSet,
    Fact,
    RecordSet,
    ScheduleSet,
    ShownSet,
    TextSet,
    TokensRevoked,
)

SAID: Final = frozenset({ActivityAdded, ClaimSet, ScheduleSet, ShownSet, TextSet, TokensRevoked})
"""Facts that somebody has stated, and expects to find again. Facts about devices are not among them, since nodes know
different moments of those anyway."""


def unrecorded_in(facts: Sequence[Fact]) -> list[str]:
    """The users about whom these facts of a turn say something (`SAID`) and have no record. O(facts)."""
    names: dict[str, None] = {}
    for fact in facts:
        if type(fact) in SAID:
            names[fact.user] = None
        elif type(fact) is RecordSet:
            # A record comes last of what is said of its user in a turn.
            names.pop(fact.user, None)
    return list(names)
