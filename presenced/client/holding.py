"""A service's devices: attached, detached, kept alive, idle or not, in channels. What is held is `held`'s to know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial

from presenced.address import check_channel, check_label, check_name
from presenced.client import calls
from presenced.client.asking import Asking
from presenced.client.heartbeat import Activity
from presenced.client.held import Held, HeldDevice, beats_of
from presenced.client.keeper import Identity
from presenced.client.pending import Reply
from presenced.client.values import Attachment, Idle, check_device_status, check_priority, idle_ms_of
from presenced.errors import RequestError
from presenced.wire import messages
from presenced.wire.messages import ClientMessage, DeviceStatus

MANY = 2_048
"""Attachments that are on their way at a time: enough to keep the link busy, and their timeouts honest."""


class Holding(Asking):
    """The part of a service that speaks for devices."""

    def __init__(self, identity: Identity, timeout_s: float, request_timeout_s: float, reconnects: bool) -> None:
        super().__init__(identity, timeout_s, request_timeout_s, reconnects)
        self._held = Held()
        self._urgent: dict[HeldDevice, None] = {}
        self._session.parts.insert(0, self._held)
        self._keeper.beats = self._held.beats

    @property
    def attached(self) -> list[tuple[str, str]]:
        """(user, device) of all that are held; O(devices). One that the server does not let back after a lost link is
        dropped from it, with a warning in the log."""
        return list(self._held.devices)

    async def attach(
        self,
        user: str,
        device: str,
        *,
        kind: str = "",
        name: str = "",
        priority: int = 0,
        status: DeviceStatus = "online",
        idle: Idle | None = None,
    ) -> None:
        """Speak for this device from now on: it is online, and this client keeps it so, over lost links too.

        `idle`: how long ago the person's last input was (seconds, or a timedelta), if that is known. Attaching what is
        held changes it. Raises `RequestError` (`device_limit`); then, or if the reply does not come, the device is not
        held, or held as it was.
        """
        refused = await self.attach_many([Attachment(user, device, kind, name, priority, status, idle)])
        for error in refused.values():
            raise error

    async def attach_many(self, devices: Iterable[Attachment | tuple[str, str]]) -> dict[tuple[str, str], RequestError]:
        """Attach any number of devices without waiting for one after the other: `[("u1", "web"), ...]`, or
        `Attachment`s with more. Returns those that were refused, and why; all others are held."""
        refused: dict[tuple[str, str], RequestError] = {}
        wanted = [_checked(Attachment(*device)) for device in devices]
        for start in range(0, len(wanted), MANY):
            await self._attach(wanted[start : start + MANY], refused)
        return refused

    async def detach(self, user: str, device: str, *, lost: bool = False) -> None:
        """Speak for the device no more. It is gone at once, or (`lost`: its connection broke) after the grace time.

        Holds in any case: if this raises for want of a link, the device is let go on the next. Raises `RequestError`
        (`no_such_device`) for one that is not held.
        """
        held = self._held.get(user, device)
        self._held.leave(held)
        try:
            await self._do(lambda request_id: messages.Detach(request_id, held.ref, lost), self._held.left(held))
        except RequestError as error:
            # The server let it go already, or another link holds it by now.
            if error.code != "no_such_device":
                raise
        except BaseException:
            held.is_given_up = True
            raise

    def active(self, user: str, device: str) -> None:
        """The person gave input on this device now. Cheap: call it for each. O(1)

        A person who was away, or would be before the next heartbeat, shows as online at once. From the first call on
        the idle time grows by itself; a device without any counts as active. Raises `RequestError` (`no_such_device`).
        """
        self.idle(user, device, 0)

    def idle(self, user: str, device: str, idle: Idle) -> None:
        """The person's last input on this device was `idle` (seconds, or a timedelta) ago; from here the idle time
        grows by itself.

        The last input only ever moves forward: what the server was told before, or has seen this device set, is not
        taken back. Raises `RequestError` (`no_such_device`).
        """
        held = self._held.get(user, device)
        now_ms, idle_ms = self._keeper.now_ms(), idle_ms_of(idle)
        is_first = held.activity is None
        activity = held.activity = held.activity or Activity()
        activity.report(now_ms, idle_ms)
        if is_first or self._keeper.is_urgent(activity, now_ms):
            if not self._urgent:
                self._loop.call_soon(self._tell_urgent)
            self._urgent[held] = None

    async def set_device(
        self,
        user: str,
        device: str,
        *,
        status: DeviceStatus | None = None,
        priority: int | None = None,
        name: str | None = None,
    ) -> None:
        """Set a live device's own status, priority or display name; of one that is held, kept over lost links.

        Status and priority count as input on it. Raises `RequestError` (`no_such_device`).
        """
        _check_user(user)
        check_name(device, "device")

        def done(status: DeviceStatus | None, priority: int | None, name: str | None) -> None:
            held = self._held.devices.get((user, device))
            if held is not None:
                held.describe(status, priority, name)

        await calls.set_device(self, user, device, status, priority, name, done)

    async def join(self, user: str, device: str, channel: str) -> None:
        """The device is in the channel until it leaves or is gone; of one that is held, kept over lost links.

        Raises `RequestError` (`no_such_device`, `channel_limit`).
        """
        _check_user(user)
        check_name(device, "device")
        await calls.join(self, user, device, channel)
        held = self._held.devices.get((user, device))
        if held is not None:
            if held.channels is None:
                held.channels = {}
            held.channels[channel] = None

    async def leave(self, user: str, device: str, channel: str) -> None:
        """The device is in the channel no more; not having been is no error."""
        _check_user(user)
        check_channel(channel)
        held = self._held.devices.get((user, device))
        if held is not None and held.channels is not None:
            held.channels.pop(channel, None)
        await calls.leave(self, user, device, channel)

    # --- within -----------------------------------------------------------------------------------------------

    async def _attach(self, wanted: list[Attachment], refused: dict[tuple[str, str], RequestError]) -> None:
        self._refuse_closed()
        now_ms = self._keeper.now_ms()
        waiting: dict[asyncio.Future[Reply], tuple[HeldDevice, bool]] = {}
        sent: list[ClientMessage] = []
        for attachment in wanted:
            was_held = (attachment.user, attachment.device) in self._held.devices
            held = self._held.hold(attachment.user, attachment.device)
            if attachment.idle is not None:
                # True of the person, whatever the server says of the device.
                held.activity = held.activity or Activity()
                held.activity.report(now_ms, idle_ms_of(attachment.idle))
            waiter: asyncio.Future[Reply] = self._loop.create_future()
            waiting[waiter] = held, was_held
            sent.append(
                self._session.open(
                    partial(held.attach_as, attachment, now_ms=now_ms),
                    waiter,
                    now_ms,
                    self._held.attached(held, attachment, was_held),
                )
            )
        self._keeper.send(*sent)
        try:
            done, late = await asyncio.wait(waiting, timeout=self._request_timeout_s)
        except BaseException:
            self._give_up(waiting)
            raise
        if late:
            self._give_up(waiting)
            raise self._late()
        for waiter in done:
            held, _ = waiting[waiter]
            error = waiter.exception()
            if isinstance(error, RequestError):
                refused[held.user, held.device] = error
            elif error is not None:
                self._give_up(waiting)
                raise error

    def _give_up(self, waiting: dict[asyncio.Future[Reply], tuple[HeldDevice, bool]]) -> None:
        """The caller is told that these failed: let go of those that may have been attached all the same."""
        for waiter, (held, was_held) in waiting.items():
            self._session.forget(waiter)
            if was_held or (waiter.done() and not waiter.cancelled() and waiter.exception() is None):
                continue
            self._held.drop(held)
            self._say(lambda request_id, ref=held.ref: messages.Detach(request_id, ref), None)  # type: ignore[misc]

    def _tell_urgent(self) -> None:
        urgent, self._urgent = list(self._urgent), {}
        if self._keeper.is_linked:
            self._keeper.send(*beats_of([held for held in urgent if not held.is_leaving], self._keeper.now_ms()))


def _checked(attachment: Attachment) -> Attachment:
    _check_user(attachment.user)
    check_name(attachment.device, "device")
    check_label(attachment.kind, "kind")
    check_label(attachment.name, "device label")
    check_priority(attachment.priority)
    check_device_status(attachment.status)
    if attachment.idle is not None:
        idle_ms_of(attachment.idle)
    return attachment


def _check_user(user: str) -> None:
    check_name(user, "user")
