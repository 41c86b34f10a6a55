"""`presencectl await`: wait in a script until somebody is there."""

from __future__ import annotations

from typing import get_args

import click

from presenced.cli import exits
from presenced.cli.context import Context, tell_of_links
from presenced.cli.options import DurationParameter
from presenced.durations import format_duration
from presenced.limits import AWAIT_MS_MAX
from presenced.wire.messages import Status


@click.command("await")
@click.argument("user", metavar="USER")
@click.option("--available", is_flag=True, help="Any status but offline; the default without --status.")
@click.option("--not-dnd", is_flag=True, help="And not dnd.")
@click.option(
    "--status", "statuses", multiple=True, type=click.Choice(get_args(Status)), help="This status; may be repeated."
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    metavar="KIND",
    help="On a device of this kind; about yourself, or with a service's URL and token about those for whom it may act.",
)
@click.option("--for", "least_ms", type=DurationParameter(), default=0, help="For at least so long, such as 10s.")
@click.option(
    "--timeout",
    "most_ms",
    type=DurationParameter(is_span=True),
    default=AWAIT_MS_MAX,
    help="Give up after this time, such as 30m; the longest and the default is 7d.",
)
@click.pass_obj
def await_(
    context: Context,
    user: str,
    available: bool,
    not_dnd: bool,
    statuses: tuple[Status, ...],
    kinds: tuple[str, ...],
    least_ms: int,
    most_ms: int,
) -> None:
    """Wait until a user shows a status, and print the user as they are then.

    It goes on waiting while the link is lost. The exit code is 1 if the time is over before that:

    presencectl await bob --not-dnd --for 10s --timeout 1h && echo "call bob"
    """

    async def work() -> int:
        # Kinds are for services to ask; the rest is seen by whoever the URL names.
        async with context.target.acting(user if kinds else "", reconnect=True) as acting:
            tell_of_links(acting.link, context.output)
            record = await acting.link.await_status(
                user,
                available=available,
                not_dnd=not_dnd,
                statuses=statuses or None,
                kinds=kinds,
                for_at_least=least_ms / 1000,
                timeout=most_ms / 1000,
            )
        if record is None:
            held = f" for {format_duration(least_ms)}" if least_ms else ""
            context.output.note(f"{user} was not as wanted{held} within {format_duration(most_ms)}")
            return exits.NO
        context.output.records([record])
        return exits.OK

    exits.run(work())


COMMANDS = (await_,)
