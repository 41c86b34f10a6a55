"""The requests about a user, their devices and channels: arguments checked, put on the wire, the reply made a value.

Each takes the connection and then user and device, an empty one meaning the link's own; so a user's client and a
service's share them. All raise `AddressError` before anything is sent, and `RequestError`, `RequestTimeout` or
`ConnectionLost` afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from presenced.address import check_channel, check_emoji, check_label, check_name, check_text
from presenced.client.connection import Connection
from presenced.client.protocol.channels import COUNTED
from presenced.client.protocol.pending import OnReply, Reply
from presenced.client.protocol.session import chunks
from presenced.client.schedule_windows import WindowLike, windows_of, written
from presenced.client.values import (
    Answer,
    MembersPage,
    Moment,
    Schedule,
    SyncStatus,
    Until,
    WhoPage,
    check_claim,
    check_command,
    check_device_status,
    check_limit,
    check_names,
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
    Record,
    Source,
    Status,
    StatusRequest,
)

NO_WINDOWS: list[messages.Window] = []

OnDone = Callable[[DeviceStatus | None, int | None, str | None], None]
"""Takes the status, priority and name that a device was given; None for what was left as it is."""


async def set_status(
    link: Connection,
    user: str,
    device: str,
    status: StatusRequest | None,
    text: str | None,
    emoji: str | None,
    until: Until,
) -> None:
    if status is not None:
        check_status(status)
    if text is not None:
        check_text(text)
    if emoji is not None:
        check_emoji(emoji)
    for_ms = duration_ms(until, link.server_time_ms)
    await link._do(
        lambda request_id: messages.SetStatus(request_id, status, text, emoji, for_ms, user=user, device=device)
    )


async def set_device(
    link: Connection,
    user: str,
    device: str,
    status: DeviceStatus | None,
    priority: int | None,
    name: str | None,
    on_done: OnDone | None = None,
) -> None:
    """`on_done` is called once it is applied, as the reply is read. Not by who waits for it: of several that wait for
    a link, one may stand for all, and its values are the ones that hold."""
    if status is not None:
        check_device_status(status)
    if priority is not None:
        check_priority(priority)
    if name is not None:
        check_label(name, "device label")

    def answered(reply: Reply | Error) -> None:
        if on_done is not None and not isinstance(reply, Error):
            on_done(status, priority, name)

    await link._do(
        lambda request_id: messages.SetDevice(request_id, status, priority, name, user=user, device=device), answered
    )


async def forget_device(link: Connection, user: str, device: str) -> None:
    check_name(device, "device")
    await link._do(lambda request_id: messages.Forget(request_id, device, user=user))


async def get_devices(link: Connection, user: str) -> list[DeviceInfo]:
    reply = await link._request(lambda request_id: messages.GetDevices(request_id, user), messages.DeviceList)
    return reply.devices


async def touch(link: Connection, user: str, device: str) -> None:
    await link._do(lambda request_id: messages.Touch(request_id, user, device))


# --- claims and schedules -------------------------------------------------------------------------------------


async def add_claim(
    link: Connection, user: str, claim: str, source: Source, status: Status, until: Until, device: str | None = None
) -> None:
    check_name(claim, "claim")
    check_claim(source, status)
    if device is not None:
        check_name(device, "device")
    for_ms, until_ms = until_of(until)
    await link._do(
        lambda request_id: messages.AddClaim(
            request_id, claim, source, status, for_ms, until_ms, user=user, device=device or ""
        )
    )


async def _claims_page(link: Connection, claim: str, after: int) -> messages.ClaimsPage:
    return await link._request(lambda request_id: messages.FindClaims(request_id, claim, after), messages.ClaimsPage)


async def find_claims(link: Connection, claim: str) -> list[tuple[str, ClaimInfo]]:
    if claim:
        check_name(claim, "claim")
    found: list[tuple[str, ClaimInfo]] = []
    after = 0
    while True:
        page = await _claims_page(link, claim, after)
        found += zip(page.users, page.claims, strict=False)
        after = page.next
        if not after:
            return found


async def end_claim(link: Connection, user: str, claim: str) -> None:
    check_name(claim, "claim")
    await link._do(lambda request_id: messages.EndClaim(request_id, claim, user))


async def get_claims(link: Connection, user: str) -> list[ClaimInfo]:
    reply = await link._request(lambda request_id: messages.GetClaims(request_id, user), messages.ClaimList)
    return reply.claims


async def set_schedule(
    link: Connection, user: str, zone: str, windows: Iterable[WindowLike], status: DeviceStatus
) -> None:
    check_device_status(status)
    made = windows_of(windows)
    await link._do(lambda request_id: messages.SetSchedule(request_id, zone, made, status, user))


async def clear_schedule(link: Connection, user: str) -> None:
    await link._do(lambda request_id: messages.SetSchedule(request_id, "", NO_WINDOWS, user=user))


async def get_schedule(link: Connection, user: str) -> Schedule | None:
    reply = await link._request(lambda request_id: messages.GetClaims(request_id, user), messages.ClaimList)
    if not reply.zone:
        return None
    return Schedule(reply.zone, [written(window) for window in reply.windows], reply.schedule_status)


# --- activity -------------------------------------------------------------------------------------------------


async def record_activity(
    link: Connection, user: str, device: str, activity: str, channel: str | None, at: Moment, payload: str
) -> None:
    check_name(activity, "activity type")
    if channel is not None:
        check_channel(channel)
    check_label(payload, "payload", PAYLOAD_BYTES_MAX)
    at_ms = moment_ms(at, link.server_time_ms, "at")
    await link._do(
        lambda request_id: messages.AddActivity(
            request_id, activity, channel or "", at_ms, payload, user=user, device=device
        )
    )


async def get_activity(link: Connection, user: str, limit: int, since: Moment) -> list[ActivityInfo]:
    check_limit(limit, 1, ACTIVITIES_PER_USER_MAX)
    since_ms = moment_ms(since, link.server_time_ms, "since")
    reply = await link._request(
        lambda request_id: messages.GetActivity(request_id, user, limit, since_ms), messages.ActivityList
    )
    return reply.activities


# --- others, channels and lists -------------------------------------------------------------------------------


async def get_statuses(link: Connection, users: Iterable[str]) -> dict[str, Record]:
    found: dict[str, Record] = {}
    for chunk in chunks(check_names(users), link._session.users_per_request_max):
        reply = await link._ask(messages.Get, chunk)
        found.update(zip(chunk, reply.records, strict=False))
    return found


async def join(link: Connection, user: str, device: str, channel: str, on_reply: OnReply | None = None) -> None:
    check_channel(channel)
    await link._do(lambda request_id: messages.Join(request_id, channel, user, device), on_reply)


async def leave(link: Connection, user: str, device: str, channel: str, on_reply: OnReply | None = None) -> None:
    check_channel(channel)
    await link._do(lambda request_id: messages.Leave(request_id, channel, user, device), on_reply)


async def get_members(link: Connection, channel: str, after: str, limit: int) -> MembersPage:
    check_channel(channel)
    check_limit(limit)
    page = await link._request(
        lambda request_id: messages.GetMembers(request_id, channel, after, limit), messages.MembersPage
    )
    counts = dict(zip(COUNTED, page.counts, strict=False))
    return MembersPage(page.total, counts, page.next, page.records)


async def who(link: Connection, after: str, limit: int) -> WhoPage:
    check_limit(limit)
    page = await link._request(lambda request_id: messages.Who(request_id, after, limit), messages.WhoPage)
    return WhoPage(page.total, page.next, page.records)


# --- the own state and commands -------------------------------------------------------------------------------


async def sync(link: Connection, user: str) -> None:
    await link._do(lambda request_id: messages.Sync(request_id, user))


async def get_sync_status(link: Connection, user: str) -> SyncStatus:
    reply = await link._request(lambda request_id: messages.GetSync(request_id, user), messages.SyncState)
    devices = {info.device: info.applied for info in reply.devices}
    return SyncStatus(reply.user, reply.version, reply.synced, reply.total, reply.last_sync_ms, devices)


async def command(link: Connection, user: str, device: str, text: str) -> Answer:
    check_command(text)
    reply = await link._request(
        lambda request_id: messages.Command(request_id, text, user, device), messages.CommandReply
    )
    return Answer(reply.ok, reply.text, reply.verb, reply.records, reply.devices, reply.activities)
