"""The places that all connections of the listener share: who gives way when there are too many."""

from __future__ import annotations

from collections import Counter
from typing import Generic, Protocol, TypeVar

HEALTH_CONNECTIONS = 8
"""Further places, for requests about health alone, and for connections that are told so."""

ADDRESS_SHARE = 4
"""One address has at most this part of the places, so that nobody alone can keep all others out."""


class Placed(Protocol):
    """A connection, as far as its place is concerned."""

    ending: bool
    health_only: bool
    address: str
    """Whose it is; empty if it comes from this machine or through a trusted proxy, and may be anybody's."""

    @property
    def answering(self) -> bool:
        """Whether a request of it is being answered."""

    def give_way(self) -> None:
        """Give up the place, because another connection needs it and this one has sent no whole request."""

    def abort(self) -> None:
        """Close now."""


P = TypeVar("P", bound=Placed)


class Places(Generic[P]):
    """Which connections there are."""

    def __init__(self, connections_max: int) -> None:
        self.connections: dict[P, None] = {}
        """In the order in which they last had a whole request, the longest without one first."""
        self.connections_max = connections_max
        """Beyond this number the connection that has been longest without a whole request gives up its place."""

        self._by_address: Counter[str] = Counter()

    def enter(self, newcomer: P) -> None:
        """Give a connection a place. If all are taken, the one that has been longest without a whole request goes. If
        all are being answered, this one gets a place for health alone. One address has no more than its share. O(1)
        while there is room, else O(connections)."""
        self.connections[newcomer] = None
        if newcomer.address:
            self._by_address[newcomer.address] += 1
            if self._by_address[newcomer.address] > max(1, self.connections_max // ADDRESS_SHARE):
                newcomer.abort()
                return
        taken = len(self.connections) - 1
        if taken < self.connections_max:
            return
        others = [other for other in self.connections if other is not newcomer]
        serving = [other for other in others if not other.ending]
        if len(serving) >= self.connections_max:
            waiting = next((other for other in serving if not other.answering), None)
            newcomer.health_only = waiting is None
            if waiting is not None:
                waiting.give_way()
        if taken >= self.connections_max + HEALTH_CONNECTIONS:
            # A connection that has its last answer has had its time.
            next((other for other in others if other.ending), newcomer).abort()

    def move_back(self, connection: P) -> None:
        """A connection was answered: it is the one now that was without a request for the shortest time. O(1)."""
        if connection in self.connections:
            del self.connections[connection]
            self.connections[connection] = None

    def leave(self, connection: P) -> None:
        """Free the place. Idempotent. O(1)."""
        if connection not in self.connections:
            return
        del self.connections[connection]
        if connection.address:
            self._by_address[connection.address] -= 1
            if not self._by_address[connection.address]:
                del self._by_address[connection.address]
