"""What the forwarding of requests asks of its node, and nothing of how the node knows it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from presenced.cluster.node_keys import NodeKey


class HomesPort(Protocol):
    """Who decides whom, at the position of the log up to which this node has read."""

    @property
    def me(self) -> NodeKey:
        """This node. It stays the same for the life of a `Forwarding`."""

    @property
    def registrar(self) -> NodeKey:
        """Who decides what is between two users; `NOWHERE` = nobody, for now."""

    @property
    def others(self) -> Collection[NodeKey]:
        """The nodes that live, but for this one."""

    @property
    def position(self) -> int:
        """How far this node has read."""

    def name_of(self, node: NodeKey) -> str:
        """What operators call the node, living or gone. O(1)."""

    def gives_links(self, node: NodeKey) -> bool:
        """Whether the node lives, is another one, and gives what lost links had (`lost_links`): nodes of earlier
        versions do not. O(1)."""

    def own(self, name: str) -> bool:
        """Whether this node decides the user, now: a user whom it inherits is wholly its own when this returns, and one
        whom it has handed over is not from the call of `hand_over` on. O(1), or O(what is known) for an inherited
        user."""

    def home_of(self, name: str) -> NodeKey:
        """Who decides the user; `NOWHERE` = nobody, because nobody has asked to. It is `me` exactly if `own` is true.
        O(nodes)."""

    def hand_over(self, name: str, to: NodeKey) -> bool:
        """Another node decides the user from now on, with all that is known of them, which may have changed in this
        turn; so far this node does. No device of the user is connected. What is sent to that node afterwards
        (`Conduit`) comes behind it. False: the user stays, and nothing was done. O(what is known)."""


class BidsPort(Protocol):
    """Who becomes the home of users that have none."""

    def bid(self, names: Sequence[str], then: Callable[[int], object]) -> None:
        """See to it that these have homes, this node if nobody else comes first, and call `then` once with the time
        when all of them have, and never inside of this call."""

    def is_asked_for(self, name: str) -> bool:
        """Whether a bid for this user is not decided yet. O(1)."""


class Conduit(Protocol):
    """What carries messages between nodes."""

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be carried, as while the engine is away for long, that what can be refused is not to
        be sent. O(1)."""

    def send(self, to: NodeKey, message: bytes) -> None:
        """Hand this to the node (which may be this one), behind the facts that were made before, and behind what was
        sent to it before. The node's `Forwarding.receive` is called with it once, when it has applied those facts; or
        never, if one of the two nodes is gone before, of which both are told. O(1), and nothing is received inside of
        it."""


class Forwarder(Protocol):
    """What acts for links whose users have another home (`links.forwarding`), as the log tells it."""

    def receive(self, sender: NodeKey, message: bytes, now_ms: int) -> None:
        """A node says something to this one."""

    def node_gone(self, node: NodeKey, last_ms: int, now_ms: int) -> None:
        """A node is gone; it was heard last at this moment."""

    def homes_changed(self, names: Sequence[str], now_ms: int) -> None:
        """These users have another home from now on."""
