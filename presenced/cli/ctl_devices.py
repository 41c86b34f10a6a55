"""The commands of `presencectl` about a user's devices: what they are, what was done on them, and what they show.

Each command is about the URL's user, or with --as about any user. After a change it prints the new state.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from presenced.cli import exits
from presenced.cli.context import Context, DefaultGroup, user_argument
from presenced.cli.ctl_leases import lease
from presenced.cli.group import SentenceGroup
from presenced.cli.options import DurationParameter
from presenced.cli.output import OutputRow, clock_time
from presenced.limits import ACTIVITIES_PER_USER_MAX
from presenced.wire.messages import ActivityInfo, DeviceInfo

if TYPE_CHECKING:
    from presenced.cli.target import Acting
    from presenced.client.values import SyncStatus

DEVICE_TITLES = ("device", "kind", "name", "status", "state", "last active", "last seen", "primary")
ACTIVITY_TITLES = ("when", "activity", "channel", "device", "payload")
SYNC_INTERVAL_S = 0.05

# --- devices --------------------------------------------------------------------------------------------------


@click.command()
@user_argument
@click.pass_obj
def devices(context: Context, user: str) -> None:
    """List the devices of a user that the server knows, also those that are gone."""

    async def work() -> int:
        async with context.target.acting(user) as acting:
            infos = await _devices(acting)
        nothing = f"no device of {acting.name} is known"
        context.output.rows([_device_row(info) for info in infos], DEVICE_TITLES, nothing=nothing)
        return exits.OK

    exits.run(work())


@click.group(cls=SentenceGroup)
def device() -> None:
    """Rename a device, set its meta, or forget one that is gone."""


@device.command("rename")
@click.argument("device")
@click.argument("name")
@click.pass_obj
def rename(context: Context, device: str, name: str) -> None:
    """Give a live device another display name."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.acts.set_device(acting.user, context.target.device_id(device), name=name)
            infos = [info for info in await _devices(acting) if info.device == device]
        context.output.rows([_device_row(info) for info in infos], DEVICE_TITLES)
        return exits.OK

    exits.run(work())


@device.command("meta")
@click.argument("device")
@click.argument("meta")
@click.pass_obj
def set_meta(context: Context, device: str, meta: str) -> None:
    """Set what is kept with a device for its user and services, such as a push token; an empty one clears it.

    `presencectl --json devices` shows it.
    """

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.acts.set_device(acting.user, context.target.device_id(device), meta=meta)
        return exits.OK

    exits.run(work())


@device.command("forget")
@click.argument("device")
@click.pass_obj
def forget(context: Context, device: str) -> None:
    """Forget a device that is gone."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.acts.forget_device(acting.user, device)
        return exits.OK

    exits.run(work())


async def _devices(acting: Acting) -> list[DeviceInfo]:
    infos: list[DeviceInfo] = await acting.acts.get_devices(acting.user)
    return [info for info in infos if not (acting.own_device and info.device == acting.own_device)]


def _device_row(info: DeviceInfo) -> OutputRow:
    seen = (clock_time(info.last_active_ms), clock_time(info.last_seen_ms), "yes" if info.primary else "")
    state = f"{info.state} until {clock_time(info.lease_until_ms)}" if info.lease_until_ms else info.state
    return OutputRow(asdict(info), (info.device, info.kind, info.name, info.status, state, *seen), info.status)


# --- activity -------------------------------------------------------------------------------------------------


@click.group(cls=DefaultGroup)
def activity() -> None:
    """List what a user did last, or add to it.

    `activity [USER]` is short for `activity list [USER]`.
    """


@activity.command("list")
@user_argument
@click.option(
    "--limit",
    type=click.IntRange(1, ACTIVITIES_PER_USER_MAX),
    default=20,
    show_default=True,
    help="The most activities to list.",
)
@click.option(
    "--since",
    "since_ms",
    type=DurationParameter(is_span=True),
    metavar="DURATION",
    help="Only what happened in the last 2h, 7d and the like.",
)
@click.pass_obj
def list_activity(context: Context, user: str, limit: int, since_ms: int | None) -> None:
    """List what a user did, newest first."""

    async def work() -> int:
        since = None if since_ms is None else timedelta(milliseconds=since_ms)
        async with context.target.acting(user) as acting:
            found = await acting.acts.get_activity(acting.user, limit, since)
        nothing = f"no activity of {acting.name} is recorded"
        context.output.rows([_activity_row(info) for info in found], ACTIVITY_TITLES, nothing=nothing)
        return exits.OK

    exits.run(work())


@activity.command("add")
@click.argument("type_", metavar="TYPE")
@click.option("--channel", help="The channel in which it happened.")
@click.option("--payload", default="", help="A line of text to store with it.")
@click.option(
    "--device", help="The device on which it happened, which counts as input there; default: the URL's, if any."
)
@click.pass_obj
def add_activity(context: Context, type_: str, channel: str | None, payload: str, device: str | None) -> None:
    """Record that the user did something: `message`, `login`, or another word of the application."""

    async def work() -> int:
        device_id = context.target.device_id(device)
        async with context.target.acting() as acting:
            await acting.acts.record_activity(acting.user, type_, channel=channel, device=device_id, payload=payload)
        return exits.OK

    exits.run(work())


def _activity_row(info: ActivityInfo) -> OutputRow:
    return OutputRow(asdict(info), (clock_time(info.at_ms), info.activity, info.channel, info.device, info.payload))


# --- sync -----------------------------------------------------------------------------------------------------


@click.command()
@user_argument
@click.pass_obj
def sync(context: Context, user: str) -> None:
    """Send the user's own state to all of the user's connected devices again."""

    async def work() -> int:
        async with context.target.acting(user) as acting:
            await acting.acts.sync(acting.user)
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
    help="How long to wait for devices that are behind.",
)
@click.pass_obj
def sync_status(context: Context, user: str, wait: float) -> None:
    """Say which devices show the user's latest own state. The exit code is 1 if one does not."""
    import asyncio

    async def work() -> int:
        async with context.target.acting(user) as acting:
            found: SyncStatus = await acting.acts.get_sync_status(acting.user)
            # This command's own device changes the list of devices, so the others get news. Wait until they have it.
            for _ in range(round(wait / SYNC_INTERVAL_S)):
                if found.synced == found.total:
                    break
                await asyncio.sleep(SYNC_INTERVAL_S)
                found = await acting.acts.get_sync_status(acting.user)
        behind = [name for name, version in found.devices.items() if version < found.version]
        when = f", last at {clock_time(found.last_sync_ms)}" if found.last_sync_ms else ""
        devices = "1 device is" if found.total == 1 else f"{found.total} devices are"
        sentence = f"{found.synced} of {devices} up to date{when}"
        context.output.say(found._asdict(), sentence + (f"; not {', '.join(behind)}" if behind else ""))
        return exits.OK if found.synced == found.total else exits.NO

    exits.run(work())


COMMANDS: tuple[click.Command, ...] = (devices, device, lease, activity, sync, sync_status)
