"""A service's devices: attached, detached, kept alive, idle or not, in channels.

`protocol.attachments` knows which devices are to be attached; this sends the requests and waits for the replies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from presenced.address import check_focus, check_label, check_meta, check_name
from presenced.client.acts import OnDescribed
from presenced.client.connection import ClientConnection
from presenced.client.exchange import Waiter
from presenced.client.losses import Losses, LossFeeds
from presenced.client.protocol.attached_device import AttachedDevice, DeviceKey, beats_of
from presenced.client.protocol.attachments import AttachAttempt, Attachments, Detachment
from presenced.client.protocol.heartbeat import Activity
from presenced.client.protocol.pending_requests import OnReply, Reply, Request
from presenced.client.telemetry import measured
from presenced.client.values import (
    Attachment,
    Idle,
    Lasting,
    Taken,
    check_device_status,
    check_priority,
    idle_ms_of,
    lasting_ms,
    shown,
)
from presenced.errors import AddressError, PresenceError, RequestError
from presenced.wire import messages
from presenced.wire.messages import DeviceStatus

TakenCallback = Callable[[Taken], object]

MANY = 2_048
"""Attaches that are on their way at a time: enough to keep the link busy, and few enough for honest timeouts."""


class ServiceDevices:
    """The devices of one service. Methods raise as the service's methods of the same name say."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._exchange = exchange = connection.exchange
        self._reconnect = reconnect = connection.reconnect
        self._urgent: dict[AttachedDevice, None] = {}
        self._at_once: list[Callable[[Taken], None]] = []
        self._taken_callbacks: list[TakenCallback] = []
        # These functions refer to the parts and not to this object: the link leads to them, and nothing that the link
        # leads to may keep the connection alive.
        callbacks, at_once, told = connection.callbacks, self._at_once, self._taken_callbacks
        self._losses = losses = LossFeeds()

        def tell(taken: Taken) -> None:
            losses.put(taken)
            if not taken.is_over:
                return
            for part in list(at_once):
                part(taken)
            for callback in list(told):
                callbacks.soon("a callback for what was taken", callback, taken)

        def withdraw(waiter: Waiter) -> None:
            exchange.session.forget(waiter)
            if not waiter.done():
                waiter.set_exception(RequestError("no_such_device", "it was detached while it was being attached"))

        self.attachments = attachments = Attachments(exchange.say, tell, withdraw, lambda: exchange.session.is_resumed)
        exchange.on_push(messages.Taken, lambda push: attachments.taken(push, reconnect.now_ms()))
        exchange.session.add(attachments, first=True)
        exchange.session.add(losses)
        reconnect.beat_by(attachments.beats)

    @property
    def attached(self) -> list[DeviceKey]:
        """(user, device) of each device that is granted and not refused for the moment; O(devices)."""
        return [key for key, one in self.attachments.devices.items() if one.is_granted and not one.is_refused]

    async def attach_many(self, devices: Iterable[Attachment | DeviceKey]) -> dict[DeviceKey, RequestError]:
        """Attach devices, `MANY` at a time; returns the errors of those that were refused."""
        self._exchange.link_state.refuse_closed()
        refused: dict[DeviceKey, RequestError] = {}
        wanted = _checked([Attachment(*device) for device in devices])
        begun: list[AttachAttempt] = []
        try:
            for start in range(0, len(wanted), MANY):
                await self._attach(wanted[start : start + MANY], refused, begun)
        except BaseException:
            session = self._exchange.session
            for attempt in begun:
                may_be_applied = session.may_have(attempt.waiter)
                session.forget(attempt.waiter)
                attempt.give_up(self._reconnect.now_ms(), may_be_applied=may_be_applied)
            raise
        return refused

    async def detach(self, user: str, device: str, *, lost: bool, within: Lasting | None = None) -> None:
        """Let go of a device, however this ends."""
        within_ms = lasting_ms(within, or_none=True) if within is not None else None
        self._exchange.link_state.refuse_closed()
        waiter: asyncio.Future[None] = self._connection.loop.create_future()

        def answered(error: PresenceError | None) -> None:
            if waiter.done():
                return
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

        detachment = self.attachments.detach(user, device, lost, within_ms, answered, self._reconnect.now_ms())
        if detachment is not None:
            await self._until_left(detachment, waiter)

    def on_taken(self, callback: TakenCallback) -> Callable[[], None]:
        """Call the app's function for each device that is lost, on a later turn of the loop."""
        self._taken_callbacks.append(callback)
        return self._connection.use(callback, self._taken_callbacks)

    def losses(self) -> Losses:
        """The stream of what is lost from when it starts."""
        return Losses(self._exchange, self._connection, self._losses)

    def on_taken_at_once(self, part: Callable[[Taken], None]) -> Callable[[], None]:
        """The same for a part of this client, which has to know before anything else happens."""
        self._at_once.append(part)
        return self._connection.use(part, self._at_once)

    def idle(self, user: str, device: str, idle: Idle) -> None:
        """The idle time of a device's person. O(1): the levels of one turn of the loop leave in one message."""
        found = self.attachments.get(user, device)
        now_ms, idle_ms = self._reconnect.now_ms(), idle_ms_of(idle)
        is_first = found.activity is None
        activity = found.activity = found.activity or Activity()
        activity.report(now_ms, idle_ms)
        if is_first or self._reconnect.is_urgent(activity, now_ms):
            if not self._urgent:
                self._connection.loop.call_soon(self._tell_urgent)
            self._urgent[found] = None

    def set_focus(self, user: str, device: str, focus: str) -> None:
        """What is on a device's screen. O(1); told at once, or while it is being attached with the next heartbeat."""
        check_focus(focus)
        found = self.attachments.get(user, device)
        found.show(focus)
        if found.is_live and focus != found.focus_told and self._exchange.is_linked:
            self._exchange.send(found.tell_focus())

    def described(self, user: str, device: str) -> OnDescribed:
        """What to do once a device was described anew: if it is attached here, it is so on later links, too."""

        def done(status: DeviceStatus | None, priority: int | None, name: str | None, meta: str | None) -> None:
            found = self.attachments.devices.get((user, device))
            if found is not None:
                found.describe(status, priority, name, meta)

        return done

    def joined(self, user: str, device: str, channel: str) -> OnReply:
        """What to do with the reply to a join, whether or not its caller still waits for it."""
        return self._on_reply(user, device, lambda channels: channels.setdefault(channel))

    def left(self, user: str, device: str, channel: str) -> OnReply:
        """The same for a leave."""
        return self._on_reply(user, device, lambda channels: channels.pop(channel, None))

    # --- within -----------------------------------------------------------------------------------------------

    async def _attach(
        self, wanted: list[Attachment], refused: dict[DeviceKey, RequestError], begun: list[AttachAttempt]
    ) -> None:
        now_ms = self._reconnect.now_ms()
        waiting: dict[Waiter, AttachedDevice] = {}
        sent: list[Request] = []
        for attachment in wanted:
            waiter: Waiter = self._connection.loop.create_future()
            attempt = self.attachments.attach(attachment, waiter, now_ms)
            device = attempt.device
            # As the idle time: true of the person, whatever the server says of the device.
            device.show(attachment.focus)
            if attachment.idle is not None:
                device.activity = device.activity or Activity()
                device.activity.report(now_ms, idle_ms_of(attachment.idle))
            waiting[waiter] = device
            begun.append(attempt)
            make = partial(device.attach_as, attachment, now_ms=now_ms)
            sent.append(self._exchange.session.open(make, waiter, now_ms, attempt.answered))
        self._exchange.send(*sent)
        with measured(self._exchange.telemetry, messages.Attach):
            await self._exchange.settled(waiting)
            for waiter, device in waiting.items():
                error = waiter.exception()
                if isinstance(error, RequestError):
                    refused[device.key] = error
                elif error is not None:
                    raise error

    async def _until_left(self, detachment: Detachment, waiter: asyncio.Future[None]) -> None:
        """Wait for a detach as for a request. It outlives its requests, since each link has one of its own."""
        exchange, timeout_ms = self._exchange, self._exchange.timeout_ms
        begun_ms = exchange.now_ms()
        while not waiter.done():
            now_ms = exchange.now_ms()
            if exchange.is_linked:
                begun_ms = exchange.session.request_begun_ms(detachment.request_id, now_ms)
            if begun_ms + timeout_ms <= now_ms:
                raise exchange.late_error()
            await asyncio.wait({waiter}, timeout=(begun_ms + timeout_ms - now_ms) / 1000)
        waiter.result()

    def _on_reply(self, user: str, device: str, change: Callable[[dict[str, None]], object]) -> OnReply:
        def answered(reply: Reply) -> None:
            found = self.attachments.devices.get((user, device))
            if found is not None and not isinstance(reply, messages.Error):
                found.channels = found.channels or {}
                change(found.channels)

        return answered

    def _tell_urgent(self) -> None:
        urgent, self._urgent = list(self._urgent), {}
        if self._exchange.is_linked:
            devices = self.attachments.devices
            told = [one for one in urgent if devices.get(one.key) is one and (one.is_live or one.unanswered)]
            self._exchange.send(*beats_of(told, self._reconnect.now_ms()))


def _checked(attachments: list[Attachment]) -> list[Attachment]:
    for number, attachment in enumerate(attachments):
        try:
            _check(attachment)
        except AddressError as error:
            if len(attachments) == 1:
                raise
            which = f"{number + 1} of {len(attachments)}, {shown(attachment.user)} and {shown(attachment.device)}"
            raise AddressError(f"device {which}: {error.message}", error.code) from None
    return attachments


def _check(attachment: Attachment) -> None:
    check_name(attachment.user, "user")
    check_name(attachment.device, "device")
    check_label(attachment.kind, "kind")
    check_label(attachment.name, "device label")
    check_priority(attachment.priority)
    check_device_status(attachment.status)
    if attachment.idle is not None:
        idle_ms_of(attachment.idle)
    check_meta(attachment.meta or "")
    check_focus(attachment.focus)
    if attachment.for_at_most is not None:
        lasting_ms(attachment.for_at_most)
