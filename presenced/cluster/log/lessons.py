"""Sends all users of this node to nodes that have joined, some at a time (`arrival` is the other end). Pure.

The users travel in parcels, which are stored beside the log. An entry of the log names each parcel, and the position at
which it holds; all other nodes read past it. A change behind that position reaches the new node by its facts, as it
reaches every node. A node that has joined confirms what it has taken in, and is sent no more than a few MiB ahead of
that: so neither this node nor the engine holds more, however many users there are.

Users who sleep are sent first, whole shelves at a time, and then those who are awake. Nobody falls asleep meanwhile, so
that nobody is missed between the two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from msgspec import Raw

from presenced.cluster.log.batches import WAITING_BYTES, Stored
from presenced.cluster.log.entries import Decided, Parcel, ParcelContent, all_of, packed_facts
from presenced.cluster.log.homes import BUCKETS
from presenced.cluster.log.node import Node
from presenced.cluster.log.nodes import Member
from presenced.core.records import UsersAsleep
from presenced.core.told_shelves import ToldShelf, told_shelf
from presenced.wire.codec import encode

PARCEL_COST: Final = 800
AWAKE_COST: Final = 8
SHELF_COST: Final = 8
"""The most that one parcel, and so one turn, may cost: about 1.5 ms. To look at a name costs 1; a user who is awake
takes 15 us, and so does a shelf of 32 who sleep."""

PARCEL_BYTES: Final = 256 << 10
"""Nothing is added to a parcel that has reached this size."""

AHEAD_PARCELS: Final = 32
AHEAD_BYTES: Final = 4 << 20
"""While a node has not taken in so much of what was stored for it, it is sent no more."""

NUMBER_BITS: Final = 32


class _Lesson:
    """How much one node has been sent."""

    __slots__ = ("ahead", "ahead_bytes", "bucket", "names", "number", "shelf")

    def __init__(self) -> None:
        self.number = 0
        """Of the last parcel."""
        self.ahead: deque[tuple[int, int]] = deque()
        """Parcels that were not taken in yet, by number and bytes."""
        self.ahead_bytes = 0
        self.begin()

    def begin(self) -> None:
        """Begin with the first user, whatever was sent before."""
        self.shelf: int | None = 0
        """The next shelf of users who sleep; None = all shelves were sent."""
        self.bucket = 0
        self.names: list[str] = []
        """Users of the bucket before `bucket` who are still to be looked at."""

    @property
    def is_over(self) -> bool:
        """Whether all users were sent whose home this node is now."""
        return self.shelf is None and self.bucket == BUCKETS and not self.names

    @property
    def has_room(self) -> bool:
        """Whether more may be stored."""
        return len(self.ahead) < AHEAD_PARCELS and self.ahead_bytes < AHEAD_BYTES

    def note_sent(self, number: int, size: int) -> None:
        """A parcel was sent."""
        self.ahead.append((number, size))
        self.ahead_bytes += size

    def note_taken(self, number: int) -> None:
        """This parcel was taken in, and all before it."""
        while self.ahead and self.ahead[0][0] <= number:
            self.ahead_bytes -= self.ahead.popleft()[1]


class Lessons:
    """What this node sends to those that have joined."""

    def __init__(self, node: Node, is_all: Callable[[], bool]) -> None:
        """`is_all` says whether this node knows which users are its own. No lesson ends before that."""
        self._node = node
        self._is_all = is_all
        self._lessons: dict[Member, _Lesson] = {}
        self._finished: dict[Member, _Lesson] = {}
        """Nodes that were sent all users and do not serve yet."""
        self._is_holding = False

    def begin(self, joiner: Member) -> None:
        """The node has joined, and is to be sent all users."""
        self._lessons[joiner] = _Lesson()
        self._hold()

    def end(self, joiner: Member) -> None:
        """The node serves, or is gone: it is sent nothing more."""
        lesson = self._lessons.pop(joiner, None) or self._finished.pop(joiner, None)
        if lesson is not None and lesson.ahead:
            self._node.batches.forget_stored(joiner.key, lesson.ahead[-1][0])
        self._hold()

    def begin_again(self) -> None:
        """This node is the home of more users than before. All nodes that do not serve yet are sent all users again."""
        self._lessons |= self._finished
        self._finished = {}
        for lesson in self._lessons.values():
            lesson.begin()
        self._hold()

    def note_taken(self, joiner: Member, number: int) -> None:
        """The node has taken in what was stored for it, up to this number. O(what it may be sent ahead)."""
        lesson = self._lessons.get(joiner) or self._finished.get(joiner)
        if lesson is not None:
            lesson.note_taken(number)
            self._node.batches.forget_stored(joiner.key, number)

    def _hold(self) -> None:
        """Keep users awake while there is a lesson."""
        sleep = self._node.engine.sleep
        if self._lessons and not self._is_holding:
            sleep.hold()
        elif self._is_holding and not self._lessons:
            sleep.release()
        self._is_holding = bool(self._lessons)

    @property
    def has_work(self) -> bool:
        """Whether there is something to send to some node, and room for it."""
        if not self._lessons or self._node.batches.bytes >= WAITING_BYTES:
            return False
        return any(map(self._goes_on, self._lessons.values()))

    def _goes_on(self, lesson: _Lesson) -> bool:
        return lesson.has_room and (not lesson.is_over or self._is_all())

    def go_on(self, now_ms: int) -> None:
        """Make the next parcel for one of the nodes. O(`PARCEL_COST`)."""
        if not self.has_work:
            return
        going_on = [one for one in self._lessons.items() if self._goes_on(one[1])]
        joiner, lesson = min(going_on, key=lambda one: (one[1].shelf is None, one[1].bucket))
        users: list[tuple[str, Raw]] = []
        asleep: list[UsersAsleep] = []
        cost, size = 0, 0
        while cost < PARCEL_COST and size < PARCEL_BYTES and not lesson.is_over:
            if lesson.shelf is not None:
                told = self._next_shelf(lesson)
                if told.fact is not None:
                    asleep.append(told.fact)
                    size += len(told.fact.packed)
                users += [(name, Raw(encode(both))) for name, both in told.others]
                size += sum(len(both) for _, both in told.others)
                cost += SHELF_COST + len(told.others)
            elif not lesson.names:
                lesson.names = self._node.homes.of_bucket(lesson.bucket)
                lesson.bucket += 1
            elif self._is_to_be_sent(name := lesson.names.pop()):
                users.append((name, known := all_of(self._node.copies, name, now_ms)))
                size += len(known)
                cost += AWAKE_COST
            else:
                cost += 1
        if users or asleep:
            self._send(joiner, lesson, users, asleep)
        if lesson.is_over and self._is_all():
            if followers := list(self._node.engine.followers.general_facts(now_ms)):
                self._node.batches.add(Decided(packed_facts(followers)))
            events = self._node.engine.events
            self._node.batches.add(self._parcel(joiner, 0, events.seq, events.epoch))
            self._finished[joiner] = self._lessons.pop(joiner)
            self._hold()

    def _next_shelf(self, lesson: _Lesson) -> ToldShelf:
        """What is sent of the users on the next shelf. There is always one."""
        assert lesson.shelf is not None
        node, number = self._node, lesson.shelf
        lesson.shelf = number + 1 if number + 1 < node.engine.users.dormants.shelves else None
        return told_shelf(node.engine, number, lambda names: node.homes.that_are(names, node.mine))

    def _is_to_be_sent(self, name: str) -> bool:
        """Whether the user is this node's, and was not sent with a shelf."""
        node = self._node
        if node.homes.of(name) is not node.mine:
            return False
        users = node.engine.users
        return users.awake(name) is not None or name not in users.dormants

    def send_also(self, name: str, now_ms: int) -> None:
        """Send the user, whose home this node has just become, to all nodes that do not serve yet: no other node sends
        the user now. O(what is known of the user)."""
        users = [(name, all_of(self._node.copies, name, now_ms))]
        for joiner, lesson in [*self._lessons.items(), *self._finished.items()]:
            self._send(joiner, lesson, users, [])

    def _send(self, joiner: Member, lesson: _Lesson, users: list[tuple[str, Raw]], asleep: list[UsersAsleep]) -> None:
        lesson.number += 1
        # Several nodes store for the same reader, and each counts on its own.
        number = lesson.number | self._node.mine.incarnation << NUMBER_BITS
        stored = Stored(joiner.key, number, encode(ParcelContent(users, asleep)))
        lesson.note_sent(number, len(stored.data))
        self._node.batches.add(self._parcel(joiner, number), stored)

    def _parcel(self, joiner: Member, number: int, events: int = 0, events_epoch: int = 0) -> Parcel:
        node, horizon = self._node, self._node.horizon
        # A node that does not know all users yet has no horizon to pass on.
        origin = horizon.origin if horizon.has_begun else 0
        return Parcel(
            joiner.key,
            number,
            node.position,
            events,
            events_epoch,
            node.lives,
            origin,
            horizon.version,
            horizon.told_floor,
            horizon.founded_ms,
        )
