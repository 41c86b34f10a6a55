"""Settles which node is a user's home, and which state of the user holds, where nodes disagree. Pure.

Nodes disagree after the log has lost entries that some of them had read. They also do when a node joins whose disk
knows something of a user that the others do not.

The home: a node that takes itself for the home appends `Whole`, with all that it knows of the user. The last `Whole` in
the log counts, and whoever took itself for the home gives way when it reads that. Two such items may cross: a node
gives way to the first of them, while its own is the second, and counts. When it reads its own back, it moves the user
to the node that it gave way to.

The state: the newer one holds. That is the one in which something was said of the user later, by the nodes' wall
clocks, and if nothing was said since, the one whose record has the higher version; all nodes count versions on one
scale. A node that knows a newer state than the home offers it to the home (`Offer`), which adopts it and appends
`Whole`. An offer names the node that its sender takes for the home. If that node takes the sender for the home, or
knows of none, then neither of them decides the user, and the node that was offered the state becomes the home.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from presenced.cluster.log.entries import (
    KnownFacts,
    Moved,
    Offer,
    Whole,
    all_of,
    decode_facts,
    decode_known,
    home_part_of,
    packed_facts,
    version_in,
)
from presenced.cluster.log.memory import LogMemory
from presenced.cluster.log.node import Node
from presenced.cluster.log.nodes import NOBODY, Member
from presenced.core.newness import Newness, newness_in
from presenced.core.pair_facts import KEPT_PAIRS, without_pairs
from presenced.core.positions import Life, uncarried
from presenced.core.records import DeviceSet, Fact, RecordSet, TokensRevoked, UserErased
from presenced.wire.codec import encode


class Disputes:
    """This node's part in settling disputes: what it appends, and what it does with the items of others."""

    def __init__(self, node: Node, memory: LogMemory, homes_changed: Callable[[Sequence[str], int], object]) -> None:
        """`homes_changed` is called with users who have another home, once what is known of them was applied."""
        self._node = node
        self._memory = memory
        self._homes_changed = homes_changed
        self._said: dict[str, int] = {}
        """How many items `Whole` this node has appended for a user and not read back yet."""

    # --- what this node says ----------------------------------------------------------------------------------

    def append_whole(self, name: str, now_ms: int) -> None:
        """Append that this node is the user's home, with all that it knows of the user except pairs. O(what is
        known)."""
        self.append_known(name, home_part_of(self._node.copies, name, now_ms))

    def append_known(self, name: str, known: msgspec.Raw) -> None:
        """Append that this node is the user's home, with these facts of the user. O(1)."""
        self._said[name] = self._said.get(name, 0) + 1
        self._node.batches.add(Whole(name, known))

    def offer(self, name: str, now_ms: int) -> None:
        """Offer what this node knows of the user to the user's home, and of pairs to the registrar. O(what is
        known)."""
        node = self._node
        home = node.homes.of(name)
        if home is NOBODY:
            return
        node.unread_news.note((name,), now_ms)
        known, said = all_of(node.copies, name, now_ms), self._newness_of(name)
        node.batches.add(Offer(name, said.version, known, home.key, node.position, node.tag, said.said_ms))

    def note_offered(self, item: Offer, now_ms: int) -> None:
        """This node has read its own offer back. It offers again if the offer may have been ignored: the user has
        another home by now, or the log has lost the position that the offer names. O(what is known of the user)."""
        home = self._node.homes.of(item.user)
        if item.to and home is not self._node.mine and (home.key != item.to or not self._is_of_this_log(item)):
            self.offer(item.user, now_ms)

    def note_known(self, name: str, now_ms: int) -> None:
        """This node has read its own `Whole` back, so that all nodes take it for the user's home. If it has given way
        to another node meanwhile, it moves the user there. O(1), or O(what is known of the user) for a move."""
        node, left = self._node, self._said.pop(name, 1) - 1
        if left:
            self._said[name] = left
            return
        home, user = node.homes.of(name), node.engine.users.get(name)
        if home in (node.mine, NOBODY) or node.home_changes.is_said(name):
            return
        known = node.engine.parts.facts_of(user, now_ms) if user is not None else ()
        node.home_changes.note_said(name)
        node.batches.add(Moved(name, home.key, packed_facts(without_pairs(known))))

    # --- what others say --------------------------------------------------------------------------------------

    def take_whole(self, sender: Member, item: Whole, now_ms: int) -> None:
        """Another node has appended that it is the user's home, and what it knows of the user. O(what is known of the
        user)."""
        node, known = self._node, decode_known(item.facts)
        is_older = self._is_older(item.user, known)
        node.homes.set(item.user, sender)
        node.note_copy(item.user)
        if is_older:
            # Other nodes tell this record. If this node is to decide the user next, it decides above that.
            node.engine.ledger.raise_version(version_in(known) + 1, now_ms)
            self.offer(item.user, now_ms)
        else:
            node.take_whole(item.user, known, now_ms, says_pairs=False)
            node.unread_news.settle(item.user)
        if node.nodes.registrar is node.mine:
            node.copies.decide_pairs(item.user, known, now_ms, says_all=True)

    def take_moved(self, target: Member, item: Moved, now_ms: int) -> None:
        """The user's home has made `target` the home. O(what is known of the user)."""
        node, facts = self._node, decode_facts(item.facts)
        is_older = self._is_older(item.user, facts)
        node.homes.set(item.user, target)
        if not is_older:
            node.unread_news.settle(item.user)
            node.replace(item.user, facts, now_ms)
        if target is node.mine:
            node.inheritance.take_up(item.user, now_ms)
            if is_older:
                self.append_whole(item.user, now_ms)
        elif is_older:
            self.offer(item.user, now_ms)

    def take_offer(self, sender: Member, item: Offer, now_ms: int) -> None:
        """Another node offers what it knows of the user. The home adopts what is newer, and appends it for all nodes.
        If neither this node nor the sender decides the user, this node becomes the home. O(what is known of the
        user)."""
        node, name, known = self._node, item.user, decode_known(item.facts)
        if node.nodes.registrar is node.mine:
            node.copies.decide_pairs(name, known, now_ms, says_all=False)
        is_mine = node.own(name)
        if is_mine:
            self._take_revocation(name, known, now_ms)
        if not is_mine and not self._is_undecided(sender, item):
            return
        is_newer = node.engine.users.get(name) is None or self._is_newer(item)
        if is_mine and not is_newer and item.to in (0, node.me):
            self._decline(name, known, now_ms)
            return
        if not is_mine:
            node.homes.set(name, sender)
            node.note_copy(name)
        if is_newer:
            if is_mine:
                # Also where nothing is known: the state that is adopted here gets its timers by `take_up` below.
                node.handovers.release(node.engine.users.get_or_new(name), now_ms)
            node.take_whole(name, known, now_ms, says_pairs=False)
        node.homes.set(name, node.mine)
        node.inheritance.take_up(name, now_ms)
        self.append_whole(name, now_ms)
        if is_newer and self.erased_in(name, known):
            # Pairs that disks know of the user may be decided in this turn. The erasure is decided again behind them.
            node.engine.moderation.erase(now_ms, node.engine.users.for_request(name))
        if not is_mine:
            self._homes_changed([name], now_ms)

    def _decline(self, name: str, known: KnownFacts, now_ms: int) -> None:
        """What is offered is older than what this node has decided. If it is something else, the sender has read what
        this node has not, and shows what this node decides with it: all nodes are told all that holds, under a new
        version. O(what is known)."""
        node = self._node
        user = node.engine.users.get(name)
        if user is None or not self.says_other(name, decode_known(all_of(node.copies, name, now_ms)), known):
            return
        node.engine.publisher.mark_outdated(user)
        node.engine.publisher.refresh(user, now_ms)
        self.append_whole(name, now_ms)

    def _is_newer(self, item: Offer) -> bool:
        """Whether the offered state is newer than what is known here, and newer than an erasure of the user. O(1), or
        O(what is known) for a user who sleeps."""
        said, erased = self._newness_of(item.user), self._node.engine.erasures.last_of(item.user)
        if erased is not None:
            said = max(said, Newness(erased.at_ms, erased.version))
        # A node of an earlier version gives no time.
        return said < Newness(item.said_ms, item.version) if item.said_ms else said.version < item.version

    def _take_revocation(self, name: str, known: KnownFacts, now_ms: int) -> None:
        """Adopt a revocation of tokens from an offer, even if the rest is older: what was revoked once stays revoked.
        O(facts)."""
        engine, before_ms = self._node.engine, self.revoked_in(name, known)
        user = engine.users.for_request(name) if before_ms else None
        if user is not None and engine.revocations.refuses_before(user) < before_ms:
            engine.moderation.revoke(now_ms, user, before_ms)

    def revoked_in(self, name: str, known: KnownFacts) -> int:
        """The moment before which the user's tokens are refused by these facts; 0 = none are refused. O(facts)."""
        facts = self._facts_in(name, known)
        return next((fact.before_ms for fact in facts if isinstance(fact, TokensRevoked)), 0)

    def _facts_in(self, name: str, known: KnownFacts) -> list[Fact]:
        return self._node.engine.sleep.facts_in(name, known) if isinstance(known, bytes) else known

    def _is_undecided(self, sender: Member, item: Offer) -> bool:
        """Whether neither node decides the user: the sender takes this node for the home, this node takes the sender
        for it, or knows of none, and neither has changed since the offer was made. O(1)."""
        node = self._node
        return (
            item.to == node.me
            and node.homes.of(item.user) in (sender, NOBODY)
            and self._is_of_this_log(item)
            and not node.home_changes.since(item.user, item.position)
        )

    def _is_of_this_log(self, item: Offer) -> bool:
        """Whether the sender had read the same log as this node when it made the offer. O(1)."""
        return self._memory.tag_at(item.position) == item.tag

    def _is_older(self, name: str, known: KnownFacts) -> bool:
        """Whether this node serves and knows a newer state of the user than this one. A state without a record is that
        of an erased user, and counts as newer. O(facts)."""
        node = self._node
        if not node.mine.is_ready or not version_in(known):
            return False
        if self.newness_in(name, known, node.lives) >= self._newness_of(name):
            return False
        # The home keeps its version of a record that says the same, and would get the same offer again and again.
        return self.says_other(name, decode_known(all_of(node.copies, name, node.engine.ledger.now_ms)), known)

    def says_other(self, name: str, one: KnownFacts, other: KnownFacts) -> bool:
        """Whether two states of the user differ, apart from versions, from pairs, and from devices, of which nodes know
        different moments. O(facts)."""
        return self._shown_in(name, one) != self._shown_in(name, other)

    def erased_in(self, name: str, known: KnownFacts) -> int:
        """The version at which the user was erased, if these facts have no record of the user; 0 = they have one, or
        the version is not known. O(facts)."""
        if version_in(known):
            return 0
        return next((fact.version for fact in self._facts_in(name, known) if isinstance(fact, UserErased)), 0)

    def _shown_in(self, name: str, known: KnownFacts) -> list[bytes]:
        return sorted(
            encode(_without_versions(fact) if isinstance(fact, RecordSet) else fact)
            for fact in self._facts_in(name, known)
            if not isinstance(fact, (DeviceSet, *KEPT_PAIRS))
        )

    def newness_in(self, name: str, known: KnownFacts, lives: Sequence[Life]) -> Newness:
        """How new this state of the user is, with the version that its record had before the kills in `lives`. An
        erasure is newer than what was known before it. O(facts)."""
        facts = self._facts_in(name, known)
        said = newness_in(facts)
        if said.version:
            return _uncarried(said, lives)
        erased = next((fact for fact in facts if isinstance(fact, UserErased)), None)
        return said if erased is None else Newness(erased.at_ms, erased.version)

    def _newness_of(self, name: str) -> Newness:
        """How new the state is that this node knows. O(1), or O(what is known) for a user who sleeps."""
        return _uncarried(self._node.copies.newness_of(name), self._node.lives)


def _uncarried(said: Newness, lives: Sequence[Life]) -> Newness:
    return Newness(said.said_ms, uncarried(said.version, lives))


def _without_versions(fact: RecordSet) -> RecordSet:
    return msgspec.structs.replace(fact, version=0, said_after_ms=0, last_seen_ms=0)
