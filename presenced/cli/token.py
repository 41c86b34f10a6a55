"""`presenced token`: a token signed with the secret of the daemon, for a start, tests and small applications."""

from __future__ import annotations

import sys
import time
from typing import cast

import click

from presenced.address import check_name
from presenced.cli.asides import print_aside
from presenced.cli.exits import CONFIG
from presenced.cli.options import DurationParameter
from presenced.errors import AddressError
from presenced.server.identity import ROLES, mint
from presenced.server.keys import SecretError, load_keys
from presenced.wire.messages import Role


@click.command()
@click.option("--user", required=True, help="The user that the token is for.")
@click.option("--role", type=click.Choice(ROLES), default="user", show_default=True)
@click.option("--ttl", type=DurationParameter(), default="1d", show_default=True, help="How long the token is valid.")
@click.option("--secret-file", required=True, metavar="FILE")
@click.option(
    "--see", multiple=True, metavar="PATTERN", help="Users that a service may see, or a user may see besides."
)
@click.option("--act", multiple=True, metavar="PATTERN", help="Users that a service may act for.")
@click.option("--join", multiple=True, metavar="PATTERN", help="Channels to join where the server goes by tokens.")
@click.option("--watch-channel", multiple=True, metavar="PATTERN", help="Channels to watch, likewise.")
@click.option("--only-read", is_flag=True, help="The link may ask and watch, and change nothing.")
def token(
    user: str,
    role: str,
    ttl: int,
    secret_file: str,
    see: tuple[str, ...],
    act: tuple[str, ...],
    join: tuple[str, ...],
    watch_channel: tuple[str, ...],
    only_read: bool,
) -> None:
    """Print a token (JWT, HS256) with which USER may connect.

    The first line of FILE signs the token. The daemon accepts tokens that any line of its secret file has signed.

    A PATTERN is *, a name, PREFIX* or *@PART. Each of these options may be given several times; one that is not given
    leaves to the role what it is about.
    """
    try:
        check_name(user, "user")
    except AddressError as error:
        raise click.BadParameter(str(error), param_hint="--user") from None
    try:
        key = load_keys(secret_file, once=True)[0]
    except SecretError as error:
        print_aside(f"presenced: {error}")
        sys.exit(CONFIG)
    if ttl < 1000:
        raise click.BadParameter("must be at least 1s", param_hint="--ttl")
    lists = {"see": see, "act": act, "join": join, "watch_channels": watch_channel}
    presence: dict[str, object] = {name: list(patterns) for name, patterns in lists.items() if patterns}
    if only_read:
        presence["only_read"] = True
    try:
        click.echo(mint(key, user, cast(Role, role), int(time.time()), ttl // 1000, presence or None))
    except ValueError as error:
        raise click.UsageError(f"the token's {error}") from None


COMMANDS: tuple[click.Command, ...] = (token,)
