"""Makes good what is missing after the log has lost its newest entries. Pure.

That happens when the engine fails over to a copy that had not got them yet. Each node appends its lost batches again,
unchanged (`batches`). Two things need more than that:

* A user whose home this node became in a lost entry: that depended on the order of the entries, which may be another
  one now. This node appends all that it knows of the user (`Whole`).

* What a node had appended that is gone by now, or that dies before it has appended it again: each node that has read it
  offers it to the user's home (`Offer`).

Batches that are appended again may stand in another order than before. A node that had read them passes over them, and
a node that has joined since reads them for the first time.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from presenced.cluster.log.batches import WAITING_BYTES
from presenced.cluster.log.disputes import Disputes
from presenced.cluster.log.entries import (
    EventsAnew,
    Item,
    Missing,
    Moved,
    New,
    Offer,
    Whole,
    all_of,
    decode_known,
    home_part_of,
)
from presenced.cluster.log.memory import LogMemory, Lost
from presenced.cluster.log.node import Node
from presenced.cluster.log.nodes import Member
from presenced.core.pair_facts import tells_pairs

APPENDED_AT_ONCE: Final = 200
"""How many users are appended as a whole in one turn: about 3 ms."""


class LostEntries:
    """What this node has still to append, because the log has lost something."""

    def __init__(self, node: Node, memory: LogMemory, disputes: Disputes) -> None:
        self._node = node
        self._memory = memory
        self._disputes = disputes
        self._to_append: dict[str, bool] = {}
        """Users of whom this node is still to append all that it knows, if it is their home. If it is not and the value
        is true, it makes an offer to the home."""
        self._lost: dict[Member, list[str]] = {}
        """By node, the users of whom it had appended something that the log has lost, and that it has not appended
        again yet."""
        node.inheritance.tell(self.note_adopted)

    def rewind(self, position: int) -> Lost:
        """The log has lost all behind this position. Returns what stood there. Nodes that live append their part again;
        what others had appended is offered to the homes. O(a minute of the log)."""
        node = self._node
        node.horizon.end_earlier()
        for name in node.inheritance.take_acquired():
            self._memory.note_acquired(self._memory.newest, name)
        lost = self._memory.rewind(position)
        node.home_changes.rewind(position)
        for member, names in lost.told.items():
            if member.heirs is None:
                self._lost.setdefault(member, []).extend(names)
            else:
                self.offer(names)
        for member in lost.gone:
            # Nodes that have not read of this death go on with a node that is gone for this one.
            node.batches.add(Missing(member.key, is_given_up=True))
        return lost

    def append_again(self, names: Iterable[str], now_ms: int) -> None:
        """Append all that is known of these users, whose home this node became in what is lost, and that events begin
        anew. O(users in a slice)."""
        self._say(names)
        self.append_some(now_ms)
        self._begin_events_anew(now_ms)

    def _begin_events_anew(self, now_ms: int) -> None:
        node, events = self._node, self._node.engine.events
        epoch = max(events.epoch + 1, node.engine.clock.wall_ms(now_ms))
        node.batches.add(EventsAnew(epoch, events.seq, node.horizon.version))

    def note_gone(self, member: Member) -> None:
        """The node is gone. What it has not appended again is offered to the homes. What was offered to it is offered
        to its heirs. If it was the registrar, it may not have read what was sent to it about pairs: that is offered
        again as well. O(what was offered within a minute)."""
        self.offer(self._node.unread_news.of(member))
        self.offer(self._lost.pop(member, ()))
        self.offer(self._memory.pairs_for(member))

    def note_own(self, items: Iterable[Item]) -> None:
        """This node has read these items of its own back, at the present position. What they tell the registrar about
        pairs is remembered for a minute. O(facts)."""
        node = self._node
        registrar = node.nodes.registrar
        if registrar is node.mine:
            return
        for item in items:
            if isinstance(item, Whole | Offer) and tells_pairs(decode_known(item.facts)):
                self._memory.note_pairs(node.position, registrar, item.user)

    def note_said(self, member: Member) -> None:
        """The node has appended all again that the log had lost of it."""
        self._lost.pop(member, None)

    def offer(self, names: Iterable[str]) -> None:
        """Offer what this node knows of these users to their homes, or append it for all nodes where it is the home
        itself. O(names)."""
        offered = dict.fromkeys(names, True)
        self._to_append |= offered
        self._node.unread_news.note(offered, self._node.engine.ledger.now_ms)

    def note_again(self, sender: Member, items: Iterable[Item]) -> None:
        """A node has appended these items again, which were applied here before. A node that has joined since applies
        them now, although the log has given the users other homes since; so a user's home appends again that it is the
        home. An offer of this node among them names a position that the log has lost, and is ignored: it is made again.
        O(names)."""
        mine, homes = self._node.mine, self._node.homes
        names = [
            name
            for item in items
            if isinstance(item, Moved if sender is mine else (Moved, Whole, New))
            for name in (item.names if isinstance(item, New) else (item.user,))
        ]
        self._say(name for name in names if homes.of(name) is mine)
        if sender is mine:
            offered = [item.user for item in items if isinstance(item, Offer) and item.to]
            self.offer(name for name in offered if homes.of(name) is not mine)

    def _say(self, names: Iterable[str]) -> None:
        for name in names:
            self._to_append.setdefault(name, False)

    @property
    def has_work(self) -> bool:
        """Whether something is to be appended, and there is room for it."""
        return (bool(self._to_append) and self._node.batches.bytes < WAITING_BYTES) or self._node.backlog.has_work

    def note_adopted(self, name: str, now_ms: int) -> None:
        """This node takes the user over. If the log has lost something of the user that others may not have read, they
        are told all of it now, ahead of a record that would not go with what they know; unless too much waits for the
        engine. O(1), or O(what is known)."""
        if self._to_append.get(name) and self._node.batches.bytes < WAITING_BYTES:
            self._append_one(name, now_ms, is_witness=self._to_append.pop(name))

    def _append_one(self, name: str, now_ms: int, *, is_witness: bool) -> None:
        """Append all that is known of the user, or offer it to the home. O(what is known)."""
        node = self._node
        if is_witness and node.nodes.registrar is node.mine:
            # What the registrar knows of pairs reaches others only as a decision.
            node.copies.tell_pairs(name, now_ms)
        if node.own(name):
            user = node.engine.users.get(name) if is_witness else None
            if user is not None and user.record.version:
                # Nodes that had not read what was lost have read later decisions of this node: they show something
                # else under the version of this record.
                node.engine.publisher.mark_outdated(user)
                node.engine.publisher.refresh(user, now_ms)
            # With pairs, since the node that decided them may be the one that is gone.
            part = all_of if is_witness else home_part_of
            self._disputes.append_known(name, part(node.copies, name, now_ms))
        elif is_witness:
            self._disputes.offer(name, now_ms)

    def append_some(self, now_ms: int) -> None:
        """Append all that is known of some users. There are very many if the log has lost a death, or the engine was
        away for long. O(`APPENDED_AT_ONCE`)."""
        backlog = self._node.backlog
        self._say(backlog.take(APPENDED_AT_ONCE))
        for name in list(islice(self._to_append, APPENDED_AT_ONCE)):
            if (is_witness := self._to_append.pop(name, None)) is not None:
                self._append_one(name, now_ms, is_witness=is_witness)
        if not self._to_append and backlog.take_lost_events():
            self._begin_events_anew(now_ms)
