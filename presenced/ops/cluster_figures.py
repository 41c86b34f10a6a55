"""The figures of a cluster as metrics, and as rows of the status page."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from presenced.ops.formats import count, moment, size, span
from presenced.server.clustering.status import NODE_STATES, ClusterStatus


def cluster_metrics(now: ClusterStatus) -> Iterator[Metric]:
    """All families. There are none of a server that is alone."""
    state = "1 for the state of this node: isolated = it cannot reach the engine, fenced = the others take it for dead."
    states = GaugeMetricFamily("presenced_cluster_state", state, labels=["state"])
    for word in NODE_STATES:
        states.add_metric([word], float(word == now.state))
    yield states
    users = GaugeMetricFamily("presenced_cluster_users", "Users by where they are decided.", labels=["home"])
    users.add_metric(["here"], now.users_own)
    users.add_metric(["elsewhere"], now.users_copied)
    yield users
    links = GaugeMetricFamily(
        "presenced_cluster_links", "Links that act at another node than their own.", labels=["way"]
    )
    links.add_metric(["in"], now.remote_links)
    links.add_metric(["out"], now.relays)
    yield links
    for name, words, number in (
        ("forwarded", "Requests of this node's links that were decided by another.", now.forwarded),
        ("appends", "Batches that this node has given to the log of the cluster.", now.appends),
        ("entries_read", "Entries of the log of the cluster that this node has read.", now.entries_read),
        ("fences", "Nodes that were taken for dead, of which this one has read.", now.fences),
    ):
        yield CounterMetricFamily(f"presenced_cluster_{name}", words, number)
    for name, words, value in (
        ("nodes", "Nodes that live, as far as this one knows.", len(now.nodes)),
        ("incarnation", "The number of this life of the node.", now.incarnation),
        ("position", "Up to where this node has applied the log of the cluster.", now.position),
        ("lag_seconds", "For how long the log is known to hold what this node has not applied.", now.lag_ms / 1000),
        ("lease_left_seconds", "Until this node no longer believes that it lives.", now.lease_left_ms / 1000),
        ("engine_away_seconds", "For how long the engine has not answered.", now.engine.away_ms / 1000),
        ("clock_skew_seconds", "How far this machine's clock is ahead of the engine's.", now.clock_skew_ms / 1000),
        ("backlog_bytes", "Facts that the engine has not taken yet.", now.backlog_bytes),
    ):
        yield GaugeMetricFamily(f"presenced_cluster_{name}", words, float(value))


def cluster_rows(now: ClusterStatus) -> list[tuple[str, ...]]:
    """What the status page shows of this node."""
    engine = f"{now.engine.address}, {now.engine.role or 'role unknown'}"
    engine += f", version {now.engine.version}" if now.engine.version else ""
    return [
        ("This node", f"{now.node}, incarnation {now.incarnation}"),
        ("Its state", now.state),
        ("Engine", engine),
        ("Engine away", span(now.engine.away_ms) if now.engine.away_ms else "no"),
        ("Lease left", span(now.lease_left_ms)),
        ("Position in the log", f"{count(now.position)} of {count(now.end_position)}"),
        ("Behind the log", span(now.lag_ms) if now.lag_ms else "no"),
        ("Clock ahead of the engine's", f"{now.clock_skew_ms:,} ms"),
        ("Users decided here, and elsewhere", f"{count(now.users_own)}, {count(now.users_copied)}"),
        ("Links of others that act here", count(now.remote_links)),
        ("Links of ours that act elsewhere", count(now.relays)),
        ("Requests decided elsewhere", count(now.forwarded)),
        ("Not taken by the engine yet", size(now.backlog_bytes)),
        ("Batches appended", count(now.appends)),
        ("Entries read", count(now.entries_read)),
        ("Nodes taken for dead", count(now.fences)),
        ("The last of them", f"{now.dead_name}, {moment(now.dead_wall_ms)}" if now.dead_name else "-"),
        ("Life of the log", now.history),
    ]


NODE_TITLES = ("Node", "incarnation", "lease left", "read", "homes", "links", "behind")


def node_rows(now: ClusterStatus) -> list[tuple[str, ...]]:
    """A row for each node that lives, under `NODE_TITLES`."""
    return [
        (
            node.name + (" (this one)" if node.name == now.node else ""),
            str(node.incarnation),
            span(node.lease_left_ms),
            count(node.read_n),
            count(node.homes),
            count(node.links) if node.links >= 0 else "-",
            span(node.lag_ms) if node.lag_ms >= 0 else "-",
        )
        for node in now.nodes
    ]
