"""How a node that has joined comes to know all users: each older node tells its own, and says when that was all. Pure.

Who finds no older node knows all that there is: what the own disk says. Who was told by all serves.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from presenced.cluster.entries import (
    KnownFacts,
    Offer,
    Ready,
    Slice,
    Whole,
    all_of,
    decode_known,
    decode_slice,
    version_in,
)
from presenced.cluster.node import Node
from presenced.cluster.nodes import NOBODY, Member
from presenced.core.positions import uncarried
from presenced.core.records import DeviceSet, RecordSet
from presenced.wire.codec import encode


class Arrival:
    """What this node still waits for."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._teachers: dict[Member, None] = {}
        """Older nodes that have not told all of their users yet."""
        self._returned: set[Member] = set()
        """Nodes that are older than this one, and have come to the log behind it: it began anew without them."""
        self._last_gone = 0
        """The position at which a node was lost last: who had told all users by then has told too few."""
        self._has_asked = False
        self._events: list[tuple[int, int]] = []
        """Positions of what happened since this node has joined, and how many events each was."""
        self._anew: tuple[int, int, int] | None = None
        """Position, epoch and number at which events began anew since; those before are of no account."""
        for member in node.nodes:
            if member.incarnation < node.mine.incarnation:
                self._teachers[member] = None
                # Until it says otherwise. One that is still arriving itself has no users, and leaves none.
                node.nodes.note_ready(member)

    def begin(self, now_ms: int) -> None:
        """What the own disk says is known by now."""
        self._consider(now_ms)

    def note_gone(self, member: Member, position: int, now_ms: int) -> None:
        """A node is gone. Those whom it left its users to tell all of theirs again."""
        if self._node.mine.is_ready:
            return
        self._last_gone = position
        self._teachers.pop(member, None)
        for other in self._node.nodes:
            if other.incarnation < self._node.mine.incarnation or other in self._returned:
                self._teachers[other] = None
        self._consider(now_ms)

    def note_returned(self, member: Member) -> None:
        """A node that lived before has come back to a log that began anew: it alone tells of its users. No other has
        ended its lesson by now, since each waits for whoever is missing (`Lessons`). O(1)."""
        if self._node.mine.is_ready or member is self._node.mine:
            return
        self._returned.add(member)
        self._teachers[member] = None

    def take(self, sender: Member, item: Slice, slices: Mapping[int, bytes], now_ms: int) -> None:
        """What is told by an older node. O(users in it)."""
        node = self._node
        node.learn_lives(item.lives)
        node.horizon.learn(item.origin, item.horizon, item.floor)
        if item.origin:
            node.nodes.note_begun(sender)
        if not item.number:
            if item.position >= self._last_gone:
                self._teachers.pop(sender, None)
                self._number_events(item, now_ms)
                self._consider(now_ms)
            return
        for name, data in decode_slice(slices[item.number]).users:
            known = decode_known(data)
            if node.homes.of(name) is NOBODY and node.engine.users.knows(name):
                self._give_way(name, known, now_ms)
            node.homes.set(name, sender)
            node.take_whole(name, known, now_ms)

    def _number_events(self, item: Slice, now_ms: int) -> None:
        """Go on where events have come to, which is the same whoever says it. O(events since this node has joined)."""
        from_position, epoch, seq = item.position, item.events_epoch, item.events
        if self._anew is not None and self._anew[0] > item.position:
            _, epoch, seq = self._anew
            from_position = 0
        since = sum(count for position, count in self._events if position > from_position)
        self._node.engine.events.go_on_at(epoch, seq + since, now_ms)

    def note_anew(self, position: int, epoch: int, seq: int) -> None:
        """Events begin anew at this position. O(1)."""
        self._anew, self._events = (position, epoch, seq), []

    def note_event(self, position: int, count: int) -> None:
        """So many events stand in the log at this position. O(1)."""
        if not self._node.mine.is_ready:
            self._events.append((position, count))
        elif self._events:
            self._events = []

    def _give_way(self, name: str, known: KnownFacts, now_ms: int) -> None:
        """The own disk has said something of the user, and another node is the home, which knows this. What is newer
        here is offered, unless it says the same: a version that has lost its place in a kill seems newer than it is, as
        all have that were made before another node died."""
        node = self._node
        own = all_of(node.copies, name, now_ms)
        own_known = decode_known(own)
        own_version = uncarried(version_in(own_known), node.engine.positions.lives)
        if own_version > uncarried(version_in(known), node.lives):
            if self._shown_in(name, own_known) != self._shown_in(name, known):
                node.batches.add(Offer(name, own_version, own))
        user = node.engine.users.awake(name)
        if user is not None:
            node.copies.release(user, now_ms)

    def _shown_in(self, name: str, known: KnownFacts) -> list[bytes]:
        """What these facts say but for versions, and for devices, of which nodes know different moments. O(facts)."""
        facts = self._node.engine.sleep.facts_in(name, known) if isinstance(known, bytes) else known
        return sorted(
            encode(replace(fact, version=0, last_seen_ms=0) if isinstance(fact, RecordSet) else fact)
            for fact in facts
            if not isinstance(fact, DeviceSet)
        )

    def _consider(self, now_ms: int) -> None:
        if self._has_asked or self._teachers:
            return
        if not any(member.is_ready for member in self._node.nodes):
            self._found(now_ms)
            self._node.learn_lives(self._node.engine.positions.lives)
            node = self._node
            node.engine.events.go_on_at(node.engine.ledger.epoch, node.engine.events.seq, now_ms)
        else:
            self._bring_rest(now_ms)
        self._has_asked = True
        self._node.batches.add(Ready(self._node.lives))

    def _bring_rest(self, now_ms: int) -> None:
        """Of some users the own disk alone knows: this node is their home. O(users)."""
        node = self._node
        users = node.engine.users
        for name in [*users, *(name for name, _ in users.dormants.items())]:
            if node.homes.of(name) is NOBODY:
                node.homes.set(name, node.mine)
                node.batches.add(Whole(name, all_of(node.copies, name, now_ms)))

    def _found(self, now_ms: int) -> None:
        """Nobody is there who knows more: this node is the home of all whom it knows. O(users)."""
        node = self._node
        node.horizon.learn(node.me, 0, 0)
        users = node.engine.users
        for name in [*users, *(name for name, _ in users.dormants.items())]:
            if node.homes.of(name) is NOBODY:
                left_by = node.homes.as_filed(name)
                node.homes.set(name, node.mine)
                if left_by is not NOBODY:
                    node.inheritance.adopt(name, left_by, now_ms)
