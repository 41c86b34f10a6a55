"""What a node makes of each entry of the log: who lives, who decides, and what others have decided. Pure.

Entries are taken in order, each once. Work that grows with the number of users is done in slices (`work`).

The file is long because it has all kinds of entries, and the order in which one of them is taken matters for the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from presenced.backplane.port import Entry, Joined
from presenced.cluster.arrival import Arrival
from presenced.cluster.disputes import Disputes
from presenced.cluster.entries import (
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
    Ready,
    Slice,
    Taken,
    ToNode,
    Unpaired,
    Vacant,
    Whole,
    decode_batch,
    decode_facts,
    decode_gone,
    decode_join,
    decode_known,
    home_part_of,
    version_in,
)
from presenced.cluster.lessons import WAITING_BYTES, Lessons
from presenced.cluster.memory import LogMemory, Lost
from presenced.cluster.node import RETURN_MS, Node
from presenced.cluster.nodes import NOBODY, Member
from presenced.core.positions import uncarried

_OF_ALL: Final = frozenset({EventsAnew, Happened, Missing, New, Ready, ToNode, Unpaired})
"""What holds from its position in the log on, for its own node as well."""

SAID_AT_ONCE: Final = 200
"""Users of whom all is said anew in one turn: about 3 ms."""

_OF_NOBODY: Final = frozenset({Figures, Taken})
"""What says nothing of a user."""


class Forwarder(Protocol):
    """What acts for links whose users have another home (`forwarding`)."""

    def receive(self, sender: int, message: bytes, now_ms: int) -> None:
        """A node says something to this one."""

    def node_gone(self, incarnation: int, last_ms: int, now_ms: int) -> None:
        """A node is gone; it was heard last at this moment."""

    def homes_changed(self, names: Sequence[str], now_ms: int) -> None:
        """These users have another home from now on."""


class LogReader:
    """Reads for one node."""

    def __init__(self, node: Node, forwarder: Forwarder) -> None:
        self.entries_read = 0
        self._missing: dict[Member, None] = {}
        """Nodes that lived when the log began anew, and that have not come back to it."""
        self._missing_ms = 0
        """When they are given up."""
        self._first: tuple[int, int] | None = None
        """Position and tag of this node's own join, in a log that began anew not long ago."""
        self._unsaid: deque[tuple[str, bool]] = deque()
        """Users of whom this node is still to say all if it is their home, since the log has lost that; and whether to
        tell the home otherwise what is known here."""
        self._lost: dict[Member, list[str]] = {}
        """By node, the users of whom it had said something that the log has lost, and that it has not said again."""
        self._newest = 0
        """No record that was read has a version above this, but for users who change twice within a millisecond."""
        self._node = node
        self._forwarder = forwarder
        self.memory = LogMemory()
        self.memory.note_read(node.position, node.tag, node.engine.ledger.now_ms)
        self._disputes = Disputes(node)
        self._arrival = Arrival(node, self._disputes)
        self._lessons = Lessons(node, lambda: not self._missing)

    def begin(self, now_ms: int) -> None:
        """What the own disk says is known by now. An only node asks to serve at once."""
        self._arrival.begin(now_ms)

    def wanted(self, entry: Entry) -> list[int]:
        """The numbers of the slices that `take` needs for this entry. O(items)."""
        mine = self._node.mine
        if entry.kind != "batch" or mine.is_ready:
            return []
        slices = [item for item in decode_batch(entry.data).items if type(item) is Slice]
        return [item.number for item in slices if item.joiner == mine.key and item.number]

    def take(self, entry: Entry, now_ms: int, slices: Mapping[int, bytes]) -> None:
        """The next entry. `slices`: what is stored under the numbers that are `wanted`. O(what it says)."""
        self._node.note_read(entry.n, entry.tag)
        self._node.batches.forget(self.memory.note_read(entry.n, entry.tag, now_ms))
        for name in self._node.inheritance.take_acquired():
            self.memory.note_acquired(entry.n, name)
        self.entries_read += 1
        if entry.kind == "batch":
            self._take_batch(entry, self._node.batches.decoded(entry.data), now_ms, slices)
        elif entry.kind == "joined":
            self._take_joined(entry)
        else:
            self._take_gone(entry, now_ms)

    def _take_joined(self, entry: Entry) -> None:
        nodes, data = self._node.nodes, decode_join(entry.data)
        is_new = nodes.get(data.key) is None
        nodes.note_return(entry.node, entry.n)
        member = nodes.join(entry.node, data.key, entry.incarnation, gives_links=data.gives_links)
        if data.is_asked:
            nodes.note_asked(member)
        if data.has_lived:
            # Only who knows all users comes back to a log.
            nodes.note_ready(member)
            self._node.note_returned(member, entry.at_ms)
            self._arrival.note_returned(member)
        self._missing.pop(member, None)
        self.memory.note_joined(entry.n, member)
        if is_new:
            self._lessons.begin(member)

    def _take_gone(self, entry: Entry, now_ms: int) -> None:
        node = self._node
        member = node.nodes.of_entry(entry.incarnation)
        if member is None:
            # It was taken for gone here before the log lost that. Who has joined meanwhile waits to be told again.
            self._lessons.begin_again()
            return
        gone = decode_gone(entry.data)
        node.nodes.note_fence(entry.node, entry.n, is_orderly=gone.voluntary)
        if member is node.mine:
            node.note_fenced()
            return
        self._lose(member, now_ms - max(0, entry.at_ms - gone.last_ms), now_ms, is_orderly=gone.voluntary)

    def _lose(self, member: Member, last_ms: int, now_ms: int, *, is_orderly: bool) -> None:
        """The node is gone, and was heard last at this moment."""
        node = self._node
        node.nodes.leave(member, last_ms)
        node.engine.ledger.raise_version(node.nodes.newest, now_ms)
        self._lessons.end(member)
        node.horizon.reach(node.nodes.floor)
        node.inheritance.add(member, is_orderly=is_orderly)
        self._arrival.note_gone(member, node.position, now_ms)
        self._unsaid += ((name, True) for name in self._lost.pop(member, ()))
        self._forwarder.node_gone(member.key, last_ms, now_ms)

    # --- batches ----------------------------------------------------------------------------------------------

    def _take_batch(self, entry: Entry, batch: NodeBatch, now_ms: int, slices: Mapping[int, bytes]) -> None:
        node = self._node
        sender = node.nodes.of_entry(entry.incarnation)
        if sender is None:
            return
        node.nodes.note_version(sender, batch.version)
        if batch.number <= sender.batch:
            # The log lost it, and its node has appended it again.
            if sender is node.mine:
                node.batches.read_back(batch.number, entry.n)
            return
        node.nodes.note_batch(sender, batch.number)
        if sender is node.mine:
            for item in batch.items:
                self._take_own(item, now_ms)
            node.batches.read_back(batch.number, entry.n)
        else:
            # Versions of all nodes are of one scale: what is told next here is above all that was told there.
            node.engine.ledger.raise_version(batch.version, now_ms)
            for item in batch.items:
                self._take_item(sender, item, now_ms, slices)
        if any(type(item) not in _OF_NOBODY for item in batch.items):
            self._newest = max(self._newest, batch.version)
        node.nodes.note_floor(sender, batch.floor)
        node.horizon.reach(node.nodes.floor)

    def _take_own(self, item: Item, now_ms: int) -> None:
        """All nodes know now what this one has appended. What it decided was applied here before."""
        if type(item) in _OF_ALL:
            self._take_item(self._node.mine, item, now_ms, {})
        elif type(item) is Whole:
            self._disputes.note_known(item.user, now_ms)
            self._note_whole(item.user, decode_known(item.facts))

    def _take_item(self, sender: Member, item: Item, now_ms: int, slices: Mapping[int, bytes]) -> None:
        match item:
            case Decided():
                self._take_decided(sender, item, now_ms)
            case ToNode():
                if item.to == self._node.me:
                    self._forwarder.receive(sender.key, bytes(item.content), now_ms)
            case EventsAnew():
                # Behind all that its node has said again.
                self._lost.pop(sender, None)
                self._take_anew(item, now_ms)
            case Missing():
                self._take_missing(item, now_ms)
            case Vacant():
                self._node.take_vacant(sender, item.names)
            case Unpaired():
                # Until here nodes have given positions that say nothing of the erasure.
                self._node.horizon.end_earlier()
                if self._node.take_unpaired(sender, item, now_ms):
                    self._arrival.note_pairs(self._node.position, item)
            case Happened():
                self._take_happened(item)
            case New():
                self._take_new(sender, item, now_ms)
            case Moved():
                self._take_moved(sender, item, now_ms)
            case Whole():
                self._take_whole(sender, item, now_ms)
            case Slice():
                if item.joiner == self._node.me and not self._node.mine.is_ready:
                    self._arrival.take(sender, item, slices, now_ms)
            case Ready():
                self._node.nodes.note_ready(sender)
                self._node.nodes.note_begun(sender)
                if sender is self._node.mine:
                    self._node.horizon.begin()
                self._node.learn_lives(item.lives)
                self._lessons.end(sender)
            case Offer():
                self._take_offer(sender, item, now_ms)
            case Taken():
                if item.teacher == self._node.me:
                    self._lessons.note_taken(sender, item.number)
            case Figures():
                self._node.nodes.note_figures(sender, item.links, item.lag_ms)

    def _take_decided(self, sender: Member, item: Decided, now_ms: int) -> None:
        """Facts from any other node than the home at this position are passed over: the order of the log fences each
        user by itself."""
        of, registrar = self._node.homes.of, self._node.nodes.registrar
        facts = decode_facts(item.facts)
        self._node.tell_followers([fact for fact in facts if type(fact) in OF_FOLLOWERS])
        valid = [fact for fact in facts if (registrar if type(fact) in OF_PAIRS else of(fact.user)) is sender]
        if valid:
            self.memory.note_told(self._node.position, sender, list({fact.user: None for fact in valid}))
            self._node.apply(valid, now_ms)
            pairs = [fact for fact in valid if type(fact) in OF_PAIRS]
            if pairs:
                self._arrival.note_pairs(self._node.position, pairs)

    def _take_anew(self, item: EventsAnew, now_ms: int) -> None:
        self._node.horizon.begin_again(item.horizon)
        self._arrival.note_anew(self._node.position, item.epoch, item.seq)
        self._node.engine.events.go_on_at(item.epoch, item.seq, now_ms)

    def _take_happened(self, item: Happened) -> None:
        self._arrival.note_event(self._node.position, item.event.count)
        self._node.engine.events.keep_shared(item.event, item.is_of_erased)

    def _take_new(self, sender: Member, item: New, now_ms: int) -> None:
        """The first in the log is the home."""
        homes = self._node.homes
        if sender is not self._node.mine:
            self.memory.note_told(self._node.position, sender, item.names)
        for name in item.names:
            if homes.of(name) is NOBODY:
                homes.set(name, sender)
                if sender is self._node.mine:
                    self.memory.note_acquired(self._node.position, name)
                else:
                    self._node.note_copy(name)
            self._node.note_decided(name, now_ms)

    def _take_moved(self, sender: Member, item: Moved, now_ms: int) -> None:
        node = self._node
        target = node.nodes.get(item.to)
        if target is None or node.homes.of(item.user) is not sender:
            return
        node.homes.set(item.user, target)
        self.memory.note_told(node.position, sender, [item.user])
        node.replace(item.user, decode_facts(item.facts), now_ms)
        if target is node.mine:
            node.inheritance.take_up(item.user, now_ms)
            self._lessons.tell_also(item.user, now_ms)
        elif target.heirs is not None:
            node.inheritance.add(target, is_orderly=False)
        self._forwarder.homes_changed([item.user], now_ms)

    def _take_whole(self, sender: Member, item: Whole, now_ms: int) -> None:
        """The last that says so in the log is the home: whoever believed the same of itself yields."""
        node = self._node
        home = node.homes.of(item.user)
        self._disputes.yield_to(sender, item.user, now_ms)
        self.memory.note_told(node.position, sender, [item.user])
        known = decode_known(item.facts)
        node.take_whole(item.user, known, now_ms)
        if node.nodes.registrar is node.mine:
            node.copies.decide_pairs(item.user, known, now_ms, says_all=True)
        self._note_whole(item.user, known)
        if home is not sender:
            self._forwarder.homes_changed([item.user], now_ms)

    def _note_whole(self, name: str, known: KnownFacts) -> None:
        """All nodes know this of the user from here on, though a disk may have known it long ago."""
        horizon = self._node.horizon
        if horizon.has_begun:
            horizon.note(name, version_in(known))
        else:
            horizon.end_earlier()

    def _take_offer(self, sender: Member, item: Offer, now_ms: int) -> None:
        """The home takes what another node knows better, and says so to all. So does a node that has not heard that it
        is the home: who offers takes it for that, and it takes them for it, or nobody."""
        node, name, known = self._node, item.user, decode_known(item.facts)
        if node.nodes.registrar is node.mine:
            node.copies.decide_pairs(name, known, now_ms, says_all=False)
        home = node.homes.of(name)
        is_mine = node.own(name)
        if not is_mine and not (item.to == node.me and home in (sender, NOBODY)):
            return
        user = node.engine.users.get(name)
        is_newer = user is None or uncarried(user.record.version, node.lives) < item.version
        if is_mine and not is_newer and item.to in (0, node.me):
            return
        if not is_mine:
            node.homes.set(name, sender)
            node.note_copy(name)
        if is_newer:
            if is_mine and user is not None:
                node.copies.release(user, now_ms)
            node.take_whole(name, known, now_ms)
        node.homes.set(name, node.mine)
        node.inheritance.take_up(name, now_ms)
        self._disputes.say_whole(name, home_part_of(node.copies, name, now_ms))
        if not is_mine:
            self._forwarder.homes_changed([name], now_ms)

    # --- a log that has lost something ------------------------------------------------------------------------

    def rewind(self, position: int, tag: int, now_ms: int) -> None:
        """The log has lost all behind this position: say again what this node said there. O(a minute of the log)."""
        node = self._node
        node.note_read(position, tag)
        node.horizon.end_earlier()
        lost = self._lose_behind(position)
        node.batches.rewind(position)
        for member in lost.joined:
            # The engine has forgotten it: its next call tells it so, and it begins anew.
            if member.heirs is None and member is not node.mine:
                self._lose(member, now_ms, now_ms, is_orderly=True)
        self._say_again(lost.acquired, now_ms)

    def begin_anew(self, joined: Joined, now_ms: int) -> None:
        """The engine was emptied, and this node has joined the log that began behind it: its entries are to be taken
        from the first on. Whoever lived before is back as the same once it joins, too. O(a minute of the log)."""
        node = self._node
        node.horizon.end_earlier()
        lost = self._lose_behind(0)
        node.begin_history(joined)
        self._missing = {member: None for member in node.nodes}
        self._missing_ms = now_ms + RETURN_MS
        self._first = joined.n, joined.tag
        node.batches.rewind(0)
        self._say_again(lost.acquired, now_ms)

    def _lose_behind(self, position: int) -> Lost:
        """Those who live say again what they said there. What one that is gone said is said by those who had read it.
        O(a minute of the log)."""
        for name in self._node.inheritance.take_acquired():
            self.memory.note_acquired(self.memory.newest, name)
        lost = self.memory.rewind(position)
        for member, names in lost.told.items():
            if member.heirs is None:
                self._lost.setdefault(member, []).extend(names)
            else:
                self._unsaid += ((name, True) for name in names)
        return lost

    def _say_again(self, names: Sequence[str], now_ms: int) -> None:
        node, events = self._node, self._node.engine.events
        self._unsaid += ((name, False) for name in names)
        self._say_some(now_ms)
        epoch = max(events.epoch + 1, node.engine.clock.wall_ms(now_ms))
        node.batches.add(EventsAnew(epoch, events.seq, node.horizon.version))

    def _say_some(self, now_ms: int) -> None:
        """Say all of some whose home this node is: of very many, if the log has lost a death. O(`SAID_AT_ONCE`)."""
        node = self._node
        for _ in range(min(SAID_AT_ONCE, len(self._unsaid))):
            name, is_witness = self._unsaid.popleft()
            if node.own(name):
                self._disputes.say_whole(name, home_part_of(node.copies, name, now_ms))
            elif is_witness and (home := node.homes.of(name)) is not NOBODY and node.engine.users.knows(name):
                known = home_part_of(node.copies, name, now_ms)
                version = uncarried(version_in(decode_known(known)), node.lives)
                node.batches.add(Offer(name, version, known, home.key))

    def _take_missing(self, item: Missing, now_ms: int) -> None:
        member = self._node.nodes.get(item.key)
        if member is not None and member in self._missing:
            del self._missing[member]
            self._lose(member, now_ms, now_ms, is_orderly=False)

    # --- work in slices ---------------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether `work` has something to do now."""
        return self._node.inheritance.has_work or self._may_say or self._arrival.has_work or self._lessons.has_work

    @property
    def _may_say(self) -> bool:
        return bool(self._unsaid) and self._node.batches.bytes < WAITING_BYTES

    @property
    def told_read(self) -> tuple[int, int]:
        """Position and tag up to which the log may drop what this node has read. It drops nothing while somebody may
        come back to a log that began anew, and has all of it to read."""
        return self._first or (self._node.position, self._node.tag)

    def tick(self, now_ms: int) -> None:
        """Give up whoever has not come back to a log that began anew. Tell all nodes how this one is, and how far its
        versions have come, if they do not know. O(nodes)."""
        node = self._node
        node.tell_figures()
        if node.is_ready and node.mine.floor <= self._newest and not node.batches.has_more:
            node.engine.ledger.reach(now_ms)
            node.batches.mark()
        if now_ms < self._missing_ms:
            return
        self._first = None
        if self._missing:
            self._missing_ms = now_ms + RETURN_MS
            for member in self._missing:
                self._node.batches.add(Missing(member.key))

    def work(self, now_ms: int) -> None:
        """Take over some of the users who were left to this node, look at some whom the own disk knows, and tell a node
        that has joined of some. O(a slice)."""
        inheritance = self._node.inheritance
        if inheritance.has_work:
            changed = inheritance.go_on(now_ms)
            if changed:
                self._forwarder.homes_changed(changed, now_ms)
            if not inheritance.has_work:
                self._lessons.begin_again()
        elif self._may_say:
            self._say_some(now_ms)
        elif self._arrival.has_work:
            # Before others are told: it says which users are this node's.
            self._arrival.go_on(now_ms)
        else:
            self._lessons.go_on(now_ms)
