"""What befalls a town no node of which is safe: each may end, and starts again with what its disk knows; it may stand
still; and the engine may be emptied or lose its end meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from presenced.cluster.log.node import RETURN_MS
from presenced.wire.messages import Watch
from tests.cluster.client import Client
from tests.cluster.town import TownNode
from tests.cluster.town_disk import TownDisk

if TYPE_CHECKING:
    from tests.cluster.servant import Servant
    from tests.cluster.town import Town

NODES_MAX = 4
NAMES = "abcdef"
WATCHED = ("ann", "bob", "cat", "dan", "eve", "fay")
SERVICES = ("root", "app", "boss", "guest")
ROUNDS_MAX = 12
"""So often nodes may end by themselves, and be started again, before a town comes to rest."""


class Mortality:
    """The part of a `Life` that is about nodes which end and come back."""

    chance: Random
    town: Town
    trace: list[str]
    disks: dict[str, TownDisk]
    starts: int
    steady: dict[str, Client]
    watcher: Client
    heard: int
    servant: Servant
    is_mortal: bool
    ready: Callable[[], list[TownNode]]
    any_ready: Callable[[], TownNode]
    pass_time: Callable[[int], None]
    renew: Callable[[], None]
    drop: Callable[[TownNode], None]
    speak: Callable[[], None]
    relate: Callable[[], None]
    dial: Callable[[], None]
    lose: Callable[[], None]

    # --- nodes ------------------------------------------------------------------------------------------------

    def open_node(self, name: str) -> TownNode:
        """A node that starts with what its disk knows, and has not joined yet."""
        disk = self.disks.pop(name, None) or TownDisk()
        if disk.seen_ms and self.chance.random() < 0.15:
            # A start that came to nothing, since the engine was away for too long.
            is_clean = self.chance.random() < 0.5
            self.trace[-1] += f", {name} starts in vain"
            store = TownNode(self.town, name, self.town.policy, disk).store
            assert store is not None
            disk = store.leave(self.town.now_ms, is_clean=is_clean)
        self.starts += 1
        return TownNode(self.town, name, self.town.policy, disk, f"{name} {self.starts}")

    def start_node(self, name: str) -> TownNode:
        """The same, which joins."""
        if self.trace:
            self.trace[-1] += f", {name} starts"
        return self.town.add(name, self.open_node(name))

    def end_node(self, node: TownNode, *, may_leave: bool = True, unwritten: int = 0) -> None:
        """A node ends, in order or not; its disk stays, but for so many of its last writes."""
        town = self.town
        if node not in town.nodes:
            return
        is_clean = may_leave and self.chance.random() < 0.3 and not town.engine.is_down and node not in town.still
        self.trace[-1] += f", {node.name} {'leaves' if is_clean else 'is killed'}"
        if is_clean:
            for client in list(node.clients):
                client.lose()
            town.settle()
            node.engine.stop()
            self.drop(node)
            if node not in town.nodes:
                return
            town.leave(node)
        else:
            self.drop(node)
            town.kill(node)
        assert node.store is not None
        self.disks[node.name] = node.store.leave(node.now_ms, is_clean=is_clean, unwritten=unwritten)

    def free_names(self) -> list[str]:
        """Names that no node has that runs."""
        used = {node.name for node in self.town.nodes}
        return [name for name in NAMES if name not in used]

    def come_home(self) -> None:
        """Whoever is always there comes back to a node that serves. Disks of nodes that have ended stay."""
        if not self.is_mortal:
            return
        for node in self.town.ended:
            assert node.store is not None
            self.trace[-1] += f", {node.name} has ended"
            self.disks[node.name] = node.store.leave(node.now_ms, is_clean=self.chance.random() < 0.5)
        self.town.ended = []
        if not self.ready():
            return
        for name, client in self.steady.items():
            if not client.is_open:
                # While nobody is there, a disk may say so that knows of an earlier time.
                self.heard = len(self.watcher.messages)
                self.steady[name] = self.any_ready().dial(f"{name}/steady")
                self.trace[-1] += f", {name} comes to {self.steady[name].world.name}"
        if not self.watcher.is_open:
            self.heard = 0
            self.watcher = self.any_ready().dial("watcher/screen")
            if not self.watcher.is_open:
                # The node has ended by what it read first.
                return
            self.watcher.say(Watch(self.watcher.next_id(), list(WATCHED)))

    def some(self, *ways: Callable[[], None]) -> None:
        """One of these, if there is a node that serves."""
        if self.ready():
            way = self.chance.choice(ways)
            self.trace.append(f"  {way.__name__}")
            way()
        self.come_home()

    def moving(self) -> list[TownNode]:
        """Nodes that run, and do not stand still."""
        return [node for node in self.town.nodes if node not in self.town.still]

    # --- what happens -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """A node that has ended starts again, or a first time."""
        names = sorted(self.disks) or self.free_names()
        if len(self.town.nodes) < NODES_MAX and not self.town.engine.is_down:
            self.start_node(self.chance.choice(names))

    def fresh(self) -> None:
        """A node starts whose disk is empty."""
        if len(self.town.nodes) < NODES_MAX and not self.town.engine.is_down:
            name = self.chance.choice(self.free_names())
            self.disks.pop(name, None)
            self.start_node(name)

    def restart(self) -> None:
        """A node ends, and starts again most often."""
        nodes = self.moving()
        if not nodes:
            return
        node = self.chance.choice(nodes)
        self.end_node(node)
        self._go_on_without(node)

    def cut(self) -> None:
        """A node is killed before its last writes have come to its disk; and the engine may be emptied at once."""
        nodes = self.moving()
        if not nodes:
            return
        node = self.chance.choice(nodes)
        self.end_node(node, may_leave=False, unwritten=self.chance.randint(1, 6))
        if self.chance.random() < 0.3:
            self.trace[-1] += ", emptied"
            self.town.engine.empty()
        self._go_on_without(node)

    def _go_on_without(self, node: TownNode) -> None:
        """Its clients go elsewhere, and most often it starts again."""
        self.come_home()
        if self.chance.random() < 0.5:
            self.pass_time(self.chance.choice((100, 1_000, 12_000)))
            self.come_home()
        if self.chance.random() < 0.8 and node.name in self.disks:
            self.start_node(node.name)

    def in_turn(self) -> None:
        """All nodes end and start again, one after the other."""
        for node in self.moving():
            self.end_node(node)
            self.come_home()
            self.pass_time(self.chance.choice((0, 100, 1_000, 12_000)))
            self.some(self.speak, self.relate, self.dial, self.lose)
            if node.name in self.disks:
                self.start_node(node.name)
            self.some(self.speak, self.relate, self.dial, self.lose)

    def restart_away(self) -> None:
        """Nodes end while the engine is away, or before, and wait for it when they start again. It may come back
        empty."""
        town = self.town
        nodes = self.moving()
        town.engine.is_down = True
        opened = []
        for node in self.chance.sample(nodes, min(len(nodes), self.chance.choice((1, 1, 2, 3)))):
            self.end_node(node)
            self.come_home()
            self.pass_time(self.chance.choice((0, 500, 2_000)))
            if self.chance.random() < 0.8:
                opened.append(self.open_node(node.name))
        self.some(self.speak, self.relate, self.lose)
        self.pass_time(self.chance.choice((500, 3_000)))
        town.engine.is_down = False
        if self.chance.random() < 0.3:
            self.trace[-1] += ", emptied"
            town.engine.empty()
        if self.chance.random() < 0.4:
            self.renew()
        for one in opened:
            one.advance(town.now_ms - one.now_ms)
            self.trace[-1] += f", {one.name} joins"
            town.add(one.name, one)
        self.renew()

    def still(self) -> None:
        """A node stands still, perhaps for longer than its lease, and goes on."""
        nodes = self.moving()
        if not nodes:
            return
        node = self.chance.choice(nodes)
        self.trace[-1] += f" {node.name}"
        self.freeze(node)
        self.come_home()
        for _ in range(self.chance.randint(1, 4)):
            if self.chance.random() < 0.15:
                self.trace[-1] += ", emptied"
                self.town.engine.empty()
                self.renew()
            elif self.chance.random() < 0.15 and (others := self.moving()):
                self.end_node(self.chance.choice(others))
                self.come_home()
            elif self.chance.random() < 0.15:
                self.start()
            self.some(self.speak, self.speak, self.relate, self.dial, self.lose)
            self.pass_time(self.chance.choice((0, 1_000, 4_000, 12_000)))
            self.come_home()
        self.trace.append(f"  {node.name} goes on")
        self.town.go_on(node)
        self.town.settle()

    def freeze(self, node: TownNode) -> None:
        """A node stands still from now on. Some clients wait for it."""
        self.town.stand_still(node)
        for client in list(node.clients):
            is_service = client.user in (*SERVICES, "watcher") or client in self.steady.values()
            if is_service or self.chance.random() < 0.5:
                node.hung.append(client)
                client.cut()

    def found(self) -> None:
        """Some nodes end, the engine is emptied, and one of them is the first that joins what comes then. The others
        come back later, or never."""
        town, chance = self.town, self.chance
        nodes = self.moving()
        doomed = [node for node in nodes if chance.random() < 0.5] or nodes[:1]
        for node in doomed:
            self.end_node(node)
            self.come_home()
        for _ in range(chance.randint(0, 2)):
            self.pass_time(chance.choice((0, 1_000, 12_000)))
            self.some(self.speak, self.relate, self.dial, self.lose)
        town.engine.empty()
        self.trace[-1] += ", emptied"
        others = self.moving()
        for node in others:
            if chance.random() < 0.6:
                self.freeze(node)
            elif chance.random() < 0.4:
                self.end_node(node, may_leave=False)
        self.come_home()
        if self.disks and len(town.nodes) < NODES_MAX:
            self.start_node(chance.choice(sorted(self.disks)))
            self.come_home()
        for _ in range(chance.randint(0, 2)):
            self.pass_time(chance.choice((0, 1_000, 4_000, RETURN_MS)))
            self.come_home()
            self.some(self.speak, self.relate, self.dial, self.lose)
        for node in list(town.still):
            if chance.random() < 0.2:
                self.end_node(node)
            else:
                self.trace[-1] += f", {node.name} goes on"
                town.go_on(node)
            self.come_home()
        town.settle()

    def twice(self) -> None:
        """The engine is emptied, and again before all nodes have come back."""
        town, chance = self.town, self.chance
        for _ in range(chance.choice((2, 2, 3))):
            town.engine.empty()
            self.trace.append("  emptied")
            slow = [node for node in self.moving() if chance.random() < 0.4]
            self.trace[-1] += f", slow {[node.name for node in slow]}"
            for node in slow:
                town.stand_still(node)
            self.renew()
            if chance.random() < 0.5:
                self.some(self.speak, self.relate, self.lose)
                self.pass_time(chance.choice((100, 2_000)))
            elif chance.random() < 0.3 and (nodes := self.moving()):
                self.end_node(chance.choice(nodes))
                self.come_home()
            for node in slow:
                if chance.random() < 0.5:
                    town.go_on(node)
        for node in list(town.still):
            town.go_on(node)
        town.settle()
        self.renew()

    def relapse(self) -> None:
        """The engine is emptied, and fails once or more often while nodes read the log that began since: it is emptied
        again, or forgets what it has accepted last."""
        town, chance = self.town, self.chance
        failures, entries = chance.choice((1, 1, 2, 3)), chance.randint(1, 6)

        def befall() -> None:
            nonlocal failures, entries
            entries -= 1
            if entries or not failures:
                return
            failures -= 1
            entries = chance.randint(1, 8)
            if chance.random() < 0.6:
                self.trace[-1] += ", emptied again"
                town.engine.empty()
            else:
                count = chance.randint(1, 4)
                self.trace[-1] += f", {count} lost"
                town.engine.lose_tail(count)

        slow = [node for node in self.moving() if chance.random() < 0.3]
        self.trace[-1] += f", slow {[node.name for node in slow]}"
        for node in slow:
            town.stand_still(node)
        town.engine.empty()
        town.befall = befall
        self.renew()
        for node in slow:
            town.go_on(node)
        self.renew()
        town.befall = lambda: None
        town.settle()
        self.renew()

    def torn(self) -> None:
        """The log loses its end, of which nodes have read more and less; and one of them may end before it says
        anything again."""
        town, chance = self.town, self.chance
        for _ in range(chance.randint(2, 4)):
            town.pause(*(node for node in self.moving() if chance.random() < 0.4))
            self.trace.append(f"  slow {[node.name for node in town.paused]}")
            self.some(self.speak, self.speak, self.relate, self.dial, self.lose)
            town.settle()
        count = chance.randint(1, 8)
        town.engine.lose_tail(count)
        self.trace[-1] += f", {count} lost"
        if chance.random() < 0.7 and (nodes := self.moving()):
            self.end_node(chance.choice(nodes), may_leave=False)
        town.resume()
        self.renew()

    def unread(self) -> None:
        """People go on while some nodes read nothing; then the log is gone, or its end, and with it what only others
        have read, and one of the nodes has ended."""
        town, chance = self.town, self.chance
        town.pause(*(node for node in self.moving() if chance.random() < 0.5))
        self.trace[-1] += f", slow {[node.name for node in town.paused]}"
        for _ in range(chance.randint(2, 5)):
            self.some(self.speak, self.speak, self.speak, self.dial, self.lose)
            town.advance(chance.choice((50, 200)), 50)
        if chance.random() < 0.6:
            self.trace[-1] += ", emptied"
            town.engine.empty()
        else:
            count = chance.randint(1, 12)
            self.trace[-1] += f", {count} lost"
            town.engine.lose_tail(count)
        nodes = [node for node in self.moving() if node not in town.paused]
        if nodes:
            self.end_node(chance.choice(nodes), may_leave=False)
        town.resume()
        self.renew()
        self.come_home()
        if self.disks and chance.random() < 0.5:
            self.start()

    def halfway(self) -> None:
        """Nodes come at once, and one that tells them ends before it has told all; or one of them does."""
        town, chance = self.town, self.chance
        if town.engine.is_down:
            return
        town.pause()
        for _ in range(chance.randint(1, 3)):
            names = sorted(self.disks) or self.free_names()
            if len(town.nodes) < NODES_MAX:
                node = self.open_node(chance.choice(names))
                self.trace[-1] += f", {node.name} starts"
                town.nodes.append(node)
                node.join()
        for _ in range(chance.randint(1, 3)):
            for _ in range(chance.randint(1, 60)):
                if nodes := self.moving():
                    node = chance.choice(nodes)
                    chance.choice((node.read, node.append, node.work))()
            if nodes := self.moving():
                self.end_node(chance.choice(nodes), may_leave=False)
            self.come_home()
            self.some(self.speak, self.relate, self.dial, self.lose)
        town.resume()

    # --- the end ----------------------------------------------------------------------------------------------

    def revive(self) -> None:
        """Nothing more befalls the town: who stands still goes on, and some of those who have ended start again."""
        self.trace.append("rest")
        town = self.town
        town.engine.is_down = False
        for node in list(town.still):
            town.go_on(node)
        town.resume()
        self.renew()
        self.come_home()
        for name in sorted(self.disks):
            if len(town.nodes) < NODES_MAX and (not self.ready() or self.chance.random() < 0.5):
                self.start_node(name)

    def come_to_rest(self) -> None:
        """Nodes that end by themselves start again, until none does."""
        for _ in range(ROUNDS_MAX):
            ended = [node.name for node in self.town.ended]
            self.come_home()
            for name in ended:
                if len(self.town.nodes) < NODES_MAX and name in self.disks:
                    self.start_node(name)
            self.pass_time(RETURN_MS + 5_000)
            if not self.town.ended and all(node.node.is_ready for node in self.town.nodes):
                if self.town.nodes:
                    self.come_home()
                    self.pass_time(5_000)
                    return
                self.start()
        not_ready = [node.name for node in self.town.nodes if not node.node.is_ready]
        raise AssertionError(f"the town does not come to rest: {not_ready} do not serve")
