"""The commands of `presencectl` about channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from presenced.cli import exits
from presenced.cli.context import Context
from presenced.cli.output import Output, to_json
from presenced.errors import AddressError
from presenced.limits import USERS_PER_REQUEST_MAX

if TYPE_CHECKING:
    from presenced.client.protocol.channels import MemberChange
    from presenced.client.streams import ChannelWatch
    from presenced.wire.messages import Record

device_option = click.option("--device", help="The live device; default: the URL's.")


@click.command()
@click.argument("channel")
@device_option
@click.pass_obj
def join(context: Context, channel: str, device: str | None) -> None:
    """Let a live device join a channel, until it leaves or is gone.

    The device is that of another program, such as a running `presencectl online`; this command ends at once.
    """

    async def work() -> int:
        device_id = _live_device(context, device)
        async with context.target.acting() as acting:
            await acting.acts.join(acting.user, device_id, channel)
        return exits.OK

    exits.run(work())


@click.command()
@click.argument("channel")
@device_option
@click.pass_obj
def leave(context: Context, channel: str, device: str | None) -> None:
    """Let a device leave a channel. It is not an error if it is not a member."""

    async def work() -> int:
        device_id = _live_device(context, device)
        async with context.target.acting() as acting:
            await acting.acts.leave(acting.user, device_id, channel)
        return exits.OK

    exits.run(work())


@click.command()
@click.argument("channel")
@click.option("--count", is_flag=True, help="Print only the number.")
@click.option("--limit", type=click.IntRange(min=1), help="The most users to list.")
@click.pass_obj
def members(context: Context, channel: str, count: bool, limit: int | None) -> None:
    """List who is online in a channel, in order of name."""
    output = context.output

    async def work() -> int:
        async with context.target.one_shot() as me:
            first = await me.get_members(channel, limit=0)
            if count:
                print(first.total)
                return exits.OK
            shown: list[Record] = []
            after, left = "", first.total if limit is None else limit
            while left > 0:
                page = await me.get_members(channel, after, min(left, USERS_PER_REQUEST_MAX))
                if output.is_json:
                    # Page by page, so that a pipe that closes early ends the paging, too.
                    output.records(page.records)
                else:
                    shown += page.records
                left -= len(page.records)
                if page.next <= after:
                    break
                after = page.next
        if not output.is_json:
            of = ", ".join(f"{number} {status}" for status, number in first.counts.items() if number)
            output.records(shown, note=f"{first.total} in {channel}" + (f": {of}" if of else ""))
        return exits.OK

    exits.run(work())


def member_shower(output: Output, watch: ChannelWatch) -> Callable[[MemberChange], bool]:
    """A function that prints one step of a watched channel."""

    def show(change: MemberChange) -> bool:
        record = change.record
        if not output.is_json:
            output.moment(describe_member(change), record.status if record is not None else "")
            return True
        value = {"kind": change.kind, "channel": change.channel, "total": change.total}
        output.line({**value, "counts": watch.counts} if record is None else {**value, **to_json(record)})
        return True

    return show


def describe_member(change: MemberChange) -> str:
    """A step of a channel in one line for people."""
    if change.record is None:
        return f"{change.total} in {change.channel}"
    words = {"snapshot": "is in", "join": "joined", "leave": "left", "change": "in"}[change.kind]
    return f"{change.user}  {change.record.status}  {words} {change.channel}  ({change.total})"


def _live_device(context: Context, given: str | None) -> str:
    device_id = context.target.device_id(given)
    if not device_id:
        raise AddressError("no device is named; write --device DEVICE, or presence://USER@HOST:PORT/DEVICE as the URL")
    return device_id


COMMANDS: tuple[click.Command, ...] = (join, leave, members)
