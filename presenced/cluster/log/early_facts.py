"""What a node decides before it serves: which of it others are told, and which its own disk is to have. Pure.

It decides users whose home it is already, by its own word. Of one whose home is not known yet its disk may say what
held long ago. What ends by itself of that is no news: it would be newer than what the home says, here, and in the next
life of this node as well. All that is known is told and saved once the node is the home, or serves.
"""

from __future__ import annotations

from collections.abc import Sequence

from presenced.cluster.log.entries import OF_FOLLOWERS, OF_ONE_NODE, OF_PAIRS
from presenced.cluster.log.homes import Homes
from presenced.cluster.log.nodes import Member
from presenced.core.records import Fact


def told_early(facts: Sequence[Fact], homes: Homes, mine: Member) -> list[Fact]:
    """Those that others are told. What is between users is for nodes to decide that know all. O(facts)."""
    return [fact for fact in facts if type(fact) not in OF_PAIRS and homes.of(fact.user) is mine]


def saved_early(facts: Sequence[Fact], homes: Homes, mine: Member) -> list[Fact]:
    """Those that the own disk is to have. O(facts)."""
    others = OF_ONE_NODE | OF_FOLLOWERS | OF_PAIRS
    return [fact for fact in facts if type(fact) in others or homes.of(fact.user) is mine]
