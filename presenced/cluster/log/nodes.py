"""The nodes of the cluster as the log has them: who lives, who decides pairs, who inherits whose users. Pure.

All of it is a function of the log up to one position, so that nodes which have read the same agree, without asking one
another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final

from presenced.cluster.log.entries import JoinData
from presenced.cluster.log.node_choices import NodeChoices
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.limits import VERSION_GAP

GONE_KEPT_MS: Final = 600_000
"""For so long at least nodes know who has gone: ten times as long as they remember what the log said."""

FORGOTTEN_MAX: Final = 10_000
"""Of so many that are not known any more nodes know that they have gone."""


class Member:
    """One life of a node."""

    __slots__ = (
        "age",
        "batch",
        "choices",
        "floor",
        "gives_links",
        "has_begun",
        "heirs",
        "incarnation",
        "is_asked",
        "is_ready",
        "key",
        "lag_ms",
        "last_ms",
        "level",
        "links",
        "may_inherit",
        "name",
    )

    def __init__(self, name: str, key: NodeKey, incarnation: int) -> None:
        self.name = name
        self.key = key
        """By which nodes name it to each other. It stays when the log begins anew."""
        self.incarnation = incarnation
        """By which the log names it."""
        self.age = incarnation
        """By which the log has named it first. It stays when the log begins anew: of two nodes the one with less has
        lived longer."""
        self.batch = 0
        """The number of the last of its batches that was taken."""
        self.level = 0
        """What it understands (`levels`)."""
        self.gives_links = False
        """As in `JoinData`."""
        self.is_ready = False
        """It knows all users."""
        self.may_inherit = False
        """The log says so, and has not lost that: all nodes know it, and count it among heirs."""
        self.is_asked = False
        """As in `JoinData`."""
        self.has_begun = False
        """It has said itself that it knows all users."""
        self.floor = 0
        """No record of its own that is still to come has a version below this, as far as it has said since then."""
        self.heirs: tuple[Member, ...] | None = None
        """Who was there to inherit when it went; None = it lives."""
        self.links = self.lag_ms = -1
        """As it has told last; -1 = it has told nothing."""
        self.last_ms = 0
        """Of one that is gone: its last sign of life, on this node's monotonic clock."""
        self.choices: NodeChoices | None = None
        """Of its settings, as it has said last; None = it says nothing of them."""

    def __repr__(self) -> str:
        return f"{self.name}/{self.incarnation}" + ("" if self.heirs is None else " (gone)")


NOBODY = Member("", NOWHERE, 0)
"""The home of a user who has none."""


class Nodes:
    """Iterates over those that live, the oldest first."""

    def __init__(self) -> None:
        self._live: dict[NodeKey, Member] = {}
        self._gone: dict[NodeKey, Member] = {}
        self._forgotten: dict[NodeKey, None] = {}
        """Keys of nodes that have gone long ago; the last of them last."""
        self._by_incarnation: dict[int, Member] = {}
        self.fences = 0
        """Nodes that were taken for dead."""
        self._fenced = ("", 0)
        """The last of them, and the position of the log that says so."""
        self.newest = 0
        """No version in the log so far is above this, and none that a node which is gone may have told."""

    def __iter__(self) -> Iterator[Member]:
        return iter(self._live.values())

    def get(self, key: NodeKey) -> Member | None:
        """The node of this key, living or gone, if it is not gone for long. O(1)."""
        return self._live.get(key) or self._gone.get(key)

    def has_lost(self, key: NodeKey) -> bool:
        """Whether the node of this key lived once, and is gone. O(1)."""
        return key not in self._live and (key in self._gone or key in self._forgotten)

    def name_of(self, key: NodeKey) -> str:
        """What operators call the node of this key, living or gone. O(1)."""
        member = self.get(key)
        return member.name if member is not None else "?"

    def of_entry(self, incarnation: int) -> Member | None:
        """The one that lives whom the log names so. O(1)."""
        return self._by_incarnation.get(incarnation)

    @property
    def newest_incarnation(self) -> int:
        """No incarnation of those that live is above this. O(nodes)."""
        return max(member.incarnation for member in self)

    @property
    def registrar(self) -> Member:
        """Who decides what is between two users: the oldest of those that know all users; `NOBODY` while there is
        none. O(nodes)."""
        return min((member for member in self._live.values() if member.is_ready), key=_age, default=NOBODY)

    @property
    def oldest(self) -> Member:
        """Who has lived longest. There is always one. O(nodes)."""
        return min(self._live.values(), key=_age)

    @property
    def level(self) -> int:
        """The least level of those that live: nobody says anything above it (`levels`). O(nodes)."""
        return min((member.level for member in self._live.values()), default=0)

    def join(self, name: str, incarnation: int, data: JoinData) -> Member:
        """A node that says this of itself lives from here on; one of its key that lives is the same, and the log names
        it so from here on."""
        member = self._live.get(data.key)
        if member is None:
            # Whoever has not lived before has lived for less long than all who have, however the log names it.
            least = 1 + max((other.age for other in self), default=0)
            member = self._live[data.key] = Member(name, data.key, incarnation)
            member.age = data.age or max(incarnation, least)
        else:
            self._forget_incarnation(member)
            member.incarnation = incarnation
        member.level = data.level
        member.is_asked = data.level >= 1 or data.is_asked
        member.gives_links = data.level >= 1 or data.gives_links
        member.choices = data.choices
        self._by_incarnation[incarnation] = member
        return member

    def note_ready(self, member: Member) -> None:
        """The node knows all users from here on."""
        member.is_ready = member.may_inherit = True

    def note_founded(self) -> None:
        """A node is about to serve when nobody does: whoever has gone was taken for the heir of others by those who did
        not know better, and has left users to nobody. O(nodes that have gone)."""
        for member in self._gone.values():
            member.heirs = ()

    def unsay_ready(self, members: Iterable[Member]) -> None:
        """The log has lost that these nodes know all users: until it says so again nobody takes them for heirs, since
        some have not read it."""
        for member in members:
            member.may_inherit = False

    def note_figures(self, member: Member, links: int, lag_ms: int) -> None:
        """The node has told how many links it has, and how far it is behind."""
        member.links, member.lag_ms = links, lag_ms

    def note_choices(self, member: Member, choices: NodeChoices) -> None:
        """The node has these settings from here on."""
        member.choices = choices

    def note_fence(self, name: str, position: int, *, is_orderly: bool) -> None:
        """The log says that the node of this name is gone. One that has not left is taken for dead."""
        if not is_orderly:
            self.fences += 1
            self._fenced = (name, position)

    def note_next_life(self, name: str, position: int) -> None:
        """The log says that a node of this name has joined. If it was its own earlier life that ended by that, nobody
        was taken for dead."""
        if self._fenced == (name, position - 1):
            self.fences -= 1

    def note_batch(self, member: Member, number: int) -> None:
        """This batch of the node was taken."""
        member.batch = number

    def note_version(self, version: int) -> None:
        """A node has appended something when its counter had come to this."""
        self.newest = max(self.newest, version)

    def note_begun(self, member: Member) -> None:
        """The node says itself that it knows all users."""
        member.has_begun = True

    def note_floor(self, member: Member, floor: int) -> None:
        """The member has appended this. It says nothing before all users are known there."""
        if member.has_begun:
            member.floor = max(member.floor, floor)

    @property
    def floor(self) -> int:
        """No record that is still to come has a version below this, as far as all have said. O(nodes)."""
        return min((member.floor for member in self._live.values()), default=0)

    def leave(self, member: Member, last_ms: int) -> None:
        """The node, which lives, is gone from here on: those that live and know all users inherit. The version counters
        of all go on from `newest`, which is above all that it may have told and not appended. O(nodes)."""
        del self._live[member.key]
        self._gone[member.key] = member
        self._forget_incarnation(member)
        member.heirs = tuple(other for other in self._live.values() if other.may_inherit)
        member.last_ms = last_ms
        self.newest += VERSION_GAP

    def forget(self, now_ms: int, filed: Counter[Member]) -> None:
        """Keep those that went long ago only if users are filed under them, or under one that they are heirs of: a node
        that ends again and again has many lives. `filed`: how many are, by node. O(nodes that have gone)."""
        long_ago_ms = now_ms - GONE_KEPT_MS
        needed = [member for member in self._gone.values() if member.last_ms > long_ago_ms or filed[member]]
        if len(needed) == len(self._gone):
            return
        kept: set[Member] = set()
        while needed:
            member = needed.pop()
            if member.heirs is not None and member not in kept:
                kept.add(member)
                needed += member.heirs
        for member in [member for member in self._gone.values() if member not in kept]:
            del self._gone[member.key]
            self._forgotten[member.key] = None
        while len(self._forgotten) > FORGOTTEN_MAX:
            del self._forgotten[next(iter(self._forgotten))]

    def _forget_incarnation(self, member: Member) -> None:
        """The log names the member so no longer; one that began anew may name another so by now."""
        if self._by_incarnation.get(member.incarnation) is member:
            del self._by_incarnation[member.incarnation]


def _age(member: Member) -> tuple[int, int]:
    return member.age, member.key


def heir_of(name: str, heirs: Sequence[Member]) -> Member:
    """Which of these is the home of the user: the same on all nodes, and as many users for each. `NOBODY` if there are
    none. O(heirs), a hash each (rendezvous hashing)."""
    if len(heirs) == 1:
        return heirs[0]
    return max(heirs, key=lambda heir: (_weight(name, heir.key), heir.key), default=NOBODY)


def _weight(name: str, key: NodeKey) -> bytes:
    return blake2b(name.encode(), digest_size=8, key=key.to_bytes(8, "big")).digest()
