"""The commands of `presencectl` that take something away from a user. They need the token of a service or an admin."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from presenced.cli import exits
from presenced.cli.confirmation import confirm
from presenced.cli.context import Context, tell_of_links
from presenced.cli.options import MomentParameter

if TYPE_CHECKING:
    from presenced.client.event_stream import Events


@click.command()
@click.argument("user")
@click.option(
    "--before",
    type=MomentParameter(),
    help="Refuse the tokens from before this time, such as 2026-11-30T12:00:00Z, or from before so long ago, such as "
    "1h; default: now.",
)
@click.pass_obj
def revoke(context: Context, user: str, before: datetime | None) -> None:
    """Refuse the tokens of USER that were made until now, and end the links that were opened with them.

    Links with a later token stay, and clients that get a new one come back. To have USER offline at once, add
    `presencectl kick --gone USER`.
    """

    async def work() -> int:
        async with context.target.service() as service:
            await service.revoke(user, before)
        context.output.note(f"tokens of {user} that were made earlier are refused")
        return exits.OK

    exits.run(work())


@click.command()
@click.argument("user")
@click.option("-y", "--yes", is_flag=True, help="Do not ask; needed without a terminal.")
@click.option("--wait", is_flag=True, help="Wait until the daemon's disk holds nothing any more of USER.")
@click.pass_obj
def erase(context: Context, user: str, yes: bool, wait: bool) -> None:
    """Forget everything that is known of USER, and end USER's links and devices.

    What the disk holds from before is gone some time later, a minute or two as a rule (--wait). Backups keep what they
    hold. A client whose token is good makes USER known again: `presencectl revoke USER` first.
    """
    confirm(f"Forget everything that is known of {user}?", yes)

    async def work() -> int:
        async with context.target.service(reconnect=wait) as service:
            if not wait:
                await service.erase(user)
                return exits.OK
            tell_of_links(service, context.output)
            async with service.events() as events:
                await service.erase(user)
                context.output.note(f"{user} is erased, and the daemon's disk is being rid of what it held")
                await _until_erased(events, user)
        context.output.note(f"the daemon's disk holds nothing any more of {user}")
        return exits.OK

    exits.run(work())


async def _until_erased(events: Events, user: str) -> None:
    async for event in events:
        if event.kind == "erased" and event.user == user:
            return


COMMANDS: tuple[click.Command, ...] = (revoke, erase)
