"""The state of this node in the cluster, for one life of it: who lives, who decides whom, and what it has to append.
Pure.

What this node decides goes out in batches; what others decide comes in by `log_reader`. Time comes as an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from presenced.backplane.port import Joined
from presenced.cluster.log.backlog import Backlog
from presenced.cluster.log.batches import Batches
from presenced.cluster.log.disk_debts import DiskDebts
from presenced.cluster.log.early_facts import told_early
from presenced.cluster.log.entries import (
    OF_ONE_NODE,
    OF_PAIRS,
    Decided,
    Happened,
    KnownFacts,
    Moved,
    New,
    ToNode,
    Unpaired,
    for_others,
    packed_facts,
    users_in_pairs,
)
from presenced.cluster.log.home_bids import HomeBids
from presenced.cluster.log.home_changes import HomeChanges
from presenced.cluster.log.homes import Homes
from presenced.cluster.log.inheritance import Inheritance
from presenced.cluster.log.join_data import JoinData, decode_join, join_data
from presenced.cluster.log.left_histories import LeftHistories
from presenced.cluster.log.node_choices import NodeChoices
from presenced.cluster.log.nodes import NOBODY, Member, Nodes
from presenced.cluster.log.unread_news import UnreadNews
from presenced.cluster.log.unrecorded_changes import SAID, unrecorded_in
from presenced.cluster.node_keys import NodeKey
from presenced.core.copies import Copies
from presenced.core.engine import Engine
from presenced.core.event_facts import FAREWELL
from presenced.core.handovers import Handovers
from presenced.core.horizon import Horizon
from presenced.core.positions import Life
from presenced.core.records import EventAdded, Fact, FollowerForgotten, FollowerSet, RecordSet, UserErased

RETURN_MS: Final = 15_000
"""For so long a node that lived may stay away from a log that began anew."""


class Node:
    """One life of this node. `log_reader.LogReader` updates it by what is read."""

    def __init__(
        self,
        engine: Engine,
        copies: Copies,
        name: str,
        key: NodeKey,
        joined: Joined,
        choices: NodeChoices | None = None,
    ) -> None:
        """`key` was drawn for this node, which has joined with its `entries.join_data`."""
        self.engine = engine
        self.copies = copies
        self.handovers = Handovers(engine)
        self.name = name
        self.history = joined.history
        self._left = LeftHistories()
        self.nodes = Nodes()
        self.homes = Homes()
        self.home_changes = HomeChanges()
        self.batches = Batches(lambda: engine.ledger.version, lambda: engine.ledger.least)
        self.bids = HomeBids(self.batches)
        self.horizon = Horizon(key)
        self.lives: list[Life] = []
        """Lives of the cluster's first node that were ended by kills: the versions of the cluster's records depend on
        them (`core.positions`)."""
        self.is_outdone = False
        """Nodes have come back that know more than the disk from which this node's past was founded: it has to join
        anew."""
        self.is_fenced = False
        """The log has declared this life gone: nothing that it appends counts any longer."""
        self.disk_debts = DiskDebts()
        self.unread_news = UnreadNews(copies, self.homes, engine.ledger)
        self._farewells: list[Happened] = []
        """Events by which followers are told that users who were erased in this turn are offline."""
        for info in joined.nodes:
            data = decode_join(info.data)
            self.nodes.join(info.name, info.incarnation, data)
            self._left.learn(data.left, self.history)
        self.mine = self.nodes.join(name, joined.incarnation, join_data(key, choices))
        self.inheritance = Inheritance(self.homes, self.handovers, self.mine)
        self.backlog = Backlog(self.homes, copies, self.mine, self.batches)
        self.position = joined.n
        """The last entry of the log that was read, or that stands for what was read."""
        self.tag = joined.tag
        engine.users.copy_by(self.is_copy)
        engine.sleep.name_run(key)
        engine.positions.share(self.horizon)
        engine.leases.share_inputs()
        engine.erasures.share()
        engine.followers.share(key)
        engine.copied_records.note_by(self.horizon.note)
        engine.events.share_by(self._share)

    @property
    def me(self) -> NodeKey:
        """This node."""
        return self.mine.key

    @property
    def others(self) -> list[NodeKey]:
        """The nodes that live, but for this one. O(nodes)."""
        return [member.key for member in self.nodes if member is not self.mine]

    @property
    def is_ready(self) -> bool:
        """Whether this node serves: it knows all users, and all nodes know that it does."""
        return self.mine.is_ready and not self.is_fenced

    def may_return(self, joined: Joined) -> bool:
        """Whether this node can go on as it was in a log that has begun anew, and that it has joined. It can if the
        others have not declared it gone, nor gone on for long from what their disks know. It cannot in a log that
        nodes have left before, as an engine has that was restored from an old dump: nothing in it is new. O(1)."""
        return joined.history not in self._left and (joined.clock_ms <= RETURN_MS or len(joined.nodes) == 1)

    def return_data(self) -> JoinData:
        """What this node says of itself when it joins a log that has begun anew."""
        data, origin, founded_ms = join_data(self.me, self.mine.choices), self.horizon.origin, self.horizon.founded_ms
        left = self._left.told_by(self.history)
        return replace(data, has_lived=True, origin=origin, founded_ms=founded_ms, age=self.mine.age, left=left)

    def begin_history(self, joined: Joined) -> None:
        """The log has begun anew, and nothing of it was read yet."""
        if joined.history != self.history:
            self._left.note(self.history)
        self.history = joined.history
        self.position = self.tag = 0

    def note_read(self, position: int, tag: int) -> None:
        """An entry of the log was read."""
        self.position, self.tag = position, tag

    def learn_lives(self, lives: Sequence[Life]) -> None:
        """The cluster's first node had these lives."""
        if lives:
            self.lives = list(lives)

    def note_outdone(self) -> None:
        """Nodes have come back that know more than this one's past."""
        self.is_outdone = True

    def note_fenced(self) -> None:
        """The log has declared this life gone."""
        self.is_fenced = True

    def name_of(self, node: NodeKey) -> str:
        """What operators call the node, living or gone. O(1)."""
        return self.nodes.name_of(node)

    def gives_links(self, node: NodeKey) -> bool:
        """Whether the node is another one that lives, and hands over what lost links had. O(1)."""
        member = self.nodes.get(node)
        return member is not None and member is not self.mine and member.heirs is None and member.gives_links

    # --- who decides ------------------------------------------------------------------------------------------

    @property
    def registrar(self) -> NodeKey:
        """The node that decides what is between two users; `NOWHERE` = there is none at this moment."""
        return self.nodes.registrar.key

    def own(self, name: str) -> bool:
        """Whether this node decides the user, whom it takes over first if it has inherited them. O(1), or O(what is
        known of the user)."""
        if self.homes.of(name) is not self.mine:
            return False
        if self.inheritance.has_work:
            self.inheritance.take_over(name, self.engine.ledger.now_ms)
        return True

    def home_of(self, name: str) -> NodeKey:
        """The node that decides the user; `NOWHERE` = nobody does. O(1), or as `own`."""
        home = self.homes.of(name)
        if home is self.mine:
            self.own(name)
        return home.key

    def is_copy(self, name: str) -> bool:
        """Whether another node decides the user. O(1)."""
        home = self.homes.of(name)
        return home is not self.mine and home is not NOBODY

    def hand_over(self, name: str, to: NodeKey) -> bool:
        """Make another node the user's home: this node decides nothing of the user from now on. Returns False, and does
        nothing, if that node is gone or does not serve yet, or if the user is not this node's. O(what is known of the
        user)."""
        target = self.nodes.get(to)
        if target is None or target.heirs is not None or not target.is_ready or not self.own(name):
            return False
        facts = self.handovers.release(self.engine.users.get_or_new(name), self.engine.ledger.now_ms)
        self.homes.set(name, target)
        self.home_changes.note_said(name)
        self.batches.add(Moved(name, to, packed_facts(facts)))
        return True

    # --- what goes out ----------------------------------------------------------------------------------------

    def add_facts(self, facts: Sequence[Fact], *, is_awaited: bool = True) -> Sequence[Fact]:
        """Append what this node has decided in a turn. `is_awaited`: acknowledgements wait until all nodes have it.
        Returns records that are appended behind it once more (`unrecorded_changes`), for the own disk as well.
        O(facts)."""
        kinds = set(map(type, facts))
        if kinds <= OF_ONE_NODE:
            # A turn in which nothing came but the log has no other facts.
            return ()
        unrecorded = () if kinds.isdisjoint(SAID) else self._unrecorded(facts)
        shared = [*for_others(facts), *unrecorded]
        if self.backlog.is_full:
            shared = self.backlog.reduced(shared, self.engine.ledger.now_ms, is_awaited=is_awaited)
        if not self.mine.is_ready:
            shared = told_early(shared, self.homes, self.mine)
        if shared:
            if not kinds.isdisjoint(OF_PAIRS) and (homeless := self._homeless(shared)):
                self.batches.add(New(homeless))
            # A record that is appended once more was made in an earlier turn.
            made = [fact.version for fact in shared if type(fact) is RecordSet and fact not in unrecorded]
            least = min(made, default=None)
            self.batches.add(Decided(packed_facts(shared)), least=least)
            erased = [fact for fact in shared if type(fact) is UserErased] if UserErased in kinds else []
            for fact in erased:
                self.batches.add(Unpaired([fact.user], fact.version))
            farewells, self._farewells = self._farewells, []
            for happened in farewells:
                self.batches.add(happened)
        return unrecorded

    def _unrecorded(self, facts: Sequence[Fact]) -> Sequence[Fact]:
        """The records to be appended once more, of users of this node. O(facts)."""
        users, publisher = self.engine.users, self.engine.publisher
        said = [users.awake(name) for name in unrecorded_in(facts) if self.homes.of(name) is self.mine]
        return [fact for user in said if user and (fact := publisher.note_said(user))]

    def _homeless(self, facts: Sequence[Fact]) -> list[str]:
        """Users whom only these facts name so far, such as a contact who was never here. They need a home, or no node
        would send them to one that joins. O(facts)."""
        of = self.homes.of
        return [name for name in users_in_pairs(facts) if of(name) is NOBODY and self.keeps(name)]

    def keeps(self, name: str) -> bool:
        """Whether anything is known of the user that has to be kept. O(1)."""
        user = self.engine.users.awake(name)
        return self.engine.parts.keep(user) if user is not None else self.engine.users.knows(name)

    def _share(self, event: EventAdded, is_of_erased: bool) -> None:
        if not (self.mine.is_ready or self.horizon.is_founded_by(self.me) or self.homes.of(event.user) is self.mine):
            # The event is of something that ended by itself in an old state on the own disk. The home may know better.
            return
        happened = Happened(event, is_of_erased)
        if is_of_erased and event.kind != FAREWELL:
            # It is appended behind the erasure, which removes all events of the user before it.
            self._farewells.append(happened)
        elif not self.backlog.loses_event():
            self.batches.add(happened)

    @property
    def is_full(self) -> bool:
        """See `Conduit`."""
        return self.backlog.has_no_room

    def send(self, to: NodeKey, message: bytes) -> None:
        """Send the message to one node, behind all that was decided so far."""
        self.batches.add(ToNode(to, msgspec.Raw(message)))

    # --- what comes in ----------------------------------------------------------------------------------------

    def take_vacant(self, sender: Member, names: Sequence[str]) -> None:
        """If the sender is the home of these users, they have none from now on. O(names)."""
        for name in names:
            if self.homes.of(name) is sender:
                self.homes.drop(name)
                user = self.engine.users.awake(name)
                if user is not None:
                    # A link watches the name. Whoever comes back under it may have this node as a home.
                    self.engine.users.set_copy(user, is_copy=False)

    def note_copy(self, name: str) -> None:
        """Another node decides the user from now on, whom nobody or this node has decided so far. O(1), or O(what is
        known of the user) if the own disk knows something that ends by itself."""
        user = self.engine.users.awake(name)
        if user is None or user.is_copy:
            return
        if self.engine.parts.keep(user):
            self.handovers.release(user, self.engine.ledger.now_ms)
        else:
            self.engine.users.set_copy(user, is_copy=True)

    def tell_followers(self, facts: Sequence[Fact]) -> None:
        """Another node has told how far followers with a name have come. O(facts)."""
        for fact in facts:
            if isinstance(fact, FollowerSet | FollowerForgotten):
                self.engine.events.take_told(fact, self.engine.ledger.now_ms)
        self.disk_debts.owe(facts)

    def apply(self, facts: Sequence[Fact], now_ms: int) -> None:
        """Other homes have decided these facts. O(facts)."""
        facts = self.unread_news.hold_back(facts)
        self.copies.apply(facts, now_ms)
        self.disk_debts.owe(facts)

    def replace(self, name: str, facts: Sequence[Fact], now_ms: int) -> None:
        """The user's home says that this is all that is known of the user. O(facts)."""
        self.copies.replace(name, facts, now_ms)
        self.disk_debts.owe(facts)

    def take_whole(self, name: str, known: KnownFacts, now_ms: int, *, says_pairs: bool = True) -> None:
        """This is all that is known of the user, and takes the place of what this node and its disk know. Without
        `says_pairs` it says nothing of pairs, which stay. O(facts)."""
        self.copies.replace(name, known, now_ms, was_told=self.mine.is_ready, says_pairs=says_pairs)
        self.disk_debts.owe_all()

    def end_pairs(self, item: Unpaired, now_ms: int) -> None:
        """What was decided about pairs of these users holds no longer. O(users)."""
        for name in item.names:
            self.copies.end_pairs(name, item.version, now_ms)

    def take_unpaired(self, sender: Member, item: Unpaired, now_ms: int) -> bool:
        """Users were erased, while the registrar may have decided something about pairs of them. Returns whether that
        was ended here. O(users)."""
        registrar = self.nodes.registrar
        if registrar is not self.mine and sender in (registrar, self.mine):
            # The registrar may have decided about pairs after the home had erased the users, and before it read of
            # that. All nodes have applied those decisions, and end them here. With any other sender, the erasure itself
            # has ended the pairs.
            self.end_pairs(item, now_ms)
            self.disk_debts.owe_all()
            return True
        if registrar is self.mine and sender is not self.mine:
            names = [name for name in item.names if self.homes.of(name) is sender]
            if names:
                self.batches.add(Unpaired(names, item.version))
        return False
