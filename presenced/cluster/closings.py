"""Links that an operator of one node wants closed on all: the question to the other nodes, and their answers."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from presenced.cluster.messages import CloseLinks, LinksClosed
from presenced.cluster.ports import Conduit, HomesPort
from presenced.wire.codec import encode


class Asked(msgspec.Struct):
    """One question to all other nodes."""

    waits_for: set[int]
    """Nodes that have not answered."""
    then: Callable[[Asked], object]
    links: int = 0
    """Closed by those that have."""
    held_by: list[str] = []


class Closings:
    """Asks others, and lets this node be asked. Whoever closes links here is `close_by`."""

    def __init__(self, homes: HomesPort, conduit: Conduit) -> None:
        self._homes = homes
        self._conduit = conduit
        self._close: Callable[[int, CloseLinks], object] | None = None
        self._asked: dict[int, Asked] = {}
        self._numbers = 0

    def close_by(self, close: Callable[[int, CloseLinks], object]) -> None:
        """Call this with each node that asks and what it asks; the answer goes back by `answer`."""
        self._close = close

    def ask(self, wanted: CloseLinks, then: Callable[[Asked], object]) -> Asked:
        """Have all other nodes close these links; `then` is called once, when all of them have answered or are gone,
        never inside of this, and not at all if there are none. The number of `wanted` is not looked at. O(nodes)."""
        self._numbers += 1
        others = set(self._homes.others)
        asked = Asked(others, then)
        if others:
            self._asked[self._numbers] = asked
        message = encode(msgspec.structs.replace(wanted, number=self._numbers))
        for node in others:
            self._conduit.send(node, message)
        return asked

    def forget(self, asked: Asked) -> None:
        """Nobody waits for it any longer. O(questions that wait)."""
        self._asked = {number: one for number, one in self._asked.items() if one is not asked}

    def answer(self, to: int, number: int, links: int, held_by: list[str]) -> None:
        """So many links were closed here. O(1)."""
        self._conduit.send(to, encode(LinksClosed(number, links, held_by)))

    def take(self, sender: int, said: CloseLinks | LinksClosed) -> None:
        """Another node asks, or has answered. O(1)."""
        if isinstance(said, CloseLinks):
            if self._close is not None:
                self._close(sender, said)
            return
        asked = self._asked.get(said.number)
        if asked is not None and sender in asked.waits_for:
            asked.links += said.links
            asked.held_by += said.held_by
            self._note_answer(said.number, asked, sender)

    def node_gone(self, node: int) -> None:
        """It answers no more, and its links are closed. O(questions that wait)."""
        for number, asked in list(self._asked.items()):
            if node in asked.waits_for:
                self._note_answer(number, asked, node)

    def _note_answer(self, number: int, asked: Asked, node: int) -> None:
        asked.waits_for.discard(node)
        if not asked.waits_for:
            del self._asked[number]
            asked.then(asked)
