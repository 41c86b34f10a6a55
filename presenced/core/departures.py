"""Why users stopped being available, and when they were last seen. It is noted when a device stops counting, and read
when the record is made at the end of the turn.

Several devices may stop counting in one turn, and the user may be available in the end all the same.
"""

from __future__ import annotations

from presenced.core.model import GONE, IDLE_OFFLINE, Device, User


class Departures:
    """Owns what is noted of devices that stopped counting, until the record of their user is made."""

    def __init__(self) -> None:
        self._reasons: dict[User, str] = {}
        """Why the last device to stop did so."""
        self._contacts: dict[User, int] = {}
        """When devices that took a negative priority were last seen: they are not asked from then on."""

    def __len__(self) -> int:
        """Users of whom something is noted."""
        return len(self._reasons)

    def note(self, device: Device, reason: str) -> None:
        """A device stops counting, for a reason as in an event of `offline`. O(1)."""
        user = device.user
        self._reasons[user] = reason
        if device.priority < 0:
            self._contacts[user] = max(device.seen_ms, self._contacts.get(user, device.seen_ms))

    def take(self, user: User) -> tuple[str, int | None]:
        """What was noted of the user's devices since the last call: the reason (`idle` if nothing was noted), and the
        last contact of those that took a negative priority. O(1)."""
        reason = self._reasons.pop(user, "idle") if self._reasons else "idle"
        return reason, self._contacts.pop(user, None) if self._contacts else None


def last_contact_ms(user: User, latest_ms: int | None) -> int | None:
    """When the user was last there, on the monotonic clock: the last frame of a device, or its last input if the device
    is still connected and only idle. `latest_ms`: what `Departures` noted beside it. None if no device is known.
    O(devices)."""
    for device in user.devices.values():
        if device.priority >= 0:
            # A service may report an input that is later than the last frame.
            is_idle = device.state != GONE and device.idle_level == IDLE_OFFLINE
            contact_ms = device.active_ms if is_idle else device.seen_ms
            latest_ms = contact_ms if latest_ms is None else max(latest_ms, contact_ms)
    return latest_ms
