"""The `presencectl` command: ask, set and watch presence from a shell.

Each command is a few lines over the client. `target` says where it connects, `output` how it prints, and `exits` how it
ends. A command is imported when it is run, and imports the client and rich only if it needs them: a script may call
`presencectl get` for each of many users. `tests/cli/test_imports.py` says what no command loads.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from presenced import __version__
from presenced.cli import exits
from presenced.cli.asides import terminal_width
from presenced.cli.context import Context
from presenced.cli.group import Commands
from presenced.cli.output import Output
from presenced.cli.target import Target

OF_ADMINS = ("status", "doctor", "links", "kick", "drain", "snapshot", "loglevel", "top", "webhooks")
OPERATORS = (*OF_ADMINS, "reload", "cluster")

MODULES = {
    "ctl_status": ("get", "set", "clear", "who", "ping"),
    "ctl_watch": ("watch",),
    "ctl_online": ("online",),
    "ctl_devices": ("devices", "device", "lease", "activity", "sync", "sync-status"),
    "ctl_claims": ("claims", "claim", "schedule"),
    "ctl_contacts": ("contacts",),
    "ctl_privacy": ("block", "unblock", "blocked", "hide", "show", "audience"),
    "ctl_channels": ("join", "leave", "members"),
    "ctl_events": ("events", "followers", "history"),
    "ctl_chat": ("do", "shell"),
    "ctl_moderation": ("revoke", "erase"),
    "ctl_awaits": ("await",),
    "ctl_explain": ("explain",),
    "ctl_route": ("route",),
    "ctl_admin": OF_ADMINS,
    "ctl_reload": ("reload",),
    "ctl_cluster": ("cluster",),
}
"""Which file has which commands, in its `COMMANDS`. A file is imported when one of its commands is run."""

SECTIONS = {
    "To see people": ("get", "who", "watch", "await", "explain", "route", "ping"),
    "To be there": (
        *("online", "set", "clear", "devices", "device", "lease", "claims", "claim", "schedule", "activity", "sync"),
        "sync-status",
    ),
    "To meet": ("contacts", "join", "leave", "members"),
    "To be seen or not": ("block", "unblock", "blocked", "hide", "show", "audience"),
    "To follow and to take away, as a service": ("events", "followers", "history", "revoke", "erase"),
    "To type as in a chat": ("do", "shell"),
    "To operate, over the admin socket": (
        *("status", "doctor", "top", "links", "kick", "drain", "snapshot", "reload", "loglevel", "webhooks", "cluster"),
    ),
}
"""The commands as the help lists them, and the README."""

READERS = frozenset({"get", "who", "watch", "members", "await", "ping", "events", "followers", "revoke", "erase"})
"""Commands that concern no user, or the users whom they name."""

WITHOUT_AS = READERS | {*OPERATORS, "online"}
"""Commands that do not take --as."""


@click.group(
    "presencectl",
    cls=Commands,
    modules={f"presenced.cli.{module}": names for module, names in MODULES.items()},
    sections=SECTIONS,
    exit_codes=exits.TOLD,
    context_settings={"help_option_names": ["-h", "--help"]},
)
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
@click.option(
    "--node",
    type=click.IntRange(min=1),
    metavar="K",
    help="For operators: node K of several that one command runs (`presenced serve --nodes N`).",
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
    A service that asks about a USER needs no --as: `presencectl --url presence://backend@HOST history bob`.

    The options below go before the subcommand: `presencectl --json get bob`.
    """
    given = {name for name in options if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    ctx.obj = _context(options, given, ctx.invoked_subcommand or "")


def _context(options: dict[str, Any], given: set[str], subcommand: str) -> Context:
    """The options as the commands see them; `given` are those that are written on the command line."""
    if options["as_user"] and subcommand in WITHOUT_AS:
        raise click.UsageError(f"`{subcommand}` does not use --as; leave it out")
    if subcommand not in OPERATORS and (named := given & {"socket", "instance", "node"}):
        raise click.UsageError(f"`{subcommand}` does not use --{max(named)}; name the server with --url")
    if {"socket", "instance"} <= given:
        raise click.UsageError("--socket and --instance both name a server; leave one out")
    if options["as_json"] and options["as_text"]:
        raise click.UsageError("--json and --text cannot be used together; leave one out")
    is_terminal = sys.stdout.isatty()
    is_json = options["as_json"] or not (is_terminal or options["as_text"])
    has_colour = is_terminal and not options["no_color"] and not os.environ.get("NO_COLOR")
    width = terminal_width(sys.stdout) if is_terminal else 0
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
        Output(is_json=is_json, has_colour=has_colour, is_quiet=options["quiet"], width=width),
        options["as_json"],
        options["socket"],
        options["instance"],
        options["node"] or 0,
        subcommand not in WITHOUT_AS,
    )


if __name__ == "__main__":
    main(prog_name="presencectl")
