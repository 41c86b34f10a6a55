"""The devices that a service holds: their references, how idle each is, the channels joined; all of it over all links.

What is held is what is to be: a new link attaches it again before anything else is said on it. Knows no sockets, no
loop and no clock; of what a new link refuses, which nobody waits for, it tells the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from presenced.client.heartbeat import Activity
from presenced.client.pending import Make, OnReply, Reply
from presenced.client.values import Attachment
from presenced.errors import PresenceError, RequestError
from presenced.limits import BEATS_MAX, REQUEST_ID_MAX
from presenced.wire.messages import Attach, Beats, Detach, DeviceStatus, Error, Join

NO_REPORT = -1
_log = logging.getLogger("presenced.client")


class HeldDevice:
    """One device that a service speaks for."""

    __slots__ = (
        "activity", "channels", "device", "is_attached", "is_given_up", "is_leaving", "kind", "name", "priority", "ref",
        "status", "user",
    )  # fmt: skip

    def __init__(self, ref: int, user: str, device: str) -> None:
        self.ref = ref
        self.user = user
        self.device = device
        self.kind = ""
        self.name = ""
        self.priority = 0
        self.status: DeviceStatus = "online"
        self.activity: Activity | None = None
        """None until the app has reported: then the device counts as active, and input elsewhere is told apart."""
        self.channels: dict[str, None] | None = None
        self.is_attached = False
        """The server has said so once."""
        self.is_leaving = False
        self.is_given_up = False
        """It is leaving, and nobody waits for that any more."""

    def idle_ms(self, now_ms: int) -> int | None:
        """The level to tell now; None = no report."""
        return None if self.activity is None else self.activity.tell(now_ms)

    def describe(
        self, status: DeviceStatus | None = None, priority: int | None = None, name: str | None = None
    ) -> None:
        """What the next attach says; None leaves one as it is."""
        self.status = self.status if status is None else status
        self.priority = self.priority if priority is None else priority
        self.name = self.name if name is None else name

    def adopt(self, attachment: Attachment) -> None:
        """It is described so from now on."""
        self.kind, self.name = attachment.kind, attachment.name
        self.priority, self.status = attachment.priority, attachment.status

    def attach(self, request_id: int, now_ms: int) -> Attach:
        """The request that attaches it, as it is now."""
        kind, name, priority, status = self.kind, self.name, self.priority, self.status
        return Attach(request_id, self.ref, self.user, self.device, kind, name, priority, status, self.idle_ms(now_ms))

    def attach_as(self, attachment: Attachment, request_id: int, now_ms: int) -> Attach:
        """The request that attaches it as described; that is to be its own description once it is granted."""
        _, _, kind, name, priority, status, _ = attachment
        return Attach(request_id, self.ref, self.user, self.device, kind, name, priority, status, self.idle_ms(now_ms))


class Held:
    """All devices of a service link."""

    def __init__(self) -> None:
        self.devices: dict[tuple[str, str], HeldDevice] = {}
        """By user and device; those that are leaving are not in it."""
        self._by_ref: dict[int, HeldDevice] = {}
        self._last_ref = 0

    def hold(self, user: str, device: str) -> HeldDevice:
        """The device under this name; a new one, which nothing describes yet, if it is not held."""
        held = self.devices.get((user, device))
        if held is None:
            held = HeldDevice(self._free_ref(), user, device)
            self.devices[user, device] = self._by_ref[held.ref] = held
        return held

    def get(self, user: str, device: str) -> HeldDevice:
        """Raises `RequestError` (`no_such_device`) for one that is not held."""
        held = self.devices.get((user, device))
        if held is None:
            raise RequestError("no_such_device", f"this client does not hold {user}/{device}; attach it first")
        return held

    def leave(self, held: HeldDevice) -> None:
        """It is held until the server has said that it let it go, but does not beat any more."""
        held.is_leaving = True
        if self.devices.get((held.user, held.device)) is held:
            del self.devices[held.user, held.device]

    def drop(self, held: HeldDevice) -> None:
        """It is held no more. Idempotent."""
        self.leave(held)
        self._by_ref.pop(held.ref, None)

    def beats(self, now_ms: int) -> list[Beats]:
        """Heartbeats of all devices, in as few messages as may be. O(devices)."""
        return beats_of(list(self.devices.values()), now_ms)

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`. One that was never attached is left to the request that waits to attach it."""
        entries = [held for held in self._by_ref.values() if held.is_attached]
        for held in entries:
            yield lambda request_id, held=held: held.attach(request_id, now_ms), self._returned(held)  # type: ignore[misc]
        for held in entries:
            if held.is_given_up:
                yield lambda request_id, ref=held.ref: Detach(request_id, ref), self.left(held)  # type: ignore[misc]
            elif not held.is_leaving:
                for channel in held.channels or ():
                    yield joining(held.user, held.device, channel)

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""

    def attached(self, held: HeldDevice, attachment: Attachment, was_held: bool) -> OnReply:
        """What to do with the reply to an attach that somebody waits for."""

        def answered(reply: Reply | Error) -> None:
            if not isinstance(reply, Error):
                held.is_attached = True
                held.adopt(attachment)
            elif not was_held:
                self.drop(held)

        return answered

    def left(self, held: HeldDevice) -> OnReply:
        """What to do with the reply to a detach: done, or another link held it already, it is held here no more."""
        return lambda reply: self.drop(held)

    def _returned(self, held: HeldDevice) -> OnReply:
        def answered(reply: Reply | Error) -> None:
            if isinstance(reply, Error):
                _log.warning("%s/%s could not be attached again: %s", held.user, held.device, reply.message)
                self.drop(held)

        return answered

    def _free_ref(self) -> int:
        while True:
            self._last_ref = self._last_ref % REQUEST_ID_MAX + 1
            if self._last_ref not in self._by_ref:
                return self._last_ref


def beats_of(devices: list[HeldDevice], now_ms: int) -> list[Beats]:
    """Heartbeats of some devices. O(devices)."""
    flat: list[int] = []
    for held in devices:
        idle_ms = held.idle_ms(now_ms)
        flat += (held.ref, NO_REPORT if idle_ms is None else idle_ms)
    return [Beats(flat[start : start + 2 * BEATS_MAX]) for start in range(0, len(flat), 2 * BEATS_MAX)]


def joining(user: str, device: str, channel: str) -> tuple[Make, OnReply]:
    """Join a channel again on a new link. Where the server still knows of it, that changes nothing."""

    def answered(reply: Reply | Error) -> None:
        if isinstance(reply, Error):
            _log.warning("%s/%s could not join %s again: %s", user, device, channel, reply.message)

    return lambda request_id: Join(request_id, channel, user, device), answered
