"""The command of `presencectl` that says how to notify a user (protocol.md, section 23.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import click
from msgspec.structs import asdict

from presenced.cli import exits
from presenced.cli.context import Context, user_argument
from presenced.cli.output import OutputRow, clock_time
from presenced.wire.messages import RouteReason, TargetInfo, Urgency

if TYPE_CHECKING:
    from presenced.client import RouteInfo

TITLES = ("device", "kind", "notify", "why")

OF_USERS: dict[RouteReason, str] = {
    "unknown": "nothing is known of them",
    "unreachable": "no device can be reached",
    "reading": "they are reading just that",
    "dnd": "they do not want to be disturbed",
    "quiet_hours": "they have their quiet hours",
    "call": "they are in a call",
}
"""Reasons that are not one device's."""

OF_DEVICES: dict[RouteReason, str] = {
    "urgent": "it is urgent",
    "reading": "it is being read",
    "dnd": "not to be disturbed",
    "quiet_hours": "quiet hours",
    "call": "in a call",
    "looks_in": "its priority is negative",
    "no_link": "it has no link just now, and no meta to push to it",
    "in_use": "it is in use",
    "used_elsewhere": "another device is in use",
    "carried": "it is carried along, and no device is in use",
    "idle": "nobody is at it",
    "untold": "it does not tell whether somebody is at it",
    "low": "the urgency is low",
}


@click.command()
@user_argument
@click.option(
    "--urgency",
    type=click.Choice(get_args(Urgency)),
    default="normal",
    show_default=True,
    help="How much it matters: `high` reaches people in a call, `urgent` everybody on every device.",
)
@click.option("--about", default="", metavar="NAME", help="The channel or conversation that it is about.")
@click.pass_obj
def route(context: Context, user: str, urgency: Urgency, about: str) -> None:
    """Say which devices of a user to notify, and whether now. The exit code is 1 if none is to be notified now.

    About yourself, or with a service's URL and token about those whom it may see and act for:

    presencectl --url presence://backend@127.0.0.1:5250 route bob --urgency high
    """

    async def work() -> int:
        async with context.target.acting(user) as acting:
            found = await acting.routing.route(acting.user, urgency=urgency, about=about)
        shown = [target for target in found.devices if target.device != acting.own_device]
        context.output.say(asdict(found) | {"devices": [asdict(target) for target in shown]}, _sentence(found))
        if not context.output.is_json:
            context.output.rows([_row(target) for target in shown], TITLES)
        return exits.OK if found.verdict == "now" else exits.NO

    exits.run(work())


def _sentence(found: RouteInfo) -> str:
    """What to do, and why, in words."""
    because = OF_USERS.get(found.reason, OF_DEVICES.get(found.reason, found.reason))
    if found.verdict == "now":
        first = found.devices[0]
        sentence = f"notify {found.user} now on {first.device}: {OF_DEVICES.get(first.reason, first.reason)}"
    elif found.verdict == "at":
        sentence = f"do not notify {found.user} before {clock_time(found.at_ms)}: {because}"
    elif found.verdict == "silent":
        sentence = f"show it to {found.user} without a sound: {because}"
    else:
        sentence = f"do not notify {found.user}: {because}"
    seen = f"; their last input was at {clock_time(found.last_input_ms)}" if found.last_input_ms else ""
    return sentence + seen


def _row(target: TargetInfo) -> OutputRow:
    why = OF_DEVICES.get(target.reason, target.reason)
    return OutputRow(asdict(target), (target.device, target.kind, target.verdict, why))


COMMANDS: tuple[click.Command, ...] = (route,)
