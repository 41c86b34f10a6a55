"""Decides which nodes go on as they were when the log begins anew, because the engine was emptied. Pure.

A node that lived in the old log joins the new one with all that it knows, and counts as the same node: all nodes agreed
on the homes of users when the old log ended. Whoever has not come back after `RETURN_MS` is declared gone (`Missing`).

This holds only for nodes that share one past. A node that starts meanwhile may find nobody, and found the cluster anew
from its disk, which knows less. When nodes of an earlier past come back, that past goes on: nodes of the later one join
anew, as if they had just started. So does a node that the others had declared gone.
"""

from __future__ import annotations

from collections.abc import Iterable

from presenced.backplane.port import Entry, Joined
from presenced.cluster.log.entries import Missing
from presenced.cluster.log.join_data import JoinData
from presenced.cluster.log.node import RETURN_MS, Node
from presenced.cluster.log.nodes import Member


class Returns:
    """The nodes that this one waits for."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._missing: dict[Member, None] = {}
        """Nodes that lived when the log began anew, and that have not come back to it."""
        self._missing_ms = 0
        """When they are given up."""
        self._first: tuple[int, int] | None = None
        """Position and tag of this node's own join, in a log that has begun not long ago."""
        self._elder: tuple[int, int] | None = None
        """Of the pasts whose nodes have come back, the one that was founded first: when, and by which node."""

    @property
    def is_over(self) -> bool:
        """Whether this node waits for nobody."""
        return not self._missing

    @property
    def droppable(self) -> tuple[int, int]:
        """See `LogReader.droppable`."""
        return self._first or (self._node.position, self._node.tag)

    def begin(self, joined: Joined, now_ms: int) -> None:
        """This node has come back, and waits for all others that lived. O(nodes)."""
        self._missing = {member: None for member in self._node.nodes}
        self._hold(joined.n, joined.tag, now_ms)

    def found(self, now_ms: int) -> None:
        """This node founds the cluster from its own disk, while others may be about to come back."""
        self._hold(self._node.position, self._node.tag, now_ms)

    def hold_nothing(self) -> None:
        """The log was told the true position of this node, and may have dropped what was held."""
        self._first = None

    def _hold(self, position: int, tag: int, now_ms: int) -> None:
        """Keep the log from dropping entries behind this position for a while: a node that comes back reads all of
        them."""
        self._missing_ms = now_ms + RETURN_MS
        self._first = position, tag

    def note_joined(self, entry: Entry, data: JoinData) -> None:
        """A node is about to join. O(nodes)."""
        node = self._node
        if data.has_lived and node.nodes.has_lost(data.key) and node.is_ready:
            # It stood still while it was declared gone, and the log that would tell it so is lost.
            node.batches.add(Missing(data.key, is_given_up=True))
        for member in self._missing:
            if member.name == entry.node and member.key != data.key:
                # Its next life has begun.
                node.batches.add(Missing(member.key))

    def note_lived(self, member: Member, data: JoinData, clock_ms: int, *, founds: bool) -> None:
        """A node of the old log has joined when the new one had lasted for `clock_ms`. `founds`: this node has founded
        the cluster from its own disk. O(1)."""
        if member is self._node.mine or clock_ms > RETURN_MS or not data.founded_ms:
            return
        past = data.founded_ms, data.origin
        self._elder = min(past, self._elder or past)
        if founds or self._node.mine.is_ready:
            self.compare()

    def compare(self) -> None:
        """Give up this node's past if nodes of an earlier one have come back. Called when this node knows all that it
        was sent, perhaps by nodes of the later past. O(1)."""
        node, horizon = self._node, self._node.horizon
        if self._elder is not None and self._elder < (horizon.founded_ms, horizon.origin):
            node.note_outdone()

    def note_back(self, member: Member) -> None:
        """The node has come back."""
        self._missing.pop(member, None)

    def wait_again(self, members: Iterable[Member], now_ms: int) -> None:
        """The log has lost that these nodes had come back. This node waits for them again, as do those that have not
        read it. O(those who live)."""
        for member in members:
            if member.heirs is None and member is not self._node.mine:
                self._missing[member] = None
                self._missing_ms = now_ms + RETURN_MS

    def take_missing(self, item: Missing) -> Member | None:
        """A node was declared gone. Returns it if it lived until now, else None. If it is this node itself, this node's
        life may be over. O(1)."""
        node = self._node
        member = node.nodes.get(item.key)
        if member is None or member.heirs is not None:
            return None
        if member is node.mine:
            if item.is_given_up or member in self._missing:
                # What this node appends behind this does not count, although it has come back.
                node.note_fenced()
            return None
        if member not in self._missing and not item.is_given_up:
            return None
        self._missing.pop(member, None)
        return member

    def tick(self, now_ms: int) -> None:
        """Declare those gone that have not come back in time. O(nodes)."""
        if now_ms < self._missing_ms:
            return
        self._first = None
        if self._missing:
            self._missing_ms = now_ms + RETURN_MS
            for member in self._missing:
                self._node.batches.add(Missing(member.key))
