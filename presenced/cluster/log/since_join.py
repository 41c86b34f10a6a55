"""Remembers some of what was read since this node joined, until the node knows all users. Pure.

Older nodes send it their users as of an earlier position of the log. What was decided about pairs of users behind that
position is applied once more after the users, and events behind it are added to the count that comes with them.
"""

from __future__ import annotations

from collections.abc import Sequence

from presenced.cluster.log.entries import Parcel, Unpaired
from presenced.cluster.log.node import Node
from presenced.core.records import Fact


class SinceJoin:
    """What was read, by position. It is kept until the node knows all users."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._events: list[tuple[int, int]] = []
        """How many events were read at which position."""
        self._pairs: list[tuple[int, Sequence[Fact] | Unpaired]] = []
        """What was decided about pairs, and at which position."""
        self._anew: tuple[int, int, int] | None = None
        """Position, epoch and number at which events began anew. Earlier events do not count."""

    def note_pairs(self, position: int, decided: Sequence[Fact] | Unpaired) -> None:
        """This was decided about pairs at this position. O(1)."""
        if not self._node.mine.is_ready:
            self._pairs.append((position, decided))
        elif self._pairs:
            self._pairs = []

    def decide_again(self, position: int, now_ms: int) -> None:
        """Apply once more what was decided about pairs behind this position, up to which the node had read that has
        sent users. O(decisions that are kept)."""
        for at, decided in self._pairs:
            if at > position:
                if isinstance(decided, Unpaired):
                    self._node.end_pairs(decided, now_ms)
                else:
                    self._node.copies.apply(decided, now_ms)

    def note_event(self, position: int, count: int) -> None:
        """So many events stand in the log at this position. Called while the node does not know all users. O(1)."""
        self._events.append((position, count))

    def forget_events(self) -> None:
        """The node knows all users. O(1)."""
        self._events = []

    def note_anew(self, position: int, epoch: int, seq: int) -> None:
        """Events begin anew at this position. O(1)."""
        self._anew, self._events = (position, epoch, seq), []

    def number_events(self, item: Parcel, now_ms: int) -> None:
        """Go on with the numbers of events at the one that an older node has sent, which is the same whichever node
        has. O(events since the join)."""
        from_position, epoch, seq = item.position, item.events_epoch, item.events
        if self._anew is not None and self._anew[0] > item.position:
            _, epoch, seq = self._anew
            from_position = 0
        since = sum(count for position, count in self._events if position > from_position)
        self._node.engine.events.go_on_at(epoch, seq + since, now_ms)
