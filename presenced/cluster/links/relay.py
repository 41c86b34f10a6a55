"""What this node keeps of a link that acts at other nodes: which request is under way where, which ones wait, and which
devices it holds there. Data and its order only.

Requests of a link are handled in order, with one exception: requests about single users may be under way at several
nodes at once, because the answer to one shows nothing of the other. Every other request waits until nothing is under
way elsewhere, and what comes behind it waits as well.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.core.model import Session
from presenced.wire.messages import ClientMessage, Error, Hello, Routes

REQUEST_BYTES: Final = 512
"""What a request that waits or is under way counts besides its bytes."""


class HeldElsewhere(NamedTuple):
    """A device that the link holds at another node."""

    user: str
    device: str
    home: NodeKey
    number: int
    """The number of the request that attached it. A request that has to be saved is answered later than one after it,
    so that the order of answers does not tell which of two attaches came last."""


class Errand:
    """A message of the link that is not done with."""

    __slots__ = (
        "home", "is_done", "is_exclusive", "is_outdated", "message", "number", "opens", "parts", "releases", "repeats",
        "request_id", "size", "user",
    )  # fmt: skip

    def __init__(self, number: int, message: ClientMessage | None, request_id: int, size: int) -> None:
        self.number = number
        """Its number among those of the link."""
        self.message = message
        """None = the link's device is being attached."""
        self.request_id = request_id
        """The id that the link has given it; 0 = none, and nobody waits for an answer."""
        self.size = size
        self.is_done = False
        self.is_outdated = False
        """A later request, which was answered first, has let go of what this one attaches."""
        # once it is under way
        self.home: NodeKey = NOWHERE
        """The node at which it is under way; `NOWHERE` = it waits until a user has a home."""
        self.is_exclusive = False
        """Nothing else may be under way at another node beside it."""
        self.user = ""
        """The only user whom it is about, if that user's home has to handle it."""
        self.opens = False
        """The link was not open there before."""
        self.repeats = False
        """It may be sent again although it may have been handled."""
        self.releases: tuple[NodeKey, int] | None = None
        """The node and the ref of another device that is let go of once this is granted."""
        self.parts: RouteParts | None = None
        """The question that it is a part of."""


class RouteParts:
    """One question about users of several homes, and the answers so far."""

    __slots__ = ("answers", "error", "open_parts", "whole")

    def __init__(self, whole: Errand, open_parts: int) -> None:
        self.whole = whole
        self.open_parts = open_parts
        """Parts that are not answered yet."""
        self.answers: list[Routes] = []
        self.error: Error | None = None
        """The error with which a home has refused its part."""


class OwnDevice:
    """The link's own device, which is not at the link's node."""

    __slots__ = ("active_ms", "hello", "home", "is_attached", "opening", "told_active_ms")

    def __init__(self, hello: Hello, now_ms: int) -> None:
        self.hello = hello
        """Without its token, which no other node needs."""
        self.active_ms = now_ms - hello.idle_ms if hello.idle_ms is not None else None
        """When its person was last active, as the link has said; None = it has not said so."""
        self.told_active_ms: int | None = None
        """The same, as its home was told."""
        self.home: NodeKey = NOWHERE
        """Where it is attached, or is about to be."""
        self.is_attached = False
        """It was attached somewhere before."""
        self.opening = 0
        """The number of the request that attaches it; 0 = none is under way."""

    def note_active(self, active_ms: int) -> None:
        """The link says that its person was active then. O(1)."""
        self.active_ms = active_ms if self.active_ms is None else max(active_ms, self.active_ms)

    def note_told(self) -> None:
        """Its home was told of that. O(1)."""
        self.told_active_ms = self.active_ms

    def idle_ms(self, now_ms: int) -> int | None:
        """For how long nobody is there by now, as the link has said; None = it has not said. O(1)."""
        return now_ms - self.active_ms if self.active_ms is not None else None


class Relay:
    """One link that acts at other nodes."""

    __slots__ = (
        "link", "session", "position", "own_device", "rounds", "under_way", "nodes", "users", "exclusive", "waiting",
        "returned", "held", "ref_of", "attaching", "has_said_bye", "missed", "load", "numbers",
    )  # fmt: skip

    def __init__(self, link: int, session: Session, position: int) -> None:
        self.link = link
        """The number by which other nodes know it."""
        self.session = session
        self.position = position
        """How far the node had read at its hello."""
        self.own_device: OwnDevice | None = None
        self.rounds: dict[NodeKey, int] = {}
        """The nodes at which it is open, with the round of each."""
        self.under_way: dict[int, Errand] = {}
        """Requests that are under way, by number and in order."""
        self.nodes: Counter[NodeKey] = Counter()
        """How many of these are at which node."""
        self.users: dict[str, tuple[NodeKey, int]] = {}
        """The users whom some of these are about alone: at which node, and how many there are."""
        self.exclusive = 0
        """How many of these are exclusive."""
        self.waiting: deque[Errand] = deque()
        """What is not sent yet, in order."""
        self.returned: dict[int, Errand] = {}
        """Requests that came back. They go first, once nothing is under way."""
        self.held: dict[int, HeldElsewhere] = {}
        """Devices that the link holds at other nodes, by ref."""
        self.ref_of: dict[tuple[str, str], int] = {}
        """The refs of these, by user and device."""
        self.attaching: dict[int, Errand] = {}
        """By ref, the last request under way that attaches a device under it."""
        self.has_said_bye = False
        self.missed = b""
        """The newest own state that the link could not be sent."""
        self.load = 0
        """The bytes of what waits and is under way."""
        self.numbers = 0

    def next_number(self) -> int:
        """A number that no request of the link has."""
        self.numbers = self.numbers % 0xFFFFFFFF + 1
        return self.numbers

    @property
    def is_busy(self) -> bool:
        """Whether a request waits, so that the next one has to wait behind it."""
        return bool(self.waiting or self.returned)

    @property
    def is_idle(self) -> bool:
        """Whether the relay is no longer needed."""
        return not (self.under_way or self.waiting or self.returned or self.own_device or self.held or self.rounds)

    def may_go(self, nodes: Iterable[NodeKey], *, is_exclusive: bool, user: str = "") -> bool:
        """Whether a request to these nodes may go now. `user`: the only user whom it is about. O(nodes)."""
        if not self.under_way:
            return True
        if not is_exclusive and not self.exclusive:
            # What was asked about this user before may be at another home, and come back.
            before = self.users.get(user)
            return before is None or before[0] in nodes
        return len(self.nodes) == 1 and all(node in self.nodes for node in nodes)

    def start(self, request: Errand, node: NodeKey, *, is_exclusive: bool) -> None:
        """The request is under way there."""
        request.home, request.is_exclusive = node, is_exclusive
        self.under_way[request.number] = request
        self.nodes[node] += 1
        self.exclusive += is_exclusive
        if request.user:
            _, count = self.users.get(request.user, (node, 0))
            self.users[request.user] = (node, count + 1)

    def finish(self, number: int) -> Errand | None:
        """The request is not under way any longer; None if it was not."""
        request = self.under_way.pop(number, None)
        if request is None:
            return None
        self.nodes[request.home] -= 1
        if not self.nodes[request.home]:
            del self.nodes[request.home]
        self.exclusive -= request.is_exclusive
        if request.user:
            node, count = self.users.pop(request.user)
            if count > 1:
                self.users[request.user] = (node, count - 1)
        ref = getattr(request.message, "ref", 0)
        if self.attaching.get(ref) is request:
            del self.attaching[ref]
        return request

    def put_back(self) -> None:
        """Nothing is under way: requests that came back wait in front of all others, in their order. O(requests)."""
        for number in sorted(self.returned, reverse=True):
            self.waiting.appendleft(self.returned[number])
        self.returned.clear()

    def hold(self, ref: int, held: HeldElsewhere) -> None:
        """The link was granted the device under the ref. It no longer holds what it held under the ref, nor the same
        device under another ref, unless it asked for that later. O(1)."""
        under_ref = self.held.get(ref)
        if under_ref is not None and under_ref.number > held.number:
            return
        self.drop(ref)
        other = self.ref_of.get((held.user, held.device), 0)
        if other and self.held[other].number > held.number:
            return
        self.drop(other)
        self.held[ref] = held
        self.ref_of[held.user, held.device] = ref

    def refs_of(self, user: str, device: str) -> list[int]:
        """The refs under which the link holds this device elsewhere, or is about to. O(attaches under way)."""
        refs = [
            ref for ref, one in self.attaching.items() if one.message is not None and _names(one.message, user, device)
        ]
        return [*refs, self.ref_of.get((user, device), 0)]

    def let_go(self, ref: int, home: NodeKey, number: int) -> None:
        """The node has granted the request of this number to let go of the ref. What the link asked for later, or holds
        elsewhere since, stays. O(1)."""
        held = self.held.get(ref)
        if held is not None and held.home == home and held.number < number:
            self.drop(ref)
        attaching = self.attaching.get(ref)
        if attaching is not None and attaching.home == home and attaching.number < number:
            attaching.is_outdated = True

    def drop(self, ref: int) -> None:
        """The link holds nothing elsewhere under this ref. Idempotent."""
        held = self.held.pop(ref, None)
        if held is not None:
            self.ref_of.pop((held.user, held.device), None)

    def node_of(self, ref: int) -> NodeKey | None:
        """The other node at which the link holds the device under this ref, or is about to; None = there is none."""
        attaching = self.attaching.get(ref)
        if attaching is not None:
            return attaching.home
        held = self.held.get(ref)
        return held.home if held is not None else None


def _names(message: ClientMessage, user: str, device: str) -> bool:
    return (getattr(message, "user", ""), getattr(message, "device", "")) == (user, device)
