"""The `presencectl` command: ask, set and watch presence from a shell.

Each command is a few lines over the client. `target` says where it connects, `output` how it prints, and `exits` how it
ends. Commands import the client and rich only if they need them, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, get_args

import click
import msgspec

from presenced import __version__
from presenced.address import check_emoji, check_text
from presenced.cli import (
    ctl_admin,
    ctl_channels,
    ctl_chat,
    ctl_claims,
    ctl_contacts,
    ctl_devices,
    ctl_moderation,
    ctl_online,
    ctl_privacy,
    exits,
)
from presenced.cli.context import Context, follow, tell_of_links, until_enough
from presenced.cli.group import Commands
from presenced.cli.options import DurationParameter
from presenced.cli.output import Output
from presenced.cli.target import Acting, Target
from presenced.wire.messages import SetDevice, SetStatus, StatusRequest

if TYPE_CHECKING:
    from presenced.client import Record

PING_INTERVAL_S = 1.0


OPERATORS = frozenset(command.name for command in ctl_admin.COMMANDS)

READERS = frozenset({"get", "who", "watch", "members", "ping", "events", "revoke", "erase"})
"""Commands that concern no user, or the users whom they name."""


@click.group("presencectl", cls=Commands, epilog=exits.EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--url",
    envvar="PRESENCE_URL",
    metavar="URL",
    help="presence://USER@HOST:PORT/DEVICE, presences:// with TLS. [env PRESENCE_URL; default: you, at 127.0.0.1:5250]",
)
@click.option(
    "--as", "as_user", default="", metavar="USER", help="Act for USER. The URL and the token are those of a service."
)
@click.option(
    "--token", envvar="PRESENCE_TOKEN", default="", metavar="T", help="The token to connect with. [env PRESENCE_TOKEN]"
)
@click.option("--token-file", default="", metavar="F", help="Read the token from this file.")
@click.option("--ca-file", default="", metavar="F", help="Trust servers that this CA has certified.")
@click.option("--insecure", is_flag=True, help="Do not check the server's certificate.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the server.",
)
@click.option(
    "--socket",
    envvar="PRESENCED_ADMIN_SOCKET",
    default="",
    metavar="PATH",
    help="For operators: the daemon's admin socket. [env PRESENCED_ADMIN_SOCKET; default: /run/presenced/admin.sock, "
    "else your own daemon's]",
)
@click.option(
    "--instance", default="", metavar="NAME", help="For operators: the server presenced@NAME of this machine."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines; the default if the output is piped.")
@click.option("--text", "as_text", is_flag=True, help="Print tables and sentences; the default on a terminal.")
@click.option("-q", "--quiet", is_flag=True, help="Print no notes on standard error.")
@click.option("--no-color", is_flag=True, help="No colours. [env NO_COLOR]")
@click.version_option(__version__, prog_name="presencectl")
@click.pass_context
def main(ctx: click.Context, /, **options: Any) -> None:
    """See who is online at a presenced server, and set your own status.

    `online` connects as the device in the URL, and so does `set` if you have no device online. All other commands
    connect as a device of their own, which watchers do not see and which replaces no other; so `set` works beside a
    running `online`. `join`, `leave` and `activity add` are about the URL's device unless --device names another.

    Without --as you act for yourself. With --as a service acts for any user: the URL and the token are the service's.

    The options below go before the subcommand: `presencectl --json get bob`.
    """
    given = {name for name in options if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    ctx.obj = _context(options, given, ctx.invoked_subcommand or "")


def _context(options: dict[str, Any], given: set[str], subcommand: str) -> Context:
    """The options as the commands see them; `given` are those that are written on the command line."""
    if options["as_user"] and subcommand in READERS | OPERATORS | {"online"}:
        raise click.UsageError(f"`{subcommand}` does not use --as; leave it out")
    if subcommand not in OPERATORS and (named := given & {"socket", "instance"}):
        raise click.UsageError(f"`{subcommand}` does not use --{max(named)}; name the server with --url")
    if {"socket", "instance"} <= given:
        raise click.UsageError("--socket and --instance both name a server; leave one out")
    if options["as_json"] and options["as_text"]:
        raise click.UsageError("--json and --text cannot be used together; leave one out")
    is_terminal = sys.stdout.isatty()
    is_json = options["as_json"] or not (is_terminal or options["as_text"])
    has_colour = is_terminal and not options["no_color"] and not os.environ.get("NO_COLOR")
    return Context(
        Target(
            options["url"] or "",
            options["token"],
            options["token_file"],
            options["ca_file"],
            options["insecure"],
            options["timeout"],
            options["as_user"],
        ),
        Output(is_json=is_json, has_colour=has_colour, is_quiet=options["quiet"]),
        options["as_json"],
        options["socket"],
        options["instance"],
    )


@main.command()
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


@main.command("set")
@click.argument("status", type=click.Choice(get_args(StatusRequest)))
@click.option("--text", help="A line of text to show with the status; an empty one clears the text.")
@click.option("--emoji", help="An emoji to show with the status.")
@click.option(
    "--for", "for_ms", type=DurationParameter(is_span=True), help="How long the status holds: 30m, 1h30m, 2d."
)
@click.pass_obj
def set_(context: Context, status: StatusRequest, text: str | None, emoji: str | None, for_ms: int | None) -> None:
    """Set your status; `auto` leaves it to your devices again, and `offline` hides you.

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


@main.command()
@click.pass_obj
def clear(context: Context) -> None:
    """End your manual status and clear your text."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.acts.clear(acting.user)
            context.output.records([await acting.record()])
        return exits.OK

    exits.run(work())


@main.command()
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


@main.command()
@click.argument("users", nargs=-1, metavar="USER...")
@click.option("--channel", help="Watch the members of this channel instead of users.")
@click.option("--contacts", is_flag=True, help="Watch all your contacts, also those whom you gain meanwhile.")
@until_enough
@click.pass_obj
def watch(
    context: Context,
    users: tuple[str, ...],
    channel: str | None,
    contacts: bool,
    count: int | None,
    wait: float | None,
) -> None:
    """Print users, your contacts or the members of a channel, and then each change at once, until Ctrl-C.

    With both -C and -W the exit code is 1 if the time is over before the count is reached.
    """
    if bool(users) + (channel is not None) + contacts != 1:
        raise click.UsageError("name what to watch: either USER..., or --contacts, or --channel CHANNEL")

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
            async with me.watch(*users) as changes:
                return await follow(changes, context.output.change, count, wait)

    exits.run(work())


@main.command()
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


for command in (
    *ctl_online.COMMANDS,
    *ctl_devices.COMMANDS,
    *ctl_claims.COMMANDS,
    *ctl_contacts.COMMANDS,
    *ctl_privacy.COMMANDS,
    *ctl_channels.COMMANDS,
    *ctl_chat.COMMANDS,
    *ctl_moderation.COMMANDS,
    *ctl_admin.COMMANDS,
):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="presencectl")
