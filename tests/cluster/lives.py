"""Random lives of a town: people and nodes come and go, the engine fails in every way that it can, and in the end all
nodes tell one truth, which is that of the people.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from unittest.mock import patch

from presenced.cluster.links.lost_links import KEPT_MS, PATIENCE_MS
from presenced.cluster.log import backlog, lessons
from presenced.core.contacts.agreement import check_contacts, rosters_asleep
from presenced.core.model import CONNECTED
from presenced.core.policy import Policy
from presenced.limits import RESTART_GRACE_MS, RESTART_SPREAD_MS
from presenced.wire.messages import (
    Approve,
    Block,
    Bye,
    Cancel,
    ClientMessage,
    ContactEntry,
    Erase,
    Heartbeat,
    Join,
    RemoveContact,
    SetContact,
    SetContacts,
    SetStatus,
    Subscribe,
    Unblock,
    Unsubscribe,
    Watch,
)
from tests.cluster.client import Client
from tests.cluster.mortality import Mortality
from tests.cluster.returner import Returner
from tests.cluster.servant import Servant
from tests.cluster.town import Town, TownNode
from tests.cluster.town_disk import TownDisk

USERS = ("ann", "bob", "cat", "dan", "eve", "fay")
DREAMERS = ("gil", "hal", "ivy", "joe")
"""Users whom nobody watches by name, so that they sleep whenever they are away."""
NODES_MAX = 4
QUIET_MS = 25_000
"""Longer than a lease, what is put off after an outage, and what waits for an answer."""


FAULTS: dict[str, tuple[str, ...]] = {
    "none": (),
    "nodes": ("kill", "leave", "add", "add"),
    "engine": ("outage", "lost_reply", "cut_off"),
    "log": ("lost_tail", "lost_reply"),
    "emptied": ("emptied", "lost_reply"),
    "late": ("slow", "slow", "erase", "add", "leave"),
    "all": ("slow", "erase", "kill", "leave", "add", "add", "outage", "lost_reply", "cut_off", "lost_tail", "emptied"),
    "disks": ("restart", "restart", "start", "start", "fresh", "restart_away", "in_turn"),
    "stills": ("still", "still", "start", "emptied"),
    "founders": ("found", "found", "start", "fresh", "emptied"),
    "twice": ("twice", "twice", "emptied", "lost_reply", "start"),
    "relapse": ("relapse", "relapse", "emptied", "lost_reply", "start"),
    "torn": ("torn", "torn", "start", "lost_tail"),
    "unread": ("unread", "unread", "start", "start"),
    "cut": ("cut", "cut", "cut", "start", "erase", "slow"),
    "halfway": ("halfway", "halfway", "halfway", "restart", "start"),
    "mortal": (
        *(
            "slow",
            "erase",
            "restart",
            "restart",
            "start",
            "start",
            "fresh",
            "restart_away",
            "in_turn",
            "still",
            "found",
        ),
        *("halfway", "twice", "torn", "outage", "lost_reply", "cut_off", "lost_tail", "emptied"),
    ),
}
"""Kinds of lives, by what may befall them."""

MORTAL = frozenset(
    {
        "cut",
        "fresh",
        "found",
        "halfway",
        "in_turn",
        "relapse",
        "restart",
        "restart_away",
        "start",
        "still",
        "torn",
        "twice",
        "unread",
    }
)
"""Where any of these may befall a life, no node is safe, and each has a disk."""


RELATIONS: tuple[Callable[[int, str, str, Random], ClientMessage], ...] = (
    lambda number, user, other, chance: Subscribe(number, other, f"note {number}", user=user),
    lambda number, user, other, chance: Subscribe(number, other, user=user),
    lambda number, user, other, chance: Approve(number, other, user=user),
    lambda number, user, other, chance: Approve(number, other, user=user),
    lambda number, user, other, chance: Cancel(number, other, user=user),
    lambda number, user, other, chance: Unsubscribe(number, other, user=user),
    lambda number, user, other, chance: RemoveContact(number, other, user=user),
    lambda number, user, other, chance: SetContact(number, other, f"name {number}", ["group"], user=user),
    lambda number, user, other, chance: SetContacts(
        number,
        user,
        [
            ContactEntry(name, chance.choice(("none", "to", "from", "both")))
            for name in chance.sample((*USERS, *DREAMERS), 3)
            if name != user
        ],
    ),
    lambda number, user, other, chance: Block(number, other, user=user),
    lambda number, user, other, chance: Unblock(number, other, user=user),
    lambda number, user, other, chance: Unblock(number, other, user=user),
)
"""What a program may say of two users."""


class Life(Mortality):
    """One life, of which a seed brings back everything. `is_observed`: somebody watches at each node, which takes twice
    the time."""

    def __init__(self, seed: int, *, faults: tuple[str, ...] = (), is_observed: bool = False) -> None:
        self.chance = Random(seed)
        self.is_observed = is_observed
        # Awake for ever, as soon as that can be, or after a while within which much happens.
        policy = Policy(sleep_after_ms=self.chance.choice((0, 1, 1, 2_000, 2_000, 10_000)))
        self.is_mortal = not MORTAL.isdisjoint(faults)
        """Every node may end, and starts again with what its disk knows."""
        self.town = Town(policy=policy) if self.is_mortal else Town("a", "b", "c", policy=policy)
        self.disks: dict[str, TownDisk] = {}
        """Those of nodes that do not run."""
        self.starts = 0
        self.faults = faults
        self.is_short = self.chance.random() < 0.5
        """Little may wait for the engine."""
        self.trace: list[str] = []
        for name in "abc" if self.is_mortal else "":
            self.start_node(name)
        self.named = 3
        self.steady: dict[str, Client] = {}
        """Users with a link that stays from the beginning to the end, on a node that does."""
        first = self.town.nodes[0]
        self._safe = first
        self.watcher = first.dial("watcher/screen")
        self.watcher.say(Watch(self.watcher.next_id(), list(USERS)))
        self.steady["ann"] = first.dial("ann/steady")
        self.observers: dict[TownNode, Client] = {}
        self.heard = 0
        """How many messages the watcher had when somebody who is always there came back last."""
        observers = [f"observer-{name}" for name in "abcdef"]
        self.returner = Returner(("watcher", "guest", *USERS, *DREAMERS, *observers))
        self.returner.come(first)
        self.servant = Servant()
        self.servant.come(first)

    # --- what happens -----------------------------------------------------------------------------------------

    def live(self, steps: int) -> None:
        """So many steps, and then rest."""
        # Parcels of one user each, so that a node may go between any two.
        few = {"PARCEL_COST": 1, "AHEAD_PARCELS": 2} if "halfway" in self.faults else {}
        # Hardly anything may wait for an engine that is away.
        full = {"BACKLOG_BYTES": 300, "WAITING_BYTES": 100} if "outage" in self.faults and self.is_short else {}
        with ExitStack() as stack:
            for module, values in ((lessons, few), (backlog, full)):
                if values:
                    stack.enter_context(patch.multiple(module, **values))
            for _ in range(steps):
                if self.is_observed:
                    self.observe()
                self.step()
                self.come_home()
                self.check_always()
            self.rest()

    def step(self) -> None:
        """One thing happens."""
        ways = [self.dial, self.dial, self.speak, self.speak, self.speak, self.lose, self.say_bye, self.wait, self.wait]
        ways += [self.come_back, self.come_back, self.take_back, self.take_back]
        ways += [self.relate, self.relate, self.relate, self.visit, self.visit]
        ways += [getattr(self, fault) for fault in self.faults]
        way = self.chance.choice(ways)
        if not self.ready():
            way = self.chance.choice((self.wait, self.start, self.start))
        self.trace.append(way.__name__)
        way()

    def observe(self) -> None:
        """Somebody watches at each node."""
        for node in self.ready():
            observer = self.observers.get(node)
            if observer is None or not observer.is_open:
                observer = self.observers[node] = node.dial(f"observer-{node.name}/screen")
                observer.say(Watch(observer.next_id(), list(USERS)))

    def come_back(self) -> None:
        """Whoever watches everybody comes back somewhere; or, if it is there, takes a position and goes."""
        if not self.returner.is_there:
            node = self.any_ready()
            self.trace[-1] += f" at {node.name}, since {self.returner.position}"
            self.returner.come(node)
        elif self.chance.random() < 0.3:
            self.returner.check()
        else:
            self.returner.lose()

    def take_back(self) -> None:
        """A service comes back somewhere with its token, or at two places at once; or, if it is there, its link
        breaks."""
        ready = self.ready()
        if self.servant.waits:
            return
        if self.servant.is_there and self.chance.random() < 0.7:
            self.servant.lose()
            return
        places = self.chance.sample(ready, min(len(ready), 1 + (self.chance.random() < 0.3)))
        self.trace[-1] += f" at {[node.name for node in places]}"
        self.servant.come(*places)

    def dial(self) -> None:
        """A device comes, somewhere where links are served."""
        node = self.any_ready()
        address = f"{self.chance.choice(USERS)}/{self.chance.choice(('phone', 'laptop'))}"
        self.trace[-1] += f" {address} at {node.name}"
        node.dial(address)

    def speak(self) -> None:
        """Somebody says something."""
        client = self.any_client()
        if client is None or client.user == "watcher":
            return
        if self.chance.random() < 0.2:
            client.say(Join(client.next_id(), "room"))
        else:
            status = self.chance.choice(("online", "away", "dnd", None))
            self.trace[-1] += f" {client.address} {status}"
            for_ms = self.chance.choice((0, 0, 0, 2_000, 10_000, 30_000))
            client.say(SetStatus(client.next_id(), status, f"text {client.next_id()}", None, for_ms))

    def visit(self) -> None:
        """Somebody comes whom nobody watches, and most often goes at once."""
        client = self.any_ready().dial(f"{self.chance.choice(DREAMERS)}/phone")
        self.trace[-1] += f" {client.address} at {client.world.name}"
        if client.is_open and self.chance.random() < 0.8:
            client.say(Bye())

    def relate(self) -> None:
        """What is between two users changes."""
        app = self.any_ready().dial("boss", role="service")
        user, other = self.chance.sample((*USERS, *DREAMERS), 2)
        message = self.chance.choice(RELATIONS)(app.next_id(), user, other, self.chance)
        self.trace[-1] += f" {message} at {app.world.name}"
        app.say(message)
        app.lose()

    def any_ready(self) -> TownNode:
        """A node that serves."""
        return self.chance.choice(self.ready())

    def ready(self) -> list[TownNode]:
        """All nodes that serve."""
        return [node for node in self.town.nodes if node.node.is_ready and node not in self.town.still]

    def lose(self) -> None:
        """A connection breaks."""
        client = self.any_client()
        if client is not None and client not in self.steady.values() and client is not self.watcher:
            self.trace[-1] += f" {client.address}"
            client.lose()

    def say_bye(self) -> None:
        """A device goes."""
        client = self.any_client()
        if client is not None and client not in self.steady.values() and client is not self.watcher:
            self.trace[-1] += f" {client.address}"
            client.say(Bye())

    def wait(self) -> None:
        """Time passes."""
        self.pass_time(self.chance.choice((100, 1_000, 3_000)))

    def kill(self) -> None:
        """A node dies."""
        node = self.any_node()
        if node is not None:
            self.trace[-1] += f" {node.name}"
            self.drop(node)
            self.town.kill(node)

    def leave(self) -> None:
        """A node leaves in order."""
        node = self.any_node()
        if node is not None and not self.town.engine.is_down:
            self.trace[-1] += f" {node.name}"
            for client in list(node.clients):
                client.lose()
            self.drop(node)
            self.town.leave(node)

    def add(self) -> None:
        """A node joins, perhaps under the name of one that is gone."""
        if len(self.town.nodes) >= NODES_MAX or self.town.engine.is_down:
            return
        used = {node.name for node in self.town.nodes}
        free = [name for name in "abcdef" if name not in used]
        self.town.add(self.chance.choice(free))

    def outage(self) -> None:
        """The engine is away for a while."""
        self.town.engine.is_down = True
        self.pass_time(self.chance.choice((500, 4_000, 12_000)))
        self.town.engine.is_down = False
        self.pass_time(500)

    def lost_reply(self) -> None:
        """An answer of the engine is lost."""
        self.chance.choice(self.town.nodes).backplane.replies_to_lose = 1

    def slow(self) -> None:
        """Some nodes read and append nothing for a while, and people go on."""
        slow = [node for node in self.town.nodes if self.chance.random() < 0.5]
        self.trace[-1] += f" {[node.name for node in slow]}"
        self.town.pause(*slow)
        for _ in range(self.chance.randint(2, 5)):
            self.chance.choice((self.speak, self.speak, self.come_back, self.take_back, self.relate))()
            self.town.advance(self.chance.choice((50, 200)), 50)
        self.returner.check()
        if self.chance.random() < 0.5:
            self.returner.lose()
            self.come_back()
        self.town.resume()

    def erase(self) -> None:
        """Somebody comes, goes, and is forgotten."""
        ready = self.ready()
        name = self.chance.choice(("guest", *(name for name in USERS if name not in self.steady)))
        self.trace[-1] += f" {name}"
        guest, root = (
            self.chance.choice(ready).dial("guest/phone"),
            self.chance.choice(ready).dial("boss", role="admin"),
        )
        if guest.is_open and self.chance.random() < 0.5:
            guest.say(Bye())
        self.returner.check()
        root.say(Erase(root.next_id(), name))
        root.lose()

    def lost_tail(self) -> None:
        """The engine forgets what it has accepted last, which some have not read."""
        slow = [node for node in self.town.nodes if self.chance.random() < 0.4]
        self.town.pause(*slow)
        for _ in range(self.chance.randint(1, 4)):
            self.chance.choice((self.speak, self.speak, self.relate))()
            self.town.settle()
        self.town.engine.lose_tail(self.chance.randint(1, 5))
        self.town.resume()
        self.renew()

    def emptied(self) -> None:
        """The engine loses everything."""
        self.town.engine.empty()
        self.renew()

    def cut_off(self) -> None:
        """A node does not reach the engine for a while, shorter than its lease."""
        node = self.chance.choice(self.town.nodes)
        node.backplane.is_cut = True
        self.pass_time(self.chance.choice((500, 3_000, 6_000)))
        node.backplane.is_cut = False
        self.pass_time(500)

    # --- helpers ----------------------------------------------------------------------------------------------

    def any_client(self) -> Client | None:
        """An open link, if there is one."""
        clients = [
            client
            for node in self.town.nodes
            if node not in self.town.still
            for client in node.clients
            if client.user not in ("root", "guest", "app", "boss") and not client.user.startswith("observer")
        ]
        return self.chance.choice(clients) if clients else None

    @property
    def safe(self) -> TownNode:
        """One that has been there for long."""
        return self.town.nodes[0] if self.is_mortal else self._safe

    def any_node(self) -> TownNode | None:
        """One that may go: somebody must stay, and knows all users."""
        others = [node for node in self.town.nodes if node is not self.safe]
        return self.chance.choice(others) if others else None

    def drop(self, node: TownNode) -> None:
        """The links of a node break with it."""
        for client in list(node.clients):
            client.cut()

    def renew(self) -> None:
        """All renew their leases, and learn what has become of the log."""
        for node in list(self.town.nodes):
            if node in self.town.nodes and node not in self.town.still:
                node.renew()
        self.town.settle()

    def pass_time(self, ms: int) -> None:
        """Let time pass, in which all links that are open heartbeat."""
        end_ms = self.town.now_ms + ms
        while self.town.now_ms < end_ms:
            step_ms = min(1_000, end_ms - self.town.now_ms)
            self.town.advance(step_ms, step_ms)
            for node in [node for node in self.town.nodes if node not in self.town.still]:
                for client in list(node.clients):
                    if client.is_open:
                        client.say(Heartbeat(None))

    # --- what must hold ---------------------------------------------------------------------------------------

    def check_always(self) -> None:
        """What holds at every moment."""
        for node in self.town.nodes:
            for client in node.clients:
                assert not client.lies, client.lies
        self.returner.read()
        self.servant.go_on()
        for name, client in self.steady.items():
            assert client.is_open or self.is_mortal, f"{name} was ended with {client.ended!r}"
            if client.is_open:
                told = self.watcher.statuses(name, self.heard)
                assert "offline" not in told, f"{name} was told offline and was there all the time"

    def rest(self) -> None:
        """Nothing more happens, and all nodes tell the truth, and the same."""
        town = self.town
        if self.is_mortal:
            self.revive()
        town.resume()
        town.engine.is_down = False
        self.renew()
        self.pass_time(QUIET_MS)
        if self.is_mortal:
            self.come_to_rest()
        self.check_agreement()
        open_ones = {
            client.address: client
            for node in town.nodes
            for client in node.clients
            if client.user not in ("root", "guest", "app", "boss") and not client.user.startswith("observer")
        }
        for address in open_ones:
            user, _, device = address.partition("/")
            [home] = [node for node in town.nodes if node.node.own(user)]
            known = home.engine.users.get(user)
            assert known is not None and device in known.devices, f"{address} is not known at {home.name}"
            assert known.devices[device].state == CONNECTED, f"{address} has no link at {home.name}"
        self.pass_time(RESTART_GRACE_MS + RESTART_SPREAD_MS + 5_000)
        self.check_agreement()
        self.hold_returner()
        self.hold_servant()
        there = {address.partition("/")[0] for address in open_ones}
        for name in (*USERS, *DREAMERS):
            if any(node.engine.users.get(name) is not None for node in town.nodes):
                shown = self.safe.shown(name)
                is_gone = shown.status == "offline"
                assert is_gone == (name not in there), f"{name} is {shown.status}, with links {sorted(open_ones)}"
        for name, record in self.watcher.view.items():
            user = self.safe.engine.users.get(name)
            assert user is None or user.record == record, f"the watcher believes {record}, and it is {user.record}"
        self.check_always()

    def hold_returner(self) -> None:
        """Whoever watches everybody has what all nodes know, wherever it comes to in the end."""
        self.returner.read()
        if not self.returner.is_there:
            self.returner.come(self.chance.choice(self.town.nodes))
        self.pass_time(1_000)
        self.returner.read()
        checks = self.returner.checks
        self.returner.check()
        assert self.returner.checks > checks, "it was never told that this is all"

    def hold_servant(self) -> None:
        """The service has what it had, or says it again, wherever it comes to in the end; and nothing is left of what
        was lost."""
        if not self.servant.is_there:
            self.servant.come(self.chance.choice(self.town.nodes))
        for _ in range(8):
            # A node that is taken for alive and is not is asked first, and requests to one are given up after a while.
            self.pass_time(1_000)
            self.servant.go_on()
        self.servant.hold_all()
        self.pass_time(KEPT_MS + 2 * PATIENCE_MS)
        for node in self.town.nodes:
            node.engine.resumptions.check(())
            lost = node.forwarding.lost_links
            assert not lost._sought and not lost._giving, f"{node.name} keeps what was under way"

    def check_agreement(self) -> None:
        """All nodes agree on homes, of which each has one, and on records."""
        nodes = self.town.nodes
        self.check_pairs()
        for name in (*USERS, *DREAMERS):
            homes = {node.node.home_of(name) for node in nodes}
            assert len(homes) == 1, f"{name} has homes {homes}"
            if homes == {0}:
                continue
            assert sum(node.node.own(name) for node in nodes) == 1, f"the home of {name} is gone"
            records = {node.name: node.shown(name) for node in nodes}
            assert len(set(records.values())) == 1, f"{name} is {records}"
        self.check_pairs()
        assert len({node.engine.events.seq for node in nodes}) == 1, "events have other numbers on other nodes"
        assert len({node.node.registrar for node in nodes}) == 1

    def check_pairs(self) -> None:
        """All nodes agree on what is between users, and so do both sides of every pair, whoever sleeps."""
        known = {node.name: relations(node) for node in self.town.nodes}
        safe = self.safe.name
        for name, found in known.items():
            assert found == known[safe], f"{name} knows {found}, and {safe} {known[safe]}"


def relations(node: TownNode) -> dict[str, object]:
    """What is between users on this node, of whom those that sleep sleep on."""
    users = node.engine.users
    check_contacts(users, node.engine.contacts.pairs)
    awake = {user.name: user.contacts for user in users.values() if user.contacts is not None}
    found: dict[str, object] = {
        name: (roster.version, {one: roster.contact(one) for one in roster.contacts}, list(roster.asking or ()))
        for name, roster in (awake | rosters_asleep(users)).items()
        if roster.contacts
    }
    blocked = {
        f"{user.name} blocks": sorted(user.privacy.blocked)
        for user in users.values()
        if user.privacy is not None and user.privacy.blocked
    }
    return found | blocked
