"""How a node that has joined comes to know all users: each older node tells its own, and says when that was all. Pure.

Who finds no older node knows all that there is: what the own disk says. Who was told by all serves: in the order in
which they have come, since none says that it has told all before it serves itself. `Phase` says how far a node is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, auto
from itertools import islice
from typing import Final

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

FOUND_AT_ONCE: Final = 5_000
BROUGHT_AT_ONCE: Final = 200
"""Users whom the own disk knows and who are looked at in one go: 10 ms. The lease has to be renewed meanwhile."""

UNTOLD_MS: Final = 15_000
"""For so long the new home of a user is waited for. If it dies the log says so before."""


class Phase(Enum):
    """How far the arrival of a node has come. Each is followed by the next, but for `ADOPTING`: only one that is alone
    when it serves has that."""

    LEARNING = auto()
    """Older nodes tell of their users."""
    LOOKING = auto()
    """All of them have, and it looks at those whom the own disk knows: some at a time."""
    ASKING = auto()
    """It has said that it knows all users, and has not read that in the log."""
    ADOPTING = auto()
    """It serves, and looks at all again: it is the home of those whom others have left, since nobody else is there."""
    OVER = auto()
    """It serves, and knows whose home it is."""


class Arrival:
    """What this node still waits for."""

    def __init__(self, node: Node, disputes: Disputes, since_join: SinceJoin) -> None:
        self._node = node
        self._disputes = disputes
        self._since_join = since_join
        self._teachers: dict[Member, None] = {}
        """Older nodes that have not told all of their users yet."""
        self._returned: set[Member] = set()
        """Nodes that are older than this one, and have come to the log behind it: it began anew without them."""
        self._is_cut_short = False
        """A node was lost before it had told all of its users, and no other has told all since."""
        self._last_gone = 0
        """The position at which a node was lost last: who had told all users by then has told too few."""
        self._phase = Phase.LEARNING
        self._left: Iterator[Sequence[str]] = iter(())
        """Users who are still to be looked at in this phase, some at a time."""
        self.founds = False
        """Nobody is there who knows more: this node is the home of all whom it knows."""
        self._untold: dict[str, int] = {}
        """Users of whom this node has read first that they were handed over, and not yet from their new home what is
        between them and others; and until when that is waited for."""
        self._offers: list[Offer] = []
        """What the own disk knows better. It is said behind the end of the arrival: before, nobody knows from which
        position on whoever comes back to this node is to be told of what the homes make of it."""
        # Nobody passes from those who are awake to those who sleep while both are walked over.
        node.engine.sleep.hold()
        for member in node.nodes:
            if member.incarnation < node.mine.incarnation:
                self._teachers[member] = None
                # One that is still arriving itself, which nobody says, has no users. It serves before this node does.
                node.nodes.note_ready(member)

    def begin(self, now_ms: int) -> None:
        """What the own disk says is known by now."""
        self._consider(now_ms)

    def note_gone(self, member: Member, position: int, now_ms: int) -> None:
        """A node is gone. Those whom it left its users to tell all of theirs again."""
        if self._serves:
            return
        self._last_gone = position
        if member in self._teachers:
            del self._teachers[member]
            self._is_cut_short = True
        # Those who tell again tell of them, too.
        self._untold.clear()
        for other in self._node.nodes:
            if other.incarnation < self._node.mine.incarnation or other in self._returned:
                self._teachers[other] = None
        self._consider(now_ms)

    def note_returned(self, member: Member) -> None:
        """A node that lived before has come back to a log that began anew: it alone tells of its users. No other has
        ended its lesson by now, since each waits for whoever is missing (`Lessons`). O(1)."""
        if self._serves or member is self._node.mine:
            return
        self._returned.add(member)
        self._teachers[member] = None

    def take(self, sender: Member, item: Parcel, parcels: Mapping[int, bytes], now_ms: int) -> None:
        """What is told by an older node. O(users in it)."""
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
                self._untold.pop(name, None)
        self._since_join.decide_again(item.position, now_ms)
        node.batches.add(Taken(sender.key, item.number))
        self._consider(now_ms)

    def learn_moved(self, home: Member, name: str, facts: list[Fact], now_ms: int) -> None:
        """The user was handed over, of whom nobody has told this node. The new home tells it of the user as well: what
        is between users is not in what is handed over. If that home dies before, others tell all. O(what is known)."""
        self._learn(home, name, facts, now_ms)
        self._untold[name] = now_ms + UNTOLD_MS

    def tick(self, now_ms: int) -> None:
        """Wait no longer for what nobody tells. O(users that were handed over meanwhile)."""
        if self._untold:
            self._untold = {name: until_ms for name, until_ms in self._untold.items() if until_ms > now_ms}
            self._consider(now_ms)

    def _learn(self, home: Member, name: str, known: KnownFacts, now_ms: int) -> None:
        """This is known of the user, and this is the home. O(what is known)."""
        node = self._node
        if node.homes.of(name) is NOBODY and node.engine.users.knows(name):
            self._give_way(name, known, now_ms)
        node.homes.set(name, home)
        node.take_whole(name, known, now_ms)

    def _give_way(self, name: str, known: KnownFacts, now_ms: int) -> None:
        """The own disk has said something of the user, and another node is the home, which knows this. What is newer
        here is offered, unless it says the same: a version that has lost its place in a kill seems newer than it is, as
        all have that were made before another node died. What has ended by itself since the disk was read makes nothing
        newer but where nobody has said anything since."""
        node = self._node
        own = all_of(node.copies, name, now_ms)
        own_known, disputes = decode_known(own), self._disputes
        if isinstance(own_known, bytes) and isinstance(known, bytes) and unpacked(own_known)[1] == unpacked(known)[1]:
            # They sleep here as at home, as most do.
            return
        own_said = disputes.newness_in(name, own_known, node.engine.positions.lives)
        said = disputes.newness_in(name, known, node.lives)
        is_newer = own_said > said and disputes.says_other(name, own_known, known)
        # Tokens that were refused once are refused for good, whoever has said something since.
        if is_newer or disputes.revoked_in(name, own_known) > disputes.revoked_in(name, known):
            self._offers.append(Offer(name, own_said.version, own, said_ms=own_said.said_ms))
        if own_said < said and (erased := disputes.erased_in(name, known)):
            # Lists of others have the user still, also of some whom nobody else knows.
            node.copies.end_earlier_pairs(name, erased, now_ms)
        user = node.engine.users.awake(name)
        if user is not None:
            node.handovers.release(user, now_ms)

    @property
    def _serves(self) -> bool:
        return self._phase in (Phase.ADOPTING, Phase.OVER)

    def _consider(self, now_ms: int) -> None:
        """Look at those whom the own disk knows, once all have told of theirs."""
        if self._phase is not Phase.LEARNING or self._teachers or self._untold:
            return
        node = self._node
        self.founds = not any(member.is_ready for member in node.nodes)
        if self.founds:
            node.horizon.found(node.me, node.engine.clock.wall_ms(now_ms))
        self._begin_to_look(Phase.LOOKING)
        self.go_on(now_ms)

    def _begin_to_look(self, phase: Phase) -> None:
        self._phase, self._left = phase, self._known_here()

    def _known_here(self) -> Iterator[Sequence[str]]:
        """All whom the own disk knows, while some wake and none falls asleep."""
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
        """Look at some whom this node knows, and end the phase behind the last. O(`FOUND_AT_ONCE`)."""
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
        """All nodes know that this one knows all users. If it is alone with that, whoever went meanwhile has left its
        users to nobody: all whom this node knows are its own."""
        nodes, mine = self._node.nodes, self._node.mine
        if not self.founds and all(member is mine or not member.is_ready for member in nodes):
            self.founds = True
            self._begin_to_look(Phase.ADOPTING)
        else:
            self._phase = Phase.OVER

    def _look_at(self, names: Sequence[str], now_ms: int) -> int:
        """Be the home of those who have none; returns of how many that took long."""
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
                # Told by a node that has gone before it had told others.
                node.inheritance.adopt(name, filed[name], now_ms)
            self._disputes.say_known(name, all_of(node.copies, name, now_ms))
        return len(left)

    def _make_agree(self, names: Sequence[str], now_ms: int) -> int:
        """Nobody is left who has told more of these users, perhaps: lists of which one side alone was told get the
        other. Returns of how many that took long. O(contacts)."""
        if not self._is_cut_short:
            return 0
        node = self._node
        for name in names:
            for contact in node.copies.agree_pairs(name, now_ms):
                node.homes.set(contact, node.mine)
        return len(names)

    def _ask(self) -> None:
        """All is known: let all nodes know it, and serve then."""
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
