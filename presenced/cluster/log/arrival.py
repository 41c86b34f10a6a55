"""How a node that has joined learns all users before it serves. Pure.

Each older node sends it the users whose home that node is, and says when it has sent all (`lessons` is the other end).
A node that finds no older one begins with what its own disk knows. Then it looks through the users of its own disk: it
becomes the home of those whom nobody has sent, and offers to the homes what its disk knows better. At last it appends
`Ready`, and serves once it has read that back. `Phase` has these steps.

Nodes that join at the same time serve in the order in which they have joined, because a node ends no lesson before it
serves itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from itertools import islice
from typing import Final
from zlib import crc32

from presenced.cluster.log.batches import WAITING_BYTES
from presenced.cluster.log.disputes import Disputes
from presenced.cluster.log.entries import (
    KnownFacts,
    Offer,
    Parcel,
    Ready,
    Taken,
    all_of,
    decode_known,
    decode_parcel,
)
from presenced.cluster.log.node import Node
from presenced.cluster.log.nodes import NOBODY, Member
from presenced.cluster.log.since_join import SinceJoin
from presenced.core.dormants import PER_SHELF, unpacked
from presenced.core.records import Fact
from presenced.core.told_shelves import names_of, names_on, take_shelf
from presenced.limits import VERSION_GAP

FOUND_AT_ONCE: Final = 5_000
BROUGHT_AT_ONCE: Final = 200
"""How many users of the own disk are looked at in one slice, and how many of them taken over: 10 ms. The node has to
renew its lease between two slices."""

MOVED_WAIT_MS: Final = 15_000
"""How long this node waits until the new home of a user sends the user. If that node dies, the log says so earlier."""


class Phase(Enum):
    """The steps of an arrival, in order. Only a node that is alone when it serves goes through `ADOPTING`."""

    LEARNING = auto()
    """Older nodes send their users."""
    LOOKING = auto()
    """They have sent all, and the node looks through the users of its own disk in slices."""
    ASKING = auto()
    """It has appended `Ready`, and has not read it back yet."""
    ADOPTING = auto()
    """It serves, and looks through all users again: it is alone, and becomes the home of those whom other nodes have
    left without an heir."""
    OVER = auto()
    """It serves, and knows the home of each user."""


class Arrival:
    """How far this node has come."""

    def __init__(self, node: Node, disputes: Disputes, since_join: SinceJoin) -> None:
        self._node = node
        self._disputes = disputes
        self._since_join = since_join
        self._teachers: dict[Member, None] = {}
        """Older nodes that have not sent all of their users yet."""
        self._returned: set[Member] = set()
        """Nodes that have come back to a log that began anew, after this node had joined it. They have lived longer
        than this one."""
        self._is_cut_short = False
        """A node died before it had sent all of its users, and the others have not all sent theirs again since."""
        self._last_gone = 0
        """The position of the last death. A node that had sent all users by then has inherited more since."""
        self._phase = Phase.LEARNING
        self._left: Iterator[Sequence[str]] = iter(())
        """Users who are still to be looked at in this phase, some at a time."""
        self.founds = False
        """No other node knows more: this node is the home of all users whom it knows."""
        self._moved: dict[str, int] = {}
        """Users of whom this node has read first that they were moved, until when it waits for the new home to send
        them with their pairs."""
        self._offers: list[Offer] = []
        """What the own disk knows better than the homes. It is appended behind `Ready`: before that, no node knows from
        which position on clients that come back to this node are to be told what the homes make of it."""
        # Nobody falls asleep while users are walked over: those awake come last, and one might be missed.
        node.engine.sleep.hold()
        for member in node.nodes:
            if member.incarnation < node.mine.incarnation:
                self._teachers[member] = None
                # A node that is still arriving has no users, which the log does not say. It serves before this one.
                node.nodes.note_ready(member)

    def begin(self, now_ms: int) -> None:
        """Begin, once the own disk has been read."""
        self._consider(now_ms)

    def note_gone(self, member: Member, position: int, now_ms: int) -> None:
        """A node is gone. Its heirs have more users now, so that all older nodes send their users again."""
        if self._serves:
            return
        self._last_gone = position
        if member in self._teachers:
            del self._teachers[member]
            self._is_cut_short = True
        # The nodes that send all again send these users, too.
        self._moved.clear()
        for other in self._node.nodes:
            if other.incarnation < self._node.mine.incarnation or other in self._returned:
                self._teachers[other] = None
        self._consider(now_ms)

    def note_returned(self, member: Member) -> None:
        """A node of the old log has come back to the one that began anew, and sends its users, too. No other node has
        ended its lesson by now, since each waits for those that may come back (`Lessons`). O(1)."""
        if self._serves or member is self._node.mine:
            return
        self._returned.add(member)
        self._teachers[member] = None

    def take(self, sender: Member, item: Parcel, parcels: Mapping[int, bytes], now_ms: int) -> None:
        """Take in the users whom an older node has sent, or its word that it has sent all. O(users in it)."""
        node = self._node
        node.learn_lives(item.lives)
        node.horizon.learn(item.origin, item.horizon, item.floor, item.founded_ms)
        if item.origin:
            node.nodes.note_begun(sender)
        if not item.number:
            if item.position >= self._last_gone:
                self._teachers.pop(sender, None)
                self._is_cut_short = self._is_cut_short and bool(self._teachers)
                self._since_join.number_events(item, now_ms)
                self._consider(now_ms)
            return
        content, changes = decode_parcel(parcels[item.number]), node.home_changes
        for shelf in content.asleep:
            names = names_of(shelf)
            outdated = {name: node.homes.of(name) for name in names if changes.since(name, item.position)}
            for name, both in take_shelf(node.engine, shelf, now_ms):
                if name not in outdated:
                    self._learn(sender, name, both, now_ms)
            node.homes.set_all(names, sender)
            for name, home in outdated.items():
                node.homes.set(name, home)
            node.disk_debts.owe_all()
        for name, data in content.users:
            if not changes.since(name, item.position):
                self._learn(sender, name, decode_known(data), now_ms)
                self._moved.pop(name, None)
        self._since_join.decide_again(item.position, now_ms)
        node.batches.add(Taken(sender.key, item.number))
        self._consider(now_ms)

    def learn_moved(self, home: Member, name: str, facts: list[Fact], now_ms: int) -> None:
        """A user was moved before anybody has sent the user to this node. The new home sends the user as well, since a
        move tells nothing of pairs. If that node dies first, the others send all of their users again. O(what is
        known)."""
        self._learn(home, name, facts, now_ms)
        self._moved[name] = now_ms + MOVED_WAIT_MS

    def tick(self, now_ms: int) -> None:
        """Stop waiting for users whom their new homes have not sent in time. O(users who were moved meanwhile)."""
        if self._moved:
            self._moved = {name: until_ms for name, until_ms in self._moved.items() if until_ms > now_ms}
            self._consider(now_ms)

    def _learn(self, home: Member, name: str, known: KnownFacts, now_ms: int) -> None:
        """Take in what is known of the user, and who the home is. O(what is known)."""
        node = self._node
        if node.homes.of(name) is NOBODY and node.engine.users.knows(name):
            self._give_way(name, known, now_ms)
        node.homes.set(name, home)
        node.take_whole(name, known, now_ms)

    def _give_way(self, name: str, known: KnownFacts, now_ms: int) -> None:
        """Another node is the home of a user whom the own disk knows, and this is what it knows. If the disk's state is
        newer and says something else, it is to be offered to the home. Versions alone do not show that it is newer: all
        that were made before a node died may look so."""
        node = self._node
        own = all_of(node.copies, name, now_ms)
        own_known, disputes = decode_known(own), self._disputes
        if isinstance(own_known, bytes) and isinstance(known, bytes) and unpacked(own_known)[1] == unpacked(known)[1]:
            # The user sleeps here as at home, as most users do.
            return
        own_said = disputes.newness_in(name, own_known, node.engine.positions.lives)
        said = disputes.newness_in(name, known, node.lives)
        is_newer = own_said > said and disputes.says_other(name, own_known, known)
        # Tokens that were revoked once stay revoked, whatever was said of the user since.
        if is_newer or disputes.revoked_in(name, own_known) > disputes.revoked_in(name, known):
            self._offers.append(Offer(name, own_said.version, own, said_ms=own_said.said_ms))
        if own_said < said and (erased := disputes.erased_in(name, known)):
            # Contact lists of others still have the user, also lists of users whom only this disk knows.
            node.copies.end_earlier_pairs(name, erased, now_ms)
        user = node.engine.users.awake(name)
        if user is not None:
            node.handovers.release(user, now_ms)

    @property
    def _serves(self) -> bool:
        return self._phase in (Phase.ADOPTING, Phase.OVER)

    def _consider(self, now_ms: int) -> None:
        """Go on to the users of the own disk, once all older nodes have sent theirs."""
        if self._phase is not Phase.LEARNING or self._teachers or self._moved:
            return
        node = self._node
        self.founds = not any(member.is_ready for member in node.nodes)
        if self.founds:
            node.horizon.found(node.me, node.engine.clock.wall_ms(now_ms))
            self._leap(now_ms)
        self._begin_to_look(Phase.LOOKING)
        self.go_on(now_ms)

    def _leap(self, now_ms: int) -> None:
        """Let versions go on where no other node's do. One may live on without the engine for a while, and tell its
        links what this node knows nothing of; both count from what they knew together. The other one has leapt by
        `VERSION_GAP` for each node that it took for gone: hence the part that is drawn. Clients that read numbers as
        JavaScript does have room for a million leaps."""
        ledger, drawn = self._node.engine.ledger, crc32(self._node.me.to_bytes(8, "big"))
        ledger.raise_version(ledger.version + VERSION_GAP + drawn, now_ms)

    def _begin_to_look(self, phase: Phase) -> None:
        self._phase, self._left = phase, self._known_here()

    def _known_here(self) -> Iterator[Sequence[str]]:
        """All users whom the own disk knows, some at a time. Users may wake meanwhile, but none falls asleep."""
        users, number = self._node.engine.users, 0
        while number < users.dormants.shelves:
            yield names_on(users.dormants.shelf(number))
            number += 1
        awake = iter(list(users))
        while names := list(islice(awake, PER_SHELF)):
            yield names

    @property
    def has_work(self) -> bool:
        """Whether `go_on` has something to do now, and room for what comes of it."""
        looks = self._phase in (Phase.LOOKING, Phase.ADOPTING)
        return looks and (self.founds or self._node.batches.bytes < WAITING_BYTES)

    def go_on(self, now_ms: int) -> None:
        """Look at some of the users whom this node knows; behind the last the phase ends. O(`FOUND_AT_ONCE`)."""
        looks = 0
        for names in self._left:
            looks += len(names)
            looks += (FOUND_AT_ONCE // BROUGHT_AT_ONCE) * self._look_at(names, now_ms)
            if looks >= FOUND_AT_ONCE:
                return
        if self._phase is Phase.LOOKING:
            self._ask()
        elif self._phase is Phase.ADOPTING:
            self._phase = Phase.OVER

    def note_ready(self) -> None:
        """This node has read its `Ready` back, and serves. If no other node does, nodes that died meanwhile had no
        heir, and all users whom this node knows become its own."""
        nodes, mine = self._node.nodes, self._node.mine
        if not self.founds and all(member is mine or not member.is_ready for member in nodes):
            self.founds = True
            self._begin_to_look(Phase.ADOPTING)
        else:
            self._phase = Phase.OVER

    def _look_at(self, names: Sequence[str], now_ms: int) -> int:
        """Become the home of those of these users who have none. Returns for how many that took long. O(users)."""
        node, homes = self._node, self._node.homes
        new = homes.unfiled(names)
        left = [] if len(new) == len(names) else [name for name in names if homes.of(name) is NOBODY]
        if self.founds:
            homes.set_all(new, node.mine)
            left = [name for name in left if homes.as_filed(name) is not node.mine]
            for name in left:
                left_by = homes.as_filed(name)
                homes.set(name, node.mine)
                node.inheritance.adopt(name, left_by, now_ms)
            return len(left) + self._make_agree(names, now_ms)
        # The own disk alone knows these users.
        left = [name for name in left or new if node.keeps(name)]
        filed = {name: homes.as_filed(name) for name in left}
        homes.set_all(left, node.mine)
        for name in left:
            if filed[name] is not NOBODY:
                # Sent by a node that died before it had sent the user to the other nodes.
                node.inheritance.adopt(name, filed[name], now_ms)
            self._disputes.append_known(name, all_of(node.copies, name, now_ms))
        return len(left)

    def _make_agree(self, names: Sequence[str], now_ms: int) -> int:
        """A node died before it had sent all of its users, so that perhaps only one of two contacts was sent. Enter
        each of them in the other's list where it is missing. Returns for how many users that took long. O(contacts)."""
        if not self._is_cut_short:
            return 0
        node = self._node
        for name in names:
            for contact in node.copies.agree_pairs(name, now_ms):
                node.homes.set(contact, node.mine)
        return len(names)

    def _ask(self) -> None:
        """This node knows all users. Append `Ready`; it serves once it has read that back."""
        node, engine = self._node, self._node.engine
        if self.founds:
            node.learn_lives(engine.positions.lives)
            engine.events.go_on_at(engine.ledger.epoch, engine.events.seq, engine.ledger.now_ms)
        self._phase = Phase.ASKING
        engine.sleep.release()
        node.batches.add(Ready(node.lives))
        for offer in self._offers:
            node.batches.add(offer)
        self._offers = []
