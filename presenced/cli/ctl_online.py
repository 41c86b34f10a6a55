"""`presencectl online`: stays online as a device until Ctrl-C."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, get_args

import click

from presenced.cli import exits
from presenced.cli.context import Context, tell_of_links
from presenced.cli.output import Output
from presenced.errors import PresenceError
from presenced.wire.messages import DeviceStatus

if TYPE_CHECKING:
    import asyncio

    from presenced.client import Client


@click.command()
@click.option("--status", type=click.Choice(get_args(DeviceStatus)), default="online", show_default=True)
@click.option("--name", help="The display name of this device.")
@click.option(
    "--priority",
    type=click.IntRange(-128, 127),
    help="A negative one never makes you available; beyond its sign it means nothing.",
)
@click.option(
    "--no-bye",
    is_flag=True,
    help="At the end drop the link without a goodbye, so that watchers see it only after the grace.",
)
@click.option(
    "--show-to",
    multiple=True,
    metavar="USER",
    help="A user who sees you while this runs, also while you appear offline; may be repeated.",
)
@click.pass_obj
def online(
    context: Context, status: str, name: str | None, priority: int | None, no_bye: bool, show_to: tuple[str, ...]
) -> None:
    """Be online until Ctrl-C, as the URL's device, or else as a device with this machine's name."""

    async def work() -> int:
        me = await context.target.device(status=status, name=name, priority=priority)
        try:
            ended = _until_signal_or_end(me)
            await _show_to(me, show_to, context.output)
            tell_of_links(me, context.output)
            context.output.note(f"{me.user}/{me.device} is {status} at {context.target.place()}; Ctrl-C to leave")
            await _tell_of_cover(me, context.output)
            await ended
        finally:
            await me.close(bye=not no_bye)
        return exits.OK

    exits.run(work())


async def _show_to(me: Client, users: tuple[str, ...], output: Output) -> None:
    """Show this device to the users, now and on each new link: the server may have counted it as gone meanwhile."""
    if not users:
        return

    async def show() -> None:
        for user in users:
            await me.show_to(user)

    async def show_again(state: str, reason: PresenceError | None) -> None:
        try:
            if state == "connected":
                await show()
        except PresenceError as error:
            output.note(f"this device could not be shown again to {', '.join(users)}: {error}")

    await show()
    me.on_state(show_again)


async def _tell_of_cover(me: Client, output: Output) -> None:
    """Print a note if a claim makes watchers see another status than the device's."""
    claims = await me.get_claims()
    if not claims:
        return
    top = claims[0]
    what, how = {
        "manual": ("the manual status", "`presencectl clear` ends it"),
        "schedule": ("the schedule", "`presencectl schedule show` says until when"),
    }.get(top.source, (f"the claim {top.claim}", f"`presencectl claim end {top.claim}` ends it"))
    output.note(f"watchers see {top.status}: {what} covers the device's status; {how}")


def _until_signal_or_end(me: Client) -> asyncio.Future[None]:
    """A future that is done at Ctrl-C or SIGTERM, and that raises if the client ends before."""
    import asyncio

    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def leave() -> None:
        if not ended.done():
            ended.set_result(None)

    def follow(state: str, reason: PresenceError | None) -> None:
        if state == "closed" and reason is not None and not ended.done():
            ended.set_exception(reason)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, leave)
    me.on_state(follow)
    return ended


COMMANDS: tuple[click.Command, ...] = (online,)
