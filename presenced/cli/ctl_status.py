"""The commands of `presencectl` about users and their statuses: ask, set, list, and whether the server answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, get_args

import click
import msgspec

from presenced.address import check_emoji, check_text
from presenced.cli import exits
from presenced.cli.context import Context
from presenced.cli.options import DurationParameter
from presenced.cli.target import Acting
from presenced.wire.messages import SetDevice, SetStatus, StatusRequest

if TYPE_CHECKING:
    from presenced.client import Record

PING_INTERVAL_S = 1.0


@click.command()
@click.argument("users", nargs=-1, required=True, metavar="USER...")
@click.pass_obj
def get(context: Context, users: tuple[str, ...]) -> None:
    """Show users. With a single USER who is offline the exit code is 1; with several it is always 0."""

    async def work() -> int:
        async with context.target.one_shot() as me:
            records = await me.get_statuses(users)
        context.output.records(records.values())
        is_no = len(records) == 1 and all(record.status == "offline" for record in records.values())
        return exits.NO if is_no else exits.OK

    exits.run(work())


@click.command("set")
@click.argument("status", metavar="STATUS", type=click.Choice(get_args(StatusRequest)))
@click.option("--text", help="A line of text to show with the status; an empty one clears the text.")
@click.option("--emoji", help="An emoji to show with the status.")
@click.option(
    "--for", "for_ms", type=DurationParameter(is_span=True), help="How long the status holds: 30m, 1h30m, 2d."
)
@click.pass_obj
def set_(context: Context, status: StatusRequest, text: str | None, emoji: str | None, for_ms: int | None) -> None:
    """Set your status.

    STATUS is one of: chat (free to talk), online, away, xa (away for long), dnd (do not disturb), offline (hides you),
    auto (leaves it to your devices again).

    Watchers see the status while one of your devices is online. If none is, this command comes as the URL's device for
    a moment, and you are shown until the server's grace is over. Use `online` to stay.
    """

    async def work() -> int:
        async with context.target.acting() as acting:
            infos = await acting.acts.get_devices(acting.user)
            # A device that does not count, because it is idle or has a negative priority, has the status offline here.
            is_there = any(info.state != "gone" and info.status != "offline" for info in infos)
            if is_there or acting.is_service or status in ("offline", "auto"):
                until = for_ms / 1000 if for_ms else None
                await acting.acts.set_status(acting.user, status, text, emoji, until)
                record = await acting.record()
            else:
                record = await _appear(context, acting, SetStatus(1, status, text, emoji, for_ms or 0))
        if not is_there and status not in ("offline", "auto"):
            context.output.note(f"{record.user} has no device online; `presencectl online` keeps one online")
        context.output.records([record])
        return exits.OK

    exits.run(work())


async def _appear(context: Context, acting: Acting, wanted: SetStatus) -> Record:
    """Connect as the URL's device and send all of it together, so that watchers see one change."""
    check_text(wanted.text or "")
    check_emoji(wanted.emoji or "")
    async with context.target.passing() as (exchange, priority):
        await exchange.do_together(
            lambda request_id: msgspec.structs.replace(wanted, id=request_id),
            lambda request_id: SetDevice(request_id, priority=priority),
        )
        return await acting.record()


@click.command()
@click.pass_obj
def clear(context: Context) -> None:
    """End your manual status and clear your text."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.acts.clear(acting.user)
            context.output.records([await acting.record()])
        return exits.OK

    exits.run(work())


@click.command()
@click.option("--count", is_flag=True, help="Print only the number.")
@click.option("--limit", type=click.IntRange(min=1), help="The most users to list.")
@click.pass_obj
def who(context: Context, count: bool, limit: int | None) -> None:
    """List who is online, in order of name."""
    output = context.output

    async def work() -> int:
        async with context.target.one_shot() as me:
            total = await me.count_online()
            if count:
                print(total)
                return exits.OK
            if output.is_json:
                # Line by line, so that a pipe that closes early ends the paging, too.
                async for record in _first(me.online_users(), limit):
                    output.records([record])
                return exits.OK
            records = [record async for record in _first(me.online_users(), limit)]
        output.records(records, note=f"{total} online")
        return exits.OK

    exits.run(work())


@click.command()
@click.option("-c", "--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many times to ask.")
@click.pass_obj
def ping(context: Context, count: int) -> None:
    """Ask the server for an answer, and print how long it takes."""
    import asyncio

    async def work() -> int:
        place = context.target.place()
        async with context.target.one_shot() as me:
            for number in range(count):
                if number:
                    await asyncio.sleep(PING_INTERVAL_S)
                rtt_ms = round(await me.ping() * 1000, 3)
                answer = {"rtt_ms": rtt_ms, "server_time_ms": me.server_time_ms}
                context.output.say(answer, f"pong from {place} in {rtt_ms} ms")
        return exits.OK

    exits.run(work())


async def _first(records: AsyncIterator[Record], limit: int | None) -> AsyncIterator[Record]:
    count = 0
    async for record in records:
        yield record
        count += 1
        if count == limit:
            return


COMMANDS: tuple[click.Command, ...] = (get, set_, clear, who, ping)
