"""The devices that a service is to keep attached, over all links, and those that it is to let go.

Two things are kept apart. What is to be (`devices` are to be attached, `leaving` are to be let go) is changed only by
the app and by the server's refusals. What is so on the present link (`AttachedDevice.is_live`) is changed only by the
server's word. Each new link, each heartbeat and each loss that the server tells of brings the second to the first. So a
call that is cancelled, at whatever moment, changes what is to be or nothing, and nothing depends on its reply.

What a new link refuses, and no caller waits for, goes to the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from presenced.client.log_fields import fields
from presenced.client.protocol.attached_device import AttachedDevice, DeviceKey, beats_of
from presenced.client.protocol.joined_channels import joining
from presenced.client.protocol.pending_requests import Make, OnReply, Reply, Send, error_of
from presenced.client.values import Attachment, Taken, lasting_ms
from presenced.errors import ConnectionLost, PresenceError, RequestError
from presenced.limits import REQUEST_ID_MAX
from presenced.wire import messages
from presenced.wire.messages import Beats, Detach, Error, Focus

FINAL = ("replaced", "kicked", "ended")
"""Reasons of the server for which a device that was taken is not attached again."""

TAKEN_MAX = 16_384
"""Lost devices that are remembered until the app lets go of them, so that a late `detach` of one is no error."""

OnLeft = Callable[[PresenceError | None], None]
"""Called when the server has answered a detach: with None if the device is let go."""

_log = logging.getLogger("presenced.client.devices")


class AttachAttempt:
    """One attach that the app has asked for."""

    __slots__ = ("_attachments", "_is_open", "_lease_end_ms", "attachment", "device", "waiter")

    def __init__(
        self, attachments: Attachments, device: AttachedDevice, attachment: Attachment, waiter: Any, now_ms: int
    ) -> None:
        self._attachments = attachments
        self._is_open = True
        lasting = attachment.for_at_most
        self._lease_end_ms = now_ms + lasting_ms(lasting) if lasting is not None else None
        self.device = device
        self.attachment = attachment
        self.waiter = waiter
        """What waits for the reply."""
        device.wanted_by += 1
        device.unanswered += 1
        device.waiters[waiter] = None

    def answered(self, reply: Reply) -> None:
        """The server's word."""
        device = self.device
        device.waiters.pop(self.waiter, None)
        device.unanswered -= 1
        if not isinstance(reply, Error):
            device.is_granted = device.is_live = True
            device.is_refused, device.loss = False, ""
            device.adopt(self.attachment, self._lease_end_ms)
            self._attachments.join_again(device)
            return
        if self._close():
            self._attachments.drop(device)
        elif device.loss in FINAL and not device.unanswered:
            self._attachments.lose(device, device.loss)

    def give_up(self, now_ms: int, *, may_be_applied: bool) -> None:
        """The caller is told that it failed. If nobody else wants the device it is let go, as one whose connection is
        lost: it may have been there before, and its person may be back at once. Idempotent."""
        self.device.waiters.pop(self.waiter, None)
        if self._close() and self._attachments.devices.get(self.device.key) is self.device:
            if may_be_applied:
                self._attachments.leave(self.device, now_ms, lost=True)
            else:
                self._attachments.drop(self.device)

    def _close(self) -> bool:
        """Returns whether this was the last attempt that wants the device."""
        if not self._is_open:
            return False
        self._is_open = False
        self.device.wanted_by -= 1
        return self.device.wanted_by == 0


class Detachment:
    """One device that is to be let go, until the server has answered."""

    __slots__ = ("begun_ms", "done", "lost", "ref", "request_id", "within_ms")

    def __init__(self, ref: int, lost: bool, within_ms: int | None, now_ms: int) -> None:
        self.ref = ref
        self.lost = lost
        self.within_ms = within_ms
        self.begun_ms = now_ms
        """When the app asked for it: the time within which the device will be back counts from then."""
        self.done: list[OnLeft] = []
        self.request_id = 0
        """Id of the request on the present link."""


class Attachments:
    """All devices of a service's link. A `Part`."""

    def __init__(
        self,
        send: Send,
        on_taken: Callable[[Taken], None],
        withdraw: Callable[[Any], None],
        is_resumed: Callable[[], bool] = lambda: False,
    ) -> None:
        """`withdraw` is called with each waiter for a device that is let go meanwhile: its attach must not be sent
        again. `is_resumed`: the present link has taken back what the lost one held."""
        self.devices: dict[DeviceKey, AttachedDevice] = {}
        """The devices that are to be attached."""
        self.leaving: dict[DeviceKey, Detachment] = {}
        """The devices that are to be let go. A device may be in both: then it is let go first."""
        self._by_ref: dict[int, AttachedDevice] = {}
        self._last_ref = 0
        self._taken: dict[DeviceKey, None] = {}
        self._send = send
        self._on_taken = on_taken
        self._withdraw = withdraw
        self._is_resumed = is_resumed

    def get(self, user: str, device: str) -> AttachedDevice:
        """Raises `RequestError` (`no_such_device`) for a device that is not attached."""
        found = self.devices.get((user, device))
        if found is None:
            sentence = f"{user}/{device} is not attached by this client; attach it first"
            if (user, device) in self._taken:
                sentence = f"{user}/{device} was taken from this client; see on_taken"
            raise RequestError("no_such_device", sentence)
        return found

    # --- what the app wants -----------------------------------------------------------------------------------

    def attach(self, attachment: Attachment, waiter: Any, now_ms: int) -> AttachAttempt:
        """The device is to be attached: send its `attach_as`, with the attempt's `answered` for the reply."""
        key = attachment.user, attachment.device
        device = self.devices.get(key)
        if device is None:
            device = AttachedDevice(self._free_ref(), *key)
            self.devices[key] = self._by_ref[device.ref] = device
        self._taken.pop(key, None)
        return AttachAttempt(self, device, attachment, waiter, now_ms)

    def detach(
        self, user: str, device: str, lost: bool, within_ms: int | None, done: OnLeft, now_ms: int
    ) -> Detachment | None:
        """The device is to be let go; `done` is called when it is. None: it was taken, and nothing has to be done.

        Raises `RequestError` (`no_such_device`) for a device that was never attached.
        """
        key = user, device
        if key not in self.devices and key in self._taken:
            del self._taken[key]
            return None
        return self.leave(self.get(user, device), now_ms, lost=lost, within_ms=within_ms, done=done)

    def leave(
        self,
        device: AttachedDevice,
        now_ms: int,
        *,
        lost: bool,
        within_ms: int | None = None,
        done: OnLeft | None = None,
    ) -> Detachment:
        """The device is to be let go. The server is told at once if there is a link, and on each later link until it
        has answered."""
        self.drop(device)
        waiters, device.waiters = device.waiters, {}
        for waiter in waiters:
            self._withdraw(waiter)
        detachment = Detachment(device.ref, lost, within_ms, now_ms)
        earlier = self.leaving.get(device.key)
        if earlier is not None:
            detachment.done += earlier.done
        if done is not None:
            detachment.done.append(done)
        self.leaving[device.key] = detachment
        self._send(*self._detaching(device.key, detachment, now_ms))
        return detachment

    def drop(self, device: AttachedDevice) -> None:
        """The device is not attached any longer, and the server need not be told. Idempotent."""
        device.is_live = device.is_granted = False
        if self.devices.get(device.key) is device:
            del self.devices[device.key]
        self._by_ref.pop(device.ref, None)

    # --- what the server says ---------------------------------------------------------------------------------

    def taken(self, message: messages.Taken, now_ms: int) -> None:
        """A push arrived: the link has lost the device with this ref."""
        device = self._by_ref.get(message.ref)
        if device is None:
            return
        device.is_live = False
        if device.unanswered:
            device.loss = message.why
        elif message.why in FINAL:
            self.lose(device, message.why)
        elif device.is_granted and device.is_over(now_ms):
            self.lose(device, "ended")
        elif device.is_granted:
            extra = fields("device_lost", user=device.user, device=device.device, why=message.why)
            sentence = "%s/%s was let go by the server (%s): it is attached again"
            _log.warning(sentence, *device.key, message.why, extra=extra)
            # If it is gone and not only in grace, its memberships have ended with it.
            device.is_to_join = bool(device.channels)
            self._send(*self._again(device, now_ms))
            if message.why == "lost":
                self._on_taken(Taken(*device.key, message.why))

    def lose(self, device: AttachedDevice, why: str) -> None:
        """The device was lost, and the app has not asked for that."""
        self.drop(device)
        if len(self._taken) >= TAKEN_MAX:
            del self._taken[next(iter(self._taken))]
        self._taken[device.key] = None
        self._on_taken(Taken(device.user, device.device, why))

    # --- over time and over links -----------------------------------------------------------------------------

    def beats(self, now_ms: int) -> list[Beats | Focus]:
        """Heartbeats of all devices, in as few messages as possible, and what is on screens that could not be told
        before. A device that the server refused for the moment is asked for again. O(devices)."""
        for device in list(self.devices.values()):
            if device.is_granted and not device.is_live and not device.unanswered:
                if device.is_over(now_ms):
                    self.lose(device, "ended")
                else:
                    self._send(*self._again(device, now_ms))
        live = [device for device in self.devices.values() if device.is_live]
        shown = [device.tell_focus() for device in live if device.focus != device.focus_told]
        return [*beats_of(live, now_ms), *shown]

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`. A device that was never granted is left to the request that waits to attach it. One that the link
        has taken back is as it was, and the server tells which of those it has not. `beats` follow at once."""
        is_resumed = self._is_resumed()
        for device in list(self.devices.values()):
            device.is_live = is_resumed and device.is_live
            device.forget_focus_told()
            device.unanswered, device.loss = len(device.waiters), ""
            if device.is_granted and device.is_over(now_ms) and not device.waiters:
                self.lose(device, "ended")
        for key, detachment in list(self.leaving.items()):
            if (detachment.lost or detachment.within_ms is not None) and key in self.devices:
                # The device is in grace since the link was lost, and the attach that waits brings it back from there.
                del self.leaving[key]
                self._tell(detachment, None)
            else:
                yield self._detaching(key, detachment, now_ms)
        # A device that the app asks for anew is attached by that request, which follows.
        returning = [
            device
            for device in self.devices.values()
            if device.is_granted and not device.waiters and not device.is_live
        ]
        for device in returning:
            yield self._again(device, now_ms)
        for device in self.devices.values():
            device.is_to_join = bool(device.waiters and device.channels)
        for device in returning:
            for channel in device.channels or ():
                yield joining(device.user, device.device, channel)

    def join_again(self, device: AttachedDevice) -> None:
        """The device was attached again, and nobody has joined its channels yet: they follow."""
        if device.is_to_join:
            device.is_to_join = False
            for channel in device.channels or ():
                self._send(*joining(device.user, device.device, channel))

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        leaving, self.leaving = self.leaving, {}
        for detachment in leaving.values():
            self._tell(detachment, error or ConnectionLost("closed", "this client is closed", temporary=False))

    def _again(self, device: AttachedDevice, now_ms: int) -> tuple[Make, OnReply]:
        device.unanswered += 1

        def answered(reply: Reply) -> None:
            device.unanswered -= 1
            if self.devices.get(device.key) is not device:
                return
            if not isinstance(reply, Error):
                device.is_live, device.is_refused, device.loss = True, False, ""
                self.join_again(device)
            elif reply.code == "device_held" or device.loss in FINAL:
                device.loss = device.loss if device.loss in FINAL else "replaced"
                if not device.unanswered:
                    self.lose(device, device.loss)
            else:
                if not device.is_refused:
                    extra = fields("device_refused", user=device.user, device=device.device, code=reply.code)
                    _log.warning("%s/%s could not be attached again: %s", *device.key, reply.message, extra=extra)
                device.is_refused = True
                if not error_of(reply).temporary:
                    self.lose(device, reply.code)

        return lambda request_id: device.attach_again(request_id, now_ms), answered

    def _detaching(self, key: DeviceKey, detachment: Detachment, now_ms: int) -> tuple[Make, OnReply]:
        within_ms = detachment.within_ms
        left_ms = max(0, within_ms - (now_ms - detachment.begun_ms)) if within_ms is not None else None

        def make(request_id: int) -> Detach:
            detachment.request_id = request_id
            # The ref serves a server that does not read the names: it knows the ref from the attach on this link.
            return Detach(request_id, detachment.ref, detachment.lost, *key, left_ms)

        def answered(reply: Reply) -> None:
            if self.leaving.get(key) is detachment:
                del self.leaving[key]
            # `no_such_device`: the device is gone, or another client has it. Either is what was wanted.
            is_refused = isinstance(reply, Error) and reply.code != "no_such_device"
            self._tell(detachment, error_of(reply) if is_refused and isinstance(reply, Error) else None)

        return make, answered

    def _tell(self, detachment: Detachment, error: PresenceError | None) -> None:
        done, detachment.done = detachment.done, []
        for call in done:
            call(error)

    def _free_ref(self) -> int:
        while True:
            self._last_ref = self._last_ref % REQUEST_ID_MAX + 1
            if self._last_ref not in self._by_ref:
                return self._last_ref
