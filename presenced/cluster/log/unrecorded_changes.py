"""What is said of users and makes no record, such as a schedule, or a claim under a stronger one. Pure.

Of two disks that know different things of a user the newer one holds (`disputes`), and the version of a record does not
say which that is. So a home says with the record, in its old version, when something was said last: whoever watches the
user is told nothing of it.
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
"""What somebody has said, and expects to find again. Of devices nodes know different moments anyway."""


def unrecorded_in(facts: Sequence[Fact]) -> list[str]:
    """The users of whom these facts of a turn say something, and no record is among them. O(facts)."""
    names: dict[str, None] = {}
    for fact in facts:
        if type(fact) in SAID:
            names[fact.user] = None
        elif type(fact) is RecordSet:
            # A record comes last of what is said of its user in a turn.
            names.pop(fact.user, None)
    return list(names)
