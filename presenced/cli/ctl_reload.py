"""`presencectl reload`: a daemon, or each of several nodes that one command runs, reads its configuration again."""

from __future__ import annotations

import os
import signal
from typing import Any

import click

from presenced.cli import exits
from presenced.cli.admin_link import AdminLink, nodes_beside
from presenced.cli.context import Context
from presenced.cli.ctl_admin import run
from presenced.cli.output import Output
from presenced.errors import ConnectionLost


@click.command()
@click.option(
    "--main-pid",
    type=click.IntRange(min=1),
    metavar="PID",
    help="For ExecReload= of a unit: print only faults, and send SIGHUP to PID if there is no admin socket.",
)
@click.pass_obj
def reload(context: Context, main_pid: int | None) -> None:
    """Read the configuration, the certificate and the secret again, as SIGHUP does.

    If anything is at fault, the old configuration stays and the exit code is 78. Of several nodes that one command runs
    (`presenced serve --nodes N`) each is asked, unless --node before the subcommand names one; any other node of a
    cluster is asked at its own admin socket. Credentials of the service ("credential:NAME") stay as they were at its
    start: a new one takes `systemctl restart presenced`.
    """
    is_quiet = main_pid is not None

    def work(link: AdminLink) -> int:
        try:
            return say_reload(context.output, link.ask("reload", is_long=True), is_quiet=is_quiet)
        except ConnectionLost as error:
            nodes = nodes_beside(link.path)
            if error.code != "no_daemon" or (main_pid is None and not nodes):
                raise
        for path in nodes:
            code = _reload_node(context, path, is_quiet=is_quiet)
            if code != exits.OK:
                return code
        if main_pid is not None:
            # The supervisor of several nodes then starts again those that had given up.
            os.kill(main_pid, signal.SIGHUP)
        return exits.OK

    run(context, work)


def _reload_node(context: Context, path: str, *, is_quiet: bool) -> int:
    with AdminLink(path, context.target.timeout_s) as link:
        try:
            answer = link.ask("reload", is_long=True)
        except ConnectionLost as error:
            # It is being started, and reads its configuration then.
            context.output.note(f"{path}: {error}")
            return exits.OK
    if not is_quiet and not context.output.is_json:
        context.output.note(f"{path}:")
    return say_reload(context.output, answer, is_quiet=is_quiet)


_TITLES = {"applied": "applied", "needs_restart": "needs restart", "warnings": "warning", "kept": "kept"}


def say_reload(output: Output, answer: dict[str, Any], *, is_quiet: bool) -> int:
    """Print what came of a reload; returns the exit code. `is_quiet`: only faults, since the log tells the rest."""
    if is_quiet and answer["ok"]:
        return exits.OK
    if output.is_json:
        output.line(answer)
    elif answer["ok"]:
        for key, title in _TITLES.items():
            for line in answer.get(key, ()):
                output.sentence(f"{title:15}{line}", indent=15)
        output.note(f"reloaded in {answer['took_ms']} ms" + ("" if answer["applied"] else ", nothing is different"))
    if not answer["ok"]:
        faults = "\n".join(answer["faults"])
        return exits.complain(f"refused, the old configuration stays:\n{faults}", exits.CONFIG)
    return exits.OK


COMMANDS: tuple[click.Command, ...] = (reload,)
