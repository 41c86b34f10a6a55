"""`presencectl watch`: prints users, contacts or the members of a channel, and each change."""

from __future__ import annotations

from functools import partial

import click

from presenced.cli import ctl_channels, exits
from presenced.cli.context import Context, aside, follow, tell_of_links, until_enough
from presenced.cli.output import Output


@click.command()
@click.argument("users", nargs=-1, metavar="[USER...]")
@click.option("--channel", help="Watch the members of this channel instead of users.")
@click.option("--contacts", is_flag=True, help="Watch all your contacts, also those whom you gain meanwhile.")
@click.option(
    "--since",
    metavar="POSITION",
    help="Print of the USERs only what is not as at this position, which an earlier watch printed at its end. The "
    "position at the end of this one is printed in any case, also with --since ''.",
)
@until_enough
@click.pass_obj
def watch(
    context: Context,
    users: tuple[str, ...],
    channel: str | None,
    contacts: bool,
    since: str | None,
    count: int | None,
    wait: float | None,
) -> None:
    """Print users, your contacts or the members of a channel, and then each change at once, until Ctrl-C.

    With both -C and -W the exit code is 1 if the time is over before the count is reached.
    """
    if bool(users) + (channel is not None) + contacts != 1:
        raise click.UsageError("name what to watch: either USER..., or --contacts, or --channel CHANNEL")
    if since is not None and not users:
        raise click.UsageError("--since is a position of users; name them")

    async def work() -> int:
        async with context.target.one_shot(reconnect=True, contacts=contacts) as me:
            tell_of_links(me, context.output)
            if contacts:
                async with me.contacts() as seen:
                    if not seen.records:
                        context.output.note(f"{me.user} sees no contact yet; those who are gained will be shown")
                    return await follow(seen, context.output.change, count, wait)
            if channel is not None:
                async with me.watch_channel(channel) as members:
                    show = ctl_channels.member_shower(context.output, members)
                    return await follow(members, show, count, wait)
            async with me.watch(*users, since=since) as changes:
                try:
                    return await follow(changes, context.output.change, count, wait)
                finally:
                    await _tell_position(context.output, changes.position, is_asked=since is not None)

    exits.run(work())


async def _tell_position(output: Output, position: str, *, is_asked: bool) -> None:
    """At the end of a watch, also by Ctrl-C: where a later one may go on."""
    import asyncio

    if is_asked:
        printing = aside(partial(output.say, {"kind": "position", "position": position}, f"position {position}"))
    elif not output.is_json:
        printing = aside(partial(output.note, f"to see only what changes from here: --since {position}"))
    else:
        return
    # Nobody may read it, and then the end is not to wait.
    await asyncio.wait({printing}, timeout=exits.UNREAD_S)


COMMANDS: tuple[click.Command, ...] = (watch,)
