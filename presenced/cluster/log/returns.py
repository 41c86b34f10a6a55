"""Nodes that come back to a log that began anew, since the engine was emptied: as what they were, or not. Pure.

Whoever lived in the log before comes back with all that it knows, and is the same to the others: they agreed on who is
whose home. That holds for nodes of one past alone. A node that has begun with what its disk says, since nobody else was
there, is of another past than those that lived all the while, and knows less than they do: of two pasts the one that
began earlier goes on, and nodes of the other join anew. So does a node that the others had given up before.
"""

from __future__ import annotations

from collections.abc import Iterable

from presenced.backplane.port import Entry, Joined
from presenced.cluster.log.entries import JoinData, Missing
from presenced.cluster.log.node import RETURN_MS, Node
from presenced.cluster.log.nodes import Member


class Returns:
    """Who is to come back, as one node sees it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._missing: dict[Member, None] = {}
        """Nodes that lived when the log began anew, and that have not come back to it."""
        self._missing_ms = 0
        """When they are given up."""
        self._first: tuple[int, int] | None = None
        """Position and tag of this node's own join, in a log that has begun not long ago."""
        self._elder: tuple[int, int] | None = None
        """When and by whom the earliest past was founded of which nodes have come back."""

    @property
    def is_over(self) -> bool:
        """Whether nobody is waited for."""
        return not self._missing

    @property
    def told_read(self) -> tuple[int, int]:
        """See `LogReader.told_read`."""
        return self._first or (self._node.position, self._node.tag)

    def begin(self, joined: Joined, now_ms: int) -> None:
        """This node has come back itself. O(nodes)."""
        self._missing = {member: None for member in self._node.nodes}
        self._hold(joined.n, joined.tag, now_ms)

    def found(self, now_ms: int) -> None:
        """This node begins with what its disk says, while others may be about to come back."""
        self._hold(self._node.position, self._node.tag, now_ms)

    def hold_nothing(self) -> None:
        """The log was told that this node has read further, and may have dropped what was held."""
        self._first = None

    def _hold(self, position: int, tag: int, now_ms: int) -> None:
        """Let the log drop nothing behind this for a while: whoever comes back reads all of it."""
        self._missing_ms = now_ms + RETURN_MS
        self._first = position, tag

    def note_joined(self, entry: Entry, data: JoinData) -> None:
        """A node is about to join. O(nodes)."""
        node = self._node
        if data.has_lived and node.nodes.has_lost(data.key) and node.is_ready:
            # It stood still while it was given up, and the log that would tell it so is gone.
            node.batches.add(Missing(data.key, is_given_up=True))
        for member in self._missing:
            if member.name == entry.node and member.key != data.key:
                # Its next life is here.
                node.batches.add(Missing(member.key))

    def note_lived(self, member: Member, data: JoinData, clock_ms: int, *, founds: bool) -> None:
        """The node has come back when the log had lasted for so long. `founds`: this node has begun with what its disk
        says. O(1)."""
        if member is self._node.mine or clock_ms > RETURN_MS or not data.founded_ms:
            return
        past = data.founded_ms, data.origin
        self._elder = min(past, self._elder or past)
        if founds or self._node.mine.is_ready:
            self.compare()

    def compare(self) -> None:
        """This node knows all that it was told: by nodes of a later past than others that are back, perhaps. O(1)."""
        node, horizon = self._node, self._node.horizon
        if self._elder is not None and self._elder < (horizon.founded_ms, horizon.origin):
            node.note_outdone()

    def note_back(self, member: Member) -> None:
        """The node is in the log."""
        self._missing.pop(member, None)

    def wait_again(self, members: Iterable[Member], now_ms: int) -> None:
        """The log has lost that these had come back: they are waited for as by those who have not read that. O(those
        who live)."""
        for member in members:
            if member.heirs is None and member is not self._node.mine:
                self._missing[member] = None
                self._missing_ms = now_ms + RETURN_MS

    def take_missing(self, item: Missing) -> Member | None:
        """The node that is gone by this, which lived until now; None if there is none. This node's own life may be over
        by it. O(1)."""
        node = self._node
        member = node.nodes.get(item.key)
        if member is None or member.heirs is not None:
            return None
        if member is node.mine:
            if item.is_given_up or member in self._missing:
                # What it says behind this is of no account, though it has come back since.
                node.note_fenced()
            return None
        if member not in self._missing and not item.is_given_up:
            return None
        self._missing.pop(member, None)
        return member

    def tick(self, now_ms: int) -> None:
        """Give up whoever has not come back. O(nodes)."""
        if now_ms < self._missing_ms:
            return
        self._first = None
        if self._missing:
            self._missing_ms = now_ms + RETURN_MS
            for member in self._missing:
                self._node.batches.add(Missing(member.key))
