"""`presencectl cluster`: how a node and its cluster are, over the node's admin socket."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from presenced.cli import exits
from presenced.cli.admin_link import AdminLink
from presenced.cli.context import Context
from presenced.cli.ctl_admin import run
from presenced.cli.output import Output, OutputRow
from presenced.cli.top_figures import age
from presenced.errors import ProtocolError
from presenced.ops.formats import counted, moment
from presenced.server.clustering.status import ClusterStatus, NodeStatus

TITLES = ("node", "incarnation", "lease", "behind", "for", "homes", "links", "")


@click.command()
@click.pass_obj
def cluster(context: Context) -> None:
    """Show the nodes of the cluster as this one sees them: homes of users, links, lag, leases, and deaths.

    Links and lag of the other nodes are what they have told a few seconds ago.

    The exit code is 1 if this node should not be sent clients: it joins, it was fenced, or the engine is away.
    """

    def work(link: AdminLink) -> int:
        answer = link.ask("cluster")
        try:
            now = msgspec.convert(answer, ClusterStatus)
        except msgspec.ValidationError as error:
            sentence = f"the daemon is of another version than presencectl: {error}"
            raise ProtocolError("bad_version", sentence) from None
        say_cluster(context.output, answer, now)
        return exits.NO if now.not_ready or now.state == "isolated" else exits.OK

    run(context, work)


def say_cluster(output: Output, answer: dict[str, Any], now: ClusterStatus) -> None:
    """Print what a node knows of its cluster."""
    output.page(answer, sentences_of(now))
    if not output.is_json:
        output.rows([_row(now, node) for node in now.nodes], TITLES)


def sentences_of(now: ClusterStatus) -> list[str]:
    """The state of the node and of the engine in lines for people. Pure."""
    lease = f"lease {age(now.lease_left_ms)} of {age(now.lease_ms)}" if now.lease_left_ms else "no lease"
    engine = now.engine
    version = f" {engine.version}" if engine.version else ""
    away = f"AWAY for {age(engine.away_ms)}" if engine.away_ms else "answers"
    why = [f"               {engine.trouble}"] if engine.trouble else []
    lines = [
        f"node           {now.node}, incarnation {now.incarnation}, {now.state}, {lease}",
        f"engine         {engine.address} ({engine.role or 'role unknown'}{version}) {away}; "
        f"this clock is {now.clock_skew_ms:+,} ms",
        *why,
        f"log            at {now.position:,} of {now.end_position:,}, "
        + (f"{age(now.lag_ms)} behind" if now.lag_ms else "nothing behind")
        + f", {now.backlog_bytes:,} bytes to append; history {now.history}",
        f"users          {now.users_own:,} decided here, {now.users_copied:,} elsewhere",
        f"links          {now.relays:,} of ours act elsewhere, {now.remote_links:,} of others here; "
        f"{counted(now.forwarded, 'request')} forwarded",
        f"since start    {counted(now.appends, 'batch').replace('batchs', 'batches')} appended, "
        f"{now.entries_read:,} entries read, {counted(now.fences, 'node')} taken for dead"
        + (f", {now.dead_name} the last, at {moment(now.dead_wall_ms)}" if now.fences and now.dead_name else ""),
    ]
    return [*lines, f"not ready      {now.not_ready}"] if now.not_ready else lines


def _row(now: ClusterStatus, node: NodeStatus) -> OutputRow:
    cells = (
        node.name,
        str(node.incarnation),
        age(node.lease_left_ms),
        f"{max(0, now.end_position - node.read_n):,}",
        age(node.lag_ms) if node.lag_ms >= 0 else "",
        f"{node.homes:,}",
        f"{node.links:,}" if node.links >= 0 else "",
        "this node" if node.name == now.node else "other settings" if node.differs else "",
    )
    return OutputRow(msgspec.to_builtins(node), cells)


COMMANDS: tuple[click.Command, ...] = (cluster,)
