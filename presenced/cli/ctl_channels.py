"""The commands of `presencectl` about channels, and the events that a service follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from presenced.cli import exits
from presenced.cli.context import Context, follow, tell_of_links, until_enough
from presenced.cli.output import Output, to_json
from presenced.errors import AddressError
from presenced.limits import USERS_PER_REQUEST_MAX

if TYPE_CHECKING:
    from presenced.client.protocol.channels import MemberChange
    from presenced.client.protocol.event_feed import Event
    from presenced.client.streams import ChannelWatch
    from presenced.wire.messages import Record

KINDS = (
    "online",
    "offline",
    "status_change",
    "text_change",
    "device_change",
    "contact_request",
    "contact_change",
    "erased",
    "reset",
)
STATUS_KINDS = ("online", "offline", "status_change")
"""Kinds whose new value is a status."""

device_option = click.option("--device", help="The live device; default: the URL's.")


@click.command()
@click.argument("channel")
@device_option
@click.pass_obj
def join(context: Context, channel: str, device: str | None) -> None:
    """Let a live device join a channel, until it leaves or is gone.

    Another program has the device, such as a running `presencectl online`; this command ends at once.
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


@click.command()
@click.option("--cursor", default="", help="Begin behind the event that had this cursor; default: from now on.")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Print only events of this kind; may be repeated."
)
@until_enough
@click.pass_obj
def events(context: Context, cursor: str, kinds: tuple[str, ...], count: int | None, wait: float | None) -> None:
    """Print what happens to all users, each event once and in order, until Ctrl-C. For services.

    Save the cursor of the last event to go on behind it later with --cursor. A `reset`, which --kind never leaves out,
    says that events were missed and the server cannot tell them all. With both -C and -W the exit code is 1 if the time
    is over before the count is reached.
    """
    output = context.output

    def show(event: Event) -> bool:
        if kinds and event.kind not in (*kinds, "reset"):
            return False
        if output.is_json:
            output.line(event._asdict())
        else:
            output.moment(describe_event(event), event.new if event.kind in STATUS_KINDS else "")
        return True

    async def work() -> int:
        async with context.target.service(reconnect=True) as service:
            tell_of_links(service, output)
            async with service.events(cursor or None) as stream:
                output.note(f"following from {stream.cursor}")
                return await follow(stream, show, count, wait)

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


def describe_event(event: Event) -> str:
    """An event in one line for people."""
    if event.kind == "reset":
        return f"reset  (events were missed; read the current state again)  {event.cursor}"
    if event.kind == "erased":
        return f"{event.user}  erased  (the server's disk holds nothing any more of them)  {event.cursor}"
    why = f"  ({event.reason})" if event.reason else ""
    old, new = f"{event.old_emoji} {event.old}".strip(), f"{event.new_emoji} {event.new}".strip()
    return f"{event.user}  {event.kind}  {old or '-'} \u2192 {new or '-'}{why}  {event.cursor}"


def _live_device(context: Context, given: str | None) -> str:
    device_id = context.target.device_id(given)
    if not device_id:
        raise AddressError("no device is named; write --device DEVICE, or presence://USER@HOST:PORT/DEVICE as the URL")
    return device_id


COMMANDS: tuple[click.Command, ...] = (join, leave, members, events)
