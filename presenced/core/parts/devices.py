"""The devices of users: which are remembered, and how each describes itself. Who is live is in `leases`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from presenced.core.ledger import Ledger
from presenced.core.merge import countable
from presenced.core.model import GONE, Device, Session, User
from presenced.core.part import Jump, Part, Restoring, Start, TakeUp
from presenced.core.parts.device_facts import restore_device
from presenced.core.parts.leases import Leases
from presenced.core.precedence import is_hidden
from presenced.core.publisher import Publisher
from presenced.core.records import DeviceForgotten, DeviceSet, Fact
from presenced.errors import RequestError
from presenced.limits import DEVICES_PER_USER_MAX
from presenced.wire.messages import DeviceStatus


class Description(NamedTuple):
    """What a device says of itself."""

    kind: str
    name: str
    priority: int
    status: DeviceStatus
    meta: str


class Devices(Part):
    """Owns the devices that are remembered of each user, at most `DEVICES_PER_USER_MAX` of each sort: a device of
    negative priority takes no place from the others, because a tool that looks in must displace nobody."""

    def __init__(self, leases: Leases, ledger: Ledger, publisher: Publisher) -> None:
        self._leases = leases
        self._ledger = ledger
        self._publisher = publisher

    # --- what is remembered -----------------------------------------------------------------------------------

    def add(self, user: User, device_id: str, priority: int) -> Device:
        """A device that is not known yet, gone for now. Raises `RequestError` (`device_limit`). O(devices)."""
        self.make_room(user, priority)
        device = user.devices[device_id] = Device(user, device_id)
        return device

    def make_room(self, user: User, priority: int) -> None:
        """See to it that one more device can be of this priority: a new one, or one whose priority changes its sign.
        The one that has been gone longest makes room. Raises `RequestError` (`device_limit`) if all are live.
        O(devices)."""
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
        self._remove(min(gone, key=lambda device: device.grace_until_ms))

    def forget(self, device: Device) -> None:
        """Remember a device that is gone no longer (protocol.md, 13.4). O(1)."""
        self._remove(device)
        self._publisher.mark_dirty(device.user)

    def _remove(self, device: Device) -> None:
        del device.user.devices[device.id]
        self._ledger.add(DeviceForgotten(device.user.name, device.id))

    # --- what they say of themselves --------------------------------------------------------------------------

    def connect(
        self,
        device: Device,
        session: Session,
        described: Description,
        now_ms: int,
        idle_ms: int | None,
        ref: int,
        lease_ms: int | None,
        focus: str,
    ) -> None:
        """The session speaks for the device from now on, under this `ref` if it is a service's, and describes it so.
        `idle_ms` and `lease_ms` as in `Leases.connect`; `focus` is what is on its screen. O(1)."""
        leases = self._leases
        before = (device.state == GONE, _described(device), bool(device.idle_known), device.holder, device.lease_ms)
        was_counted, is_return = countable(device), leases.is_first_return(device)
        # First, because how long is idle depends on the kind.
        device.kind, device.name, device.priority, device.status, device.meta = described
        leases.connect(device, session, now_ms, idle_ms, ref, lease_ms)
        device.focus = focus
        after = (False, described, bool(device.idle_known), device.holder, device.lease_ms)
        if before != after or is_return:
            leases.log_device(device)
        if was_counted and device.priority < 0:
            self._publisher.uncount(device, "idle")
        self._publisher.mark_dirty(device.user)

    def change(
        self,
        now_ms: int,
        device: Device,
        *,
        status: DeviceStatus | None = None,
        priority: int | None = None,
        name: str | None = None,
        meta: str | None = None,
    ) -> None:
        """Set the device's own status, priority, name or meta; None leaves one as it is. Counts as input on it, unless
        only name and meta are set (protocol.md, 5.6). Raises `RequestError` (`device_limit`) if the sign of the
        priority changes and there is no place for it."""
        if priority is not None and (priority < 0) != (device.priority < 0):
            self.make_room(device.user, priority)
        if status is not None or priority is not None or (name is None and meta is None):
            self._leases.input(device, now_ms)
        was_counted, before = countable(device), _described(device)
        device.status = device.status if status is None else status
        device.priority = device.priority if priority is None else priority
        device.name = device.name if name is None else name
        device.meta = device.meta if meta is None else meta
        if _described(device) != before:
            self._leases.log_device(device)
        if was_counted and not countable(device):
            self._publisher.uncount(device, "idle")
        self._publisher.mark_dirty(device.user)

    def set_focus(self, device: Device, focus: str) -> None:
        """This is on its screen, for as long as its link is there. It is no input, and nobody is told. O(1)."""
        device.focus = focus

    def touch(self, now_ms: int, session: Session, user: User, device: Device | None) -> None:
        """The session says that the user was seen just now: last seen and nothing else (protocol.md, 13.6). Of one who
        hides, watchers are not told even that.

        A device that another link holds stays as it is: only its own link can say that it is there, and its lease
        must run out if it does not.
        """
        if device is not None and device.session in (None, session):
            self._leases.see(device, now_ms)
        if not is_hidden(user):
            self._publisher.see(user, now_ms)

    # --- the clock and the disk -------------------------------------------------------------------------------

    def clock_jumped(self, user: User, jump: Jump, now_ms: int) -> None:
        """What is known of devices by wall times alone keeps them."""
        for device in user.devices.values():
            self._leases.keep_wall_times(device, jump, now_ms)

    def keeps(self, user: User) -> bool:
        """Whether a device is remembered."""
        return bool(user.devices)

    def erase(self, user: User, now_ms: int) -> None:
        """The devices, all of which are gone. O(1)."""
        user.devices.clear()

    def facts_of(self, user: User, now_ms: int) -> Iterable[Fact]:
        """The devices. O(devices)."""
        return [self._leases.fact_of(device) for device in user.devices.values()]

    def restorers(self) -> Mapping[type, TakeUp]:
        """Devices, and those that were forgotten."""
        return {DeviceSet: restore_device, DeviceForgotten: self._restore_forgotten}

    def drop(self, device: Device) -> None:
        """Another node remembers the device no longer, and it is in no channel. O(1)."""
        device.user.devices.pop(device.id, None)

    def _restore_forgotten(self, source: Restoring, fact: DeviceForgotten) -> None:
        user = source.known_user(fact.user)
        if user is not None:
            user.devices.pop(fact.device, None)

    def resume(self, users: Sequence[User], start: Start) -> None:
        """Hold every device that was live in grace, and forget those for which there is no place: a data directory may
        hold more than the limit."""
        count = len(users)
        for place, user in enumerate(users):
            if len(user.devices) > DEVICES_PER_USER_MAX:
                self._drop_surplus(user)
            # One moment for all devices of a user that have the same grace: those who stay away go offline in one step.
            spread_ms = start.spread_ms * place // count
            for device in user.devices.values():
                if device.state != GONE:
                    self._leases.hold(device, spread_ms, start)

    def _drop_surplus(self, user: User) -> None:
        """The live ones stay first, then those that have been gone for the shortest time. O(devices log devices)."""
        for negative in (False, True):
            alike = [device for device in user.devices.values() if (device.priority < 0) == negative]
            alike.sort(key=lambda device: (device.state == GONE, -device.grace_until_ms))
            for device in alike[DEVICES_PER_USER_MAX:]:
                self._remove(device)


def _described(device: Device) -> Description:
    return Description(device.kind, device.name, device.priority, device.status, device.meta)
