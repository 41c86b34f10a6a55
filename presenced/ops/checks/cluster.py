"""Checks of a cluster: whether this node reaches the engine, keeps up, and is not alone."""

from __future__ import annotations

import re
from typing import Final

from presenced.durations import format_duration
from presenced.ops.checks.finding import Patient, Said, Severity
from presenced.ops.formats import counted, moment
from presenced.server.clustering.status import ENGINE_AWAY_MS_MAX
from presenced.server.status import ServerStatus

SKEW_MS_MAX: Final = 500
LAG_MS_WARNING: Final = 1_000
LAG_MS_PROBLEM: Final = 10_000
BACKLOG_BYTES_MAX: Final = 16 << 20
VERSION_LEAST: Final = (7, 0)

ALONE = "this server is alone (cluster.url is not set)"
"""What the first of these checks says of a single server. The others are about a cluster, and say nothing."""


def cluster(patient: Patient) -> Said:
    """Is this node one of the cluster?"""
    now = patient.status.cluster
    if now is None:
        yield "ok", ALONE, ""
    elif now.state == "isolated":
        what = (
            f"the node {now.node} is isolated: it has no lease, and others that reach the engine decide for its users"
        )
        advice = f"look at the engine {now.engine.address} and at the network to it"
        yield "problem", what, advice
    elif now.state == "fenced":
        what = f"the node {now.node} was taken for dead by the others, and joins them anew"
        yield "warning", what, "look for a suspended machine or a lack of CPU; if it happens again, raise cluster.lease"
    elif now.state == "copying":
        yield "warning", f"the node {now.node} is {now.state}, and is not ready for clients yet", "wait a moment"
    else:
        fences = patient.lately(_fences)
        if fences:
            what = f"{counted(fences, 'node')} taken for dead by the others {patient.period}"
            if now.dead_name:
                what += f", {now.dead_name} the last, at {moment(now.dead_wall_ms)}"
            advice = (
                "look whether all run (`presencectl cluster`); one that lived was suspended, lacked CPU, or did not "
                "reach the engine for longer than cluster.lease"
            )
            yield "warning", what, advice
        else:
            yield "ok", f"the node {now.node} serves as one of {len(now.nodes)}", ""


def _fences(status: ServerStatus) -> int:
    return status.cluster.fences if status.cluster is not None else 0


def cluster_engine(patient: Patient) -> Said:
    """Does the engine answer, and is it one that keeps a log?"""
    now = patient.status.cluster
    if now is None:
        return
    engine, well = now.engine, True
    if engine.away_ms > ENGINE_AWAY_MS_MAX and engine.lacks_replicas:
        well = False
        for_s = format_duration(engine.away_ms // 1000 * 1000)
        what = f"no replica of the engine {engine.address} has taken what was changed in the last {for_s}"
        advice = (
            'connect a replica to it, or set cluster.ack to another value than "replica" on all nodes; until then what '
            "must be durable is refused with log_busy"
        )
        yield "problem", what, advice
    elif engine.away_ms > ENGINE_AWAY_MS_MAX:
        well = False
        what = f"the engine {engine.address} has not answered for {format_duration(engine.away_ms // 1000 * 1000)}"
        if engine.trouble:
            what += f": {engine.trouble}"
        advice = (
            "look at it and at the network; until then each node serves its own links, and what must be durable is "
            "refused with log_busy"
        )
        yield "problem", what, advice
    if engine.role and engine.role != "master":
        well = False
        what = f"the engine {engine.address} is a {engine.role}, which takes no writes"
        yield "problem", what, "name the primary in cluster.url, or its Sentinels (redis+sentinel://)"
    if engine.eviction.startswith("allkeys-"):
        well = False
        what = f"the engine {engine.address} may throw away the log of the cluster (maxmemory-policy {engine.eviction})"
        yield "problem", what, "set maxmemory-policy to noeviction there"
    if (found := re.match(r"\D*(\d+)\.(\d+)", engine.version)) and (int(found[1]), int(found[2])) < VERSION_LEAST:
        well = False
        yield "problem", f"the engine {engine.address} is {engine.version}, and 7.0 is needed", "upgrade it"
    if well:
        version = f" (version {engine.version})" if engine.version else ""
        yield "ok", f"the engine {engine.address} answers{version}", ""


def cluster_lag(patient: Patient) -> Said:
    """Does this node keep up with the others, and the engine with this node?"""
    now = patient.status.cluster
    if now is None:
        return
    if now.lag_ms > LAG_MS_WARNING:
        severity: Severity = "problem" if now.lag_ms > LAG_MS_PROBLEM else "warning"
        entries = f"{max(0, now.end_position - now.position):,} entries"
        what = f"this node is {format_duration(now.lag_ms)} ({entries}) behind the others, and shows what was then"
        yield severity, what, "look at its CPU (`presencectl top`); more changes happen than it can apply"
    elif now.backlog_bytes > BACKLOG_BYTES_MAX:
        what = f"{now.backlog_bytes / (1 << 20):,.0f} MiB of changes wait for the engine"
        yield "warning", what, f"look at the engine {now.engine.address} and the network to it"
    else:
        yield "ok", f"this node is {now.lag_ms} ms behind the others", ""


def cluster_clock(patient: Patient) -> Said:
    """Is this machine's clock that of the others?"""
    now = patient.status.cluster
    if now is None:
        return
    if abs(now.clock_skew_ms) > SKEW_MS_MAX:
        way = "ahead of" if now.clock_skew_ms > 0 else "behind"
        what = f"this machine's clock is {abs(now.clock_skew_ms):,} ms {way} that of the engine"
        advice = "run chrony or systemd-timesyncd on all machines; times that clients are shown differ by as much"
        yield "warning", what, advice
    else:
        yield "ok", f"this machine's clock is within {SKEW_MS_MAX} ms of the engine's", ""


def cluster_settings(patient: Patient) -> Said:
    """Have the other nodes the settings that this one has?"""
    now = patient.status.cluster
    if now is None:
        return
    well = True
    for node in now.nodes:
        if node.differs:
            well = False
            what = f"the node {node.name} has other settings than {now.node}: {', '.join(node.differs)}"
            advice = (
                "give all nodes the same, then reload or restart them; until then what somebody is shown "
                "may depend on the node that they ask"
            )
            yield "problem", what, advice
        if node.posts_too:
            well = False
            what = f"the node {node.name} posts webhooks, as {now.node} does: one of them posts nothing"
            yield "problem", what, "leave webhooks.url out of the settings of one of them"
    if well:
        yield "ok", "no other node is known to have other settings", ""


def cluster_nodes(patient: Patient) -> Said:
    """Is there another node?"""
    now = patient.status.cluster
    if now is None:
        return
    if len(now.nodes) == 1 and now.state == "serving":
        what = f"{now.node} is the only node of its cluster: nobody goes on if it ends"
        yield "warning", what, "start another one, or leave cluster.url out"
    else:
        shares = ", ".join(f"{node.name} decides {node.homes:,} users" for node in now.nodes)
        yield "ok", f"{len(now.nodes)} nodes: {shares}" if now.nodes else "no node is known yet", ""
