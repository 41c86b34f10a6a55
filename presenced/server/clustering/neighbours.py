"""What operators are told of the other nodes of a cluster, as the log says it."""

from __future__ import annotations

import logging

from presenced.cluster.node_choices import WEBHOOKS, differing
from presenced.cluster.nodes import Member, Nodes

log = logging.getLogger("presenced")


class Neighbours:
    """A `cluster.observer.NodesObserver` that writes the log."""

    def __init__(self, nodes: Nodes, mine: Member) -> None:
        self._nodes = nodes
        self._mine = mine
        self._differing: dict[int, tuple[str, ...]] = {}
        """Of each node that has said which settings it has, the keys in which it differs from this one."""

    def differing(self, member: Member) -> tuple[str, ...]:
        """The keys in which the member differs from this node, and must not. O(1)."""
        return self._differing.get(member.key, ())

    def chose(self, member: Member) -> None:
        """See `NodesObserver`."""
        if member is not self._mine:
            self._compare(member)
            return
        for other in self._nodes:
            if other.key in self._differing:
                self._compare(other)

    def _compare(self, member: Member) -> None:
        before, now = self.differing(member), differing(self._mine.choices, member.choices)
        self._differing[member.key] = now
        if now == before:
            return
        settings = [key for key in now if key != WEBHOOKS]
        if settings:
            log.warning(
                "cluster: the node %s has other settings than this one, and all nodes need the same: %s",
                member.name,
                ", ".join(settings),
            )
        if WEBHOOKS in now and WEBHOOKS not in before:
            log.warning(
                "cluster: the node %s posts webhooks, as this one does, so that every event is posted twice: leave %s "
                "out of the settings of one of them",
                member.name,
                WEBHOOKS,
            )
        if not now:
            log.info("cluster: the settings of the node %s agree with those of this one", member.name)
