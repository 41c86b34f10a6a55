"""What users say about who may see them: blocks, hiding, devices that are shown to somebody, and audiences.

What follows from it for one viewer is decided in `faces`, and the watchers are filed by that in `watches`. Here it is
kept, and whoever files the watchers is told of each change after it is made (protocol.md, section 21.6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from presenced.core.ledger import Ledger
from presenced.core.model import GONE, Device, User
from presenced.core.part import Part, Restoring, Start, TakeUp
from presenced.core.parts.users import Users
from presenced.core.policy import Policy
from presenced.core.privacy import EVERYTHING, Audience, Privacy
from presenced.core.records import AudienceSet, BlockSet, Fact, HidingSet, ShowingSet
from presenced.errors import RequestError
from presenced.limits import AUDIENCE_NAMES_MAX, BLOCKED_MAX, SHOWN_TO_MAX


class Filing(Protocol):
    """Files the watchers by what each may see (`watches`)."""

    def pair_changed(self, now_ms: int, subject_name: str, viewer_name: str) -> None:
        """What the viewer may see of the subject may have changed."""

    def subject_changed(self, now_ms: int, subject: User) -> None:
        """What anybody may see of the subject may have changed."""

    def viewer_changed(self, now_ms: int, viewer: User) -> None:
        """What the viewer may see of anybody may have changed."""


class HeldRequests(Protocol):
    """Keeps from a user the requests of those whom the user has blocked (`contacts`)."""

    def unblocked(self, now_ms: int, user: User, contact: User) -> None:
        """The user had blocked the contact until now."""


class Nobody:
    """Stands in for both where nobody is to be told."""

    def pair_changed(self, now_ms: int, subject_name: str, viewer_name: str) -> None:
        """See `Filing`."""

    def subject_changed(self, now_ms: int, subject: User) -> None:
        """See `Filing`."""

    def viewer_changed(self, now_ms: int, viewer: User) -> None:
        """See `Filing`."""

    def unblocked(self, now_ms: int, user: User, contact: User) -> None:
        """See `HeldRequests`."""


Shared = Callable[[str], str]
"""Gives the same text as one object for all users."""


class PrivacySettings(Part):
    """Owns `User.privacy`. Both sides of a pair are written in one step, so that they cannot disagree."""

    def __init__(
        self, policy: Policy, users: Users, ledger: Ledger, filing: Filing, held_requests: HeldRequests
    ) -> None:
        self.blocks = 0
        """Blocks of all users together."""
        self.hidings = 0
        """How many users hide from how many, in pairs."""
        self._policy = policy
        self._users = users
        self._ledger = ledger
        self._filing = filing
        self._held_requests = held_requests

    # --- blocks and hiding ------------------------------------------------------------------------------------

    def block(self, now_ms: int, user: User, name: str) -> None:
        """Neither of the two sees the other from now on, and no device of the user is shown to the other any longer.
        Idempotent. Raises `RequestError` (`block_limit`). O(1)."""
        privacy = _privacy(user)
        if name in privacy.blocked:
            return
        _check_room(
            privacy.blocked, f"{user.name} has blocked {BLOCKED_MAX} users, as many as are allowed; unblock one"
        )
        self._enter_block(user, self._users.get_or_new(name))
        self._ledger.add(BlockSet(user.name, name, True))
        self._pair_changed(now_ms, user, name)

    def unblock(self, now_ms: int, user: User, name: str) -> None:
        """The block is over, and what held before holds again. Idempotent. O(1)"""
        if user.privacy is None or name not in user.privacy.blocked:
            return
        contact = self._users[name]
        self._end_block(user, contact)
        self._ledger.add(BlockSet(user.name, name, False))
        self._held_requests.unblocked(now_ms, user, contact)
        self._pair_changed(now_ms, user, name)
        self._forget_if_blank(user, contact)

    def hide(self, now_ms: int, user: User, name: str) -> None:
        """The other does not see the user from now on. Idempotent. Raises `RequestError` (`block_limit`). O(1)."""
        privacy = _privacy(user)
        if name in privacy.hidden:
            return
        _check_room(
            privacy.hidden, f"{user.name} hides from {BLOCKED_MAX} users, as many as are allowed; show one again"
        )
        self._enter_hiding(user, self._users.get_or_new(name))
        self._ledger.add(HidingSet(user.name, name, True))
        self._filing.pair_changed(now_ms, user.name, name)

    def show_again(self, now_ms: int, user: User, name: str) -> None:
        """The user hides from the other no longer. Idempotent. O(1)"""
        if user.privacy is None or name not in user.privacy.hidden:
            return
        contact = self._users[name]
        self._end_hiding(user, contact)
        self._ledger.add(HidingSet(user.name, name, False))
        self._filing.pair_changed(now_ms, user.name, name)
        self._forget_if_blank(user, contact)

    def _pair_changed(self, now_ms: int, user: User, name: str) -> None:
        self._filing.pair_changed(now_ms, user.name, name)
        self._filing.pair_changed(now_ms, name, user.name)

    def _forget_if_blank(self, *users: User) -> None:
        for user in users:
            self._users.forget_if_blank(user)

    # --- directed presence ------------------------------------------------------------------------------------

    def show_to(self, now_ms: int, device: Device, name: str) -> None:
        """A live device is shown to the other for as long as it lives. Idempotent.

        Raises `RequestError` (`show_limit`; `bad_request` if the user has blocked the other). O(viewers of the user).
        """
        user = device.user
        privacy = _privacy(user)
        if name in privacy.blocked:
            raise RequestError("bad_request", f"{user.name} has blocked {name}; unblock them before showing a device")
        if device.id in privacy.shown_to.get(name, ()):
            return
        if sum(device.id in devices for devices in privacy.shown_to.values()) >= SHOWN_TO_MAX:
            sentence = f"{user.name}/{device.id} is shown to {SHOWN_TO_MAX} users, as many as are allowed; stop one"
            raise RequestError("show_limit", sentence)
        privacy.shown_to.setdefault(self._shared(name), {})[device.id] = None
        self._ledger.add(ShowingSet(user.name, device.id, name, True))
        self._filing.pair_changed(now_ms, user.name, name)

    def stop_showing(self, now_ms: int, device: Device, name: str) -> None:
        """The device is shown to the other no longer. Idempotent. O(1)"""
        user = device.user
        if user.privacy is None or device.id not in user.privacy.shown_to.get(name, ()):
            return
        _end_showing(user.privacy, name, device.id)
        _drop_if_blank(user)
        self._ledger.add(ShowingSet(user.name, device.id, name, False))
        self._filing.pair_changed(now_ms, user.name, name)

    def end_device(self, device: Device, now_ms: int) -> None:
        """It is shown to nobody any longer. O(viewers of the user)."""
        user = device.user
        if user.privacy is None or not user.privacy.shown_to:
            return
        names = self._end_showings(user, device.id)
        for name in names:
            self._filing.pair_changed(now_ms, user.name, name)

    def _end_showings(self, user: User, device_id: str) -> list[str]:
        """Show the device to nobody; gives to whom it was shown until now."""
        privacy = user.privacy
        assert privacy is not None
        names = [name for name, devices in privacy.shown_to.items() if device_id in devices]
        for name in names:
            _end_showing(privacy, name, device_id)
        if names:
            # Said in so many words: another device of the same name may come later.
            self._ledger.add(ShowingSet(user.name, device_id, "", False))
            _drop_if_blank(user)
        return names

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
        self._set_audience(user, _with_names(audience, self._shared))
        self._ledger.add(_audience_fact(user, audience))
        self._filing.subject_changed(now_ms, user)
        if self._policy.reciprocal:
            self._filing.viewer_changed(now_ms, user)
        self._forget_if_blank(user)

    def audience_of(self, user: User | None) -> Audience:
        """To whom the user shows which field; everything to everybody, if nothing was said. O(1)."""
        return user.privacy.audience if user is not None and user.privacy is not None else EVERYTHING

    # --- the state --------------------------------------------------------------------------------------------

    def _enter_block(self, user: User, contact: User) -> None:
        privacy = _privacy(user)
        if contact.name not in privacy.blocked:
            self.blocks += 1
        privacy.blocked[contact.name] = None
        # What the contact shows the user stays, and is not seen while the block holds: if it ended, the contact could
        # count, by the limit, who has blocked them.
        privacy.shown_to.pop(contact.name, None)
        _privacy(contact).unseen[user.name] = None

    def _end_block(self, user: User, contact: User) -> None:
        assert user.privacy is not None
        if user.privacy.blocked.pop(contact.name, 0) is None:
            self.blocks -= 1
        _see_again(user, contact)

    def _enter_hiding(self, user: User, contact: User) -> None:
        privacy = _privacy(user)
        if contact.name not in privacy.hidden:
            self.hidings += 1
        privacy.hidden[contact.name] = None
        _privacy(contact).unseen[user.name] = None

    def _end_hiding(self, user: User, contact: User) -> None:
        assert user.privacy is not None
        if user.privacy.hidden.pop(contact.name, 0) is None:
            self.hidings -= 1
        _see_again(user, contact)

    def _set_audience(self, user: User, audience: Audience) -> None:
        # That which says nothing is known by its identity.
        _privacy(user).audience = EVERYTHING if audience == EVERYTHING else audience
        _drop_if_blank(user)

    def _shared(self, name: str) -> str:
        """The same name as the object that the user of this name has, if there is one."""
        user = self._users.get(name)
        return name if user is None else user.name

    # --- the disk ---------------------------------------------------------------------------------------------

    def keeps(self, user: User) -> bool:
        """Whether the user has said anything here, or somebody about the user."""
        return user.privacy is not None

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """What the user has said. What others have said is among theirs. O(that)."""
        privacy = user.privacy
        if privacy is None:
            return ()
        facts: list[Fact] = [BlockSet(user.name, name, True) for name in privacy.blocked]
        facts += [HidingSet(user.name, name, True) for name in privacy.hidden]
        facts += [
            ShowingSet(user.name, device_id, name, True)
            for name, devices in privacy.shown_to.items()
            for device_id in devices
        ]
        if privacy.audience != EVERYTHING:
            facts.append(_audience_fact(user, privacy.audience))
        return facts

    def restorers(self) -> Mapping[type, TakeUp]:
        """All of it. Whether a device that is shown still lives is known by `resume` alone."""
        return {
            BlockSet: self._restore_block,
            HidingSet: self._restore_hiding,
            ShowingSet: self._restore_showing,
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

    def _restore_showing(self, source: Restoring, fact: ShowingSet) -> None:
        user = source.user(fact.user)
        if fact.shown:
            devices = _privacy(user).shown_to.setdefault(source.shared(fact.contact), {})
            devices[source.shared(fact.device)] = None
        elif user.privacy is not None:
            names = [fact.contact] if fact.contact else list(user.privacy.shown_to)
            for name in names:
                _end_showing(user.privacy, name, fact.device)
            _drop_if_blank(user)

    def _restore_audience(self, source: Restoring, fact: AudienceSet) -> None:
        always, never = frozenset(fact.always), frozenset(fact.never)
        audience = Audience(fact.text, fact.last_seen, fact.device, always, never)
        self._set_audience(source.user(fact.user), _with_names(audience, source.shared))

    def resume(self, users: Sequence[User], start: Start) -> None:
        """Devices that are gone are shown to nobody. O(users, and what they show)."""
        for user in users:
            if user.privacy is None:
                continue
            shown = dict.fromkeys(device_id for devices in user.privacy.shown_to.values() for device_id in devices)
            for device_id in shown:
                device = user.devices.get(device_id)
                if device is None or device.state == GONE:
                    self._end_showings(user, device_id)

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
            _check_showings(user, privacy)
        known = {user.name: user.privacy.unseen for user in users if user.privacy is not None and user.privacy.unseen}
        assert known == unseen, f"who does not see whom: {known}, and by the other sides {unseen}"
        assert (blocks, hidings) == (self.blocks, self.hidings), f"{blocks} blocks and {hidings} hidings are miscounted"


def _privacy(user: User) -> Privacy:
    """The user's, made if need be. Who leaves it blank drops it."""
    privacy = user.privacy
    if privacy is None:
        privacy = user.privacy = Privacy()
    return privacy


def _drop_if_blank(user: User) -> None:
    if user.privacy is not None and user.privacy.is_blank:
        user.privacy = None


def _see_again(user: User, contact: User) -> None:
    """The user does one thing less against being seen by the contact. O(1)"""
    privacy, other = user.privacy, contact.privacy
    assert privacy is not None
    if other is not None and contact.name not in privacy.blocked and contact.name not in privacy.hidden:
        other.unseen.pop(user.name, None)
        _drop_if_blank(contact)
    _drop_if_blank(user)


def _end_showing(privacy: Privacy, name: str, device_id: str) -> None:
    devices = privacy.shown_to.get(name)
    if devices is not None:
        devices.pop(device_id, None)
        if not devices:
            del privacy.shown_to[name]


def _check_room(names: Mapping[str, None], sentence: str) -> None:
    """Raise `RequestError` (`block_limit`) with the sentence if there are as many names as are allowed."""
    if len(names) >= BLOCKED_MAX:
        raise RequestError("block_limit", sentence)


def _with_names(audience: Audience, shared: Shared) -> Audience:
    """The same with the names as shared objects."""
    always, never = (frozenset(shared(name) for name in names) for names in (audience.always, audience.never))
    return audience._replace(always=always, never=never)


def _audience_fact(user: User, audience: Audience) -> AudienceSet:
    text, last_seen, device, always, never = audience
    # In order: a set has none that is the same in each run.
    return AudienceSet(user.name, text, last_seen, device, sorted(always), sorted(never))


def _check_showings(user: User, privacy: Privacy) -> None:
    for name, devices in privacy.shown_to.items():
        assert devices, f"{user.name} shows {name} nothing"
        assert name not in privacy.blocked, f"{user.name} shows a device to {name}, who is blocked"
        for device_id in devices:
            device = user.devices.get(device_id)
            assert device is not None and device.state != GONE, f"{user.name}/{device_id} is gone, and shown to {name}"
