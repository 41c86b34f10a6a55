"""What this node says again when the log has lost its end: what it has decided, and what those had said who cannot
say it any more. Pure.

Its lost batches are appended again as they were (`batches`). That is not enough for users whose home this node became
in what is lost: of these it says all. What another node said there that is gone by now, or that goes before it has said
it again, is offered to the heir by whoever has read it.

What is appended again comes in another order than at first. To whoever has read it at first it says nothing, and to a
node that has joined since it is new.
"""

from __future__ import annotations

from collections.abc import Iterable
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

SAID_AT_ONCE: Final = 200
"""Users of whom all is said anew in one turn: about 3 ms."""


class LostEntries:
    """What is still to be said of what the log has lost."""

    def __init__(self, node: Node, memory: LogMemory, disputes: Disputes) -> None:
        self._node = node
        self._memory = memory
        self._disputes = disputes
        self._unsaid: dict[str, bool] = {}
        """Users of whom this node is still to say all if it is their home, since the log has lost that; and whether to
        offer the home otherwise what is known here."""
        self._lost: dict[Member, list[str]] = {}
        """By node, the users of whom it had said something that the log has lost, and that it has not said again."""

    def rewind(self, position: int) -> Lost:
        """The log has lost all behind this position; returns what that was. Those who live say again what they said
        there. O(a minute of the log)."""
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
            # Some may not have read it, and go on with a node that this one has given up.
            node.batches.add(Missing(member.key, is_given_up=True))
        return lost

    def say_again(self, names: Iterable[str], now_ms: int) -> None:
        """Say all of these, whose home this node became in what is lost, and that events begin anew."""
        self._say(names)
        self.say_some(now_ms)
        self._begin_events_anew(now_ms)

    def _begin_events_anew(self, now_ms: int) -> None:
        node, events = self._node, self._node.engine.events
        epoch = max(events.epoch + 1, node.engine.clock.wall_ms(now_ms))
        node.batches.add(EventsAnew(epoch, events.seq, node.horizon.version))

    def note_gone(self, member: Member) -> None:
        """The node is gone: what it has not said again is offered by those who know it. If it was the registrar, it may
        not have read what was said to it before."""
        self.offer(self._lost.pop(member, ()))
        self.offer(self._memory.pairs_for(member))

    def note_own(self, items: Iterable[Item]) -> None:
        """This node has read this of its own, at the present position. O(facts)."""
        node = self._node
        registrar = node.nodes.registrar
        if registrar is node.mine:
            return
        for item in items:
            if isinstance(item, Whole | Offer) and tells_pairs(decode_known(item.facts)):
                self._memory.note_pairs(node.position, registrar, item.user)

    def note_said(self, member: Member) -> None:
        """The node has said all of it again."""
        self._lost.pop(member, None)

    def offer(self, names: Iterable[str]) -> None:
        """Tell the homes of these users what this node knows of them; or all, of one whose home it is. O(names)."""
        self._unsaid |= dict.fromkeys(names, True)

    def note_again(self, sender: Member, items: Iterable[Item]) -> None:
        """A node has appended this again, which was taken here before. Whoever has not taken it before believes it now,
        though the log has said something else of these users' homes since: the home of one says so again. An offer of
        this node names a position in the log that is gone, so that nobody heeds it: it is made again. O(names)."""
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
            self._unsaid.setdefault(name, False)

    @property
    def has_work(self) -> bool:
        """Whether something is to be said, and there is room for it."""
        return (bool(self._unsaid) and self._node.batches.bytes < WAITING_BYTES) or self._node.backlog.has_work

    def say_some(self, now_ms: int) -> None:
        """Say all of some: of very many, if the log has lost a death, or the engine was away for long.
        O(`SAID_AT_ONCE`)."""
        backlog = self._node.backlog
        self._say(backlog.take(SAID_AT_ONCE))
        for _ in range(min(SAID_AT_ONCE, len(self._unsaid))):
            name = next(iter(self._unsaid))
            is_witness = self._unsaid.pop(name)
            if is_witness and self._node.nodes.registrar is self._node.mine:
                # Of pairs others take from this node nothing but what it decides.
                self._node.copies.tell_pairs(name, now_ms)
            if self._node.own(name):
                user = self._node.engine.users.get(name) if is_witness else None
                if user is not None and user.record.version:
                    # What this node has decided since has come to others who had not read what was lost: they show
                    # something else under its version.
                    self._node.engine.publisher.mark_outdated(user)
                    self._node.engine.publisher.refresh(user, now_ms)
                # As a witness of pairs, too: the node that decided them may be the one that is gone.
                part = all_of if is_witness else home_part_of
                self._disputes.say_known(name, part(self._node.copies, name, now_ms))
            elif is_witness:
                self._disputes.offer(name, now_ms)
        if not self._unsaid and backlog.take_lost_events():
            self._begin_events_anew(now_ms)
