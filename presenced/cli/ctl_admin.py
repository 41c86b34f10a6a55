"""The commands of `presencectl` for operators, over the daemon's admin socket instead of the network.

They need no URL and no token: the owner, group and mode of the socket's file decide who may use it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import click

from presenced.cli import exits
from presenced.cli.admin_link import (
    AdminLink,
    absence_of_instance,
    absence_of_node,
    default_path,
    nodes_beside,
    status_of,
)
from presenced.cli.confirmation import confirm
from presenced.cli.context import Context
from presenced.cli.ctl_webhooks import say_test, say_webhooks
from presenced.cli.options import DurationParameter
from presenced.cli.output import OutputRow, printable
from presenced.cli.status_sentence import status_sentence
from presenced.cli.top_figures import age
from presenced.durations import format_duration
from presenced.ops.admin_messages import LINKS_MAX, RETRY_MS, AdminLogLevel, LinkOrder, LinkRole
from presenced.ops.formats import counted
from presenced.runtime_paths import instance_admin_path, node_admin_path

LINK_TITLES = ("user", "device", "role", "from", "age", "silent", "watching", "owed")
DRAIN_MARGIN_S = 10.0
LEFT_CHECK_S = 0.2


def link_to(context: Context) -> AdminLink:
    """The daemon that a command is about."""
    path = instance_admin_path(context.instance) if context.instance else context.socket
    is_named = bool(path)
    path = path or default_path()
    absence: Callable[[], str] | None = None
    if context.node:
        absence = partial(absence_of_node, path)
        path = node_admin_path(path, context.node)
    elif context.instance and not nodes_beside(path):
        absence = partial(absence_of_instance, context.instance)
    return AdminLink(path, context.target.timeout_s, is_named=is_named, absence=absence)


def run(context: Context, work: Callable[[AdminLink], int]) -> None:
    """Run a command over the socket and leave with its exit code."""
    link = link_to(context)

    def with_link() -> int:
        with link:
            return work(link)

    exits.run_blocking(with_link)


# --- looking ------------------------------------------------------------------------------------------------------


@click.command()
@click.pass_obj
def status(context: Context) -> None:
    """Show the state of the daemon: how long it runs, how many users and links it has, and its log.

    Of a cluster that is the one node that is asked; `presencectl cluster` shows all.
    """

    def work(link: AdminLink) -> int:
        answer = link.ask("status")
        context.output.say(answer, "" if context.output.is_json else status_sentence(status_of(answer)))
        return exits.OK

    run(context, work)


@click.command()
@click.option("--all", "wants_all", is_flag=True, help="List also the checks that find nothing wrong.")
@click.pass_obj
def doctor(context: Context, wants_all: bool) -> None:
    """Say what is wrong with the daemon, and what to do. The exit code is 1 if there is a problem; warnings do not
    count.

    Of a cluster that is the one node that is asked: it tells of the engine and of its own part, and not what is wrong
    with another.
    """

    def work(link: AdminLink) -> int:
        findings: list[dict[str, str]] = link.ask("doctor")
        output = context.output
        for finding in findings:
            if finding["severity"] == "ok" and not wants_all:
                continue
            output.finding(finding)
        worse = sum(finding["severity"] != "ok" for finding in findings)
        if not output.is_json:
            output.note(f"{len(findings)} checks, {worse or 'none'} to look at" + ("" if wants_all else " (--all)"))
        return exits.NO if any(finding["severity"] == "problem" for finding in findings) else exits.OK

    run(context, work)


@click.command()
@click.argument("user", default="")
@click.option(
    "--role", type=click.Choice(get_args(LinkRole)), help="Only links of this role; none = links without a hello yet."
)
@click.option("--slow", is_flag=True, help="Only links that do not read what they are sent.")
@click.option(
    "--sort",
    type=click.Choice(get_args(LinkOrder)),
    default="since",
    show_default=True,
    help="Put the newest links first, or those with the largest figure.",
)
@click.option(
    "--limit", type=click.IntRange(0, LINKS_MAX), default=100, show_default=True, help="The most links to list."
)
@click.option("--node", default="", metavar="NAME", help="Of a cluster, only links of the node of this name.")
@click.pass_obj
def links(context: Context, /, **filters: Any) -> None:
    """List connections: all, or those of USER or of USER/DEVICE, on all nodes of a cluster.

    The list includes the link of a service that holds a device of the user. If a node of the cluster does not answer
    within 2 s, the links of the others are listed, and the exit code is 75.
    """

    def work(link: AdminLink) -> int:
        # A daemon of an earlier version knows no nodes.
        answer = link.ask("links", **{name: value for name, value in filters.items() if name != "node" or value})
        output = context.output
        has_nodes = any("node" in one for one in answer["links"])
        titles = ("node", *LINK_TITLES) if has_nodes else LINK_TITLES
        output.rows([_link_row(one, has_node=has_nodes) for one in answer["links"]], titles)
        if not output.is_json:
            shown, matching, total = len(answer["links"]), answer["matching"], answer["total"]
            output.note(f"{shown:,} of {counted(matching, 'matching link')}; {counted(total, 'link')} in all")
        if silent := answer.get("silent"):
            sentence = f"no answer from {', '.join(silent)}: links there are not listed; see `presencectl cluster`"
            return exits.complain(printable(sentence), exits.TEMPORARY)
        return exits.OK

    run(context, work)


def _link_row(one: dict[str, Any], *, has_node: bool) -> OutputRow:
    cells = (
        *((one.get("node", ""),) if has_node else ()),
        one["user"],
        one["device"] or (f"({counted(one['holds'], 'device')})" if one["holds"] else ""),
        one["role"],
        one["peer"],
        age(one["age_ms"]),
        age(one["silent_ms"]) if one["silent_ms"] >= 0 else "",
        f"{one['watching']:,}",
        f"{one['held']:,}" + (" slow" if one["slow"] else ""),
    )
    return OutputRow(one, cells)


# --- doing --------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("user", default="")
@click.option(
    "--role", type=click.Choice(get_args(LinkRole)), help="Only links of this role; without USER all links of the role."
)
@click.option("--message", default="", help="A text that the clients are told.")
@click.option(
    "--retry",
    type=DurationParameter(),
    default=format_duration(RETRY_MS),
    show_default=True,
    help="How long the clients are told to stay away; each gets a time between this and twice as long.",
)
@click.option(
    "--gone", is_flag=True, help="USER's devices are gone at once, without grace, and so are those that services hold."
)
@click.option(
    "-y", "--yes", is_flag=True, help="Do not ask before closing all links of a role; needed without a terminal."
)
@click.pass_obj
def kick(context: Context, user: str, role: str | None, message: str, retry: int, gone: bool, yes: bool) -> None:
    """Close the connections of USER, of USER/DEVICE, or with --role of a whole role, on all nodes of a cluster.

    Clients may come back, and do so by themselves: this is for links that hang, and not a ban. To keep USER out,
    `presencectl revoke USER` first, and give no new token. The exit code is 1 if there was no such link.
    """
    if not user and role is None:
        raise click.UsageError("name whom to kick: USER, USER/DEVICE, or --role ROLE")
    if gone and (not user or "/" in user or role is not None):
        raise click.UsageError("--gone is for all devices of one user: give USER alone")
    if not user:
        confirm(f"Close every link of the role {role}?", yes)

    def work(link: AdminLink) -> int:
        answer = link.ask("kick", user=user, role=role, message=message, retry_ms=retry, gone=gone)
        number, held_by, elsewhere = answer["links"], answer["held_by"], answer.get("elsewhere", 0)
        of_others = f", {elsewhere:,} of them on other nodes" if elsewhere else ""
        context.output.say(answer, f"{counted(number, 'link')} closed{of_others}")
        if silent := answer.get("silent_nodes"):
            context.output.note(f"{counted(silent, 'node')} did not answer, and may have more: `presencectl cluster`")
        if held_by:
            context.output.note(f"{user} is also held by the service {', '.join(held_by)}, which was left alone")
        return exits.OK if number else exits.NO

    run(context, work)


@click.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask; needed without a terminal.")
@click.option("--wait", is_flag=True, help="Wait until the daemon has ended.")
@click.option("--node", default="", metavar="NAME", help="Of a cluster, stop the node of this name, wherever it runs.")
@click.pass_obj
def drain(context: Context, yes: bool, wait: bool, node: str) -> None:
    """Stop the daemon in order, as SIGTERM does: clients are told to come back later, and links are closed one by one.

    Of a cluster that is the node whose admin socket is asked, unless --node names another. If that one does not answer
    within 2 s the exit code is 75, and it is not known whether it stops.

    systemd does not start the daemon again by itself; `systemctl restart presenced` stops and starts it. But if
    presenced.socket is enabled, the first client that returns starts it: run `systemctl stop presenced.socket` first.
    """
    confirm(f"Stop the node {printable(node)}?" if node else "Stop the daemon?", yes)

    def work(link: AdminLink) -> int:
        answer = link.ask("drain", node=node) if node else link.ask("drain")
        spread, latest = format_duration(answer["spread_ms"]), format_duration(answer["timeout_ms"])
        closing = f"{counted(answer['links'], 'link')} to be closed within {spread}"
        told = f"stopping: {closing}, and all is over in {latest} at the latest"
        if not wait:
            context.output.say(answer, told)
            return exits.OK
        context.output.note(told)
        patience_s = answer["timeout_ms"] / 1000 + DRAIN_MARGIN_S
        if is_other := "node" in answer:
            is_gone = _until_left(link, answer["node"], answer["incarnation"], patience_s)
        else:
            is_gone = link.until_closed(patience_s)
        if not is_gone:
            which = f"the node {node}" if is_other else f"the daemon at {link.path}"
            return exits.complain(f"{printable(which)} is still there", exits.TEMPORARY)
        context.output.say(answer, "stopped")
        return exits.OK

    run(context, work)


def _until_left(link: AdminLink, name: str, incarnation: int, patience_s: float) -> bool:
    """Wait until this life of the node has left the cluster; False if it has not after this time."""
    until_s = time.monotonic() + patience_s
    while any((one["name"], one["incarnation"]) == (name, incarnation) for one in link.ask("cluster")["nodes"]):
        if time.monotonic() > until_s:
            return False
        time.sleep(LEFT_CHECK_S)
    return True


@click.command()
@click.option("--wait", is_flag=True, help="Wait until the snapshot is finished.")
@click.pass_obj
def snapshot(context: Context, wait: bool) -> None:
    """Take a snapshot of the state now, while the daemon serves; of a cluster, on the disk of the one node asked."""

    def work(link: AdminLink) -> int:
        answer = link.ask("snapshot", wait=wait, is_long=wait)
        if answer["finished"]:
            told = f"snapshot of {answer['bytes']:,} bytes taken in {answer['took_ms']:,} ms"
        else:
            told = "snapshot begun" if answer["begun"] else "a snapshot is under way already"
        context.output.say(answer, told)
        return exits.OK

    run(context, work)


@click.command()
@click.argument("level", metavar="[LEVEL]", required=False, type=click.Choice(get_args(AdminLogLevel)))
@click.pass_obj
def loglevel(context: Context, level: str | None) -> None:
    """Show the level of the daemon's log, or set it to LEVEL until a restart: debug, info, warning or error.

    A reload leaves a level that was set here as it is, and says so, unless log.level in the configuration has changed.
    Of a cluster the level is that of the one node that is asked.
    """

    def work(link: AdminLink) -> int:
        answer = link.ask("loglevel", level=level)
        context.output.say(answer, answer["level"])
        return exits.OK

    run(context, work)


@click.command()
@click.option("--test", is_flag=True, help="Post an event of the kind test, and wait for the receiver's answer.")
@click.pass_obj
def webhooks(context: Context, test: bool) -> None:
    """Show what becomes of the events that the daemon posts: to whom, how late, and why the last request failed.

    Of a cluster ask the node that has webhooks.url. The exit code is 1 if the receiver takes nothing, or does not take
    the test.
    """

    def work(link: AdminLink) -> int:
        # A test takes as long as one try may.
        answer = link.ask("webhooks", test=test, is_long=test)
        is_well = say_test(context.output, answer) if test else say_webhooks(context.output, answer)
        return exits.OK if is_well else exits.NO

    run(context, work)


@click.command()
@click.option(
    "--interval",
    "interval_ms",
    type=DurationParameter(),
    default="1s",
    show_default=True,
    help="The time between two updates; at least 100ms.",
)
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after this many updates.")
@click.pass_obj
def top(context: Context, interval_ms: int, count: int | None) -> None:
    """Watch the daemon at work: a live screen, or one line per interval if piped. q quits, s sorts the watchers.

    Of a cluster that is the one node that is asked.
    """
    from presenced.cli.top import Top

    if interval_ms < 100:
        raise click.BadParameter("must be at least 100ms", param_hint="--interval")
    run(context, lambda link: Top(link, context.output, interval_ms / 1000, count).run())


COMMANDS = (status, doctor, links, kick, drain, snapshot, loglevel, top, webhooks)
