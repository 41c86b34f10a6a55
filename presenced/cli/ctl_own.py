"""The commands of `presencectl` about a user's own things: devices, activity, claims, the schedule, sync.

Each is for the URL's user, or with --as for anybody. What is printed after a change is how things stand then.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, cast, get_args

import click
from msgspec.structs import asdict

from presenced.cli import exits
from presenced.cli.context import Context, DefaultGroup
from presenced.cli.options import Duration
from presenced.cli.output import Row, clock_time
from presenced.errors import AddressError
from presenced.limits import ACTIVITIES_PER_USER_MAX
from presenced.wire.messages import ActivityInfo, ClaimInfo, DeviceInfo, DeviceStatus, Source, Status

if TYPE_CHECKING:
    from presenced.cli.target import Acting
    from presenced.client.schedule_windows import WindowLike
    from presenced.client.values import Schedule, SyncStatus

DEVICE_TITLES = ("device", "kind", "name", "status", "state", "last active", "last seen", "primary")
CLAIM_TITLES = ("claim", "source", "status", "since", "until")
ACTIVITY_TITLES = ("when", "activity", "channel", "device", "payload")
SYNC_INTERVAL_S = 0.05
SOURCES = [source for source in get_args(Source) if source != "schedule"]

user_argument = click.argument("user", required=False, default="")


# --- devices --------------------------------------------------------------------------------------------------


@click.command()
@user_argument
@click.pass_obj
def devices(context: Context, user: str) -> None:
    """List the devices that the server remembers of a user."""

    async def work() -> int:
        async with context.target.acting(user) as acting:
            infos = await _devices(acting)
        nothing = f"no device of {acting.name} is known"
        context.output.rows([_device_row(info) for info in infos], DEVICE_TITLES, nothing=nothing)
        return exits.OK

    exits.run(work())


@click.group()
def device() -> None:
    """Rename or forget a device."""


@device.command("rename")
@click.argument("device")
@click.argument("name")
@click.pass_obj
def rename(context: Context, device: str, name: str) -> None:
    """Give a live device another display name."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.calls.set_device(acting.link, acting.user, context.target.device_id(device), None, None, name)
            infos = [info for info in await _devices(acting) if info.device == device]
        context.output.rows([_device_row(info) for info in infos], DEVICE_TITLES)
        return exits.OK

    exits.run(work())


@device.command("forget")
@click.argument("device")
@click.pass_obj
def forget(context: Context, device: str) -> None:
    """Forget a device that is gone."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.calls.forget_device(acting.link, acting.user, device)
        return exits.OK

    exits.run(work())


async def _devices(acting: Acting) -> list[DeviceInfo]:
    infos: list[DeviceInfo] = await acting.calls.get_devices(acting.link, acting.user)
    return [info for info in infos if not (acting.own_device and info.device == acting.own_device)]


def _device_row(info: DeviceInfo) -> Row:
    seen = (clock_time(info.last_active_ms), clock_time(info.last_seen_ms), "yes" if info.primary else "")
    return Row(asdict(info), (info.device, info.kind, info.name, info.status, info.state, *seen), info.status)


# --- activity -------------------------------------------------------------------------------------------------


@click.group(cls=DefaultGroup)
def activity() -> None:
    """List what a user did last, or `add` to it.

    `activity [USER]` is short for `activity list [USER]`.
    """


@activity.command("list")
@user_argument
@click.option(
    "--limit",
    type=click.IntRange(1, ACTIVITIES_PER_USER_MAX),
    default=20,
    show_default=True,
    help="At most so many.",
)
@click.option(
    "--since", "since_ms", type=Duration(is_span=True), metavar="DURATION", help="Only of the last 2h, 7d or so."
)
@click.pass_obj
def list_activity(context: Context, user: str, limit: int, since_ms: int | None) -> None:
    """List what a user did, newest first."""

    async def work() -> int:
        since = None if since_ms is None else timedelta(milliseconds=since_ms)
        async with context.target.acting(user) as acting:
            found = await acting.calls.get_activity(acting.link, acting.user, limit, since)
        nothing = f"no activity of {acting.name} is recorded"
        context.output.rows([_activity_row(info) for info in found], ACTIVITY_TITLES, nothing=nothing)
        return exits.OK

    exits.run(work())


@activity.command("add")
@click.argument("type_", metavar="TYPE")
@click.option("--channel", help="The channel in which it was.")
@click.option("--payload", default="", help="A line of text to keep with it.")
@click.option("--device", help="The device on which it was, where it counts as input; default: the URL's, if any.")
@click.pass_obj
def add_activity(context: Context, type_: str, channel: str | None, payload: str, device: str | None) -> None:
    """Record that the user did something: `message`, `login`, or what else the application calls it."""

    async def work() -> int:
        device_id = context.target.device_id(device)
        async with context.target.acting() as acting:
            await acting.calls.record_activity(acting.link, acting.user, device_id, type_, channel, None, payload)
        return exits.OK

    exits.run(work())


def _activity_row(info: ActivityInfo) -> Row:
    return Row(asdict(info), (clock_time(info.at_ms), info.activity, info.channel, info.device, info.payload))


# --- claims ---------------------------------------------------------------------------------------------------


@click.command()
@user_argument
@click.pass_obj
def claims(context: Context, user: str) -> None:
    """List what is claimed of a user's status; the first counts."""

    async def work() -> int:
        async with context.target.acting(user) as acting:
            await _show_claims(context, acting)
        return exits.OK

    exits.run(work())


@click.group()
def claim() -> None:
    """Add or end a claim: a status stated for the user, whatever their devices say.

    A call counts over a manual claim (`set` makes one), that over the calendar, that over the schedule.
    """


@claim.command("add")
@click.argument("name")
@click.argument("source", type=click.Choice(SOURCES))
@click.argument("status", type=click.Choice(get_args(Status)))
@click.option(
    "--for",
    "for_ms",
    type=Duration(is_span=True),
    help="How long it holds: 30m, 1h30m, 2d; default: until ended.",
)
@click.pass_obj
def add_claim(context: Context, name: str, source: str, status: str, for_ms: int | None) -> None:
    """State a status until it is ended; one of the same name is replaced."""

    async def work() -> int:
        until = None if for_ms is None else for_ms / 1000
        async with context.target.acting() as acting:
            await acting.calls.add_claim(acting.link, acting.user, name, source, status, until)
            await _show_claims(context, acting)
        return exits.OK

    exits.run(work())


@claim.command("end")
@click.argument("name")
@click.pass_obj
def end_claim(context: Context, name: str) -> None:
    """End a claim; one that is not there is no error."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.calls.end_claim(acting.link, acting.user, name)
            await _show_claims(context, acting)
        return exits.OK

    exits.run(work())


async def _show_claims(context: Context, acting: Acting) -> None:
    found = await acting.calls.get_claims(acting.link, acting.user)
    nothing = f"nothing is claimed of {acting.name}"
    context.output.rows([_claim_row(info) for info in found], CLAIM_TITLES, nothing=nothing)


def _claim_row(info: ClaimInfo) -> Row:
    cells = (info.claim, info.source, info.status, clock_time(info.since_ms), clock_time(info.until_ms))
    return Row(asdict(info), cells, info.status)


# --- the schedule ---------------------------------------------------------------------------------------------


@click.group()
def schedule() -> None:
    """Show, set or clear the status that recurs each week."""


@schedule.command("show")
@user_argument
@click.pass_obj
def show_schedule(context: Context, user: str) -> None:
    """Show a user's schedule. Exit code 1 if there is none."""

    async def work() -> int:
        async with context.target.acting(user) as acting:
            found = await acting.calls.get_schedule(acting.link, acting.user)
        if found is None:
            context.output.note(f"{acting.name} has no schedule")
            return exits.NO
        _say_schedule(context, found)
        return exits.OK

    exits.run(work())


@schedule.command("set")
@click.argument("zone")
@click.argument("windows", nargs=-1, required=True, metavar="WINDOW...")
@click.option("--status", type=click.Choice(get_args(DeviceStatus)), default="dnd", show_default=True)
@click.pass_obj
def set_schedule(context: Context, zone: str, windows: tuple[str, ...], status: str) -> None:
    """Have a status recur each week: `schedule set Europe/Berlin 'mon-fri 18:00-08:00' 'sat,sun 00:00-24:00'`.

    A window that ends before it starts ends on the day after. A status after it (`'sat 00:00-24:00 xa'`) holds in it
    instead of that of --status; where windows overlap the first holds.
    """

    async def work() -> int:
        made = [_window(text) for text in windows]
        async with context.target.acting() as acting:
            await acting.calls.set_schedule(acting.link, acting.user, zone, made, status)
            found = await acting.calls.get_schedule(acting.link, acting.user)
        if found is not None:
            _say_schedule(context, found)
        return exits.OK

    exits.run(work())


@schedule.command("clear")
@click.pass_obj
def clear_schedule(context: Context) -> None:
    """End the schedule and what it claims."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.calls.clear_schedule(acting.link, acting.user)
        return exits.OK

    exits.run(work())


def _window(text: str) -> WindowLike:
    words = text.split()
    status = words.pop() if words and words[-1] in get_args(DeviceStatus) else ""
    start, dash, end = words.pop().partition("-") if words else ("", "", "")
    days = " ".join(words)
    if not days or not dash:
        raise AddressError(f"{text!r} is no window; write it like 'mon-fri 18:00-08:00 dnd'", "bad_schedule")
    return (days, start, end, cast(DeviceStatus, status)) if status else (days, start, end)


def _say_schedule(context: Context, found: Schedule) -> None:
    windows = [" ".join((days, f"{start}-{end}", *status)) for days, start, end, *status in found.windows]
    value = {"zone": found.zone, "status": found.status, "windows": windows}
    context.output.say(value, f"{found.status} in {found.zone}: {'; '.join(windows)}")


# --- sync -----------------------------------------------------------------------------------------------------


@click.command()
@user_argument
@click.pass_obj
def sync(context: Context, user: str) -> None:
    """Have the user's own state sent to all of their connected devices again."""

    async def work() -> int:
        async with context.target.acting(user) as acting:
            await acting.calls.sync(acting.link, acting.user)
        return exits.OK

    exits.run(work())


@click.command("sync-status")
@user_argument
@click.option(
    "-W",
    "--wait",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for those that are behind.",
)
@click.pass_obj
def sync_status(context: Context, user: str, wait: float) -> None:
    """Tell which devices show the user's own state as it is now. Exit code 1 if one does not."""
    import asyncio

    async def work() -> int:
        async with context.target.acting(user) as acting:
            found: SyncStatus = await acting.calls.get_sync_status(acting.link, acting.user)
            # A list of devices with this command's own in it is news to the others: a look disturbs what it looks at.
            for _ in range(round(wait / SYNC_INTERVAL_S)):
                if found.synced == found.total:
                    break
                await asyncio.sleep(SYNC_INTERVAL_S)
                found = await acting.calls.get_sync_status(acting.link, acting.user)
        behind = [name for name, version in found.devices.items() if version < found.version]
        when = f", last at {clock_time(found.last_sync_ms)}" if found.last_sync_ms else ""
        devices = "1 device is" if found.total == 1 else f"{found.total} devices are"
        sentence = f"{found.synced} of {devices} up to date{when}"
        context.output.say(found._asdict(), sentence + (f"; not {', '.join(behind)}" if behind else ""))
        return exits.OK if found.synced == found.total else exits.NO

    exits.run(work())


COMMANDS: tuple[click.Command, ...] = (devices, device, activity, claims, claim, schedule, sync, sync_status)
