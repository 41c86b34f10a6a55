"""A service's devices: attached, detached, kept alive, idle or not, in channels. What is held is `held`'s to know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from presenced.address import check_channel, check_label, check_name
from presenced.client import acts
from presenced.client.connected import Asking
from presenced.client.protocol.attachments import Call, Held, HeldDevice, Leaving, beats_of
from presenced.client.protocol.heartbeat import Activity
from presenced.client.protocol.pending import OnReply, Reply
from presenced.client.reconnect import Identity
from presenced.client.values import Attachment, Idle, Taken, check_device_status, check_priority, idle_ms_of, shown
from presenced.errors import AddressError, PresenceError, RequestError
from presenced.wire import messages
from presenced.wire.messages import ClientMessage, DeviceStatus

TakenCallback = Callable[[Taken], object]

MANY = 2_048
"""Attachments that are on their way at a time: enough to keep the link busy, and their timeouts honest."""


class Holding(Asking):
    """The part of a service that speaks for devices."""

    def __init__(self, identity: Identity, timeout_s: float, request_timeout_s: float, reconnects: bool) -> None:
        super().__init__(identity, timeout_s, request_timeout_s, reconnects)
        # Nothing that the link leads to may refer to this client: it is to be noticed when nobody else does.
        callbacks, shown, keeper = self._callbacks, list[TakenCallback](), self._keeper

        at_once: list[Callable[[Taken], None]] = []
        self._taken_at_once = at_once
        """The parts of this client that are to know before anything else happens."""

        def tell(taken: Taken) -> None:
            for part in list(at_once):
                part(taken)
            for callback in list(shown):
                callbacks.soon("a callback for what was taken", callback, taken)

        def withdraw(call: Call) -> None:
            session.forget(call.waiter)
            if not call.waiter.done():
                call.waiter.set_exception(RequestError("no_such_device", "it was detached while it was being attached"))

        session = self._session
        held = self._held = Held(keeper.say, tell, withdraw)
        self._taken_callbacks = shown
        self._pushes[messages.Taken] = lambda push: held.taken(push, keeper.now_ms())
        self._urgent: dict[HeldDevice, None] = {}
        self._session.parts.insert(0, self._held)
        self._keeper.beats = self._held.beats

    @property
    def attached(self) -> list[tuple[str, str]]:
        """(user, device) of all that this client holds, also while its link is being repaired; O(devices). One that
        another client has by now is not in it (`on_taken`), nor is one that the server does not let back for the
        moment."""
        return [key for key, held in self._held.devices.items() if held.is_held and not held.is_refused]

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
        held changes it; attaching what another client holds takes it from that one. Raises `RequestError`
        (`device_limit`); then, or if the reply does not come, or if it is cancelled, the device is not held, or held as
        it was.
        """
        refused = await self.attach_many([Attachment(user, device, kind, name, priority, status, idle)])
        for error in refused.values():
            raise error

    async def attach_many(self, devices: Iterable[Attachment | tuple[str, str]]) -> dict[tuple[str, str], RequestError]:
        """Attach any number of devices without waiting for one after the other: `[("u1", "web"), ...]`, or
        `Attachment`s with more. Returns those that were refused, and why; all others are held. If it raises, or is
        cancelled, none of them is held, but for those that were before: they are let go as if their connection was
        lost."""
        self._refuse_closed()
        refused: dict[tuple[str, str], RequestError] = {}
        wanted = _checked([Attachment(*device) for device in devices])
        begun: list[Call] = []
        try:
            for start in range(0, len(wanted), MANY):
                await self._attach(wanted[start : start + MANY], refused, begun)
        except BaseException:
            for call in begun:
                may_be_applied = self._session.may_have(call.waiter)
                self._session.forget(call.waiter)
                call.give_up(may_be_applied=may_be_applied)
            raise
        return refused

    async def detach(self, user: str, device: str, *, lost: bool = False) -> None:
        """Speak for the device no more. It is gone at once, or (`lost`: its connection broke) after the grace time.

        Holds in any case: if this raises for want of a link, or is cancelled, the device is let go on the next, unless
        another client has it by then. One that was taken (`on_taken`) is let go without a word. Raises `RequestError`
        (`no_such_device`) for one that was never held.
        """
        self._refuse_closed()
        waiter: asyncio.Future[None] = self._loop.create_future()

        def answered(error: PresenceError | None) -> None:
            if waiter.done():
                return
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

        leaving = self._held.detach(user, device, lost, answered)
        if leaving is not None:
            await self._until_left(leaving, waiter)

    def on_taken(self, callback: TakenCallback) -> Callable[[], None]:
        """Call `callback(taken)` for each device that this client holds no more without its own doing: `taken.user`,
        `taken.device` and why. Returns a function that ends it.

        It is `replaced`: another client attached the device later, or it came with a link of its own. What went into
        grace because this client was late with its heartbeats is attached again by itself, and told only if it is
        refused. The callback may be async and may await this client; what it raises goes to the loop's exception
        handler.
        """
        self._taken_callbacks.append(callback)
        return self._used_for(callback, self._taken_callbacks)

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

        await acts.set_device(self, user, device, status, priority, name, done)

    async def join(self, user: str, device: str, channel: str) -> None:
        """The device is in the channel until it leaves or is gone; of one that is held, kept over lost links.

        Raises `RequestError` (`no_such_device`, `channel_limit`).
        """
        _check_user(user)
        check_name(device, "device")
        await acts.join(self, user, device, channel, self._on_reply_of_join(user, device, channel, joins=True))

    async def leave(self, user: str, device: str, channel: str) -> None:
        """The device is in the channel no more; not having been is no error."""
        _check_user(user)
        check_channel(channel)
        await acts.leave(self, user, device, channel, self._on_reply_of_join(user, device, channel, joins=False))

    # --- within -----------------------------------------------------------------------------------------------

    async def _attach(
        self,
        wanted: list[Attachment],
        refused: dict[tuple[str, str], RequestError],
        begun: list[Call],
    ) -> None:
        now_ms = self._keeper.now_ms()
        waiting: dict[asyncio.Future[Reply], HeldDevice] = {}
        sent: list[ClientMessage] = []
        for attachment in wanted:
            waiter: asyncio.Future[Reply] = self._loop.create_future()
            call = self._held.attach(attachment, waiter)
            held = call.device
            if attachment.idle is not None:
                # True of the person, whatever the server says of the device.
                held.activity = held.activity or Activity()
                held.activity.report(now_ms, idle_ms_of(attachment.idle))
            waiting[waiter] = held
            begun.append(call)
            make = partial(held.attach_as, attachment, now_ms=now_ms)
            sent.append(self._session.open(make, waiter, now_ms, call.answered))
        self._keeper.send(*sent)
        await self._settled(waiting)
        for waiter, held in waiting.items():
            error = waiter.exception()
            if isinstance(error, RequestError):
                refused[held.user, held.device] = error
            elif error is not None:
                raise error

    async def _settled(self, waiters: Iterable[asyncio.Future[Reply]]) -> None:
        """Wait for all replies, whatever they are, each for `request_timeout_s` from when its request leaves."""
        timeout_ms = int(self._request_timeout_s * 1000)
        missing = set(waiters)
        while missing:
            now_ms = self._keeper.now_ms()
            due_ms = min(self._session.begun_ms(waiter, now_ms) for waiter in missing) + timeout_ms
            if due_ms <= now_ms:
                raise self._late()
            _, missing = await asyncio.wait(missing, timeout=(due_ms - now_ms) / 1000)

    async def _until_left(self, leaving: Leaving, waiter: asyncio.Future[None]) -> None:
        """The same for a detach, which outlives its requests: each link has one of its own."""
        timeout_ms = int(self._request_timeout_s * 1000)
        begun_ms = self._keeper.now_ms()
        while not waiter.done():
            now_ms = self._keeper.now_ms()
            if self._keeper.is_linked:
                begun_ms = self._session.request_begun_ms(leaving.request_id, now_ms)
            if begun_ms + timeout_ms <= now_ms:
                raise self._late()
            await asyncio.wait({waiter}, timeout=(begun_ms + timeout_ms - now_ms) / 1000)
        waiter.result()

    def _on_reply_of_join(self, user: str, device: str, channel: str, *, joins: bool) -> OnReply:
        """As the reply is read, whether or not anybody still waits for it."""

        def answered(reply: Reply | messages.Error) -> None:
            held = self._held.devices.get((user, device))
            if held is None or isinstance(reply, messages.Error):
                return
            held.channels = held.channels or {}
            if joins:
                held.channels[channel] = None
            else:
                held.channels.pop(channel, None)

        return answered

    def _tell_urgent(self) -> None:
        urgent, self._urgent = list(self._urgent), {}
        if self._keeper.is_linked:
            told = [held for held in urgent if self._held.devices.get(held.key) is held and (held.is_on or held.asked)]
            self._keeper.send(*beats_of(told, self._keeper.now_ms()))


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
    _check_user(attachment.user)
    check_name(attachment.device, "device")
    check_label(attachment.kind, "kind")
    check_label(attachment.name, "device label")
    check_priority(attachment.priority)
    check_device_status(attachment.status)
    if attachment.idle is not None:
        idle_ms_of(attachment.idle)


def _check_user(user: str) -> None:
    check_name(user, "user")
