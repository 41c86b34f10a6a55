"""Logs for operators what the cluster's log says about other nodes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from presenced.cluster.log.node_choices import WEBHOOKS, differing
from presenced.cluster.log.nodes import Member, Nodes
from presenced.cluster.node_keys import NodeKey
from presenced.durations import format_duration

log = logging.getLogger("presenced")


class Neighbours:
    """A `cluster.log.observer.NodesObserver` that writes the log."""

    def __init__(self, nodes: Nodes, mine: Member, *, lease_ms: int, wall_ms: Callable[[], int]) -> None:
        """`lease_ms`: for so long a node may be silent."""
        self._nodes = nodes
        self._mine = mine
        self._lease_ms = lease_ms
        self._wall_ms = wall_ms
        self.dead_name = ""
        """Who was taken for dead last; empty = nobody."""
        self.dead_wall_ms = 0
        """When this node has read that."""
        self._differing: dict[NodeKey, tuple[str, ...]] = {}
        """Of each node that has said which settings it has, the keys in which it differs from this one."""

    def differing(self, member: Member) -> tuple[str, ...]:
        """The keys in which the member differs from this node, and must not. O(1)."""
        return self._differing.get(member.key, ())

    def joined(self, member: Member) -> None:
        """See `NodesObserver`."""
        log.info("cluster: the node %s has joined, incarnation %d", member.name, member.incarnation)

    def served(self, member: Member) -> None:
        """See `NodesObserver`."""
        log.info("cluster: the node %s knows all users, and serves", member.name)

    def went(self, member: Member, silent_ms: int, *, is_orderly: bool) -> None:
        """See `NodesObserver`."""
        self._differing.pop(member.key, None)
        if is_orderly:
            log.info("cluster: the node %s has left in order", member.name)
        elif silent_ms < self._lease_ms:
            # Another daemon has its name by now: its own next life, or one that was given the same by mistake.
            log.warning(
                "cluster: the node %s has ended without leaving, %s after its last sign of life, and begins anew",
                member.name,
                format_duration(silent_ms),
            )
        else:
            log.warning(
                "cluster: the node %s is taken for dead: it was silent for %s, and the others decide for its users",
                member.name,
                format_duration(silent_ms),
            )
            self._note_dead(member)

    def missed(self, member: Member) -> None:
        """See `NodesObserver`."""
        self._differing.pop(member.key, None)
        log.warning(
            "cluster: the node %s is taken for dead: it has not come back to the log, which has begun anew, and the "
            "others decide for its users",
            member.name,
        )
        self._note_dead(member)

    def _note_dead(self, member: Member) -> None:
        self.dead_name, self.dead_wall_ms = member.name, self._wall_ms()

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
                "cluster: the node %s posts webhooks, as this one does; one of them alone follows, and the other posts "
                "nothing: leave %s out of the settings of one of them",
                member.name,
                WEBHOOKS,
            )
        if not now:
            log.info("cluster: the settings of the node %s agree with those of this one", member.name)
