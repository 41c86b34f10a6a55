"""Applies each entry of the log to this node: who lives, who decides which user, and what others have decided. Pure.

The pump hands over all entries in order, each once. All nodes read the same entries in the same order, so that they
agree without asking each other. Work that grows with the number of users is not done while an entry is applied, but in
slices afterwards (`work_slices`).

The file is long because it handles every kind of entry, and the order of the steps matters within most of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Final

from presenced.backplane.port import Entry, Joined
from presenced.cluster.levels import LEVEL
from presenced.cluster.log.arrival import Arrival
from presenced.cluster.log.disputes import Disputes
from presenced.cluster.log.entries import (
    OF_FOLLOWERS,
    OF_PAIRS,
    Decided,
    EventsAnew,
    Figures,
    Happened,
    Item,
    KnownFacts,
    Missing,
    Moved,
    New,
    NodeBatch,
    Offer,
    Parcel,
    Ready,
    Taken,
    ToNode,
    Unpaired,
    Vacant,
    Whole,
    decode_batch,
    decode_facts,
    decode_gone,
    decode_known,
    users_in_pairs,
    version_in,
)
from presenced.cluster.log.foresight import foresee
from presenced.cluster.log.join_data import decode_join
from presenced.cluster.log.lessons import Lessons
from presenced.cluster.log.lost_entries import LostEntries
from presenced.cluster.log.memory import LogMemory
from presenced.cluster.log.node import Node
from presenced.cluster.log.nodes import NOBODY, Member
from presenced.cluster.log.observer import NobodyObserves, NodesObserver
from presenced.cluster.log.own_figures import OwnFigures
from presenced.cluster.log.returns import Returns
from presenced.cluster.log.since_join import SinceJoin
from presenced.cluster.log.work_slices import WorkSlices
from presenced.cluster.ports import Forwarder
from presenced.core.records import RecordSet
from presenced.limits import RESTART_GRACE_MS

_OF_ALL: Final = frozenset({EventsAnew, Missing, New, Ready, ToNode, Unpaired})
"""Of its own items, those that a node applies only when it reads them back."""

_USER_OF: Final = attrgetter("user")

_OF_NOBODY: Final = frozenset({Figures, Taken})
"""Items that are not about users."""


class LogReader:
    """Applies the log to one node."""

    def __init__(self, node: Node, forwarder: Forwarder) -> None:
        self.entries_read = 0
        self._observer: NodesObserver = NobodyObserves()
        self._newest = 0
        """No record that was read has a version above this, except where a user changed twice within a millisecond."""
        self._node = node
        self._forwarder = forwarder
        self.memory = LogMemory()
        self.memory.note_read(node.position, node.tag, node.engine.ledger.now_ms)
        self._disputes = Disputes(node, self.memory, forwarder.homes_changed)
        self._lost_entries = LostEntries(node, self.memory, self._disputes)
        self._returns = Returns(node)
        self.own_figures = OwnFigures(node)
        self._since_join = SinceJoin(node)
        self._arrival = Arrival(node, self._disputes, self._since_join)
        # A node that serves has been sent the users of all older nodes, which serve themselves by then.
        self._lessons = Lessons(node, lambda: node.mine.is_ready and self._returns.is_over)
        self.slices = WorkSlices(node, self._lost_entries, self._arrival, self._lessons, forwarder.homes_changed)

    def observe_by(self, observer: NodesObserver) -> None:
        """Tell the observer what the log says about nodes."""
        self._observer = observer

    def begin(self, now_ms: int) -> None:
        """Begin, once the own disk has been read. A node that is alone asks to serve at once."""
        self._arrival.begin(now_ms)
        if self._arrival.founds:
            self._returns.found(now_ms)

    def wanted(self, entry: Entry) -> list[int]:
        """The numbers of the parcels that `take` needs for this entry. O(items)."""
        mine = self._node.mine
        if entry.kind != "batch" or mine.is_ready:
            return []
        parcels = [item for item in decode_batch(entry.data).items if type(item) is Parcel]
        return [item.number for item in parcels if item.joiner == mine.key and item.number]

    def take(self, entry: Entry, now_ms: int, parcels: Mapping[int, bytes]) -> None:
        """Apply the next entry. `parcels` has what is stored under the numbers that `wanted` returns. Raises
        `NotUnderstood` for an entry of a later version, and applies nothing of it. O(size of the entry)."""
        node = self._node
        node.note_read(entry.n, entry.tag)
        forgotten = self.memory.note_read(entry.n, entry.tag, now_ms)
        node.batches.forget(forgotten)
        node.home_changes.forget(forgotten)
        for name in node.inheritance.take_acquired():
            self.memory.note_acquired(entry.n, name)
        self.entries_read += 1
        if entry.kind == "batch":
            self._take_batch(entry, node.batches.decoded(entry.data), now_ms, parcels)
        elif entry.kind == "joined":
            self._take_joined(entry)
        else:
            self._take_gone(entry, now_ms)

    def _take_joined(self, entry: Entry) -> None:
        nodes, data = self._node.nodes, decode_join(entry.data)
        known = nodes.get(data.key)
        is_new = known is None or known.heirs is not None
        self._returns.note_joined(entry, data)
        nodes.note_next_life(entry.node, entry.n)
        member = nodes.join(entry.node, entry.incarnation, data)
        if data.has_lived:
            # Only a node that knew all users comes back to a log.
            nodes.note_ready(member)
            self._returns.note_lived(member, data, entry.at_ms, founds=self._arrival.founds)
            self._arrival.note_returned(member)
        self._returns.note_back(member)
        (self.memory.note_returned if data.has_lived else self.memory.note_joined)(entry.n, member)
        if is_new:
            self._lessons.begin(member)
        if member is not self._node.mine:
            if is_new:
                self._observer.joined(member)
            self._observer.chose(member)

    def _take_gone(self, entry: Entry, now_ms: int) -> None:
        node = self._node
        member = node.nodes.of_entry(entry.incarnation)
        if member is None:
            # It was taken for gone here before the log lost that. A node that has joined since waits for all users.
            self._lessons.begin_again()
            return
        gone = decode_gone(entry.data)
        node.nodes.note_fence(entry.node, entry.n, is_orderly=gone.voluntary)
        if member is node.mine:
            node.note_fenced()
            return
        self.memory.note_gone(entry.n, member)
        silent_ms = max(0, entry.at_ms - gone.last_ms)
        self._observer.went(member, silent_ms, is_orderly=gone.voluntary)
        self._lose(member, now_ms - silent_ms, now_ms, is_orderly=gone.voluntary)

    def _lose(self, member: Member, last_ms: int, now_ms: int, *, is_orderly: bool) -> None:
        """The node is gone. It was last heard at `last_ms`."""
        node = self._node
        node.nodes.leave(member, last_ms)
        node.engine.ledger.raise_version(node.nodes.newest, now_ms)
        self._lessons.end(member)
        node.horizon.reach(node.nodes.floor)
        node.inheritance.add(member, is_orderly=is_orderly)
        self._arrival.note_gone(member, node.position, now_ms)
        self._lost_entries.note_gone(member)
        self._forwarder.node_gone(member.key, last_ms, now_ms)

    # --- batches ----------------------------------------------------------------------------------------------

    def _take_batch(self, entry: Entry, batch: NodeBatch, now_ms: int, parcels: Mapping[int, bytes]) -> None:
        node = self._node
        sender = node.nodes.of_entry(entry.incarnation)
        if sender is None:
            return
        if sender.level > LEVEL:
            foresee(batch, node.me, parcels)
        node.nodes.note_version(batch.version)
        if batch.number <= sender.batch:
            # The log lost it, and its node has appended it again.
            self._lost_entries.note_again(sender, batch.items)
            if any(type(item) is Ready for item in batch.items):
                self._note_ready(sender)
            if sender is node.mine:
                self._lost_entries.note_own(batch.items)
                node.batches.read_back(batch.number, entry.n)
            return
        node.nodes.note_batch(sender, batch.number)
        if sender is node.mine:
            for item in batch.items:
                self._take_own(item, now_ms)
            self._lost_entries.note_own(batch.items)
            node.batches.read_back(batch.number, entry.n)
        else:
            # All nodes count versions on one scale: the next record made here is above all that were made there.
            node.engine.ledger.raise_version(batch.version, now_ms)
            for item in batch.items:
                if type(item) is Happened:
                    # Each change comes with one: it is asked nothing else.
                    self._take_happened(item)
                else:
                    self._take_item(sender, item, now_ms, parcels)
        if any(type(item) not in _OF_NOBODY for item in batch.items):
            self._newest = max(self._newest, batch.version)
        node.nodes.note_floor(sender, batch.floor)
        node.horizon.reach(node.nodes.floor)

    def _take_own(self, item: Item, now_ms: int) -> None:
        """All nodes have now read what this node has appended. What it decides itself it has applied at once, so that
        little is left to do."""
        if type(item) is Happened:
            self._take_happened(item)
            return
        if type(item) in _OF_ALL:
            self._take_item(self._node.mine, item, now_ms, {})
            return
        node = self._node
        match item:
            case Whole():
                node.home_changes.note((item.user,), node.position)
                self._disputes.note_known(item.user, now_ms)
                self._note_whole(item.user, decode_known(item.facts))
            case Moved():
                node.home_changes.note_read_back(item.user, node.position)
            case Offer():
                self._disputes.note_offered(item, now_ms)
            case Figures() if item.choices is not None:
                self._observer.chose(node.mine)

    def _take_item(self, sender: Member, item: Item, now_ms: int, parcels: Mapping[int, bytes]) -> None:
        match item:
            # Most of what comes here, and each case that is looked at costs 0.1 us.
            case Decided():
                self._take_decided(sender, item, now_ms)
            case ToNode():
                if item.to == self._node.me:
                    self._forwarder.receive(sender.key, bytes(item.content), now_ms)
            case EventsAnew():
                # Behind all that its node has said again.
                self._lost_entries.note_said(sender)
                self._take_anew(item, now_ms)
            case Missing():
                member = self._returns.take_missing(item)
                if member is not None:
                    self._observer.missed(member)
                    self._lose(member, now_ms, now_ms, is_orderly=False)
            case Vacant():
                self._node.home_changes.note(item.names, self._node.position)
                self._node.take_vacant(sender, item.names)
            case Unpaired():
                # Until here nodes have given positions that say nothing of the erasure.
                self._node.horizon.end_earlier()
                if self._node.take_unpaired(sender, item, now_ms):
                    self._since_join.note_pairs(self._node.position, item)
            case New():
                self._take_new(sender, item, now_ms)
            case Moved():
                self._take_moved(sender, item, now_ms)
            case Whole():
                self._take_whole(sender, item, now_ms)
            case Parcel():
                if item.joiner == self._node.me and not self._node.mine.is_ready:
                    self._arrival.take(sender, item, parcels, now_ms)
            case Ready():
                self._note_ready(sender)
                if sender is not self._node.mine and not sender.has_begun:
                    self._observer.served(sender)
                self._node.nodes.note_begun(sender)
                if sender is self._node.mine:
                    self._node.horizon.begin()
                    self._returns.compare()
                    self._arrival.note_ready()
                self._node.learn_lives(item.lives)
                self._lessons.end(sender)
            case Offer():
                self._disputes.take_offer(sender, item, now_ms)
            case Taken():
                if item.teacher == self._node.me:
                    self._lessons.note_taken(sender, item.number)
            case Figures():
                self._node.nodes.note_figures(sender, item.links, item.lag_ms)
                if item.choices is not None:
                    self._node.nodes.note_choices(sender, item.choices)
                self._observer.chose(sender)

    def _note_ready(self, sender: Member) -> None:
        nodes = self._node.nodes
        if not self._node.mine.is_ready and not sender.has_begun and sender is nodes.oldest:
            nodes.note_founded()
        nodes.note_ready(sender)
        self.memory.note_ready(self._node.position, sender)
        if sender is self._node.mine:
            self._since_join.forget_events()

    def _take_decided(self, sender: Member, item: Decided, now_ms: int) -> None:
        """Apply the facts whose users the sender is the home of at this position, and pass over all others. So the
        order of the log fences off a node that is no longer the home, for each user by itself."""
        node, facts = self._node, decode_facts(item.facts)
        kinds = set(map(type, facts))
        if not kinds.isdisjoint(OF_FOLLOWERS):
            node.tell_followers([fact for fact in facts if type(fact) in OF_FOLLOWERS])
        names = list(dict.fromkeys(map(_USER_OF, facts)))
        if kinds.isdisjoint(OF_PAIRS) and all(node.homes.that_are(names, sender)):
            # Nearly always, and there are three facts of each user.
            valid, pairs = facts, []
        else:
            of, registrar = node.homes.of, node.nodes.registrar
            valid = [fact for fact in facts if (registrar if type(fact) in OF_PAIRS else of(fact.user)) is sender]
            pairs = [fact for fact in valid if type(fact) in OF_PAIRS]
            names = list(dict.fromkeys([*map(_USER_OF, valid), *users_in_pairs(pairs)]))
            passed_over = [fact.version for fact in facts if type(fact) is RecordSet and of(fact.user) is not sender]
            if passed_over:
                # The sender has told its links these records, and this node decides something else of the users.
                node.engine.ledger.raise_version(max(passed_over) + 1, now_ms)
        if valid:
            node.apply(valid, now_ms)
            if pairs:
                self._since_join.note_pairs(node.position, pairs)
            self.memory.note_told(node.position, sender, names)

    def _take_anew(self, item: EventsAnew, now_ms: int) -> None:
        self._node.horizon.begin_again(item.horizon)
        self._since_join.note_anew(self._node.position, item.epoch, item.seq)
        self._node.engine.events.go_on_at(item.epoch, item.seq, now_ms)

    def _take_happened(self, item: Happened) -> None:
        node = self._node
        if not node.mine.is_ready:
            self._since_join.note_event(node.position, item.event.count)
        node.engine.events.keep_shared(item.event, item.is_of_erased)

    def _take_new(self, sender: Member, item: New, now_ms: int) -> None:
        """The first node in the log that asks for a user without a home becomes the user's home."""
        homes = self._node.homes
        if sender is not self._node.mine:
            self.memory.note_told(self._node.position, sender, item.names)
        for name in item.names:
            if homes.of(name) is NOBODY:
                homes.set(name, sender)
                self._node.home_changes.note((name,), self._node.position)
                if sender is self._node.mine:
                    # There may be a copy of the user, whose home died and had no heir.
                    self._node.handovers.adopt(name, now_ms, heard_ms=None, grace_ms=RESTART_GRACE_MS)
                    self.memory.note_acquired(self._node.position, name)
                else:
                    self._node.note_copy(name)
            self._node.bids.note_decided(name, now_ms)

    def _take_moved(self, sender: Member, item: Moved, now_ms: int) -> None:
        node = self._node
        target, home = node.nodes.get(item.to), node.homes.of(item.user)
        # A node that still learns all users may hear of this one for the first time.
        is_first = home is NOBODY and not node.mine.is_ready
        if target is None or not (home is sender or is_first):
            return
        node.home_changes.note((item.user,), node.position)
        self.memory.note_told(node.position, sender, [item.user])
        if is_first:
            self._arrival.learn_moved(target, item.user, decode_facts(item.facts), now_ms)
        else:
            self._disputes.take_moved(target, item, now_ms)
        if target is node.mine:
            self._lessons.send_also(item.user, now_ms)
        elif target.heirs is not None:
            node.inheritance.add(target, is_orderly=False)
        self._forwarder.homes_changed([item.user], now_ms)

    def _take_whole(self, sender: Member, item: Whole, now_ms: int) -> None:
        """The last `Whole` in the log decides who is the user's home. A node that took itself for the home gives
        way."""
        node = self._node
        home = node.homes.of(item.user)
        node.home_changes.note((item.user,), node.position)
        self.memory.note_told(node.position, sender, [item.user])
        self._disputes.take_whole(sender, item, now_ms)
        self._note_whole(item.user, decode_known(item.facts))
        if home is not sender:
            self._forwarder.homes_changed([item.user], now_ms)

    def _note_whole(self, name: str, known: KnownFacts) -> None:
        """All nodes know this of the user from here on, though a disk may have known it long ago."""
        horizon = self._node.horizon
        if horizon.has_begun:
            horizon.note(name, version_in(known))
        else:
            horizon.end_earlier()

    # --- a log that has lost something ------------------------------------------------------------------------

    def rewind(self, position: int, tag: int, now_ms: int) -> None:
        """The log has lost all entries behind this position: append again what this node had appended there. O(a minute
        of the log)."""
        node = self._node
        node.note_read(position, tag)
        lost = self._lost_entries.rewind(position)
        node.nodes.withdraw_ready(lost.ready)
        node.batches.rewind(position)
        for member in lost.joined:
            # The engine has forgotten it: its next call tells it so, and it begins anew.
            if member.heirs is None and member is not node.mine:
                self._lose(member, now_ms, now_ms, is_orderly=True)
        self._returns.wait_again(lost.returned, now_ms)
        self._lost_entries.append_again(lost.acquired, now_ms)

    def begin_anew(self, joined: Joined, now_ms: int) -> None:
        """The engine was emptied, and this node has joined the log that began then: its entries are read from the first
        on. A node that lived in the old log counts as the same node once it joins the new one. O(a minute of the
        log)."""
        lost = self._lost_entries.rewind(0)
        self._node.begin_history(joined)
        self._returns.begin(joined, now_ms)
        self._node.batches.rewind(0)
        self._lost_entries.append_again(lost.acquired, now_ms)

    @property
    def droppable(self) -> tuple[int, int]:
        """Position and tag up to which the log may drop entries, as far as this node is concerned. While nodes may
        still come back to a new log, that is its beginning: they have all of it to read."""
        return self._returns.droppable

    def hold_nothing(self) -> None:
        """The log was told the true position of this node, whatever `droppable` says: hold nothing back from now on."""
        self._returns.hold_nothing()

    # --- time -------------------------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> None:
        """Do what becomes due with time: declare nodes gone that have not come back to a log that began anew, forget
        nodes that are long gone, and tell the other nodes this node's figures and version counter if they changed.
        O(nodes)."""
        node = self._node
        self.own_figures.tell()
        if node.is_ready and node.mine.floor <= self._newest and not node.batches.has_more:
            node.engine.ledger.reach(now_ms)
            node.batches.mark()
        self._returns.tick(now_ms)
        self._arrival.tick(now_ms)
        late = [record for record in node.unread_news.take_late(now_ms) if node.is_copy(record.user)]
        if late:
            node.apply(late, now_ms)
        node.nodes.forget(now_ms, node.homes.counts)
