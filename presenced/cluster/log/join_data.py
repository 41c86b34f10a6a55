"""What a node says of itself when it joins the log."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from presenced.cluster.levels import LEVEL, decoder_of
from presenced.cluster.log.node_choices import NodeChoices
from presenced.cluster.node_keys import NodeKey


class JoinData(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a node says of itself in an entry `joined`."""

    key: NodeKey
    """Drawn at its start (`nodes.Member`)."""
    has_lived: bool = False
    """It comes from the old log, which is gone, and knows all users."""
    is_asked: bool = False
    """It understands questions of other nodes' operators (`messages.ListLinks` and those that came with it). A node of
    an earlier version would end if it were asked."""
    gives_links: bool = False
    """It hands over what lost links had, and takes that from other nodes (`lost_links`)."""
    origin: int = 0
    founded_ms: int = 0
    """For a node that has lived: who founded the cluster, and when (`core.horizon`). 0 = not known."""
    age: int = 0
    """For a node that has lived: as in `nodes.Member`. 0 = not known."""
    level: int = 0
    """What it understands (`levels.LEVEL`). 0 = it is of a version before there were levels, and the fields above say
    what it understands: from level 1 on each node is asked, and gives links."""
    choices: NodeChoices | None = None
    """Its settings; None = it is of an earlier version."""
    left: list[str] = []
    """For a node that has lived: the histories of which it knows that they are over, in the order in which it heard of
    that."""


def join_data(key: NodeKey, choices: NodeChoices | None = None) -> JoinData:
    """What a node of this version says of itself when its life begins. The key was drawn for that life."""
    return JoinData(key, is_asked=True, gives_links=True, level=LEVEL, choices=choices)


decode_join: Callable[[bytes], JoinData] = decoder_of(JoinData)
