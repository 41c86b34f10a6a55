"""The commands of `presencectl` about what claims a status for a user: named claims, and the schedule.

Each command is about the URL's user, or with --as about any user. After a change it prints the new state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

import click
from msgspec.structs import asdict

from presenced.cli import exits
from presenced.cli.context import Context, user_argument
from presenced.cli.group import SentenceGroup
from presenced.cli.options import DurationParameter
from presenced.cli.output import OutputRow, clock_time
from presenced.errors import AddressError
from presenced.wire.messages import ClaimInfo, DeviceStatus, Source, Status

if TYPE_CHECKING:
    from presenced.cli.target import Acting
    from presenced.client.schedule_windows import WindowLike
    from presenced.client.values import Schedule

CLAIM_TITLES = ("claim", "source", "status", "since", "until")
SOURCES = [source for source in get_args(Source) if source != "schedule"]

# --- claims ---------------------------------------------------------------------------------------------------


@click.command()
@user_argument
@click.pass_obj
def claims(context: Context, user: str) -> None:
    """List the claims on a user's status; the first one counts."""

    async def work() -> int:
        async with context.target.acting(user) as acting:
            await _show_claims(context, acting)
        return exits.OK

    exits.run(work())


@click.group(cls=SentenceGroup)
def claim() -> None:
    """Add or end a claim: a status that is stated for the user, whatever the devices report.

    A call counts over a manual claim (`set` makes one), a manual claim over the calendar, that over the schedule.
    """


@claim.command("add")
@click.argument("name")
@click.argument("source", metavar="SOURCE", type=click.Choice(SOURCES))
@click.argument("status", metavar="STATUS", type=click.Choice(get_args(Status)))
@click.option(
    "--for",
    "for_ms",
    type=DurationParameter(is_span=True),
    help="How long it holds: 30m, 1h30m, 2d; default: until ended.",
)
@click.pass_obj
def add_claim(context: Context, name: str, source: Source, status: Status, for_ms: int | None) -> None:
    """State a status until the claim ends. A claim of the same name is replaced.

    SOURCE is one of: call, manual, calendar. STATUS is one of: chat, online, away, xa, dnd, offline.
    """

    async def work() -> int:
        until = None if for_ms is None else for_ms / 1000
        async with context.target.acting() as acting:
            await acting.acts.add_claim(acting.user, name, source, status, until)
            await _show_claims(context, acting)
        return exits.OK

    exits.run(work())


@claim.command("end")
@click.argument("name")
@click.pass_obj
def end_claim(context: Context, name: str) -> None:
    """End a claim. It is not an error if there is none of that name."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.acts.end_claim(acting.user, name)
            await _show_claims(context, acting)
        return exits.OK

    exits.run(work())


async def _show_claims(context: Context, acting: Acting) -> None:
    found = await acting.acts.get_claims(acting.user)
    nothing = f"{acting.name} has no claims"
    context.output.rows([_claim_row(info) for info in found], CLAIM_TITLES, nothing=nothing)


def _claim_row(info: ClaimInfo) -> OutputRow:
    cells = (info.claim, info.source, info.status, clock_time(info.since_ms), clock_time(info.until_ms))
    return OutputRow(asdict(info), cells, info.status)


# --- the schedule ---------------------------------------------------------------------------------------------


@click.group(cls=SentenceGroup)
def schedule() -> None:
    """Show, set or clear the status that recurs each week."""


@schedule.command("show")
@user_argument
@click.pass_obj
def show_schedule(context: Context, user: str) -> None:
    """Show a user's schedule. The exit code is 1 if there is none."""

    async def work() -> int:
        async with context.target.acting(user) as acting:
            found = await acting.acts.get_schedule(acting.user)
        if found is None:
            context.output.note(f"{acting.name} has no schedule")
            return exits.NO
        _say_schedule(context, found)
        return exits.OK

    exits.run(work())


@schedule.command("set")
@click.argument("zone")
@click.argument("windows", nargs=-1, required=True, metavar="WINDOW...")
@click.option("--status", type=click.Choice(get_args(DeviceStatus)), default="dnd", show_default=True)
@click.pass_obj
def set_schedule(context: Context, zone: str, windows: tuple[str, ...], status: DeviceStatus) -> None:
    """Have a status recur each week: `schedule set Europe/Berlin 'mon-fri 18:00-08:00' 'sat,sun 00:00-24:00'`.

    A window that ends before it starts ends on the day after. A status after it (`'sat 00:00-24:00 xa'`) holds in it
    instead of that of --status; where windows overlap the first holds.
    """

    async def work() -> int:
        made = [_window(text) for text in windows]
        async with context.target.acting() as acting:
            await acting.acts.set_schedule(acting.user, zone, made, status)
            found = await acting.acts.get_schedule(acting.user)
        if found is not None:
            _say_schedule(context, found)
        return exits.OK

    exits.run(work())


@schedule.command("clear")
@click.pass_obj
def clear_schedule(context: Context) -> None:
    """Remove the schedule, and end what it claims."""

    async def work() -> int:
        async with context.target.acting() as acting:
            await acting.acts.clear_schedule(acting.user)
        return exits.OK

    exits.run(work())


def _window(text: str) -> WindowLike:
    from presenced.client.schedule_windows import windows_of

    words = text.split()
    status = words.pop() if words and words[-1] in get_args(DeviceStatus) else ""
    start, dash, end = words.pop().partition("-") if words else ("", "", "")
    days = " ".join(words)
    if not days or not dash:
        raise _no_window(text, "")
    window: WindowLike = (days, start, end, cast(DeviceStatus, status)) if status else (days, start, end)
    try:
        windows_of([window])
    except AddressError as error:
        # Its advice is for those who write Python.
        raise _no_window(text, str(error).partition("; ")[0]) from None
    return window


def _no_window(text: str, why: str) -> AddressError:
    reason = f": {why}" if why else ""
    return AddressError(f"{text!r} is not a window{reason}; write it like 'mon-fri 18:00-08:00 dnd'", "bad_schedule")


def _say_schedule(context: Context, found: Schedule) -> None:
    windows = [" ".join((days, f"{start}-{end}", *status)) for days, start, end, *status in found.windows]
    value = {"zone": found.zone, "status": found.status, "windows": windows}
    context.output.say(value, f"{found.status} in {found.zone}: {'; '.join(windows)}")


COMMANDS: tuple[click.Command, ...] = (claims, claim, schedule)
