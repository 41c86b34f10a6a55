"""The interfaces between the forwarding of requests (`links`) and the node with its log (`log`). Neither imports the
other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from presenced.cluster.node_keys import NodeKey


class HomesPort(Protocol):
    """Which node decides which user, at the position of the log up to which this node has read."""

    @property
    def me(self) -> NodeKey:
        """This node. It stays the same for the life of a `Forwarding`."""

    @property
    def registrar(self) -> NodeKey:
        """The node that decides pairs of users; `NOWHERE` = there is none at present."""

    @property
    def others(self) -> Collection[NodeKey]:
        """The nodes that live, but for this one."""

    @property
    def position(self) -> int:
        """How far this node has read."""

    def name_of(self, node: NodeKey) -> str:
        """What operators call the node, living or gone. O(1)."""

    def gives_links(self, node: NodeKey) -> bool:
        """Whether the node is another one that lives, and hands over what lost links had (`lost_links`). Nodes of
        earlier versions do not. O(1)."""

    def own(self, name: str) -> bool:
        """Whether this node decides the user. A user whom it inherits is wholly its own when this returns; a user whom
        it has handed over is not its own from the call of `hand_over` on. O(1), or O(what is known) for an inherited
        user."""

    def home_of(self, name: str) -> NodeKey:
        """The node that decides the user; `NOWHERE` = none does, since none has asked to. It is `me` exactly if `own`
        is true. O(nodes)."""

    def hand_over(self, name: str, to: NodeKey) -> bool:
        """Make another node the user's home, with all that is known of the user, including what changed in this turn.
        No device of the user may be connected. What is sent to that node afterwards (`Conduit`) arrives behind it.
        Returns False, and does nothing, if the user has to stay. O(what is known)."""


class BidsPort(Protocol):
    """Gives homes to users who have none."""

    def bid(self, names: Sequence[str], then: Callable[[int], object]) -> None:
        """Ask for this node to be the home of these users; another may come first. `then` is called once with the time
        when all of them have a home, and never inside of this call."""

    def is_asked_for(self, name: str) -> bool:
        """Whether a bid for this user is not decided yet. O(1)."""


class Conduit(Protocol):
    """Carries messages between nodes."""

    @property
    def is_full(self) -> bool:
        """Whether so much waits to be carried, as while the engine is away for long, that nothing is to be sent that
        can be refused. O(1)."""

    def send(self, to: NodeKey, message: bytes) -> None:
        """Send the message to the node, which may be this one, behind all facts that were made and all messages that
        were sent to it before. Its `Forwarding.receive` is called with the message once, when it has applied those
        facts. If one of the two nodes is gone before that, the message is lost, and both are told that the node is
        gone. O(1), and nothing is received inside of it."""


class Forwarder(Protocol):
    """What serves links whose users have another home (`links.forwarding`), as the log tells it."""

    def receive(self, sender: NodeKey, message: bytes, now_ms: int) -> None:
        """Another node has sent this message."""

    def node_gone(self, node: NodeKey, last_ms: int, now_ms: int) -> None:
        """The node is gone. It was last heard at `last_ms`."""

    def homes_changed(self, names: Sequence[str], now_ms: int) -> None:
        """These users have another home from now on."""
