"""Directed presence: which live devices of a user are shown to whom, whatever else the user has said.

It is kept over a restart as memberships are, for as long as the device lives (protocol.md, section 21.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from presenced.core.ledger import Ledger
from presenced.core.model import GONE, Device, User
from presenced.core.part import Part, Restoring, Start, TakeUp
from presenced.core.parts.privacy_base import Filing, drop_if_blank, privacy_of
from presenced.core.parts.users import Users
from presenced.core.privacy import Privacy
from presenced.core.records import Fact, ShowingSet
from presenced.errors import RequestError
from presenced.limits import SHOWN_TO_MAX


class Showings(Part):
    """Owns `Privacy.shown_to` and `shown_by`, and writes both sides in one step."""

    def __init__(self, users: Users, ledger: Ledger, filing: Filing) -> None:
        self._users = users
        self._ledger = ledger
        self._filing = filing

    def show_to(self, now_ms: int, device: Device, name: str) -> None:
        """A live device is shown to the other for as long as it lives. Idempotent.

        Raises `RequestError` (`show_limit`; `bad_request` if the user has blocked the other). O(viewers of the user).
        """
        user = device.user
        privacy = privacy_of(user)
        if name in privacy.blocked:
            raise RequestError("bad_request", f"{user.name} has blocked {name}; unblock them before showing a device")
        if device.id in privacy.shown_to.get(name, ()):
            return
        if sum(device.id in devices for devices in privacy.shown_to.values()) >= SHOWN_TO_MAX:
            sentence = f"{user.name}/{device.id} is shown to {SHOWN_TO_MAX} users, as many as are allowed; stop one"
            raise RequestError("show_limit", sentence)
        self._filing.note_pair(user.name, name)
        self._enter(user, name, device.id)
        self._ledger.add(ShowingSet(user.name, device.id, name, True))
        self._filing.pair_changed(now_ms, user.name, name)

    def stop_showing(self, now_ms: int, device: Device, name: str) -> None:
        """The device is shown to the other no longer. Idempotent. O(1)."""
        user = device.user
        if user.privacy is None or device.id not in user.privacy.shown_to.get(name, ()):
            return
        self._filing.note_pair(user.name, name)
        self._end(user, name, device.id)
        self._ledger.add(ShowingSet(user.name, device.id, name, False))
        self._filing.pair_changed(now_ms, user.name, name)
        self._forget_if_blank(name)

    def end_device(self, device: Device, now_ms: int) -> None:
        """It is shown to nobody any longer. O(viewers of the user)."""
        user = device.user
        if user.privacy is None or not user.privacy.shown_to:
            return
        if self._end_for_all(user, device.id, now_ms):
            self._log_end(user, device.id)

    def _end_for_all(self, user: User, device_id: str, now_ms: int) -> list[str]:
        assert user.privacy is not None
        for name, devices in user.privacy.shown_to.items():
            if device_id in devices:
                self._filing.note_pair(user.name, name)
        names = self._end_showings(user, device_id)
        for name in names:
            self._filing.pair_changed(now_ms, user.name, name)
            self._forget_if_blank(name)
        return names

    def _forget_if_blank(self, name: str) -> None:
        if (other := self._users.get(name)) is not None:
            self._users.forget_if_blank(other)

    def _end_showings(self, user: User, device_id: str) -> list[str]:
        """Show the device to nobody; gives to whom it was shown until now."""
        privacy = user.privacy
        assert privacy is not None
        names = [name for name, devices in privacy.shown_to.items() if device_id in devices]
        for name in names:
            self._end(user, name, device_id)
        return names

    def _log_end(self, user: User, device_id: str) -> None:
        # Said in so many words: another device of the same name may come later.
        self._ledger.add(ShowingSet(user.name, device_id, "", False))

    def _enter(self, user: User, name: str, device_id: str) -> None:
        """Write both sides: whom it is shown to, and by whom."""
        other = self._users.get_or_new(name)
        privacy_of(user).shown_to.setdefault(other.name, {})[device_id] = None
        privacy_of(other).shown_by[user.name] = None

    def _end(self, user: User, name: str, device_id: str) -> None:
        if user.privacy is None or name not in user.privacy.shown_to:
            return
        devices = user.privacy.shown_to[name]
        devices.pop(device_id, None)
        if not devices:
            self.end_with(user, name)
        drop_if_blank(user)

    def end_with(self, user: User, name: str) -> None:
        """No device of the user is shown to this other any longer. No fact is written: the caller has one. O(1)."""
        if user.privacy is not None:
            user.privacy.shown_to.pop(name, None)
        other = self._users.get(name)
        if other is not None and other.privacy is not None:
            other.privacy.shown_by.pop(user.name, None)
            drop_if_blank(other)

    # --- the disk ---------------------------------------------------------------------------------------------

    def erase(self, user: User, now_ms: int) -> None:
        """What was shown ends with the devices; of facts that are read again it ends here. O(viewers of the user)."""
        if user.privacy is not None:
            for name in list(user.privacy.shown_to):
                self.end_with(user, name)
            drop_if_blank(user)

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """What is shown to whom. O(that)."""
        if user.privacy is None:
            return ()
        return [
            ShowingSet(user.name, device_id, name, True)
            for name, devices in user.privacy.shown_to.items()
            for device_id in devices
        ]

    def restorers(self) -> Mapping[type, TakeUp]:
        """What was shown. Whether the device still lives is known by `resume` alone."""
        return {ShowingSet: self._restore}

    def _restore(self, source: Restoring, fact: ShowingSet) -> None:
        user = source.user(fact.user)
        if fact.shown:
            self._enter(user, fact.contact, source.shared(fact.device))
        elif user.privacy is not None:
            names = [fact.contact] if fact.contact else list(user.privacy.shown_to)
            for name in names:
                self._end(user, name, fact.device)

    def appliers(self) -> Mapping[type, TakeUp]:
        """What was shown, where watchers are filed anew by it. A block of the pair may have been decided elsewhere
        before the user's own node knew of it, and stays."""
        return {ShowingSet: self._apply}

    def _apply(self, source: Restoring, fact: ShowingSet) -> None:
        user, name, now_ms = source.user(fact.user), fact.contact, source.now_ms
        shown_to = user.privacy.shown_to if user.privacy is not None else {}
        if not name:
            if shown_to:
                self._end_for_all(user, fact.device, now_ms)
            return
        is_blocked = user.privacy is not None and name in user.privacy.blocked
        if is_blocked or fact.shown == (fact.device in shown_to.get(name, ())):
            return
        self._filing.note_pair(user.name, name)
        if fact.shown:
            self._enter(user, name, source.shared(fact.device))
        else:
            self._end(user, name, fact.device)
        self._filing.pair_changed(now_ms, user.name, name)
        self._forget_if_blank(name)

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
                    self._log_end(user, device_id)

    def check(self, users: Iterable[User]) -> None:
        """What is shown lives, and both sides agree. O(all of it)."""
        for user in users:
            if user.privacy is not None:
                _check_showings(user, user.privacy)
                for name in user.privacy.shown_by:
                    other = self._users.get(name)
                    shown = other.privacy.shown_to if other is not None and other.privacy is not None else {}
                    assert user.name in shown, f"{name} shows nothing to {user.name}, who believes it"


def _check_showings(user: User, privacy: Privacy) -> None:
    for name, devices in privacy.shown_to.items():
        assert devices, f"{user.name} shows {name} nothing"
        assert name not in privacy.blocked, f"{user.name} shows a device to {name}, who is blocked"
        for device_id in devices:
            device = user.devices.get(device_id)
            assert device is not None and device.state != GONE, f"{user.name}/{device_id} is gone, and shown to {name}"
