"""What can be done and asked about one user: status and text, devices, claims, activity, own state.

Each act stands here once, for a user's client, a service's and the command line; see `act_group`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from presenced.address import check_channel, check_emoji, check_label, check_meta, check_name, check_text
from presenced.client.act_group import OWN, ActGroup
from presenced.client.protocol.pending_requests import OnReply, Reply
from presenced.client.schedule_windows import WindowLike, windows_of, written
from presenced.client.values import (
    Answer,
    Moment,
    Schedule,
    SyncStatus,
    Until,
    check_claim,
    check_command,
    check_device_status,
    check_limit,
    check_priority,
    check_status,
    duration_ms,
    moment_ms,
    until_of,
)
from presenced.limits import ACTIVITIES_PER_USER_MAX, PAYLOAD_BYTES_MAX
from presenced.wire import messages
from presenced.wire.messages import (
    ActivityInfo,
    ClaimInfo,
    DeviceInfo,
    DeviceStatus,
    Error,
    Source,
    Status,
    StatusRequest,
)

NO_WINDOWS: list[messages.Window] = []

OnDescribed = Callable[[DeviceStatus | None, int | None, str | None, str | None], None]
"""Takes the status, priority, name and meta that a device was given; None for a value that stays as it is."""


class UserActs(ActGroup):
    """See the module's docstring."""

    # --- status and text --------------------------------------------------------------------------------------

    async def set_status(
        self,
        user: str,
        status: StatusRequest,
        text: str | None = None,
        emoji: str | None = None,
        until: Until = None,
        *,
        device: str | None = None,
    ) -> None:
        """Set the user's manual status, and the text with it if given. `auto` ends the manual status.

        `until` is a timedelta, a number of seconds or an aware datetime, and holds for all that is set here. With
        `device` it counts as input there. The status shows while some device is online; `offline` hides the user.
        """
        check_status(status)
        await self._set_status(user, status, text, emoji, until, device or OWN)

    async def set_text(self, user: str, text: str, emoji: str | None = None, until: Until = None) -> None:
        """Set the user's text, whatever the status; an empty one clears it."""
        await self._set_status(user, None, text, emoji, until)

    async def clear_text(self, user: str) -> None:
        """Clear text and emoji; the status stays."""
        await self._set_status(user, None, "", "", None)

    async def clear(self, user: str) -> None:
        """End the manual status and clear text and emoji."""
        await self._set_status(user, "auto", "", "", None)

    async def _set_status(
        self,
        user: str,
        status: StatusRequest | None,
        text: str | None,
        emoji: str | None,
        until: Until,
        device: str = OWN,
    ) -> None:
        if text is not None:
            check_text(text)
        if emoji is not None:
            check_emoji(emoji)
        for_ms = duration_ms(until, self._exchange.server_time_ms)
        await self._exchange.do(
            lambda request_id: messages.SetStatus(request_id, status, text, emoji, for_ms, user=user, device=device)
        )

    async def touch(self, user: str, device: str | None = None) -> None:
        """The user was seen just now: updates last seen and nothing else."""
        await self._exchange.do(lambda request_id: messages.Touch(request_id, user, device or OWN))

    async def command(self, user: str, text: str, device: str | None = None) -> Answer:
        """Do what the user typed, such as `/presence away for 30m`; the answer says what to show. What cannot be done
        is told in the answer (`ok` False)."""
        check_command(text)
        reply = await self._exchange.request(
            lambda request_id: messages.Command(request_id, text, user, device or OWN), messages.CommandReply
        )
        return Answer(reply.ok, reply.text, reply.verb, reply.records, reply.devices, reply.activities)

    # --- devices ----------------------------------------------------------------------------------------------

    async def set_device(
        self,
        user: str,
        device: str,
        *,
        status: DeviceStatus | None = None,
        priority: int | None = None,
        name: str | None = None,
        meta: str | None = None,
        on_described: OnDescribed | None = None,
    ) -> None:
        """Set a live device's own status, priority or display name; the `meta` alone also of one that is gone. Raises
        `RequestError` (`no_such_device`).

        `on_described` is called as the reply is read and not by the caller that waits: of several callers that wait for
        a link, one request may stand for all, and its values are the ones that hold.
        """
        if status is not None:
            check_device_status(status)
        if priority is not None:
            check_priority(priority)
        if name is not None:
            check_label(name, "device label")
        if meta is not None:
            check_meta(meta)

        def answered(reply: Reply) -> None:
            if on_described is not None and not isinstance(reply, Error):
                on_described(status, priority, name, meta)

        await self._exchange.do(
            lambda request_id: messages.SetDevice(request_id, status, priority, name, user, device, meta),
            answered,
        )

    async def forget_device(self, user: str, device: str) -> None:
        """Forget a device that is gone. Raises `RequestError` (`no_such_device`, `bad_request` for a live one)."""
        check_name(device, "device")
        await self._exchange.do(lambda request_id: messages.Forget(request_id, device, user=user))

    async def get_devices(self, user: str) -> list[DeviceInfo]:
        """All devices of the user that the server remembers; none for an unknown user."""
        reply = await self._exchange.request(
            lambda request_id: messages.GetDevices(request_id, user), messages.DeviceList
        )
        return reply.devices

    async def join(self, user: str, device: str, channel: str, on_reply: OnReply | None = None) -> None:
        """The device is in the channel until it leaves or is gone. Raises `RequestError` (`no_such_device`,
        `channel_limit`)."""
        check_channel(channel)
        await self._exchange.do(lambda request_id: messages.Join(request_id, channel, user, device), on_reply)

    async def leave(self, user: str, device: str, channel: str, on_reply: OnReply | None = None) -> None:
        """The device leaves the channel; that it was not in it is no error."""
        check_channel(channel)
        await self._exchange.do(lambda request_id: messages.Leave(request_id, channel, user, device), on_reply)

    # --- claims and schedules ---------------------------------------------------------------------------------

    async def add_claim(
        self, user: str, claim: str, source: Source, status: Status, until: Until = None, device: str | None = None
    ) -> None:
        """State a status for the user until it is ended or `until`; a claim of the same name is replaced.

        `source` is its rank: `call` over `manual` over `calendar`. Raises `RequestError` (`claim_past`,
        `claim_limit`, `bad_request` for the source `schedule`). With `device`, a live one of the user, it ends
        when that is gone, whatever `until` says.
        """
        check_name(claim, "claim")
        check_claim(source, status)
        if device is not None:
            check_name(device, "device")
        for_ms, until_ms = until_of(until)
        await self._exchange.do(
            lambda request_id: messages.AddClaim(
                request_id, claim, source, status, for_ms, until_ms, user=user, device=device or OWN
            )
        )

    async def end_claim(self, user: str, claim: str) -> None:
        """End a claim; the one below shows again. One that is not there is no error."""
        check_name(claim, "claim")
        await self._exchange.do(lambda request_id: messages.EndClaim(request_id, claim, user))

    async def get_claims(self, user: str) -> list[ClaimInfo]:
        """The user's claims, the one that counts first."""
        return (await self._claims(user)).claims

    async def find_claims(self, claim: str = "") -> list[tuple[str, ClaimInfo]]:
        """The claims of this name over all users, or (empty) of every name, each with its user. A backend that comes
        back learns from it what it left behind. O(users) for the server, in pages."""
        if claim:
            check_name(claim, "claim")
        found: list[tuple[str, ClaimInfo]] = []
        after = 0
        while True:
            page = await self._claims_page(claim, after)
            found += zip(page.users, page.claims, strict=False)
            after = page.next
            if not after:
                return found

    async def set_schedule(
        self, user: str, zone: str, windows: Iterable[WindowLike], status: DeviceStatus = "dnd"
    ) -> None:
        """A status that recurs each week in the time zone: `("Europe/Berlin", [("mon-fri", "18:00", "08:00")])`.

        A window that ends before it starts ends on the day after. Raises `AddressError` or `RequestError`, both
        `bad_schedule`.
        """
        check_device_status(status)
        made = windows_of(windows)
        await self._exchange.do(lambda request_id: messages.SetSchedule(request_id, zone, made, status, user))

    async def clear_schedule(self, user: str) -> None:
        """End the schedule and what it claims."""
        await self._exchange.do(lambda request_id: messages.SetSchedule(request_id, "", NO_WINDOWS, user=user))

    async def get_schedule(self, user: str) -> Schedule | None:
        """The user's schedule, None if there is none."""
        reply = await self._claims(user)
        if not reply.zone:
            return None
        return Schedule(reply.zone, [written(window) for window in reply.windows], reply.schedule_status)

    async def _claims(self, user: str) -> messages.ClaimList:
        return await self._exchange.request(lambda request_id: messages.GetClaims(request_id, user), messages.ClaimList)

    async def _claims_page(self, claim: str, after: int) -> messages.ClaimsPage:
        return await self._exchange.request(
            lambda request_id: messages.FindClaims(request_id, claim, after), messages.ClaimsPage
        )

    # --- activity ---------------------------------------------------------------------------------------------

    async def record_activity(
        self,
        user: str,
        activity: str,
        *,
        channel: str | None = None,
        device: str | None = None,
        at: Moment = None,
        payload: str = "",
    ) -> None:
        """Record something that the user did (`message`, `login`, ...); counts as input on the device, if named.

        `at` None = now. Never sent twice: if the link is lost before the reply, raises `ConnectionLost`, and it may or
        may not have been recorded. Raises `RequestError` (`no_such_device`, `bad_time`, `bad_activity`) too.
        """
        check_name(activity, "activity type")
        if channel is not None:
            check_channel(channel)
        check_label(payload, "payload", PAYLOAD_BYTES_MAX)
        at_ms = moment_ms(at, self._exchange.server_time_ms, "at")
        await self._exchange.do(
            lambda request_id: messages.AddActivity(
                request_id, activity, channel or "", at_ms, payload, user=user, device=device or OWN
            )
        )

    async def get_activity(self, user: str, limit: int = 20, since: Moment = None) -> list[ActivityInfo]:
        """Up to `limit` (1 to 100) activities of the user, newest first; those at or after `since` if given."""
        check_limit(limit, 1, ACTIVITIES_PER_USER_MAX)
        since_ms = moment_ms(since, self._exchange.server_time_ms, "since")
        reply = await self._exchange.request(
            lambda request_id: messages.GetActivity(request_id, user, limit, since_ms), messages.ActivityList
        )
        return reply.activities

    # --- the own state ----------------------------------------------------------------------------------------

    async def sync(self, user: str) -> None:
        """Have the user's own state sent to all of their connected devices again."""
        await self._exchange.do(lambda request_id: messages.Sync(request_id, user))

    async def get_sync_status(self, user: str) -> SyncStatus:
        """How many of the user's connected devices show their own state as it is now."""
        reply = await self._exchange.request(lambda request_id: messages.GetSync(request_id, user), messages.SyncState)
        devices = {info.device: info.applied for info in reply.devices}
        return SyncStatus(reply.user, reply.version, reply.synced, reply.total, reply.last_sync_ms, devices)
