"""Copies of users about whom another node decides: applies that node's facts to a running engine.

One node is the home of each user and alone decides about the user. Every other node keeps a copy, so that each node
answers its own links about everybody. A copy has the same devices, claims, texts and channels as the user at home. Its
record is the one that the home made, with the same version. A copy has no timers, and makes no record, fact or event.
Links that watch, list, count, await or follow contacts see no difference from the home.

The facts of one turn of a home are applied at once, in the order in which it made them. Facts about two users
(`pair_facts`) are decided by one node for all users, so they change the own users of a node as well as copies. All that
is known of a user includes the user's own side of these facts alone; the other side comes with the other user
(`contacts.told_lists`). `handovers` makes own users of copies, and copies of own users.

The file is long because each kind of fact that does more here than at a restart has a method of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

from presenced.core.dormants import NOTHING, tally_of, version_of
from presenced.core.engine import Engine
from presenced.core.event_facts import EventFact
from presenced.core.model import DROPPED, Device, User
from presenced.core.newness import NOTHING_KNOWN, Newness, newness_in
from presenced.core.pair_facts import KEPT_PAIRS, PAIRS, without_pairs
from presenced.core.part import Restoring, TakeUp
from presenced.core.parts.device_facts import write_device
from presenced.core.privacy import EVERYTHING
from presenced.core.records import (
    AudienceSet,
    BlockSet,
    ClaimSet,
    ContactSet,
    ContactsKept,
    DeviceForgotten,
    DeviceSet,
    Fact,
    HidingSet,
    MembershipSet,
    PositionsKnown,
    RecordSet,
    ShowingSet,
    TokensRevoked,
    UserErased,
    UsersAsleep,
    VersionsRaised,
)

OWN: Final = (PositionsKnown, VersionsRaised, UsersAsleep, ContactsKept, *get_args(EventFact))
"""Facts that tell other nodes nothing of a user's state. They are passed over."""

ENDINGS: Final = (ClaimSet, ShowingSet)
"""Facts that a home adds about a device that is gone, before those by which its memberships end."""

STRINGS_MAX: Final = 100_000


class Copies(Restoring):
    """Applies facts of other nodes to a running engine. The caller passes over facts about a user that do not come from
    the user's home, and runs a turn afterwards."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        engine.publisher.share()
        self.run = 0
        self.now_ms = engine.ledger.now_ms
        self.offset_ms = engine.clock.offset_ms
        self.order = engine.users.order
        self._users = engine.users
        self._awake = engine.users.awake
        self._nobody = User("")
        self._last = self._nobody
        self._touched: dict[User, None] = {}
        """Users to whom facts were applied, and for whom what depends on them is still to be done."""
        self._gone: list[Device] = []
        """Devices that are gone and still in their channels."""
        self._strings: dict[str, str] = {}
        """One object for each device id, label and emoji, as at a start."""
        own: dict[type, TakeUp] = {
            DeviceSet: self._take_device,
            DeviceForgotten: self._take_forgotten,
            TokensRevoked: self._take_revocation,
            UserErased: self._take_erasure,
        }
        self._takers = engine.parts.appliers() | own
        for kind in OWN:
            self._takers.pop(kind, None)

    # --- facts of other nodes ---------------------------------------------------------------------------------

    def apply(self, facts: Sequence[Fact], now_ms: int) -> None:
        """Apply the facts of one turn of another node. O(facts, and what changes cost to tell)."""
        self._begin(now_ms)
        takers, gone = self._takers, self._gone
        for fact in facts:
            kind = type(fact)
            take = takers.get(kind)
            if take is not None:
                if gone and kind not in ENDINGS and not (isinstance(fact, DeviceSet) and not fact.live):
                    self._end_memberships()
                take(self, fact)
        self._end(now_ms)

    def replace(
        self,
        name: str,
        facts: Sequence[Fact] | bytes,
        now_ms: int,
        *,
        was_told: bool = True,
        says_pairs: bool = True,
    ) -> None:
        """Make these facts all that is known of the user, except pairs; bytes are a user who sleeps (`facts_of`).
        Watchers are told if the record differs. O(what is and was known of the user).

        `was_told` is false while this node learns all users, and nobody was told of this user here. Then pairs are
        replaced as well if `says_pairs`, and the record gets the version in the facts, even if the own disk gave it a
        higher one.
        """
        user = self._users.awake(name)
        if isinstance(facts, bytes):
            if user is None and self._take_asleep(name, facts, now_ms, was_told=was_told, says_pairs=says_pairs):
                return
            facts = self.engine.sleep.facts_in(name, facts)
        self._begin(now_ms)
        is_known = self._users.knows(name)
        user = self.user(name)
        if is_known:
            self._clear(user, facts)
            if not was_told and any(isinstance(fact, RecordSet) for fact in facts):
                self.engine.publisher.forget_version(user)
        if was_told or not says_pairs:
            self.apply(without_pairs(facts), now_ms)
        else:
            self._apply_all(user, facts, now_ms)
        if user.record.version and not any(isinstance(fact, RecordSet) for fact in facts):
            self.engine.publisher.erase(user, now_ms)
            self.engine.positions.erase(user, now_ms)
        if user.record.status == "offline":
            self.engine.sleep.went_offline(user, now_ms)

    def _take_asleep(self, name: str, packed: bytes, now_ms: int, *, was_told: bool, says_pairs: bool) -> bool:
        """Let the user sleep here as at home, if nobody can tell the difference. Returns whether that was done."""
        users, outboxes = self._users, self.engine.outboxes
        known = users.dormants.peek(name)
        if known == packed:
            return True
        tally = tally_of(packed)
        if not says_pairs and (tally != NOTHING or (known is not None and tally_of(known) != NOTHING)):
            return False
        if was_told and (known is not None or tally != NOTHING or outboxes.everyone or outboxes.narrowed):
            return False
        self.engine.ledger.raise_version(version_of(packed), now_ms)
        self.engine.sleep.put_new(name, packed)
        self.engine.contacts.told_lists.replace_asleep(tally_of(known) if known is not None else NOTHING, tally)
        self.engine.copied_records.note(name, version_of(packed))
        return True

    def _apply_all(self, user: User, facts: Sequence[Fact], now_ms: int) -> None:
        """Apply facts that say all of the user's side of pairs. The contact list comes last, because a block would hide
        a request from it and give it another version."""
        lists = [fact for fact in facts if isinstance(fact, ContactsKept)]
        told_lists = self.engine.contacts.told_lists
        told_lists.replace(user, None)
        self.engine.privacy.erase(user, now_ms)
        self.apply(facts, now_ms)
        told_lists.replace(user, lists[-1] if lists else None)

    def _begin(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self.engine.ledger.reach(now_ms)
        self.offset_ms = self.engine.clock.offset_ms
        self._last = self._nobody

    def _end(self, now_ms: int) -> None:
        """Do what depends on the facts that were applied."""
        if self._gone:
            self._end_memberships()
        touched, self._touched = self._touched, {}
        publisher, awaits = self.engine.publisher, self.engine.awaits
        for user in touched:
            if user.own is not None or user.faces is not None or not user.record.version:
                publisher.refresh_copy(user, now_ms)
            if user.awaited is not None:
                awaits.user_changed(user)

    def _end_memberships(self) -> None:
        gone = self._gone.copy()
        self._gone.clear()
        for device in gone:
            self.engine.channels.end_device(device, self.now_ms)

    def _clear(self, user: User, facts: Sequence[Fact]) -> None:
        """Remove from the user what these facts do not have, and what they set again without telling anybody."""
        engine, now_ms = self.engine, self.now_ms
        devices = {fact.device for fact in facts if isinstance(fact, DeviceSet)}
        joined = {(fact.device, fact.channel) for fact in facts if isinstance(fact, MembershipSet)}
        shown = {(fact.device, fact.contact) for fact in facts if isinstance(fact, ShowingSet)}
        ended: list[Fact] = []
        for device in user.devices.values():
            left = [channel for channel in device.channels or () if (device.id, channel) not in joined]
            ended += [MembershipSet(user.name, device.id, channel, False) for channel in left]
        for contact, ids in (user.privacy.shown_to if user.privacy is not None else {}).items():
            hidden = [device_id for device_id in ids if (device_id, contact) not in shown]
            ended += [ShowingSet(user.name, device_id, contact, False) for device_id in hidden]
        ended += [DeviceForgotten(user.name, device_id) for device_id in user.devices if device_id not in devices]
        for fact in ended:
            self._takers[type(fact)](self, fact)
        engine.claims.erase(user, now_ms)
        engine.schedules.erase(user, now_ms)
        engine.texts.erase(user, now_ms)
        engine.activities.erase(user, now_ms)

    # --- what is more than to restore it ----------------------------------------------------------------------

    def _take_device(self, source: Restoring, fact: DeviceSet) -> None:
        device = write_device(self, fact)
        if not fact.live and device.channels:
            self._gone.append(device)

    def _take_forgotten(self, source: Restoring, fact: DeviceForgotten) -> None:
        device = self.user(fact.user).devices.get(fact.device)
        if device is not None:
            self.engine.channels.end_device(device, self.now_ms)
            self.engine.devices.drop(device)

    def _take_revocation(self, source: Restoring, fact: TokensRevoked) -> None:
        self.engine.moderation.apply_revocation(self.now_ms, self.user(fact.user), fact.before_ms)

    def _take_erasure(self, source: Restoring, fact: UserErased) -> None:
        self.engine.moderation.apply_erasure(self.now_ms, self.user(fact.user), fact)

    def decide_pairs(self, name: str, facts: Sequence[Fact] | bytes, now_ms: int, *, says_all: bool) -> None:
        """The disk of another node knows this of the user, and this node decides pairs: what is new to it counts from
        now on, and is told to all nodes. `says_all`: so is what holds otherwise of these pairs, since that node
        believes its own state. O(what is known of the user)."""
        if isinstance(facts, bytes):
            facts = self.engine.sleep.facts_in(name, facts)
        said = [fact for fact in facts if isinstance(fact, KEPT_PAIRS)]
        if not said:
            return
        self._begin(now_ms)
        user, engine = self.user(name), self.engine
        for fact in said:
            if isinstance(fact, ContactsKept):
                engine.contacts.told_lists.decide(now_ms, user, fact, says_all=says_all)
            elif not isinstance(fact, AudienceSet) or user.privacy is None or user.privacy.audience == EVERYTHING:
                engine.ledger.add(fact)
                self.apply([fact], now_ms)

    def tell_pairs(self, name: str, now_ms: int) -> None:
        """Tell all nodes what holds of the user's pairs: this node decides pairs, and others may have missed it. O(what
        is known of the user)."""
        user = self._users.get(name)
        if user is None:
            return
        self._begin(now_ms)
        for fact in self.engine.privacy.facts_of(user, now_ms):
            if isinstance(fact, PAIRS):
                self.engine.ledger.add(fact)
        self.engine.contacts.told_lists.tell(user)

    def agree_pairs(self, name: str, now_ms: int) -> list[str]:
        """A node died before it had sent all lists: make the user's list and those of the user's contacts agree.
        Returns contacts of whom nothing was known here. A user with contacts wakes. O(contacts)."""
        packed = self._users.dormants.peek(name)
        if packed is not None and tally_of(packed) == NOTHING:
            return []
        user = self._users.get(name)
        if user is None or user.contacts is None:
            return []
        self._begin(now_ms)
        return self.engine.contacts.told_lists.agree(now_ms, user)

    def end_pairs(self, name: str, version: int, now_ms: int) -> None:
        """The user was erased at this version of another node's counter: end all that the user had decided about
        others, and all contacts on both sides. O(users)."""
        engine = self.engine
        self._begin(now_ms)
        user = self.user(name)
        said: list[Fact] = []
        if user.privacy is not None:
            said += [BlockSet(name, other, False, version) for other in user.privacy.blocked]
            said += [HidingSet(name, other, False) for other in user.privacy.hidden]
            if user.privacy.audience != EVERYTHING:
                said.append(AudienceSet(name, "everyone", "everyone", "everyone", [], []))
        engine.contacts.number_from(version)
        try:
            engine.contacts.erase(user, now_ms)
        finally:
            engine.contacts.number_from(None)
        self.apply(said, now_ms)

    def end_earlier_pairs(self, name: str, version: int, now_ms: int) -> None:
        """The user was erased at this version, and the own disk did not know: end the contacts that it has of the user.
        Contacts that were made since stay, since the other's list has a higher version. O(the user's contacts)."""
        user = self._users.get(name)
        ended: list[Fact] = []
        for other in user.contacts.contacts if user is not None and user.contacts is not None else ():
            known = self._users.get(other)
            if known is not None and known.contacts is not None and known.contacts.version < version:
                ended.append(ContactSet(name, other, 0, 0, version, version))
        self.apply(ended, now_ms)

    # --- what is known of a user ------------------------------------------------------------------------------

    def facts_of(self, name: str, now_ms: int) -> bytes | list[Fact]:
        """All that is known of the user, with the user's side of pairs. For a user who sleeps, it is what is kept of
        them (`dormants.packed`), and they sleep on. O(what is known of the user)."""
        packed = self._users.dormants.peek(name)
        if packed is not None:
            return packed
        user = self._users.awake(name)
        return self.engine.parts.facts_asleep(user, now_ms, 0) if user is not None else []

    def newness_of(self, name: str) -> Newness:
        """How new the state of the user is. A user who sleeps sleeps on. O(1), or O(what is kept)."""
        packed = self._users.dormants.peek(name)
        if packed is not None:
            return newness_in(self.engine.sleep.facts_in(name, packed))
        user = self._users.awake(name)
        return Newness(user.said_ms, user.record.version) if user is not None and user.record.version else NOTHING_KNOWN

    def home_facts_of(self, name: str, now_ms: int) -> bytes | list[Fact]:
        """The same without pairs, which all nodes know from the node that decides them."""
        known = self.facts_of(name, now_ms)
        if isinstance(known, bytes):
            if tally_of(known) == NOTHING:
                return known
            known = self.engine.sleep.facts_in(name, known)
        return without_pairs(known)

    # --- what parts ask (`Restoring`) -------------------------------------------------------------------------

    def user(self, name: str) -> User:
        """See `Restoring`. The facts of one user come together."""
        last = self._last
        if name != last.name or last.position == DROPPED:
            self._last = last = self._awake(name) or self._users.get_or_new(name)
            self._touched[last] = None
        return last

    def known_user(self, name: str) -> User | None:
        """See `Restoring`."""
        return self._users.get(name)

    def shared(self, text: str) -> str:
        """See `Restoring`."""
        known = self._strings.get(text)
        if known is None:
            if len(self._strings) > STRINGS_MAX:
                self._strings.clear()
            known = self._strings[text] = text
        return known

    def shared_number(self, number: int) -> int:
        """See `Restoring`."""
        return number

    def due_ms(self, until_ms: int) -> int:
        """See `Restoring`."""
        return self.engine.clock.due_ms(until_ms, self.now_ms)
