"""The settings of a cluster, as a part of the table in `keys`."""

from __future__ import annotations

from presenced import limits
from presenced.config.engine_url import ClusterName, EngineUrl
from presenced.config.key import Key
from presenced.config.kinds import Choice, Duration, Int, Path

NODES_MAX = 64
LINGER_MS_MAX = 1_000
LEASE_MS_MAX = 300_000

CLUSTER_KEYS: tuple[Key, ...] = (
    Key(
        "cluster.url",
        "cluster_url",
        EngineUrl("cluster"),
        "The Redis (7.0 or later) or Valkey (7.2 or later) that the nodes of a cluster share; empty = this daemon is "
        "alone. It needs the extra presenced[cluster]. All nodes have the same keys of tokens, and the same settings "
        "where it is said here; only one of them posts webhooks.",
        "--cluster",
        metavar="URL",
    ),
    Key(
        "cluster.node",
        "cluster_node",
        ClusterName(optional=True),
        "The name of this daemon in the cluster. No two that run may have one name: the later one ends the earlier.",
        "--node",
        metavar="NAME",
    ),
    Key(
        "cluster.prefix",
        "cluster_prefix",
        ClusterName(),
        "What the names of all keys in the engine begin with. Several clusters may share an engine, each with a prefix "
        "of its own; nothing else in it is touched.",
    ),
    Key(
        "cluster.lease",
        "cluster_lease_ms",
        Duration(limits.CLUSTER_LEASE_MS_MIN, LEASE_MS_MAX, example="10s"),
        "A node that has not been heard of for this long, by the clock of the engine, is taken for dead: other nodes "
        "decide for its users. A shorter one would take nodes for dead that are only slow for a moment.",
        is_shared=True,
    ),
    Key(
        "cluster.linger",
        "cluster_linger_ms",
        Duration(0, LINGER_MS_MAX, example="2ms"),
        "While much changes, changes are gathered for this long before they are sent to the engine. The first one "
        "after a pause goes at once.",
    ),
    Key(
        "cluster.ack",
        "cluster_ack",
        Choice("engine", "replica", "disk"),
        "What an acknowledgement waits for besides storage.durability. engine: the change is in the log of the engine. "
        "replica: a replica of the engine has it as well. disk: for nothing more, so that what a node acknowledged "
        "while it could not reach the engine may be undone.",
        is_shared=True,
    ),
    Key(
        "cluster.password_file",
        "cluster_password_file",
        Path(credential=True),
        "The file with the password of the engine, in its first line; empty = it needs none. It is read at each "
        "connection.",
        secret=True,
    ),
    Key(
        "cluster.tls_ca",
        "cluster_tls_ca",
        Path(credential=True),
        "Certificates in PEM of those who may vouch for the engine; empty = the system's.",
    ),
    Key(
        "cluster.tls_cert",
        "cluster_tls_cert",
        Path(credential=True),
        "The certificate by which the engine knows this node; empty = none.",
    ),
    Key("cluster.tls_key", "cluster_tls_key", Path(credential=True), "The private key of that certificate."),
    Key(
        "cluster.nodes",
        "nodes",
        Int(1, NODES_MAX),
        "How many nodes `presenced serve` starts on this machine, each a process with a core of its own, all on the "
        "same addresses. Without cluster.url they share a Redis that it starts for them, for which redis-server must "
        "be installed.",
        "--nodes",
    ),
)
