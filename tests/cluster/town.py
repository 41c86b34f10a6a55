"""Several nodes in one process, on one clock, behind one engine of the fake backplane: each is a world of the core with
its turns, its links and its part in the cluster. Nothing moves unless it is told to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from presenced.backplane.errors import BackplaneError, Emptied, Fenced, Rewound, Unreachable
from presenced.backplane.port import Entry, Joined
from presenced.cluster.links.forwarding import Forwarding
from presenced.cluster.log.join_data import JoinData, join_data
from presenced.cluster.log.log_reader import LogReader
from presenced.cluster.log.node import Node
from presenced.core.copies import Copies
from presenced.core.model import unknown_record
from presenced.core.policy import Policy
from presenced.server.clocks import Clocks
from presenced.server.clustering.cluster_log import ClusterLog
from presenced.server.clustering.engine_calls import EngineCalls
from presenced.server.clustering.mender import Mender
from presenced.testing.disk import KeepingLog
from presenced.wire.codec import encode
from presenced.wire.messages import Record
from tests.cluster.client import Client
from tests.cluster.town_disk import OpenDisk, TownDisk
from tests.core.world import START_MS, WALL_MS, FakeLink, World
from tests.support.memory_backplane import MemoryBackplane
from tests.support.memory_engine import MemoryEngine
from tests.support.requests import REQUESTS

T = TypeVar("T")

PATIENCE = 100
"""After so many entries of the log each node does some of what takes long."""


def done(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call of the fake, which waits for nothing."""
    try:
        call.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("the call waits for something")


class TownCalls(EngineCalls):
    """Calls that wait for nothing."""

    async def rest(self) -> None:
        """Go on at once: nothing changes meanwhile."""


class TownNode(World):
    """One node: a world that is told what others decide."""

    def __init__(
        self, town: Town, name: str, policy: Policy | None = None, disk: TownDisk | None = None, key: object = None
    ) -> None:
        """`disk`: what it starts from, and writes to. `key`: by which it draws; its name if there is none."""
        wall_ms = WALL_MS if disk is None else WALL_MS + town.now_ms - START_MS
        super().__init__(policy, now_ms=town.now_ms, wall_ms=wall_ms)
        self.engine.publisher.said.tell()
        self.town = town
        self.name = name
        self.checks = False
        self.backplane = MemoryBackplane(town.engine, draw=Random(key or name).getrandbits)
        self.clients: list[Client] = []
        """Links that act wherever their users are decided."""
        self.arriving: list[Client] = []
        """Links whose hellos are to be answered."""
        self.is_mending = False
        """Nothing is appended or read meanwhile but what mends its log."""
        self.hung: list[Client] = []
        """Links whose clients have gone while this node stood still."""
        self.store = OpenDisk(disk, self.engine) if disk is not None else None
        if self.store is not None:
            self.log = self.store
            self.store.restore(self.now_ms)

    def join(self) -> None:
        """Begin a life, with what this world knows as that of its own disk."""
        self.key = 1_000 + self.town.draw()
        self.node = Node(self.engine, Copies(self.engine), self.name, self.key, self.join_log())
        self.requests = self.forwarding = Forwarding(
            self.engine, REQUESTS, self.node, self.node.bids, self.node, lambda: self.now_ms
        )
        self.reader = LogReader(self.node, self.forwarding)
        calls = TownCalls(Clocks(lambda: self.now_ms * 1_000_000, time.time_ns), lambda is_away: None)
        calls.note_serving()
        self.mender = Mender(
            self.node, self.reader, self.backplane, self, calls, apply=self._apply, draw=self.town.draw
        )
        self.disk = self.store or KeepingLog()
        self.log = self.cluster_log = ClusterLog(self.disk, self.node, lambda: False)  # type: ignore[assignment]
        self.reader.begin(self.now_ms)
        if self.node.horizon.is_founded_by(self.key):
            # Disks that were killed at one moment carry their records over to the same versions, each its own.
            self.town.told.clear()
        self._has_served = False

    def join_log(self, data: JoinData | None = None) -> Joined:
        nonce, data = self.town.draw(), data or join_data(self.key)
        while True:
            try:
                return done(self.backplane.join(self.name, nonce, 0, 77, encode(data)))
            except Unreachable:
                assert not self.town.engine.is_down

    # --- what the pump does -----------------------------------------------------------------------------------

    def append(self) -> bool:
        """Append one batch, if there is one."""
        closed = self.node.batches.close()
        if closed is None:
            return False
        try:
            for stored in closed.stored:
                done(self.backplane.put_parcel(*stored))
            done(self.backplane.append(closed.number, self.node.position, self.node.tag, closed.data))
        except Unreachable:
            return False
        except (Rewound, Emptied, Fenced) as error:
            return self.recover(error)
        self.node.batches.appended(closed.number)
        return True

    def recover(self, error: BackplaneError, *, is_of_command: bool = True) -> bool:
        """What the pump does about a log that is not the one that was read."""
        if isinstance(error, Rewound | Emptied) and self.node.is_ready:
            self.is_mending = True
            try:
                done(self.mender.mend(error, is_of_command=is_of_command))
            except BackplaneError as reason:
                error = reason
            else:
                return True
            finally:
                self.is_mending = False
        self.town.end(self)
        return True

    async def _apply(self, entries: list[Entry]) -> None:
        """Take one entry while the log is mended. The engine may fail again behind it."""
        self.take(entries[0])
        if self not in self.town.nodes:
            raise Fenced(0)
        self.town.befall()

    def begin(self) -> int:
        """As `Host`."""
        return self.now_ms

    def read(self) -> bool:
        """Take one entry, if there is one, and run a turn."""
        try:
            entries = done(self.backplane.read(self.node.position, self.node.tag))
        except Unreachable:
            return False
        except (Rewound, Emptied, Fenced) as error:
            return self.recover(error, is_of_command=False)
        if not entries:
            return False
        self.take(entries[0])
        return True

    def take(self, entry: Entry) -> None:
        parcels = {}
        for number in self.reader.wanted(entry):
            try:
                data = done(self.backplane.take_parcel(self.node.me, number))
            except Unreachable:
                data = done(self.backplane.take_parcel(self.node.me, number))
            assert data is not None
            parcels[number] = data
        self.reader.take(entry, self.now_ms, parcels)
        if self.node.is_outdone or self.node.is_fenced:
            self.recover(Fenced(0))
            return
        self.save_foreign()
        self.turn()

    def save_foreign(self) -> None:
        """Give the disk what others have decided, and all that is known once this node serves."""
        if self.store is None:
            return
        if self.node.is_ready and not self._has_served:
            self._has_served = True
            self.store.take_snapshot()
        self.cluster_log.save_foreign()

    def work(self) -> bool:
        """One slice of what takes long."""
        if not self.reader.slices.has_work:
            return False
        self.reader.slices.go_on(self.now_ms)
        self.turn()
        return True

    def turn(self) -> None:
        """A turn, and what comes of it on all nodes unless the town waits to be told."""
        if not hasattr(self, "node"):
            super().turn()
            return
        arriving, self.arriving = self.arriving, []
        for client in arriving:
            client.greet()
        self.forwarding.tick(self.now_ms)
        super().turn()
        due_ms = self.forwarding.next_ms
        if self.arriving:
            self.next_ms = self.now_ms
        elif due_ms is not None and (self.next_ms is None or due_ms < self.next_ms):
            self.next_ms = due_ms
        if self.store is not None:
            self.store.snap(self.now_ms)
        self.town.consider_settling()

    def renew(self) -> None:
        try:
            done(self.backplane.renew(*self.reader.droppable))
        except Unreachable:
            return
        except (Rewound, Emptied, Fenced) as error:
            self.recover(error)
        self.reader.tick(self.now_ms)

    # --- for tests --------------------------------------------------------------------------------------------

    def come(self, address: str, **more: Any) -> FakeLink:
        """As `open`, after this node has become the home of the user if they had none."""
        name = address.partition("/")[0]
        if not self.node.home_of(name):
            self.node.bids.bid([name], lambda now_ms: None)
            self.town.settle()
        assert self.node.own(name), f"{name} lives elsewhere"
        return self.open(address, **more)

    def dial(self, address: str, **fields: Any) -> Client:
        """A client says hello here, wherever its user is decided."""
        client = Client(self, address, **fields)
        self.turn()
        return client

    def shown(self, name: str) -> Record:
        """The record as it is told here."""
        user = self.engine.users.get(name)
        return user.record if user is not None else unknown_record(name)


class Town:
    """The nodes, the engine and the clock."""

    def __init__(self, *names: str, policy: Policy | None = None) -> None:
        self.now_ms = START_MS
        self.policy = policy
        self.engine = MemoryEngine(lambda: self.now_ms)
        self.nodes: list[TownNode] = []
        self.befall: Callable[[], object] = lambda: None
        """What happens behind each entry that a node reads which comes back to a log."""
        self.is_prompt = True
        """What a turn has to tell others reaches them at once."""
        self.paused: tuple[TownNode, ...] = ()
        self.still: dict[TownNode, None] = {}
        """Those that stand still: their processes were stopped."""
        self.ended: list[TownNode] = []
        """Those that have ended by themselves, to be started again."""
        self.told: dict[tuple[str, int], Record] = {}
        """What clients were told, by user and version."""
        self._is_settling = False
        self._drawn = 0
        for name in names:
            self.add(name)

    def draw(self) -> int:
        self._drawn += 1
        return self._drawn

    def add(self, name: str, node: TownNode | None = None) -> TownNode:
        """A node joins, and is told all that there is. `node`: one that knows something already."""
        node = node or TownNode(self, name, self.policy)
        self.nodes.append(node)
        node.join()
        self.settle()
        return node

    def pause(self, *nodes: TownNode) -> None:
        """These do nothing, and turns settle nothing, until `resume`."""
        self.paused = nodes
        self.is_prompt = False

    def resume(self) -> None:
        """All nodes do what they have to, as it comes."""
        self.paused = ()
        self.is_prompt = True
        self.settle()

    def consider_settling(self) -> None:
        if self.is_prompt and not self._is_settling:
            self.settle()

    def settle(self) -> None:
        """Until nobody has anything to append, to read or to do."""
        self._is_settling = True
        try:
            for number in range(100_000):
                moved = False
                for node in self.moving:
                    # What takes long is done last: much may be asked before.
                    moved |= node.append() or node.read()
                if not moved or number % PATIENCE == PATIENCE - 1:
                    # As in a daemon it is not put off for ever: two that take each other for a home send a request to
                    # and fro until one of them has come to say so.
                    moved |= any([node.work() for node in self.moving])
                if not moved:
                    return
            raise AssertionError("the nodes never come to rest")
        finally:
            self._is_settling = False

    @property
    def moving(self) -> list[TownNode]:
        """Those that append and read."""
        held = (*self.paused, *self.still)
        return [node for node in self.nodes if node not in held and not node.is_mending]

    def stand_still(self, node: TownNode) -> None:
        """The node's process is stopped."""
        self.still[node] = None

    def go_on(self, node: TownNode) -> None:
        """The node's process goes on. It asks the engine whether it lives before it tells anybody anything."""
        self.still.pop(node, None)
        if node not in self.nodes:
            return
        node.now_ms = self.now_ms
        for client in node.hung:
            if client.session is not None:
                node.engine.sessions.detach(self.now_ms, client.session)
        node.hung = []
        node.renew()
        if node in self.nodes:
            node.turn()

    def end(self, node: TownNode) -> None:
        """The node ends by itself."""
        if node in self.nodes:
            self.kill(node)
            self.ended.append(node)
        for client in list(node.clients):
            client.cut()

    def advance(self, ms: int, step_ms: int = 1_000, *links: FakeLink) -> None:
        """Let time pass on all nodes, which renew their leases. These links heartbeat."""
        end_ms = self.now_ms + ms
        while self.now_ms < end_ms:
            self.now_ms = min(end_ms, self.now_ms + step_ms)
            for node in [node for node in self.nodes if node not in self.still]:
                if node not in self.nodes:
                    continue
                node.advance(self.now_ms - node.now_ms)
                for link in links:
                    if link.world is node:
                        link.beat()
                node.renew()
            self.settle()

    def kill(self, node: TownNode) -> None:
        """The node is gone without a word. Idempotent."""
        self.nodes = [other for other in self.nodes if other is not node]
        self.still.pop(node, None)

    def leave(self, node: TownNode) -> None:
        """The node leaves in order."""
        self.settle()
        try:
            done(node.backplane.leave())
        except Unreachable:
            done(node.backplane.leave())
        self.nodes.remove(node)
        self.settle()


def left(town: Town, node: TownNode) -> TownDisk:
    """What a node leaves that ends in order."""
    town.leave(node)
    assert node.store is not None
    node.store.snap(node.now_ms)
    return node.store.leave(town.now_ms, is_clean=True)


def agreed(town: Town, names: list[str]) -> None:
    """All nodes name one home of each user, which believes it, and tell the same."""
    for name in names:
        homes = {node.node.home_of(name) for node in town.nodes}
        assert len(homes) == 1, f"{name} lives at {homes}"
        assert homes <= {node.node.me for node in town.nodes}
        assert len({node.shown(name) for node in town.nodes}) == 1, name
