"""The client of a user's device: what a person's program does with a server. `connect` makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from presenced.client import acts
from presenced.client.connected import Asking
from presenced.client.own_state import OwnCallback, OwnView
from presenced.client.protocol.attachments import joining
from presenced.client.protocol.pending import Make, OnReply, Reply
from presenced.client.reconnect import Identity
from presenced.client.schedule_windows import WindowLike
from presenced.client.values import (
    Answer,
    Idle,
    Moment,
    Schedule,
    SyncStatus,
    Until,
    idle_ms_of,
)
from presenced.errors import PresenceError
from presenced.wire import messages
from presenced.wire.messages import (
    ActivityInfo,
    ClaimInfo,
    DeviceInfo,
    DeviceStatus,
    Error,
    OwnState,
    Source,
    Status,
    StatusRequest,
)


class Client(Asking):
    """A connected user's device; made by `connect`. For one event loop, not for several threads.

    Methods that ask the server raise `AddressError` before anything is sent, `RequestError` if it refuses,
    `RequestTimeout` and `ConnectionLost`. A call that raises later is not applied when the link comes back.
    """

    def __init__(self, identity: Identity, timeout_s: float, request_timeout_s: float, reconnects: bool) -> None:
        super().__init__(identity, timeout_s, request_timeout_s, reconnects)
        self._own = OwnView(self._callbacks, self._keeper.send, identity)
        self._pushes[messages.OwnState] = self._own.put
        self._joined = _Joined()
        self._session.parts.insert(0, self._joined)

    @property
    def user(self) -> str:
        return self._identity.url.user

    @property
    def device(self) -> str:
        return self._identity.url.device

    # --- the own state ----------------------------------------------------------------------------------------

    async def set_status(
        self,
        status: StatusRequest,
        text: str | None = None,
        emoji: str | None = None,
        until: Until = None,
    ) -> None:
        """Set the user's manual status, and the text with it if given. `auto` ends the manual status.

        `until` is a timedelta, a number of seconds or an aware datetime, and holds for all that is set here. The
        status shows while some device is online; `offline` makes the user appear offline.
        """
        await acts.set_status(self, "", "", status, text, emoji, until)

    async def set_text(self, text: str, emoji: str | None = None, until: Until = None) -> None:
        """Set the user's text, whatever the status; an empty one clears it."""
        await acts.set_status(self, "", "", None, text, emoji, until)

    async def clear_text(self) -> None:
        """Clear text and emoji; the status stays."""
        await acts.set_status(self, "", "", None, "", "", None)

    async def clear(self) -> None:
        """End the manual status and clear text and emoji."""
        await acts.set_status(self, "", "", "auto", "", "", None)

    @property
    def own(self) -> OwnState | None:
        """What only the user sees of themselves: record, claims, devices, and when the text ends. None before it has
        come, and on a device that does not want it (`sync=False`)."""
        return self._own.latest

    def on_own(self, callback: OwnCallback) -> Callable[[], None]:
        """Call `callback(state)` with the own state that is there and each later one; returns a function that ends it.

        The device acknowledges a state once all callbacks have returned; one that raises leaves it unacknowledged
        (the exception goes to the loop's handler). A slow one gets the latest, not every step. It may be async.
        """
        self._own.add(callback)
        return self._used_for(callback, self._own.shown)

    async def sync(self) -> None:
        """Have the own state sent to all of the user's connected devices again."""
        await acts.sync(self, "")

    async def get_sync_status(self) -> SyncStatus:
        """How many of the user's connected devices show the own state as it is now."""
        return await acts.get_sync_status(self, "")

    # --- devices ----------------------------------------------------------------------------------------------

    async def set_device(
        self, *, status: DeviceStatus | None = None, priority: int | None = None, name: str | None = None
    ) -> None:
        """Set this device's own status, priority or display name; what is not given stays as it is. Once set it is
        kept over reconnects, which state again what was last set here, or given to `connect`."""
        await acts.set_device(self, "", "", status, priority, name, self._identity.describe)

    async def set_device_status(self, status: DeviceStatus) -> None:
        """Set this device's own status."""
        await self.set_device(status=status)

    async def get_devices(self) -> list[DeviceInfo]:
        """All of the user's devices that the server remembers, this one among them."""
        return await acts.get_devices(self, "")

    async def rename_device(self, device: str, name: str) -> None:
        """Give one of the user's live devices another display name. Raises `RequestError` (`no_such_device`)."""
        is_this = device == self.device
        await acts.set_device(self, "", device, None, None, name, self._identity.describe if is_this else None)

    async def forget_device(self, device: str) -> None:
        """Forget a device that is gone. Raises `RequestError` (`no_such_device`, `bad_request` for a live one)."""
        await acts.forget_device(self, "", device)

    def active(self) -> None:
        """The person gave input now (a key, a click). Cheap: call it for each. O(1)

        A person who was away, or would be before the next heartbeat, shows as online at once. An app that never
        calls `active` or `idle` counts as active for as long as it runs.
        """
        self.idle(0)

    def idle(self, idle: Idle) -> None:
        """The person's last input was `idle` (seconds, or a timedelta) ago; from here the idle time grows by itself.

        The last input only ever moves forward: what the server was told before, or has seen this device set, is
        not taken back. Pass `idle` to `connect` to come as somebody who is idle already.
        """
        self._keeper.report_idle(idle_ms_of(idle))

    # --- claims, schedule, activity ---------------------------------------------------------------------------

    async def add_claim(
        self, claim: str, source: Source, status: Status, until: Until = None, device: str | None = None
    ) -> None:
        """State a status for the user until it is ended or `until`; a claim of the same name is replaced.

        `source` is its rank: `call` over `manual` over `calendar`. Raises `RequestError` (`claim_past`,
        `claim_limit`, `bad_request` for the source `schedule`). With `device`, a live one of the user, it ends
        when that is gone, whatever `until` says.
        """
        await acts.add_claim(self, "", claim, source, status, until, device)

    async def end_claim(self, claim: str) -> None:
        """End a claim; the one below shows again. One that is not there is no error."""
        await acts.end_claim(self, "", claim)

    async def get_claims(self) -> list[ClaimInfo]:
        """The user's claims, the one that counts first."""
        return await acts.get_claims(self, "")

    async def set_schedule(self, zone: str, windows: Iterable[WindowLike], status: DeviceStatus = "dnd") -> None:
        """A status that recurs each week in the time zone: `("Europe/Berlin", [("mon-fri", "18:00", "08:00")])`.

        A window that ends before it starts ends on the day after. Raises `AddressError` or `RequestError`, both
        `bad_schedule`.
        """
        await acts.set_schedule(self, "", zone, windows, status)

    async def clear_schedule(self) -> None:
        """End the schedule and what it claims."""
        await acts.clear_schedule(self, "")

    async def get_schedule(self) -> Schedule | None:
        """The user's schedule, None if there is none."""
        return await acts.get_schedule(self, "")

    async def record_activity(
        self, activity: str, *, channel: str | None = None, at: Moment = None, payload: str = ""
    ) -> None:
        """Record something that the user did on this device, which counts as input; `at` None = now.

        Never sent twice: if the link is lost before the reply, raises `ConnectionLost`, and it may or may not have
        been recorded. Raises `RequestError` (`bad_time`, `bad_activity`) too.
        """
        await acts.record_activity(self, "", "", activity, channel, at, payload)

    async def get_activity(self, limit: int = 20, since: Moment = None) -> list[ActivityInfo]:
        """Up to `limit` (1 to 100) activities of the user, newest first; those at or after `since` if given."""
        return await acts.get_activity(self, "", limit, since)

    async def command(self, text: str) -> Answer:
        """Do what the person typed, such as `/presence away for 30m`; the answer says what to show. Only trouble with
        the link raises: what cannot be done is told in the answer (`ok` False)."""
        return await acts.command(self, "", "", text)

    # --- channels ---------------------------------------------------------------------------------------------

    async def join(self, channel: str) -> None:
        """This device is in the channel until it leaves or is gone; kept over reconnects.

        Raises `RequestError` (`channel_limit`).
        """
        await acts.join(self, "", "", channel, self._joined.on_reply(channel, joins=True))

    async def leave(self, channel: str) -> None:
        """This device is in the channel no more; not having been is no error."""
        await acts.leave(self, "", "", channel, self._joined.on_reply(channel, joins=False))


class _Joined:
    """The channels that this device is in, joined again on each new link. A `Part`."""

    def __init__(self) -> None:
        self.channels: dict[str, None] = {}

    def on_reply(self, channel: str, *, joins: bool) -> OnReply:
        """As the reply is read, whether or not anybody still waits for it."""

        def answered(reply: Reply | Error) -> None:
            if isinstance(reply, Error):
                return
            if joins:
                self.channels[channel] = None
            else:
                self.channels.pop(channel, None)

        return answered

    def standing(self, now_ms: int) -> Iterator[tuple[Make, OnReply | None]]:
        for channel in self.channels:
            yield joining("", "", channel)

    def end(self, error: PresenceError | None) -> None:
        self.channels.clear()
