"""What stands in the log since this node joined, where those that tell it of users had read less: what they tell is as
of an earlier position, and what was decided behind that holds. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from presenced.cluster.log.entries import Parcel, Unpaired
from presenced.cluster.log.node import Node
from presenced.core.records import Fact


class SinceJoin:
    """Kept until the node knows all users."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._events: list[tuple[int, int]] = []
        """Positions of what happened, and how many events each was."""
        self._pairs: list[tuple[int, Sequence[Fact] | Unpaired]] = []
        """What was decided between users, and at which positions."""
        self._anew: tuple[int, int, int] | None = None
        """Position, epoch and number at which events began anew; those before are of no account."""

    def note_pairs(self, position: int, decided: Sequence[Fact] | Unpaired) -> None:
        """This was decided between users at this position. O(1)."""
        if not self._node.mine.is_ready:
            self._pairs.append((position, decided))
        elif self._pairs:
            self._pairs = []

    def decide_again(self, position: int, now_ms: int) -> None:
        """Who has told of users had read up to this position; since then another node has decided about them.
        O(that)."""
        for at, decided in self._pairs:
            if at > position:
                if isinstance(decided, Unpaired):
                    self._node.end_pairs(decided, now_ms)
                else:
                    self._node.copies.apply(decided, now_ms)

    def note_event(self, position: int, count: int) -> None:
        """So many events stand in the log at this position, and the node does not know all users yet. O(1)."""
        self._events.append((position, count))

    def forget_events(self) -> None:
        """The node knows all users. O(1)."""
        self._events = []

    def note_anew(self, position: int, epoch: int, seq: int) -> None:
        """Events begin anew at this position. O(1)."""
        self._anew, self._events = (position, epoch, seq), []

    def number_events(self, item: Parcel, now_ms: int) -> None:
        """Go on where events have come to, which is the same whoever says it. O(events since this node has joined)."""
        from_position, epoch, seq = item.position, item.events_epoch, item.events
        if self._anew is not None and self._anew[0] > item.position:
            _, epoch, seq = self._anew
            from_position = 0
        since = sum(count for position, count in self._events if position > from_position)
        self._node.engine.events.go_on_at(epoch, seq + since, now_ms)
