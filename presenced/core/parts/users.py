"""The table of users, and what is remembered of their devices."""

from __future__ import annotations

from presenced.core.ledger import Ledger
from presenced.core.model import GONE, Device, User
from presenced.core.publisher import Publisher
from presenced.core.records import DeviceForgotten
from presenced.errors import RequestError
from presenced.limits import DEVICES_PER_USER_MAX


class Users(dict[str, User]):
    """All users by name. Made by `new`, dropped by `forget_if_blank`, otherwise read like the dict that it is."""

    def __init__(self, ledger: Ledger, publisher: Publisher) -> None:
        super().__init__()
        self.order: list[User] = []
        """The same users by `User.position`, for walks that take longer than a turn.

        The last takes the place of one that is dropped. So a walk from the end to the start sees every user that
        was there when it began, whatever comes and goes meanwhile.
        """
        self._ledger = ledger
        self._publisher = publisher

    def new(self, name: str) -> User:
        """A user of whom nothing is known yet. O(1)."""
        user = self[name] = User(name)
        user.position = len(self.order)
        self.order.append(user)
        return user

    def get_or_new(self, name: str) -> User:
        """The user of this name, made if need be. O(1)."""
        return self.get(name) or self.new(name)

    def spoken_of(self, name: str) -> User:
        """The user of this name, made if need be, and dropped with the turn if nothing is said of them after all.
        O(1)."""
        user = self.get(name)
        if user is None:
            user = self.new(name)
            self._publisher.mark_dirty(user)
        return user

    def forget_if_blank(self, user: User) -> None:
        """Drop a user of whom nothing is known and whom nobody watches, so that watching made-up names is free."""
        if user.devices or user.watchers or user.claims or user.record.version or user.dirty or user.scheduled:
            return
        if user.activities or self.pop(user.name, None) is None:
            return
        last = self.order.pop()
        if last is not user:
            last.position = user.position
            self.order[last.position] = last

    def make_room(self, user: User, priority: int) -> None:
        """See to it that one more device can be of this priority: a new one, or one whose priority changes its sign.
        The one that has been gone longest makes room. Those of negative priority have places of their own, as many: a
        tool that looks in displaces nobody.

        Raises `RequestError` (`device_limit`) if all are live. O(devices).
        """
        if len(user.devices) < DEVICES_PER_USER_MAX:
            return
        alike = [device for device in user.devices.values() if (device.priority < 0) == (priority < 0)]
        if len(alike) < DEVICES_PER_USER_MAX:
            return
        gone = [device for device in alike if device.state == GONE]
        if not gone:
            kind = "live devices of negative priority" if priority < 0 else "live devices"
            raise RequestError(
                "device_limit",
                f"{user.name} has {DEVICES_PER_USER_MAX} {kind}, as many as are allowed; close one first",
            )
        self.forget_device(min(gone, key=lambda device: device.grace_until_ms))

    def drop_surplus(self, user: User) -> None:
        """Forget the devices for which there is no place: a data directory may hold more than the limit. The live ones
        stay first, then those that have been gone for the shortest time. O(devices log devices)."""
        for negative in (False, True):
            alike = [device for device in user.devices.values() if (device.priority < 0) == negative]
            alike.sort(key=lambda device: (device.state == GONE, -device.grace_until_ms))
            for device in alike[DEVICES_PER_USER_MAX:]:
                self.forget_device(device)

    def forget_device(self, device: Device) -> None:
        """Remember a device that is gone no more."""
        del device.user.devices[device.id]
        self._ledger.add(DeviceForgotten(device.user.name, device.id))
