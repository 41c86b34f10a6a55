"""The commands of `presencectl` about what happens and what happened to users, and about who follows that."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from presenced.cli import exits
from presenced.cli.context import Context, follow, tell_of_links, until_enough, user_argument
from presenced.cli.options import MomentParameter
from presenced.cli.output import OutputRow, clock_time, printable

if TYPE_CHECKING:
    from presenced.client.event_acts import UserHistory
    from presenced.client.protocol.event_feed import Event
    from presenced.wire.messages import FollowerInfo

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

REASONS = {
    "bye": "left",
    "lost": "the connection was lost",
    "kicked": "was kicked",
    "idle": "no input for long",
    "hidden": "chose to appear offline",
}
FOLLOWER_TITLES = ("name", "behind", "acknowledged", "cursor")
HISTORY_TITLES = ("when", "what", "why")


@click.command()
@click.option("--cursor", default="", help="Begin behind the event that had this cursor; default: from now on.")
@click.option("--name", default="", metavar="NAME", help="Have the server keep the position under this name.")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Print only events of this kind; may be repeated."
)
@until_enough
@click.pass_obj
def events(
    context: Context, cursor: str, name: str, kinds: tuple[str, ...], count: int | None, wait: float | None
) -> None:
    """Print what happens to all users, each event once and in order, until Ctrl-C. For services.

    Save the cursor of the last event to go on behind it later with --cursor, or give a --name, and it goes on by itself
    behind what it printed. A `reset`, which --kind never leaves out, says that events were missed and the server cannot
    tell them all. With both -C and -W the exit code is 1 if the time is over before the count is reached.
    """
    output = context.output

    def show(event: Event) -> bool:
        if kinds and event.kind not in (*kinds, "reset"):
            return False
        if output.is_json:
            output.line(event._asdict())
        else:
            # Its own time: behind a cursor, or under a name, it may have happened long ago.
            output.moment(describe_event(event), event.new if event.kind in STATUS_KINDS else "", event.at_ms)
        return True

    async def work() -> int:
        async with context.target.service(reconnect=True) as service:
            tell_of_links(service, output)
            async with service.events(cursor or None, name=name) as stream:
                output.note(f"following from {stream.cursor}")
                code = await follow(stream, show, count, wait)
                stream.acknowledge()
                return code

    exits.run(work())


def describe_event(event: Event) -> str:
    """An event in one line for people."""
    if event.kind == "reset":
        return f"reset  (events were missed; read the current state again)  {event.cursor}"
    if event.kind == "erased":
        return f"{event.user}  erased  (the server's disk holds nothing any more of them)  {event.cursor}"
    why = f"  ({event.reason})" if event.reason else ""
    old, new = f"{event.old_emoji} {event.old}".strip(), f"{event.new_emoji} {event.new}".strip()
    return f"{event.user}  {event.kind}  {old or '-'} \u2192 {new or '-'}{why}  {event.cursor}"


# --- followers ------------------------------------------------------------------------------------------------


@click.command()
@click.option("--forget", default="", metavar="NAME", help="Forget this follower and its position.")
@click.pass_obj
def followers(context: Context, forget: str) -> None:
    """List the followers of events whose positions the server keeps for this service, and how far behind each is."""

    async def work() -> int:
        async with context.target.service() as service:
            if forget:
                await service.forget_follower(forget)
            infos = await service.followers()
        nothing = "no follower has a name; follow with `presencectl events --name NAME`"
        context.output.rows([_follower_row(info) for info in infos], FOLLOWER_TITLES, nothing=nothing)
        return exits.OK

    exits.run(work())


def _follower_row(info: FollowerInfo) -> OutputRow:
    behind = f"{info.behind:,}" if info.behind >= 0 else "events are lost to it"
    return OutputRow(asdict(info), (info.name, behind, clock_time(info.at_ms), f"{info.epoch}-{info.seq}"))


# --- history --------------------------------------------------------------------------------------------------


@click.command()
@user_argument
@click.option(
    "--since",
    type=MomentParameter(),
    help="From this time on, such as 2026-11-30T12:00:00Z, or from so long ago, such as 2h; default: all that is kept.",
)
@click.option("--until", type=MomentParameter(), help="Until this time, likewise; default: now.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 100_000), default=1_000, show_default=True, help="At most so many."
)
@click.pass_obj
def history(context: Context, user: str, since: datetime | None, until: datetime | None, limit: int) -> None:
    """Show when a user was online and how, with the reason of each change, by the local clock.

    About yourself, or with a service's URL and token about those whom it sees:

    presencectl --url presence://backend@127.0.0.1:5250 history bob --since 2h

    The server keeps what happened for a time (`events.keep_for`, a day by default). With --json, one event a line.
    """
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is later than --until")

    async def work() -> int:
        async with context.target.acting(user) as acting:
            found = await acting.events.history(acting.user, since, until, limit)
        output = context.output
        if output.is_json:
            for event in ([found.before] if found.before is not None else []) + found.events:
                output.line(event._asdict())
            return exits.OK
        since_ms = int(since.timestamp() * 1000) if since is not None else 0
        rows = history_rows(found, since_ms)
        known = known_from(found, since_ms, has_rows=bool(rows))
        output.rows(rows, HISTORY_TITLES, nothing=known)
        if rows and known:
            output.note(known)
        if not found.is_whole:
            output.note(f"there is more: these are the first {limit}; give --since, or a higher --limit")
        return exits.OK

    exits.run(work())


def history_rows(found: UserHistory, since_ms: int) -> list[OutputRow]:
    """What of a history a person reads: one line for each change, and first what held when the span began."""
    rows = []
    if found.before is not None:
        then = clock_time(max(since_ms, found.before.at_ms))
        rows.append(_row(found.before, then, f"was {found.before.new} since {clock_time(found.before.at_ms)}"))
    for event in found.events:
        # `online` and `offline` come with a change of status, which says the same.
        if event.kind not in ("online", "offline"):
            rows.append(_row(event, clock_time(event.at_ms), _what(event)))
    return rows


def _row(event: Event, when: str, what: str) -> OutputRow:
    why = REASONS.get(event.reason, event.reason)
    return OutputRow(event._asdict(), (when, what, why), event.new if event.kind == "status_change" else "")


def _what(event: Event) -> str:
    if event.kind == "status_change":
        return event.new
    if event.kind == "device_change":
        return f"on {event.new}, before on {event.old}"
    text = printable(f"{event.new_emoji} {event.new}".strip())
    return f"text: {text}" if text else "no text"


def known_from(found: UserHistory, since_ms: int, *, has_rows: bool) -> str:
    """A sentence if the span begins before what is known, or if nothing is shown; else nothing."""
    # The server may tell a later beginning than there is, to the minute.
    begins_ms = min(found.begins_ms, found.events[0].at_ms) if found.events else found.begins_ms
    begins = f"{datetime.fromtimestamp(begins_ms / 1000, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    is_short = begins_ms > since_ms
    if not has_rows:
        known = f" in the time that is known, which begins {begins}" if is_short else ""
        return f"nothing of {found.user} has changed{known}"
    return f"nothing {'is' if found.before is None else 'else is'} kept from before {begins}" if is_short else ""


COMMANDS: tuple[click.Command, ...] = (events, followers, history)
