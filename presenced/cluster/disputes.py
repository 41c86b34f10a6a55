"""Users of whom several nodes say that they are their home, since the log has lost who is. Pure.

The last that says so in the log is the home, and whoever believed the same of itself yields when it reads that. A node
that has yielded to the first may so be made the home by the last word, which was its own, and on its way by then: it
hands the user over to that one.
"""

from __future__ import annotations

import msgspec

from presenced.cluster.entries import Moved, Whole, packed_facts
from presenced.cluster.node import Node
from presenced.cluster.nodes import NOBODY, Member
from presenced.core.copies import OF_PAIRS


class Disputes:
    """What this node has said of itself, until all nodes know it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._said: dict[str, int] = {}
        """Users of whom this node has said that it is their home, and how often, that was not read back yet."""
        self._yielded: set[str] = set()
        """Of these, those of whom another has said the same meanwhile."""

    def say_whole(self, name: str, known: msgspec.Raw) -> None:
        """Tell all nodes that this one is the user's home, and all that is known of them."""
        self._said[name] = self._said.get(name, 0) + 1
        self._node.batches.add(Whole(name, known))

    def yield_to(self, sender: Member, name: str, now_ms: int) -> None:
        """Another node says that it is the user's home. O(1), or O(what is known of the user) if this one was."""
        node = self._node
        if node.homes.of(name) is node.mine:
            user = node.engine.users.awake(name)
            if user is not None and not user.is_copy:
                node.copies.release(user, now_ms)
        if name in self._said:
            self._yielded.add(name)
        node.homes.set(name, sender)
        node.note_copy(name)

    def note_known(self, name: str, now_ms: int) -> None:
        """All nodes take this one for the user's home from now on, as it has said. O(1), or O(what is known of the
        user) if it has yielded to another meanwhile."""
        node, left = self._node, self._said.pop(name, 1) - 1
        if left:
            self._said[name] = left
        elif name in self._yielded:
            self._yielded.discard(name)
            home, user = node.homes.of(name), node.engine.users.get(name)
            if user is not None and home not in (node.mine, NOBODY):
                facts = [fact for fact in node.engine.parts.facts_of(user, now_ms) if not isinstance(fact, OF_PAIRS)]
                node.batches.add(Moved(name, home.key, packed_facts(facts)))
