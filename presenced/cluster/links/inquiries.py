"""Questions of this node's operators to other nodes, and the answers to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from presenced.cluster.messages import OPERATOR_QUESTIONS, LinksListed, OperatorAnswer, OperatorQuestion
from presenced.cluster.node_keys import NodeKey
from presenced.cluster.ports import Conduit
from presenced.wire.codec import encode


class Asked(msgspec.Struct):
    """One question to some nodes."""

    waits_for: set[NodeKey]
    """Nodes that have not answered."""
    then: Callable[[Asked], object]
    told: list[tuple[NodeKey, OperatorAnswer]] = []
    """What has come, each with its node. A long answer comes in several."""


class Inquiries:
    """Asks others, and lets this node be asked. `answer_by` sets who carries out the questions of other nodes."""

    def __init__(self, conduit: Conduit) -> None:
        self._conduit = conduit
        self._answer: Callable[[NodeKey, OperatorQuestion], object] | None = None
        self._asked: dict[int, Asked] = {}
        self._numbers = 0

    def answer_by(self, answer: Callable[[NodeKey, OperatorQuestion], object]) -> None:
        """Call this with each node that asks and what it asks; what comes of it goes back by `answer`."""
        self._answer = answer

    def ask(self, question: OperatorQuestion, of: Iterable[NodeKey], then: Callable[[Asked], object]) -> Asked:
        """Ask these nodes; `then` is called once, when all of them have answered or are gone, never inside of this, and
        not at all if there are none. The number of the question is not looked at. O(nodes)."""
        self._numbers += 1
        asked = Asked(set(of), then)
        if asked.waits_for:
            self._asked[self._numbers] = asked
        message = encode(msgspec.structs.replace(question, number=self._numbers))
        for node in asked.waits_for:
            self._conduit.send(node, message)
        return asked

    def forget(self, asked: Asked) -> None:
        """Nobody waits for it any longer. O(questions that wait)."""
        self._asked = {number: one for number, one in self._asked.items() if one is not asked}

    def answer(self, to: NodeKey, answer: OperatorAnswer) -> None:
        """Send back what has come of a question. O(its size)."""
        self._conduit.send(to, encode(answer))

    def take(self, sender: NodeKey, said: OperatorQuestion | OperatorAnswer) -> None:
        """Another node asks, or has answered. O(1)."""
        if isinstance(said, OPERATOR_QUESTIONS):
            if self._answer is not None:
                self._answer(sender, said)
            return
        asked = self._asked.get(said.number)
        if asked is not None and sender in asked.waits_for:
            asked.told.append((sender, said))
            if not isinstance(said, LinksListed) or said.is_last:
                self._note_answer(said.number, asked, sender)

    def node_gone(self, node: NodeKey) -> None:
        """It answers no more, and its links are closed. O(questions that wait)."""
        for number, asked in list(self._asked.items()):
            if node in asked.waits_for:
                self._note_answer(number, asked, node)

    def _note_answer(self, number: int, asked: Asked, node: NodeKey) -> None:
        asked.waits_for.discard(node)
        if not asked.waits_for:
            del self._asked[number]
            asked.then(asked)
