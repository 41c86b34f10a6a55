"""The commands of `presencectl` that take something away from a user. They need the token of a service or an admin."""

from __future__ import annotations

from datetime import datetime

import click

from presenced.cli import exits
from presenced.cli.context import Context
from presenced.cli.options import MomentParameter


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


COMMANDS: tuple[click.Command, ...] = (revoke,)
