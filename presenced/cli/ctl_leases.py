"""`presencectl lease`: a device that is online for a time without a connection. It needs a service's token."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

import click

from presenced.cli import exits
from presenced.cli.context import Context
from presenced.cli.options import DurationParameter
from presenced.cli.output import clock_time
from presenced.errors import RequestError
from presenced.limits import DURATION_MS_MAX
from presenced.wire.messages import DeviceInfo, DeviceStatus


@click.command()
@click.argument("user")
@click.argument("device")
@click.option(
    "--for",
    "for_ms",
    type=DurationParameter(),
    metavar="DURATION",
    help="How long the device is online from now on, such as 10m. To renew it, give the command again.",
)
@click.option("--end", is_flag=True, help="The device leaves now.")
@click.option("--status", type=click.Choice(get_args(DeviceStatus)), default="online", show_default=True)
@click.option("--kind", default="", help="What sort of device it is; without it, what is known stays.")
@click.option("--name", default="", help="Its display name; without it, what is known stays.")
@click.pass_obj
def lease(
    context: Context, user: str, device: str, for_ms: int | None, end: bool, status: DeviceStatus, kind: str, name: str
) -> None:
    """Have DEVICE of USER online for a time, without a connection: for jobs, scripts and whatever comes and goes.

    It is gone when the time is over, whatever happens to the daemon meanwhile. It needs a service's token.
    """
    if end == (for_ms is not None):
        raise click.UsageError("give --for DURATION, or --end")
    if for_ms is not None and not 0 < for_ms <= DURATION_MS_MAX:
        raise click.BadParameter("give a duration of more than 0 and up to 366d", param_hint="'--for'")

    async def work() -> int:
        async with context.target.service() as service:
            if for_ms is None:
                if _of(await service.get_devices(user), device).state == "gone":
                    raise RequestError("no_such_device", f"{user}/{device} is gone already")
                # Only who holds it may let it go.
                await service.attach(user, device)
                await service.detach(user, device)
                return exits.OK
            lasting = timedelta(milliseconds=for_ms)
            await service.attach(user, device, kind=kind, name=name, status=status, for_at_most=lasting)
            info = _of(await service.get_devices(user), device)
        context.output.note(f"{user}/{device} is {status} until {clock_time(info.lease_until_ms)}")
        return exits.OK

    exits.run(work())


def _of(devices: list[DeviceInfo], device: str) -> DeviceInfo:
    for info in devices:
        if info.device == device:
            return info
    raise RequestError("no_such_device", f"there is no device {device!r}")
