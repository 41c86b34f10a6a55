"""The nodes of the cluster as the log has them: who lives, who decides pairs, and who inherits users. Pure.

All of it is a function of the log up to one position, so that nodes that have read the same agree without asking each
other. The heirs of a node are those that served when it was gone; each user of it goes to one of them (`heir_of`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final

from presenced.cluster.log.join_data import JoinData
from presenced.cluster.log.node_choices import NodeChoices
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.limits import VERSION_GAP

GONE_KEPT_MS: Final = 600_000
"""How long nodes are remembered that are gone: ten times as long as what the log said."""

FORGOTTEN_MAX: Final = 10_000
"""How many nodes beyond these are remembered by their keys alone."""


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
        """The name that nodes have for it. It stays when the log begins anew."""
        self.incarnation = incarnation
        """The name that the log has for it."""
        self.age = incarnation
        """The first name that the log has given it. It stays when the log begins anew: of two nodes, the one with the
        lower age has lived longer."""
        self.batch = 0
        """The number of the last of its batches that was applied."""
        self.level = 0
        """What it understands (`levels`)."""
        self.gives_links = False
        """As in `JoinData`."""
        self.is_ready = False
        """It knows all users."""
        self.may_inherit = False
        """The log says that it knows all users, and has not lost that entry: all nodes count it among the heirs."""
        self.is_asked = False
        """As in `JoinData`."""
        self.has_begun = False
        """It has appended itself that it knows all users."""
        self.floor = 0
        """Since it has begun: no record that it will still make has a version below this."""
        self.heirs: tuple[Member, ...] | None = None
        """The nodes that inherit its users; None = it lives."""
        self.links = self.lag_ms = -1
        """The figures that it has told last; -1 = it has told none."""
        self.last_ms = 0
        """Of one that is gone: its last sign of life, on this node's monotonic clock."""
        self.choices: NodeChoices | None = None
        """The settings that it has told last; None = it tells none."""

    def __repr__(self) -> str:
        return f"{self.name}/{self.incarnation}" + ("" if self.heirs is None else " (gone)")


NOBODY = Member("", NOWHERE, 0)
"""The home of a user who has none."""


class Nodes:
    """All nodes. Iterates over those that live, in the order in which they joined."""

    def __init__(self) -> None:
        self._live: dict[NodeKey, Member] = {}
        self._gone: dict[NodeKey, Member] = {}
        self._forgotten: dict[NodeKey, None] = {}
        """Keys of nodes that were gone long ago, the last of them last."""
        self._by_incarnation: dict[int, Member] = {}
        self.fences = 0
        """Nodes that were taken for dead."""
        self._fenced = ("", 0)
        """The name of the last of them, and the position of the entry that says so."""
        self.newest = 0
        """No version in the log so far is above this, nor one that a node told its links before it was gone."""

    def __iter__(self) -> Iterator[Member]:
        return iter(self._live.values())

    def get(self, key: NodeKey) -> Member | None:
        """The node with this key, living or gone; None for one that was gone long ago. O(1)."""
        return self._live.get(key) or self._gone.get(key)

    def has_lost(self, key: NodeKey) -> bool:
        """Whether a node with this key has lived, and is gone. O(1)."""
        return key not in self._live and (key in self._gone or key in self._forgotten)

    def name_of(self, key: NodeKey) -> str:
        """What operators call the node with this key, living or gone. O(1)."""
        member = self.get(key)
        return member.name if member is not None else "?"

    def of_entry(self, incarnation: int) -> Member | None:
        """The living node that the log names so. O(1)."""
        return self._by_incarnation.get(incarnation)

    @property
    def newest_incarnation(self) -> int:
        """The highest incarnation among the nodes that live. O(nodes)."""
        return max(member.incarnation for member in self)

    @property
    def registrar(self) -> Member:
        """The node that decides pairs: the one that has lived longest of those that know all users; `NOBODY` if there
        is none. O(nodes)."""
        return min((member for member in self._live.values() if member.is_ready), key=_age, default=NOBODY)

    @property
    def oldest(self) -> Member:
        """The node that has lived longest. There is always one. O(nodes)."""
        return min(self._live.values(), key=_age)

    @property
    def level(self) -> int:
        """The least level of those that live. No node appends anything above it (`levels`). O(nodes)."""
        return min((member.level for member in self._live.values()), default=0)

    def join(self, name: str, incarnation: int, data: JoinData) -> Member:
        """A node lives from here on, which says this of itself. If a node with this key lives already, it is the same
        one, which the log has given another name."""
        member = self._live.get(data.key)
        if member is None:
            # A new node is younger than all that live, whatever name the log has given it.
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
        """A node is about to serve while no other does. Nodes that are gone had no heirs then, although nodes that did
        not know better took some for heirs. O(nodes that are gone)."""
        for member in self._gone.values():
            member.heirs = ()

    def withdraw_ready(self, members: Iterable[Member]) -> None:
        """The log has lost that these nodes know all users, and some nodes have not read it. Until the log says so
        again they are no heirs."""
        for member in members:
            member.may_inherit = False

    def note_figures(self, member: Member, links: int, lag_ms: int) -> None:
        """The node has told how many links it has, and how far it is behind."""
        member.links, member.lag_ms = links, lag_ms

    def note_choices(self, member: Member, choices: NodeChoices) -> None:
        """The node has these settings from here on."""
        member.choices = choices

    def note_fence(self, name: str, position: int, *, is_orderly: bool) -> None:
        """The log says that the node of this name is gone. One that has not left in order counts as dead."""
        if not is_orderly:
            self.fences += 1
            self._fenced = (name, position)

    def note_next_life(self, name: str, position: int) -> None:
        """The log says that a node of this name has joined. If its own earlier life ended by that, no node was taken
        for dead."""
        if self._fenced == (name, position - 1):
            self.fences -= 1

    def note_batch(self, member: Member, number: int) -> None:
        """This batch of the node was applied."""
        member.batch = number

    def note_version(self, version: int) -> None:
        """A node had this version counter when it appended something."""
        self.newest = max(self.newest, version)

    def note_begun(self, member: Member) -> None:
        """The node has appended itself that it knows all users."""
        member.has_begun = True

    def note_floor(self, member: Member, floor: int) -> None:
        """The member has appended this floor. It counts only once the member knows all users."""
        if member.has_begun:
            member.floor = max(member.floor, floor)

    @property
    def floor(self) -> int:
        """No record that any node will still make has a version below this. O(nodes)."""
        return min((member.floor for member in self._live.values()), default=0)

    def leave(self, member: Member, last_ms: int) -> None:
        """The node, which lives, is gone from here on. Those that live and know all users are its heirs. All version
        counters go on above every version that it may have told its links and not appended. O(nodes)."""
        del self._live[member.key]
        self._gone[member.key] = member
        self._forget_incarnation(member)
        member.heirs = tuple(other for other in self._live.values() if other.may_inherit)
        member.last_ms = last_ms
        self.newest += VERSION_GAP

    def forget(self, now_ms: int, filed: Counter[Member]) -> None:
        """Forget nodes that were gone long ago, unless they or nodes that have them as heirs still count as homes: a
        node that ends again and again has many lives. `filed`: the number of users by home. O(nodes that are gone)."""
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
        """The log names the member so no longer. A log that began anew may name another node so by now."""
        if self._by_incarnation.get(member.incarnation) is member:
            del self._by_incarnation[member.incarnation]


def _age(member: Member) -> tuple[int, int]:
    return member.age, member.key


def heir_of(name: str, heirs: Sequence[Member]) -> Member:
    """The one of these heirs who is the user's home: the same on all nodes, with as many users for each heir. `NOBODY`
    if there are none. O(heirs), with a hash for each (rendezvous hashing)."""
    if len(heirs) == 1:
        return heirs[0]
    return max(heirs, key=lambda heir: (_weight(name, heir.key), heir.key), default=NOBODY)


def _weight(name: str, key: NodeKey) -> bytes:
    return blake2b(name.encode(), digest_size=8, key=key.to_bytes(8, "big")).digest()
