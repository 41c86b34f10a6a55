"""How a node stands in its cluster, as a part of `ServerStatus`."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

NodeState = Literal["copying", "serving", "isolated", "fenced"]
NODE_STATES: tuple[NodeState, ...] = ("copying", "serving", "isolated", "fenced")


class EngineStatus(msgspec.Struct, frozen=True):
    """The engine, as it was at the last answer."""

    address: str
    role: str
    """`master` while all is well."""
    version: str
    """Empty until it is known."""
    eviction: str = ""
    """What it does when its memory is full (maxmemory-policy); empty = it did not say."""
    away_ms: int = 0
    """For how long it has not answered; 0 = it does."""
    trouble: str = ""
    """Why it is away; empty = it is not."""
    lacks_replicas: bool = False
    """It answers, and none of its replicas has what `cluster.ack` waits for: it counts as away."""


class NodeStatus(msgspec.Struct, frozen=True):
    """A node of the cluster."""

    name: str
    incarnation: int
    """The number of this life of the node; higher than that of every life before."""
    lease_left_ms: int
    read_n: int
    """How far it has read the log, as it said with its last renewal."""
    homes: int
    """Users that it decides."""
    links: int
    """As it has told a few seconds ago; -1 = it has told nothing yet."""
    lag_ms: int = -1
    """For how long it has known of more in the log than it had applied, told with the links."""
    differs: list[str] = []
    """Keys of settings in which it differs from the node that tells this, and must not."""
    posts_too: bool = False
    """It posts webhooks, and so does the node that tells this."""


class ClusterReport(Protocol):
    """Whoever can tell how a node stands: what opened the cluster."""

    def status(self) -> ClusterStatus | None:
        """This node at this moment; None before it has joined. O(nodes)."""


class ClusterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """This node, and what it knows of the others. Totals count from the start of the process."""

    node: str
    incarnation: int
    """0 = it has not joined yet."""
    state: NodeState
    """`copying` (it is sent what the others know), `serving`, `isolated` (it cannot
    reach the engine), `fenced` (the others take it for dead)."""
    history: str
    """The life of the log; another one, where the engine lost everything."""
    position: int
    """Of the log, up to which this node has applied it."""
    end_position: int
    """The end of the log, as far as this node knows."""
    lag_ms: int
    """For how long the log is known to hold what this node has not applied; 0 = it has applied all."""
    lease_left_ms: int
    """Until this node no longer believes that it lives; 0 = it does not."""
    engine: EngineStatus
    clock_skew_ms: int
    """How far this machine's clock is ahead of the engine's."""
    nodes: list[NodeStatus]
    """All that live, this one too, by name."""
    users_own: int
    """Whose home is here."""
    users_copied: int
    forwarded: int
    """Requests that were decided elsewhere."""
    remote_links: int
    """Links of other nodes that act here."""
    relays: int
    """Links of this node that act elsewhere. Each counts once, however many nodes it acts at."""
    backlog_bytes: int
    """Facts that the engine has not taken yet."""
    appends: int
    entries_read: int
    fences: int
    """Nodes that were taken for dead, of which this one has read since its start: they were dead, stood still, or did
    not reach the engine, for longer than their lease. One that was started again before that is not counted."""
    lease_ms: int = 0
    """How long a node may be silent; every node has the same."""
    dead_name: str = ""
    """The last of them; empty = there is none."""
    dead_wall_ms: int = 0
    """When this node has read that."""

    @property
    def not_ready(self) -> str:
        """Why clients should not be sent to this node; "" if they may be."""
        if self.state == "copying":
            return f"the node {self.node} is {self.state}: it does not know all users yet"
        if self.state == "fenced":
            return f"the node {self.node} was taken for dead by the others, and joins them anew"
        if self.engine.away_ms > ENGINE_AWAY_MS_MAX and self.engine.lacks_replicas:
            return f"no replica of the engine {self.engine.address} has what was changed: nothing is acknowledged"
        if self.engine.away_ms > ENGINE_AWAY_MS_MAX:
            return f"the engine {self.engine.address} does not answer: nothing can be told to the other nodes"
        return ""


ENGINE_AWAY_MS_MAX = 5_000
"""While the engine is away no longer than this, clients are still sent to a node."""
