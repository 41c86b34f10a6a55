"""Several nodes on one clock, and one log between them: what one node makes in a turn the others take in that order.

Each node has an engine, a turn and links, as `tests.core.world` has. The facts of a turn reach the others in front of
its messages, and are applied to their copies. Who has no home gets one by name, when somebody asks for one; users are
handed over if the cluster `hands_over`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, TypeVar

from presenced.cluster.links.forwarding import Forwarding
from presenced.cluster.log.entries import OF_PAIRS, decode_facts, for_others
from presenced.core import invariants
from presenced.core.copies import Copies
from presenced.core.engine import Engine
from presenced.core.handovers import Handovers
from presenced.core.model import Device, Edge, Session
from presenced.core.parts.schedules import no_calendar
from presenced.core.policy import Policy
from presenced.core.records import Fact
from presenced.core.rights import Rights
from presenced.errors import PresenceError
from presenced.limits import SERVER_FRAME_BYTES_MAX
from presenced.server.fact_log import Ack, MemoryLog
from presenced.server.greeting import open_session
from presenced.server.identity import Identity
from presenced.server.turn import run_turn
from presenced.wire.codec import decode_server, encode
from presenced.wire.frames import FrameReader
from presenced.wire.messages import ClientMessage, Hello, Role, ServerMessage
from tests.support.requests import REQUESTS

START_MS = 7_000_003
WALL_MS = 1_700_000_000_000

S = TypeVar("S", bound=ServerMessage)


class Link(Edge):
    """One client and its connection."""

    def __init__(self, node: Node, hello: Hello, rights: Rights | None = None, issued_ms: int = 0) -> None:
        self.node = node
        self.since_ms = node.now_ms
        self.hello = hello
        self.messages: list[ServerMessage] = []
        self.ended: str | None = None
        """The code of the goodbye; empty if it was closed without one."""
        self.is_reading = True
        self._reader = FrameReader(SERVER_FRAME_BYTES_MAX)
        self._ids = 0
        self._goodbye: str | None = None
        """What it is told once all that was promised is answered."""
        self.session: Session
        identity = Identity(hello.user, hello.role, 0, rights, issued_ms)
        try:
            self.session = open_session(node.engine, self, hello, identity, 0, node.now_ms, node.forwarding)
        except PresenceError as error:
            self.ended = error.code
            return
        node.links.append(self)

    # --- what the core sees -----------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        if self.ended is not None:
            return
        if not self.is_reading:
            self.node.engine.outboxes.pause(self.session, self.node.now_ms)
        self._reader.feed(data)
        self.messages += [decode_server(payload) for payload in self._reader.take(10_000)]

    def end(self, code: str) -> None:
        if self.ended is not None:
            return
        if self._goodbye is None:
            self._goodbye = code
            self.node.engine.sessions.detach(self.node.now_ms, self.session, code)
        if not self.session.unanswered:
            self.ended = self._goodbye
            self.node.links.remove(self)

    def fail(self, now_ms: int) -> None:
        self.end("link_failed")

    # --- what the client does ---------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self.ended is None

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def say(self, *messages: ClientMessage) -> None:
        """Send messages, each in a turn of its own, of which the last one is still to end."""
        node = self.node
        for message in messages:
            run_turn(node.engine, node.log, node.now_ms)
            node.requests.handle(node.engine, self.session, node.now_ms, message)

    def lose(self) -> None:
        """The connection is lost."""
        self.ended = "lost"
        self.node.links.remove(self)
        self.node.engine.sessions.detach(self.node.now_ms, self.session)

    def took(self, kind: type[S]) -> list[S]:
        """Messages of a type that came so far."""
        return [message for message in self.messages if type(message) is kind]


class ReadBackLog(MemoryLog):
    """What a turn promises is kept once the node has read its own batch back."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: list[Fact] = []
        self.held: list[tuple[int, list[Ack]]] = []
        self.batch = 0

    def append(self, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        self.facts += facts
        self.held.append((self.batch, list(acks)))

    def read_back(self, batch: int) -> None:
        while self.held and self.held[0][0] <= batch:
            super().append((), self.held.pop(0)[1])


class OneByOne:
    """Requests, each in a turn of its own: how many come together must not decide what is told."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def cost(self, engine: Engine, session: Session, message: ClientMessage) -> int:
        return REQUESTS.cost(engine, session, message)

    def handle(self, engine: Engine, session: Session, now_ms: int, message: ClientMessage) -> None:
        run_turn(engine, self._node.log, now_ms)
        REQUESTS.handle(engine, session, now_ms, message)


class Moved(NamedTuple):
    """A user changes homes, with all that is known of them."""

    user: str
    to: int
    facts: bytes


class Bid(NamedTuple):
    """Somebody asks for a home of users who have none."""

    names: list[str]
    then: Callable[[int], object]


class Gone(NamedTuple):
    """A node is gone."""

    number: int
    heirs: Callable[[str], int]


class Batch(NamedTuple):
    """What a node makes in a turn."""

    number: int
    facts: bytes
    rest: list[Moved | tuple[int, bytes]]


class Node:
    """One engine; with a cluster, one of its nodes, and else the only one that there is."""

    def __init__(self, number: int, cluster: Cluster | None, policy: Policy | None = None) -> None:
        self.number = number
        self.cluster = cluster
        self.now_ms = START_MS
        self.engine = Engine(policy or Policy(), now_ms=START_MS, wall_ms=WALL_MS, epoch=77, calendar=no_calendar)
        self.links: list[Link] = []
        self.homes: dict[str, int] = {}
        """Who decides whom, at the position up to which it has read."""
        self.read = 0
        """Entries of the log that it has read."""
        self.outgoing: list[Moved | tuple[int, bytes]] = []
        self.forwarding: Forwarding | None = None
        self.requests: Any = OneByOne(self)
        self.log: Any = MemoryLog()
        self.is_gone = False
        self.is_full = False
        if cluster is not None:
            self.copies = Copies(self.engine)
            self.handovers = Handovers(self.engine)
            self.engine.users.copy_by(lambda name: self.homes.get(name) != number)
            self.log = ReadBackLog()
            self.requests = self.forwarding = Forwarding(
                self.engine, self.requests, NodeHomes(self), NodeBids(self), self, lambda: self.now_ms
            )

    def open(self, address: str, *, role: Role = "user", **fields: Any) -> Link:
        """A link says hello as `user/device`, or as `user` without a device; no turn is run."""
        user, _, device = address.partition("/")
        rights, issued_ms = fields.pop("rights", None), fields.pop("issued_ms", 0)
        return Link(self, Hello([1], "", user, device, role=role, **fields), rights, issued_ms)

    def send(self, to: int, message: bytes) -> None:
        self.outgoing.append((to, message))

    @property
    def next_ms(self) -> int | None:
        """When a turn is wanted."""
        found = [self.engine.next_ms, self.forwarding.next_ms if self.forwarding is not None else None]
        return min((one for one in found if one is not None), default=None)

    def turn(self) -> None:
        """One turn, after which what it made is in the log."""
        if self.forwarding is not None:
            self.forwarding.tick(self.now_ms)
        run_turn(self.engine, self.log, self.now_ms)
        if self.cluster is None:
            return
        facts, self.log.facts = for_others(self.log.facts), []
        if facts or self.outgoing or self.log.held:
            self.log.batch += 1
            self.cluster.append(self.number, Batch(self.log.batch - 1, encode(facts), self.outgoing))
            self.outgoing = []

    # --- what comes from the log ------------------------------------------------------------------------------

    def take(self, sender: int, entry: Batch | Bid | Gone) -> None:
        """The next entry of the log."""
        assert self.forwarding is not None
        now_ms = self.now_ms
        if isinstance(entry, Gone):
            self._take_over(entry)
        elif isinstance(entry, Bid):
            for name in entry.names:
                if name not in self.homes:
                    assert self.cluster is not None
                    self.homes[name] = self.cluster.home_by(name, sender)
                    if self.homes[name] == self.number:
                        self.handovers.adopt(name, now_ms, heard_ms=None, grace_ms=0)
            if sender == self.number:
                entry.then(now_ms)
        elif isinstance(entry, Batch):
            if sender == self.number:
                self.log.read_back(entry.number)
            else:
                facts = [fact for fact in decode_facts(entry.facts) if self._is_from_home(fact, sender)]
                if facts:
                    self.copies.apply(facts, now_ms)
            for one in entry.rest:
                if isinstance(one, Moved):
                    self._move(one, sender)
                elif one[0] == self.number:
                    self.forwarding.receive(sender, one[1], now_ms)

    def _is_from_home(self, fact: Fact, sender: int) -> bool:
        assert self.cluster is not None
        if type(fact) in OF_PAIRS:
            return sender == self.cluster.registrar
        return self.homes.get(getattr(fact, "user", "")) == sender

    def _move(self, moved: Moved, sender: int) -> None:
        assert self.forwarding is not None
        if sender != self.number:
            self.homes[moved.user] = moved.to
            self.copies.replace(moved.user, decode_facts(moved.facts), self.now_ms)
        if moved.to == self.number:
            self.handovers.adopt(moved.user, self.now_ms, heard_ms=None, grace_ms=15_000)
        self.forwarding.homes_changed([moved.user], self.now_ms)

    def _take_over(self, gone: Gone) -> None:
        assert self.forwarding is not None
        for name, home in self.homes.items():
            if home == gone.number:
                self.homes[name] = gone.heirs(name)
                if self.homes[name] == self.number:
                    self.handovers.adopt(name, self.now_ms, heard_ms=self.now_ms, grace_ms=30_000)
        self.forwarding.node_gone(gone.number, self.now_ms, self.now_ms)


class NodeHomes:
    def __init__(self, node: Node) -> None:
        self._node = node
        assert node.cluster is not None
        self._cluster = node.cluster

    @property
    def me(self) -> int:
        return self._node.number

    @property
    def registrar(self) -> int:
        return self._cluster.registrar

    @property
    def others(self) -> Collection[int]:
        return [node.number for node in self._cluster.nodes if node is not self._node and not node.is_gone]

    @property
    def position(self) -> int:
        return self._node.read

    def name_of(self, place: int) -> str:
        return f"n{place}"

    def gives_links(self, place: int) -> bool:
        return place in self.others

    def own(self, name: str) -> bool:
        return self.home_of(name) == self.me

    def home_of(self, name: str) -> int:
        return self._node.homes.get(name, 0)

    def hand_over(self, name: str, to: int) -> bool:
        node = self._node
        if not self._cluster.hands_over:
            return False
        user = node.engine.users.get(name)
        facts: list[Fact] = []
        if user is not None:
            facts = node.handovers.release(user, node.now_ms)
            # Versions of one moment run ahead of the counter.
            node.engine.ledger.raise_version(user.record.version, node.now_ms)
        node.homes[name] = to
        node.outgoing.append(Moved(name, to, encode(facts)))
        return True


class NodeBids:
    def __init__(self, node: Node) -> None:
        self._node = node
        assert node.cluster is not None
        self._cluster = node.cluster

    def bid(self, names: Sequence[str], then: Callable[[int], object]) -> None:
        self._cluster.append(self._node.number, Bid(list(names), then))

    def is_asked_for(self, name: str) -> bool:
        mine = [entry for number, entry in self._cluster.log[self._node.read :] if number == self._node.number]
        return any(isinstance(entry, Bid) and name in entry.names for entry in mine)


class Cluster:
    """Nodes 1 to n, and the log between them."""

    def __init__(self, count: int, policy: Policy | None = None, *, seed: int = 0) -> None:
        self.registrar = 1
        self.hands_over = False
        self.count = count
        self.log: list[tuple[int, Any]] = []
        self.nodes = [Node(number, self, policy) for number in range(1, count + 1)]
        self.home_by: Callable[[str, int], int] = lambda name, bidder: sum(name.encode()) % count + 1
        """Who becomes the home of a user who has none."""
        self._dice = seed

    def append(self, sender: int, entry: Any) -> None:
        if not self.nodes[sender - 1].is_gone:
            self.log.append((sender, entry))

    def read(self, node: Node, most: int = 1_000_000) -> None:
        """The node reads on in the log."""
        for sender, entry in self.log[node.read : node.read + most]:
            node.read += 1
            node.take(sender, entry)

    def run(self) -> None:
        """Turn after turn, each node at its own pace, until nothing is to be read and nothing is due."""
        for node in self.living:
            node.turn()
        for _ in range(2_000):
            waiting = [node for node in self.living if node.read < len(self.log)]
            if not waiting:
                due = [node for node in self.living if (next_ms := node.next_ms) is not None and next_ms <= node.now_ms]
                if not due:
                    return
                for node in due:
                    node.turn()
                continue
            self._dice = (self._dice * 1_103_515_245 + 12_345) % 2**31
            node = waiting[self._dice // 7 % len(waiting)]
            self.read(node, 1 + self._dice // 64 % 3)
            node.turn()
        raise AssertionError("the nodes do not come to rest")

    @property
    def living(self) -> list[Node]:
        return [node for node in self.nodes if not node.is_gone]

    def advance(self, ms: int) -> None:
        """Let time pass on all nodes."""
        end_ms = self.nodes[0].now_ms + ms
        while True:
            due = [next_ms for node in self.living if (next_ms := node.next_ms) is not None]
            now_ms = max(self.living[0].now_ms, min(due, default=end_ms))
            if now_ms >= end_ms:
                break
            self._set(now_ms)
            self.run()
        self._set(end_ms)
        self.run()

    def stand(self, ms: int) -> None:
        """Let time pass while nobody does anything."""
        self._set(self.nodes[0].now_ms + ms)

    def _set(self, now_ms: int) -> None:
        for node in self.nodes:
            node.now_ms = now_ms

    def flush(self) -> None:
        """All heartbeats are told."""
        for node in self.living:
            assert node.forwarding is not None
            node.forwarding.beats.flush(node.now_ms)
        self.run()

    def settle(self, **homes: int) -> None:
        """These users have these homes."""
        for node in self.nodes:
            node.homes.update(homes)

    def home_of(self, name: str) -> int:
        """Who decides the user, as far as all have read; 0 = nobody."""
        return self.living[0].homes.get(name, 0)

    def kill(self, node: Node, heirs: Callable[[str], int]) -> None:
        """The node is gone, with all that it has not appended; its links are cut."""
        node.is_gone = True
        for link in list(node.links):
            link.ended = "lost"
        self.log.append((node.number, Gone(node.number, heirs)))

    def check(self) -> None:
        """What must hold on each node."""
        for node in self.living:
            invariants.check(node.engine)
            assert not [session for session in node.engine.obligations.asking]


def cluster(count: int = 2, **homes: int) -> Cluster:
    """Nodes, and users with these homes."""
    made = Cluster(count)
    made.settle(**homes)
    return made


def device(node: Node, address: str) -> Device:
    """The device as the node knows it."""
    user, _, device_id = address.partition("/")
    return node.engine.users[user].devices[device_id]


def check_whole(node: Node) -> None:
    """What must hold on a node without copies."""
    invariants.check(node.engine)
