"""The devices that a service holds: their references, how idle each is, the channels joined; all of it over all links.

Two things are kept apart: what is to be (`devices` are to be held, `leaving` to be let go), which only the app and the
server's refusals change, and what is so on the present link (`HeldDevice.is_on`), which only the server's word changes.
Each new link, each heartbeat and each loss that the server tells of brings the second to the first. So a call that is
cancelled, at whatever moment, changes what is to be or nothing, and nothing that is to be done hangs on its reply.

Knows no sockets, no loop and no clock; of what a new link refuses, which nobody waits for, it tells the log.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from presenced.client.protocol.heartbeat import Activity
from presenced.client.protocol.pending import Make, OnReply, Reply, Send
from presenced.client.protocol.session import error_of
from presenced.client.values import Attachment, Taken
from presenced.errors import ConnectionLost, PresenceError, RequestError
from presenced.limits import BEATS_MAX, REQUEST_ID_MAX
from presenced.wire import messages
from presenced.wire.messages import Attach, Beats, Detach, DeviceStatus, Error, Join

NO_REPORT = -1

TAKEN_MAX = 16_384
"""Devices that were lost and that the app has not let go so far, which are remembered so that this is no error then."""

Key = tuple[str, str]
OnLeft = Callable[[PresenceError | None], None]
"""Called when the server has answered a detach: with None if the device is held no more."""

_log = logging.getLogger("presenced.client")


class HeldDevice:
    """One device that a service speaks for."""

    __slots__ = (
        "activity", "asked", "calls", "channels", "device", "is_held", "is_on", "is_refused", "is_to_join",
        "kind", "loss", "name", "priority", "ref", "status", "user", "waiting",
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
        self.calls = 0
        """Calls that want it attached: under way, or done. With none it is let go."""
        self.waiting: dict[Call, None] = {}
        """Those of them that are under way."""
        self.is_held = False
        """The server has said so, on this link or an earlier one."""
        self.is_on = False
        """The present link holds it: it beats."""
        self.is_refused = False
        """The server does not let it back for now; it is asked again with each heartbeat."""
        self.is_to_join = False
        """Its channels are to be joined once it is attached on the present link."""
        self.asked = 0
        """Attaches on the present link that are not answered so far."""
        self.loss = ""
        """Why the server took it away while it was asked for anew; the reply decides."""

    @property
    def key(self) -> Key:
        return self.user, self.device

    def __repr__(self) -> str:
        how = "refused" if self.is_refused else "held" if self.is_on else "to be held"
        return f"<HeldDevice {self.user}/{self.device}, ref {self.ref}, {how}>"

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

    def attach_again(self, request_id: int, now_ms: int) -> Attach:
        """The request that attaches it on a new link: as it was, and only if nobody else has it by now."""
        kind, name, priority, status, idle_ms = self.kind, self.name, self.priority, self.status, self.idle_ms(now_ms)
        described = (kind, name, priority, status, idle_ms)
        return Attach(request_id, self.ref, self.user, self.device, *described, as_was=True, only_free=True)

    def attach_as(self, attachment: Attachment, request_id: int, now_ms: int) -> Attach:
        """The request that attaches it as described; that is to be its own description once it is granted."""
        _, _, kind, name, priority, status, _ = attachment
        return Attach(request_id, self.ref, self.user, self.device, kind, name, priority, status, self.idle_ms(now_ms))


class Call:
    """One attach that the app has asked for."""

    __slots__ = ("_held", "_is_open", "attachment", "device", "waiter")

    def __init__(self, held: Held, device: HeldDevice, attachment: Attachment, waiter: Any) -> None:
        self._held = held
        self._is_open = True
        self.device = device
        self.attachment = attachment
        self.waiter = waiter
        """What waits for the reply."""
        device.calls += 1
        device.asked += 1
        device.waiting[self] = None

    def answered(self, reply: Reply | Error) -> None:
        """The server's word."""
        device = self.device
        device.waiting.pop(self, None)
        device.asked -= 1
        if not isinstance(reply, Error):
            device.is_held = device.is_on = True
            device.is_refused, device.loss = False, ""
            device.adopt(self.attachment)
            self._held.join_again(device)
            return
        if self._close():
            self._held.drop(device)
        elif device.loss == "replaced" and not device.asked:
            self._held.lose(device, device.loss)

    def give_up(self, *, may_be_applied: bool) -> None:
        """The caller is told that it failed. If nobody else wants the device it is let go, as one whose connection is
        lost: it may have been there before, and its person may be back at once. Idempotent."""
        self.device.waiting.pop(self, None)
        if self._close() and self._held.devices.get(self.device.key) is self.device:
            if may_be_applied:
                self._held.leave(self.device, lost=True)
            else:
                self._held.drop(self.device)

    def _close(self) -> bool:
        """Gives whether it was the last that wants the device."""
        if not self._is_open:
            return False
        self._is_open = False
        self.device.calls -= 1
        return self.device.calls == 0


class Leaving:
    """One device that is to be let go, until the server has answered."""

    __slots__ = ("done", "lost", "ref", "request_id")

    def __init__(self, ref: int, lost: bool) -> None:
        self.ref = ref
        self.lost = lost
        self.done: list[OnLeft] = []
        self.request_id = 0
        """Of the request on the present link."""


class Held:
    """All devices of a service link."""

    def __init__(self, send: Send, on_taken: Callable[[Taken], None], withdraw: Callable[[Call], None]) -> None:
        """`withdraw`: a call waits for a device that is let go meanwhile; it must not be sent again."""
        self.devices: dict[Key, HeldDevice] = {}
        """Those that are to be held."""
        self.leaving: dict[Key, Leaving] = {}
        """Those that are to be let go. A device may be in both: then it is let go first."""
        self._by_ref: dict[int, HeldDevice] = {}
        self._last_ref = 0
        self._taken: dict[Key, None] = {}
        self._send = send
        self._on_taken = on_taken
        self._withdraw = withdraw

    def get(self, user: str, device: str) -> HeldDevice:
        """Raises `RequestError` (`no_such_device`) for one that is not held."""
        held = self.devices.get((user, device))
        if held is None:
            sentence = f"this client does not hold {user}/{device}; attach it first"
            if (user, device) in self._taken:
                sentence = f"{user}/{device} was taken from this client; see on_taken"
            raise RequestError("no_such_device", sentence)
        return held

    # --- what the app wants -----------------------------------------------------------------------------------

    def attach(self, attachment: Attachment, waiter: Any) -> Call:
        """The device is to be held: send `attach_as`, with the call's `answered` as what to do with the reply."""
        key = attachment.user, attachment.device
        held = self.devices.get(key)
        if held is None:
            held = HeldDevice(self._free_ref(), *key)
            self.devices[key] = self._by_ref[held.ref] = held
        self._taken.pop(key, None)
        return Call(self, held, attachment, waiter)

    def detach(self, user: str, device: str, lost: bool, done: OnLeft) -> Leaving | None:
        """The device is to be let go; `done` is called when it is. None: it was taken, and nothing is to be done.

        Raises `RequestError` (`no_such_device`) for one that was never held.
        """
        key = user, device
        if key not in self.devices and key in self._taken:
            del self._taken[key]
            return None
        return self.leave(self.get(user, device), lost=lost, done=done)

    def leave(self, held: HeldDevice, *, lost: bool, done: OnLeft | None = None) -> Leaving:
        """It is to be let go: said at once if there is a link, and on each later one until the server has answered."""
        self.drop(held)
        waiting, held.waiting = held.waiting, {}
        for call in waiting:
            self._withdraw(call)
        leaving = Leaving(held.ref, lost)
        earlier = self.leaving.get(held.key)
        if earlier is not None:
            leaving.done += earlier.done
        if done is not None:
            leaving.done.append(done)
        self.leaving[held.key] = leaving
        self._send(*self._detaching(held.key, leaving))
        return leaving

    def drop(self, held: HeldDevice) -> None:
        """It is held no more. Idempotent."""
        held.is_on = held.is_held = False
        if self.devices.get(held.key) is held:
            del self.devices[held.key]
        self._by_ref.pop(held.ref, None)

    # --- what the server says ---------------------------------------------------------------------------------

    def taken(self, message: messages.Taken, now_ms: int) -> None:
        """A push arrived: the link does not hold what is under this ref."""
        held = self._by_ref.get(message.ref)
        if held is None:
            return
        held.is_on = False
        if held.asked:
            held.loss = message.why
        elif message.why == "replaced":
            self.lose(held, message.why)
        elif held.is_held:
            _log.warning("%s/%s was let go by the server (%s): it is attached again", *held.key, message.why)
            self._send(*self._again(held, now_ms))

    def lose(self, held: HeldDevice, why: str) -> None:
        """It is held no more, without the app's doing."""
        self.drop(held)
        if len(self._taken) >= TAKEN_MAX:
            del self._taken[next(iter(self._taken))]
        self._taken[held.key] = None
        self._on_taken(Taken(held.user, held.device, why))

    # --- over time and over links -----------------------------------------------------------------------------

    def beats(self, now_ms: int) -> list[Beats]:
        """Heartbeats of all devices, in as few messages as may be. What was refused for a time is asked for again.
        O(devices)."""
        for held in list(self.devices.values()):
            if held.is_held and not held.is_on and not held.asked:
                self._send(*self._again(held, now_ms))
        return beats_of([held for held in self.devices.values() if held.is_on], now_ms)

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        """See `Part`. One that was never attached is left to the request that waits to attach it."""
        for held in self.devices.values():
            held.is_on, held.asked, held.loss = False, len(held.waiting), ""
        for key, leaving in list(self.leaving.items()):
            if leaving.lost and key in self.devices:
                # It is in grace since the link was lost, and comes back from there by the attach that waits.
                del self.leaving[key]
                self._tell(leaving, None)
            else:
                yield self._detaching(key, leaving)
        # What the app asks for anew is attached by that request, which follows.
        entries = [held for held in self.devices.values() if held.is_held and not held.waiting]
        for held in entries:
            yield self._again(held, now_ms)
        for held in self.devices.values():
            held.is_to_join = bool(held.waiting and held.channels)
        for held in entries:
            for channel in held.channels or ():
                yield joining(held.user, held.device, channel)

    def join_again(self, held: HeldDevice) -> None:
        """It is attached on a new link by a request of the app's: its channels follow."""
        if held.is_to_join:
            held.is_to_join = False
            for channel in held.channels or ():
                self._send(*joining(held.user, held.device, channel))

    def end(self, error: PresenceError | None) -> None:
        """See `Part`."""
        leaving, self.leaving = self.leaving, {}
        for one in leaving.values():
            self._tell(one, error or ConnectionLost("closed", "this client is closed", temporary=False))

    def _again(self, held: HeldDevice, now_ms: int) -> tuple[Make, OnReply]:
        held.asked += 1

        def answered(reply: Reply | Error) -> None:
            held.asked -= 1
            if self.devices.get(held.key) is not held:
                return
            if not isinstance(reply, Error):
                held.is_on, held.is_refused, held.loss = True, False, ""
            elif reply.code == "device_held":
                held.loss = "replaced"
                if not held.asked:
                    self.lose(held, held.loss)
            else:
                if not held.is_refused:
                    _log.warning("%s/%s could not be attached again: %s", *held.key, reply.message)
                held.is_refused = True
                if not error_of(reply).temporary:
                    self.lose(held, reply.code)

        return lambda request_id: held.attach_again(request_id, now_ms), answered

    def _detaching(self, key: Key, leaving: Leaving) -> tuple[Make, OnReply]:
        def make(request_id: int) -> Detach:
            leaving.request_id = request_id
            # The ref is for servers that know no names here, on the link on which it was attached.
            return Detach(request_id, leaving.ref, leaving.lost, *key)

        def answered(reply: Reply | Error) -> None:
            if self.leaving.get(key) is leaving:
                del self.leaving[key]
            # It is gone, or another client has it by now: that is what was wanted.
            is_refused = isinstance(reply, Error) and reply.code != "no_such_device"
            self._tell(leaving, error_of(reply) if is_refused and isinstance(reply, Error) else None)

        return make, answered

    def _tell(self, leaving: Leaving, error: PresenceError | None) -> None:
        done, leaving.done = leaving.done, []
        for call in done:
            call(error)

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
    """Join a channel again on a new link, unless somebody else has taken the device out of one since it came. Where the
    server still knows of it, that changes nothing."""

    def answered(reply: Reply | Error) -> None:
        if isinstance(reply, Error):
            _log.warning("%s/%s could not join %s again: %s", user, device, channel, reply.message)

    return lambda request_id: Join(request_id, channel, user, device, as_was=True), answered
