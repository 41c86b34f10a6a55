"""Users of whom nodes believe different things, since the log has lost something: who is their home, and what is known
of them. Pure.

The last that says so in the log is the home (`Whole`), and whoever believed the same of itself yields when it reads
that. A node that has yielded to the first may so be made the home by the last word, which was its own, and on its way
by then: it hands the user over to that one.

Of two states of a user the newer one holds: that of whom something was said last, by the clocks of nodes; and if
nothing was said since, that with the newer record: versions of all nodes are of one scale. A node that knows a newer
state than the home says keeps it, and offers it to the home (`Offer`), which takes it and says so to all. An offer says
whom its node takes for the home. If that one takes the other for it, or nobody, then neither decides the user, and it
becomes the home.
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
    """What this node says of users in dispute, and makes of what others say."""

    def __init__(self, node: Node, memory: LogMemory, homes_changed: Callable[[Sequence[str], int], object]) -> None:
        """`homes_changed` is told of users who have another home, once what is known of them is applied."""
        self._node = node
        self._memory = memory
        self._homes_changed = homes_changed
        self._said: dict[str, int] = {}
        """Users of whom this node has said that it is their home, and how often, that was not read back yet."""

    # --- what this node says ----------------------------------------------------------------------------------

    def say_whole(self, name: str, now_ms: int) -> None:
        """Tell all nodes that this one is the user's home, and all that is known of them but for pairs."""
        self.say_known(name, home_part_of(self._node.copies, name, now_ms))

    def say_known(self, name: str, known: msgspec.Raw) -> None:
        """The same with what is given."""
        self._said[name] = self._said.get(name, 0) + 1
        self._node.batches.add(Whole(name, known))

    def offer(self, name: str, now_ms: int) -> None:
        """Tell the user's home what this node knows, and whoever decides pairs what it knows of those. O(what is
        known)."""
        node = self._node
        home = node.homes.of(name)
        if home is NOBODY:
            return
        known, said = all_of(node.copies, name, now_ms), self._newness_of(name)
        node.batches.add(Offer(name, said.version, known, home.key, node.position, node.tag, said.said_ms))

    def note_offered(self, item: Offer, now_ms: int) -> None:
        """This node has read its own offer back. If another is the home by now, or the log has lost what the offer was
        made by, it may not have been heeded: it is made again. O(what is known of the user)."""
        home = self._node.homes.of(item.user)
        if item.to and home is not self._node.mine and (home.key != item.to or not self._is_of_this_log(item)):
            self.offer(item.user, now_ms)

    def note_known(self, name: str, now_ms: int) -> None:
        """All nodes take this one for the user's home from now on, as it has said. O(1), or O(what is known of the
        user) if it has yielded to another meanwhile."""
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
        """Another node says that it is the user's home, and what is known of them. O(what is known of the user)."""
        node, known = self._node, decode_known(item.facts)
        is_less = self._is_less(item.user, known)
        node.homes.set(item.user, sender)
        node.note_copy(item.user)
        if is_less:
            self.offer(item.user, now_ms)
        else:
            node.take_whole(item.user, known, now_ms, says_pairs=False)
        if node.nodes.registrar is node.mine:
            node.copies.decide_pairs(item.user, known, now_ms, says_all=True)

    def take_moved(self, target: Member, item: Moved, now_ms: int) -> None:
        """The user's home has made `target` the home. O(what is known of the user)."""
        node, facts = self._node, decode_facts(item.facts)
        is_less = self._is_less(item.user, facts)
        node.homes.set(item.user, target)
        if not is_less:
            node.replace(item.user, facts, now_ms)
        if target is node.mine:
            node.inheritance.take_up(item.user, now_ms)
            if is_less:
                self.say_whole(item.user, now_ms)
        elif is_less:
            self.offer(item.user, now_ms)

    def take_offer(self, sender: Member, item: Offer, now_ms: int) -> None:
        """The home takes what another node knows better, and says so to all. So does a node that has not heard that it
        is the home. O(what is known of the user)."""
        node, name, known = self._node, item.user, decode_known(item.facts)
        if node.nodes.registrar is node.mine:
            node.copies.decide_pairs(name, known, now_ms, says_all=False)
        is_mine = node.own(name)
        if is_mine:
            self._take_revocation(name, known, now_ms)
        if not is_mine and not self._is_unheard(sender, item):
            return
        is_newer = node.engine.users.get(name) is None or self._is_newer(item)
        if is_mine and not is_newer and item.to in (0, node.me):
            return
        if not is_mine:
            node.homes.set(name, sender)
            node.note_copy(name)
        if is_newer:
            if is_mine:
                # Also of whom nothing is known: what is taken now is taken up below, with its timers.
                node.handovers.release(node.engine.users.get_or_new(name), now_ms)
            node.take_whole(name, known, now_ms, says_pairs=False)
        node.homes.set(name, node.mine)
        node.inheritance.take_up(name, now_ms)
        self.say_whole(name, now_ms)
        if is_newer and self.erased_in(name, known):
            # What disks have said of the user and others may be decided in this turn: the erasure is decided again,
            # behind that.
            node.engine.moderation.erase(now_ms, node.engine.users.for_request(name))
        if not is_mine:
            self._homes_changed([name], now_ms)

    def _is_newer(self, item: Offer) -> bool:
        """Whether what is offered is newer than what is known here, also than an erasure. O(1), and for one who sleeps
        O(what is known)."""
        said, erased = self._newness_of(item.user), self._node.engine.erasures.last_of(item.user)
        if erased is not None:
            said = max(said, Newness(erased.at_ms, erased.version))
        # A node of an earlier version tells no time.
        return said < Newness(item.said_ms, item.version) if item.said_ms else said.version < item.version

    def _take_revocation(self, name: str, known: KnownFacts, now_ms: int) -> None:
        """Tokens that were refused once are refused for good, whatever else the offer says. O(facts)."""
        engine, before_ms = self._node.engine, self.revoked_in(name, known)
        user = engine.users.for_request(name) if before_ms else None
        if user is not None and engine.revocations.refuses_before(user) < before_ms:
            engine.moderation.revoke(now_ms, user, before_ms)

    def revoked_in(self, name: str, known: KnownFacts) -> int:
        """The moment before which the user's tokens are refused by this; 0 = there is none. O(facts)."""
        facts = self._facts_in(name, known)
        return next((fact.before_ms for fact in facts if isinstance(fact, TokensRevoked)), 0)

    def _facts_in(self, name: str, known: KnownFacts) -> list[Fact]:
        return self._node.engine.sleep.facts_in(name, known) if isinstance(known, bytes) else known

    def _is_unheard(self, sender: Member, item: Offer) -> bool:
        """Whether that node takes this one for the home, which takes that one for it, or nobody; and both still did so
        when that node said it. O(1)."""
        node = self._node
        return (
            item.to == node.me
            and node.homes.of(item.user) in (sender, NOBODY)
            and self._is_of_this_log(item)
            and not node.home_changes.since(item.user, item.position)
        )

    def _is_of_this_log(self, item: Offer) -> bool:
        """Whether its node had read the same log as this one when it made the offer. O(1)."""
        return self._memory.tag_at(item.position) == item.tag

    def _is_less(self, name: str, known: KnownFacts) -> bool:
        """Whether this node serves and knows something newer than this. Who says that there is no record has erased the
        user. O(facts in it)."""
        node = self._node
        if not node.mine.is_ready or not version_in(known):
            return False
        if self.newness_in(name, known, node.lives) >= self._newness_of(name):
            return False
        # The home keeps the version of a record that says the same, and would be offered it for ever.
        return self.says_other(name, decode_known(all_of(node.copies, name, node.engine.ledger.now_ms)), known)

    def says_other(self, name: str, one: KnownFacts, other: KnownFacts) -> bool:
        """Whether these facts say different things of the user, but for versions, for devices, of which nodes know
        different moments, and for what is between users. O(facts)."""
        return self._shown_in(name, one) != self._shown_in(name, other)

    def erased_in(self, name: str, known: KnownFacts) -> int:
        """Where the counter stood when the user was erased of whom no record is known by this; 0 = that is not known.
        O(facts)."""
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
        """How new this is, by the version from before these kills. Who was erased is newer than what was known before.
        O(facts)."""
        facts = self._facts_in(name, known)
        said = newness_in(facts)
        if said.version:
            return _uncarried(said, lives)
        erased = next((fact for fact in facts if isinstance(fact, UserErased)), None)
        return said if erased is None else Newness(erased.at_ms, erased.version)

    def _newness_of(self, name: str) -> Newness:
        """How new that is which is known here. O(1), and for one who sleeps O(what is known)."""
        return _uncarried(self._node.copies.newness_of(name), self._node.lives)


def _uncarried(said: Newness, lives: Sequence[Life]) -> Newness:
    return Newness(said.said_ms, uncarried(said.version, lives))


def _without_versions(fact: RecordSet) -> RecordSet:
    return msgspec.structs.replace(fact, version=0, said_after_ms=0, last_seen_ms=0)
