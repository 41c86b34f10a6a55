"""What the commands of `presencectl` share: the options of the group, and printing a stream until its end.

Knows no single command.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from presenced.cli import exits
from presenced.cli.group import SentenceGroup
from presenced.cli.output import Output
from presenced.cli.target import Target

if TYPE_CHECKING:
    import asyncio

    from presenced.client.client_base import ConnectedClient
    from presenced.errors import PresenceError

T = TypeVar("T")

user_argument = click.argument("user", required=False, default="")


@dataclass(frozen=True, slots=True)
class Context:
    """The options of the group, as commands use them."""

    target: Target
    output: Output
    wants_json: bool
    """JSON was asked for by --json, and not only by a pipe."""
    socket: str = ""
    """The admin socket that operators ask; empty = the default one."""
    instance: str = ""
    """The server of this machine that operators ask, by the name of its unit; empty = the unit without a name."""
    node: int = 0
    """Which node they ask, of several that one command runs; 0 = the server is one daemon."""
    takes_as: bool = True
    """The command takes --as."""


class DefaultGroup(SentenceGroup):
    """A group that lists when no subcommand is named: `activity bob` is `activity list bob`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Like click's own method, but inserts `list` where it was left out."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def until_enough(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that prints a stream the options `count` and `wait`."""
    command = click.option(
        "-W", "--wait", type=click.FloatRange(min=0), metavar="SECONDS", help="End after this time."
    )(command)
    return click.option("-C", "--count", type=click.IntRange(min=1), help="End after this many lines.")(command)


def aside(printing: Callable[[], T]) -> asyncio.Future[T]:
    """Print on a thread, while the link goes on with its heartbeats: a pipe without a reader, or a terminal that was
    stopped with Ctrl-S, takes no output. `exits` ends the process without waiting for a reader."""
    from presenced.ops.threads import in_thread

    return in_thread(printing, exits.OUTPUT_THREAD)


async def follow(items: AsyncIterable[T], show: Callable[[T], bool], count: int | None, wait: float | None) -> int:
    """Show items until there were `count` that `show` printed, or `wait` seconds are over; returns the exit code."""
    import asyncio

    left = count
    try:
        async with asyncio.timeout(wait):
            async for item in items:
                if await aside(partial(show, item)) and left is not None:
                    left -= 1
                    if left == 0:
                        return exits.OK
    except TimeoutError:
        return exits.OK if count is None else exits.NO
    return exits.OK


def tell_of_links(link: ConnectedClient, output: Output) -> None:
    """Note each loss of the link and each new connection."""

    def tell(state: str, reason: PresenceError | None) -> None:
        if state == "connecting":
            aside(partial(output.note, f"{reason}; reconnecting"))
        elif state == "connected":
            aside(partial(output.note, "connected again"))

    link.on_state(tell)
