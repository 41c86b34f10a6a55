"""What nodes that have joined are still to be told: all users of this node, some at a time. Pure.

The bytes are stored beside the log, and an entry of the log says at which position they hold: the other nodes read past
it. A user who changes behind that position is told by the facts of the change, as to everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Raw

from presenced.cluster.batches import Stored
from presenced.cluster.entries import Decided, Slice, SliceContent, all_of, packed_facts
from presenced.cluster.homes import SHELVES
from presenced.cluster.node import Node
from presenced.cluster.nodes import Member
from presenced.wire.codec import encode

SLICE_COST: Final = 800
AWAKE_COST: Final = 8
"""What a slice, and so a turn, may have: who sleeps counts 1, and all others take 15 us. About 1.5 ms."""

NUMBER_BITS: Final = 32

WAITING_BYTES: Final = 1 << 20
"""While more than this waits to be appended, no slice is made."""


class _Lesson:
    """How far one node has been told."""

    __slots__ = ("names", "number", "part")

    def __init__(self) -> None:
        self.part = 0
        self.number = 0
        self.names: list[str] = []
        """Users of the part before, who are still to be told."""

    @property
    def is_over(self) -> bool:
        """Whether nobody is left who is this node's now."""
        return self.part == SHELVES and not self.names


class Lessons:
    """Tells those that have joined."""

    def __init__(self, node: Node, is_all: Callable[[], bool]) -> None:
        """`is_all` says whether this node knows which users are its own: no lesson ends before."""
        self._node = node
        self._is_all = is_all
        self._lessons: dict[Member, _Lesson] = {}
        self._told: dict[Member, int] = {}
        """Nodes that were told all and do not serve yet, and how many slices they were sent."""

    def begin(self, joiner: Member) -> None:
        """This node has joined."""
        self._lessons[joiner] = _Lesson()

    def end(self, joiner: Member) -> None:
        """This node knows all users, or is gone."""
        self._lessons.pop(joiner, None)
        self._told.pop(joiner, None)

    def begin_again(self) -> None:
        """This node is the home of more users than before: who has not been told all yet is told from the beginning."""
        for joiner in [*self._told, *self._lessons]:
            lesson = self._lessons.setdefault(joiner, _Lesson())
            lesson.part, lesson.names = 0, []
            lesson.number = max(lesson.number, self._told.pop(joiner, 0))

    @property
    def has_work(self) -> bool:
        """Whether there is something to tell somebody, and room for it."""
        if not self._lessons or self._node.batches.bytes >= WAITING_BYTES:
            return False
        return self._is_all() or any(not lesson.is_over for lesson in self._lessons.values())

    def go_on(self, now_ms: int) -> None:
        """Make the next slice for one of them. O(`SLICE_COST`)."""
        if not self.has_work:
            return
        joiner, lesson = min(self._lessons.items(), key=lambda one: one[1].part)
        node, cost = self._node, 0
        users: list[tuple[str, Raw]] = []
        while cost < SLICE_COST and not lesson.is_over:
            if not lesson.names:
                lesson.names = node.homes.of_part(lesson.part)
                lesson.part += 1
                continue
            name = lesson.names.pop()
            if node.homes.of(name) is node.mine:
                users.append((name, all_of(node.copies, name, now_ms)))
                cost += 1 if node.engine.users.awake(name) is None else AWAKE_COST
        if users:
            lesson.number += 1
            self._add(joiner, lesson.number, users)
        if lesson.is_over and self._is_all():
            if followers := list(self._node.engine.followers.general_facts(now_ms)):
                self._node.batches.add(Decided(packed_facts(followers)))
            events = self._node.engine.events
            self._node.batches.add(self._slice(joiner, 0, events.seq, events.epoch))
            del self._lessons[joiner]
            self._told[joiner] = lesson.number

    def tell_also(self, name: str, now_ms: int) -> None:
        """This node has become the home of the user, whom nobody else tells of now. O(what is known of the user)."""
        users = [(name, all_of(self._node.copies, name, now_ms))]
        for joiner, lesson in self._lessons.items():
            lesson.number += 1
            self._add(joiner, lesson.number, users)
        for joiner in self._told:
            self._told[joiner] += 1
            self._add(joiner, self._told[joiner], users)

    def _add(self, joiner: Member, number: int, users: list[tuple[str, Raw]]) -> None:
        # Several nodes store for the same reader, and each counts on its own.
        number |= self._node.mine.incarnation << NUMBER_BITS
        stored = Stored(joiner.key, number, encode(SliceContent(users)))
        self._node.batches.add(self._slice(joiner, number), stored)

    def _slice(self, joiner: Member, number: int, events: int = 0, events_epoch: int = 0) -> Slice:
        node, horizon = self._node, self._node.horizon
        # A node that does not know all users yet has nothing to say of the rest.
        origin = horizon.origin if horizon.has_begun else 0
        return Slice(
            joiner.key,
            number,
            node.position,
            events,
            events_epoch,
            node.lives,
            origin,
            horizon.version,
            horizon.told_floor,
        )
