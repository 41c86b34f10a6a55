"""What users say about who may see them: blocks, hiding, and audiences. Devices that they show are in `showings`.

What follows from it for one viewer is decided in `faces`, and the watchers are filed by that in `watches`. Here it is
kept, and whoever files the watchers is told of each change after it is made (protocol.md, section 21.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from presenced.core.ledger import Ledger
from presenced.core.model import User
from presenced.core.part import Part, Restoring, TakeUp
from presenced.core.parts.privacy_base import Filing, Shared, drop_if_blank, privacy_of
from presenced.core.parts.showings import Showings
from presenced.core.parts.users import Users
from presenced.core.policy import Policy
from presenced.core.privacy import EVERYTHING, Audience
from presenced.core.records import AudienceSet, BlockSet, Fact, HidingSet
from presenced.errors import RequestError
from presenced.limits import AUDIENCE_NAMES_MAX, BLOCKED_MAX


class HeldRequests(Protocol):
    """Keeps from a user the requests of those whom the user has blocked (`contacts`)."""

    def blocked(self, now_ms: int, user: User, contact: User, version: int = 0) -> int:
        """The user has blocked the contact from now on. Returns the version of the user's list with that, which is
        `version` if another node has decided it; 0 = nothing of it is seen."""

    def unblocked(self, now_ms: int, user: User, contact: User, version: int = 0) -> int:
        """The user had blocked the contact until now. As `blocked`."""

    def grant_held(self, now_ms: int, user: User, contact: User) -> None:
        """Grant a request of a contact who was blocked until now, if it was approved before it was made."""


class PrivacySettings(Part):
    """Owns blocks, hiding and audiences. Both sides of a pair are written in one step, so that they cannot disagree."""

    def __init__(
        self,
        policy: Policy,
        users: Users,
        showings: Showings,
        ledger: Ledger,
        filing: Filing,
        held_requests: HeldRequests,
    ) -> None:
        self.blocks = 0
        """Blocks of all users together."""
        self.hidings = 0
        """How many users hide from how many, in pairs."""
        self._policy = policy
        self._users = users
        self._showings = showings
        self._ledger = ledger
        self._filing = filing
        self._held_requests = held_requests

    # --- blocks and hiding ------------------------------------------------------------------------------------

    def block(self, now_ms: int, user: User, name: str) -> None:
        """Neither of the two sees the other from now on, and no device of the user is shown to the other any longer.
        Idempotent. Raises `RequestError` (`block_limit`). O(1)."""
        privacy = privacy_of(user)
        if name in privacy.blocked:
            return
        _check_room(
            privacy.blocked, f"{user.name} has blocked {BLOCKED_MAX} users, as many as are allowed; unblock one"
        )
        self._note_pair(user, name)
        contact = self._users.get_or_new(name)
        self._enter_block(user, contact)
        version = self._held_requests.blocked(now_ms, user, contact)
        self._ledger.add(BlockSet(user.name, name, True, version))
        self._pair_changed(now_ms, user, name)

    def unblock(self, now_ms: int, user: User, name: str) -> None:
        """The block is over, and what held before holds again. Idempotent. O(1)."""
        if user.privacy is None or name not in user.privacy.blocked:
            return
        self._note_pair(user, name)
        contact = self._users[name]
        self._end_block(user, contact)
        version = self._held_requests.unblocked(now_ms, user, contact)
        self._ledger.add(BlockSet(user.name, name, False, version))
        self._held_requests.grant_held(now_ms, user, contact)
        self._pair_changed(now_ms, user, name)
        self._forget_if_blank(user, contact)

    def hide(self, now_ms: int, user: User, name: str) -> None:
        """The other does not see the user from now on. Idempotent. Raises `RequestError` (`block_limit`). O(1)."""
        privacy = privacy_of(user)
        if name in privacy.hidden:
            return
        _check_room(
            privacy.hidden, f"{user.name} hides from {BLOCKED_MAX} users, as many as are allowed; show one again"
        )
        self._filing.note_pair(user.name, name)
        self._enter_hiding(user, self._users.get_or_new(name))
        self._ledger.add(HidingSet(user.name, name, True))
        self._filing.pair_changed(now_ms, user.name, name)

    def show_again(self, now_ms: int, user: User, name: str) -> None:
        """The user hides from the other no longer. Idempotent. O(1)."""
        if user.privacy is None or name not in user.privacy.hidden:
            return
        self._filing.note_pair(user.name, name)
        contact = self._users[name]
        self._end_hiding(user, contact)
        self._ledger.add(HidingSet(user.name, name, False))
        self._filing.pair_changed(now_ms, user.name, name)
        self._forget_if_blank(user, contact)

    def _note_pair(self, user: User, name: str) -> None:
        self._filing.note_pair(user.name, name)
        self._filing.note_pair(name, user.name)

    def _pair_changed(self, now_ms: int, user: User, name: str) -> None:
        self._filing.pair_changed(now_ms, user.name, name)
        self._filing.pair_changed(now_ms, name, user.name)

    def _forget_if_blank(self, *users: User) -> None:
        for user in users:
            self._users.forget_if_blank(user)

    # --- audiences --------------------------------------------------------------------------------------------

    def set_audience(self, now_ms: int, user: User, audience: Audience) -> None:
        """To whom the user shows which field from now on. Idempotent. Raises `RequestError` (`audience_limit`).
        O(names, and watchers of the user)."""
        count = len(audience.always) + len(audience.never)
        if count > AUDIENCE_NAMES_MAX:
            raise RequestError(
                "audience_limit",
                f"this audience names {count} users, and may name {AUDIENCE_NAMES_MAX} in always and never together",
            )
        if audience == self.audience_of(user):
            return
        self._ledger.add(_audience_fact(user, audience))
        self._change_audience(now_ms, user, audience)

    def _change_audience(self, now_ms: int, user: User, audience: Audience) -> None:
        self._filing.note_subject(user)
        self._set_audience(user, _with_names(audience, self._shared))
        self._filing.subject_changed(now_ms, user)
        if self._policy.reciprocal:
            self._filing.viewer_changed(now_ms, user)
        self._forget_if_blank(user)

    def audience_of(self, user: User | None) -> Audience:
        """To whom the user shows which field; everything to everybody, if nothing was said. O(1)."""
        return user.privacy.audience if user is not None and user.privacy is not None else EVERYTHING

    # --- the state --------------------------------------------------------------------------------------------

    def _enter_block(self, user: User, contact: User) -> None:
        privacy = privacy_of(user)
        if contact.name not in privacy.blocked:
            self.blocks += 1
        privacy.blocked[contact.name] = None
        # What the contact shows the user stays, and is not seen while the block holds: if it ended, the contact could
        # count, by the limit, who has blocked them.
        self._showings.end_with(user, contact.name)
        privacy_of(contact).unseen[user.name] = None

    def _end_block(self, user: User, contact: User) -> None:
        assert user.privacy is not None
        if user.privacy.blocked.pop(contact.name, 0) is None:
            self.blocks -= 1
        _see_again(user, contact)

    def _enter_hiding(self, user: User, contact: User) -> None:
        privacy = privacy_of(user)
        if contact.name not in privacy.hidden:
            self.hidings += 1
        privacy.hidden[contact.name] = None
        privacy_of(contact).unseen[user.name] = None

    def _end_hiding(self, user: User, contact: User) -> None:
        assert user.privacy is not None
        if user.privacy.hidden.pop(contact.name, 0) is None:
            self.hidings -= 1
        _see_again(user, contact)

    def _set_audience(self, user: User, audience: Audience) -> None:
        # That which says nothing is known by its identity.
        privacy_of(user).audience = EVERYTHING if audience == EVERYTHING else audience
        drop_if_blank(user)

    def _shared(self, name: str) -> str:
        """The name as one object: that of the user of this name, if there is one."""
        user = self._users.get(name)
        return name if user is None else user.name

    # --- the disk ---------------------------------------------------------------------------------------------

    def keeps(self, user: User) -> bool:
        """Whether the user has said anything here, or somebody about the user."""
        return user.privacy is not None

    def erase(self, user: User, now_ms: int) -> None:
        """What the user has said. What others have said of the name is theirs, and stays. O(that, and watchers)."""
        privacy = user.privacy
        if privacy is None:
            return
        for names, end in ((privacy.blocked, self._end_block), (privacy.hidden, self._end_hiding)):
            for name in list(names):
                contact = self._users[name]
                end(user, contact)
                self._users.look_again(contact)
        privacy.audience = EVERYTHING
        drop_if_blank(user)
        # The user has no link any longer, and is seen by others alone.
        self._filing.subject_changed(now_ms, user)

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """What the user has said. What others have said is among theirs. O(that)."""
        privacy = user.privacy
        if privacy is None:
            return ()
        facts: list[Fact] = [BlockSet(user.name, name, True) for name in privacy.blocked]
        facts += [HidingSet(user.name, name, True) for name in privacy.hidden]
        if privacy.audience != EVERYTHING:
            facts.append(_audience_fact(user, privacy.audience))
        return facts

    def restorers(self) -> Mapping[type, TakeUp]:
        """Blocks, hiding and audiences."""
        return {
            BlockSet: self._restore_block,
            HidingSet: self._restore_hiding,
            AudienceSet: self._restore_audience,
        }

    def _restore_block(self, source: Restoring, fact: BlockSet) -> None:
        user = source.user(fact.user)
        if fact.blocked:
            self._enter_block(user, source.user(fact.contact))
        elif user.privacy is not None and (contact := source.known_user(fact.contact)) is not None:
            self._end_block(user, contact)

    def _restore_hiding(self, source: Restoring, fact: HidingSet) -> None:
        user = source.user(fact.user)
        if fact.hidden:
            self._enter_hiding(user, source.user(fact.contact))
        elif user.privacy is not None and (contact := source.known_user(fact.contact)) is not None:
            self._end_hiding(user, contact)

    def _restore_audience(self, source: Restoring, fact: AudienceSet) -> None:
        self._set_audience(source.user(fact.user), _with_names(_audience_in(fact), source.shared))

    def appliers(self) -> Mapping[type, TakeUp]:
        """Blocks, hiding and audiences, where watchers are filed anew by them."""
        return {BlockSet: self._apply_block, HidingSet: self._apply_hiding, AudienceSet: self._apply_audience}

    def _apply_block(self, source: Restoring, fact: BlockSet) -> None:
        user, name, now_ms = source.user(fact.user), fact.contact, source.now_ms
        if fact.blocked == (user.privacy is not None and name in user.privacy.blocked):
            return
        self._note_pair(user, name)
        contact = self._users.get_or_new(name)
        if fact.blocked:
            self._enter_block(user, contact)
            self._held_requests.blocked(now_ms, user, contact, fact.version)
        else:
            self._end_block(user, contact)
            self._held_requests.unblocked(now_ms, user, contact, fact.version)
        self._pair_changed(now_ms, user, name)
        self._forget_if_blank(user, contact)

    def _apply_hiding(self, source: Restoring, fact: HidingSet) -> None:
        user, name, now_ms = source.user(fact.user), fact.contact, source.now_ms
        if fact.hidden == (user.privacy is not None and name in user.privacy.hidden):
            return
        self._filing.note_pair(user.name, name)
        contact = self._users.get_or_new(name)
        if fact.hidden:
            self._enter_hiding(user, contact)
        else:
            self._end_hiding(user, contact)
        self._filing.pair_changed(now_ms, user.name, name)
        self._forget_if_blank(user, contact)

    def _apply_audience(self, source: Restoring, fact: AudienceSet) -> None:
        user, audience = source.user(fact.user), _audience_in(fact)
        if audience != self.audience_of(user):
            self._change_audience(source.now_ms, user, audience)

    def check(self, users: Iterable[User]) -> None:
        """Both sides of each pair agree, nothing blank is kept, and what is shown lives. O(all of it)."""
        blocks = hidings = 0
        unseen: dict[str, dict[str, None]] = {}
        for user in users:
            privacy = user.privacy
            if privacy is None:
                continue
            assert not privacy.is_blank, f"{user.name} has a privacy that says nothing"
            blocks += len(privacy.blocked)
            hidings += len(privacy.hidden)
            for name in (*privacy.blocked, *privacy.hidden):
                assert name != user.name, f"{name} is not to see themselves"
                unseen.setdefault(name, {})[user.name] = None
        known = {user.name: user.privacy.unseen for user in users if user.privacy is not None and user.privacy.unseen}
        assert known == unseen, f"who does not see whom: {known}, and by the other sides {unseen}"
        assert (blocks, hidings) == (self.blocks, self.hidings), f"{blocks} blocks and {hidings} hidings are miscounted"


def _see_again(user: User, contact: User) -> None:
    """The user does one thing less against being seen by the contact. O(1)."""
    privacy, other = user.privacy, contact.privacy
    assert privacy is not None
    if other is not None and contact.name not in privacy.blocked and contact.name not in privacy.hidden:
        other.unseen.pop(user.name, None)
        drop_if_blank(contact)
    drop_if_blank(user)


def _check_room(names: Mapping[str, None], sentence: str) -> None:
    """Raise `RequestError` (`block_limit`) with the sentence if there are as many names as are allowed."""
    if len(names) >= BLOCKED_MAX:
        raise RequestError("block_limit", sentence)


def _with_names(audience: Audience, shared: Shared) -> Audience:
    """A copy with the names as shared objects."""
    always, never = (frozenset(shared(name) for name in names) for names in (audience.always, audience.never))
    return audience._replace(always=always, never=never)


def _audience_in(fact: AudienceSet) -> Audience:
    return Audience(fact.text, fact.last_seen, fact.device, frozenset(fact.always), frozenset(fact.never))


def _audience_fact(user: User, audience: Audience) -> AudienceSet:
    text, last_seen, device, always, never = audience
    # In order: a set has none that is the same in each run.
    return AudienceSet(user.name, text, last_seen, device, sorted(always), sorted(never))
