"""What a node that does not serve yet may append of its decisions, and give to its own disk. Pure.

Such a node already decides the users whose home it is by its own word. Of a user whose home it does not know yet, its
disk may have an old state, and what ends by itself in that state is no news: its facts would look newer than what the
home says, here and in the next life of this node. So they are held back. All that is known of such a user is appended
and saved once this node is the home, or serves.
"""

from __future__ import annotations

from collections.abc import Sequence

from presenced.cluster.log.entries import OF_FOLLOWERS, OF_ONE_NODE, OF_PAIRS
from presenced.cluster.log.homes import Homes
from presenced.cluster.log.nodes import Member
from presenced.core.records import Fact


def told_early(facts: Sequence[Fact], homes: Homes, mine: Member) -> list[Fact]:
    """Those facts that are appended. Pairs are decided by nodes that know all users. O(facts)."""
    return [fact for fact in facts if type(fact) not in OF_PAIRS and homes.of(fact.user) is mine]


def saved_early(facts: Sequence[Fact], homes: Homes, mine: Member) -> list[Fact]:
    """Those facts that the own disk is given. O(facts)."""
    others = OF_ONE_NODE | OF_FOLLOWERS | OF_PAIRS
    return [fact for fact in facts if type(fact) in others or homes.of(fact.user) is mine]
