"""How a node stands in its cluster, read from its parts at one moment."""

from __future__ import annotations

from presenced.cluster.links.forwarding import Forwarding
from presenced.cluster.log.node import Node
from presenced.cluster.log.node_choices import WEBHOOKS
from presenced.cluster.log.nodes import Member
from presenced.server.clocks import Clocks
from presenced.server.clustering.neighbours import Neighbours
from presenced.server.clustering.pump import Pump
from presenced.server.clustering.status import ClusterStatus, EngineStatus, NodeState, NodeStatus


def cluster_status(
    node: Node,
    pump: Pump,
    forwarding: Forwarding,
    neighbours: Neighbours,
    engine: EngineStatus,
    clocks: Clocks,
    *,
    lease_ms: int,
    links: int,
) -> ClusterStatus:
    """The status. `links`: those of this node. O(nodes)."""
    now_ms = clocks.monotonic_ms()
    left_ms = pump.reach.lease_left_ms(now_ms, lease_ms)
    renewed = pump.renewed
    told = {info.incarnation: info for info in renewed.nodes} if renewed is not None else {}
    clock_ms = renewed.clock_ms + now_ms - pump.renewed_ms if renewed is not None else 0

    def shown(member: Member) -> NodeStatus:
        info = told.get(member.incarnation)
        return NodeStatus(
            name=member.name,
            incarnation=member.incarnation,
            lease_left_ms=max(0, info.lease_until_ms - clock_ms) if info is not None else lease_ms,
            read_n=node.position if member is node.mine else info.read_n if info is not None else 0,
            homes=node.homes.counts[member],
            links=links if member is node.mine else member.links,
            lag_ms=pump.lag_ms if member is node.mine else member.lag_ms,
            differs=[key for key in neighbours.differing(member) if key != WEBHOOKS],
            posts_too=WEBHOOKS in neighbours.differing(member),
        )

    own = node.homes.counts[node.mine]
    return ClusterStatus(
        node=node.name,
        incarnation=node.mine.incarnation,
        state=_state(node, left_ms),
        history=node.history,
        position=node.position,
        end_position=max(node.position, renewed.end_n if renewed is not None else 0),
        lag_ms=pump.lag_ms,
        lease_left_ms=left_ms,
        engine=engine,
        clock_skew_ms=-renewed.wall_offset_ms if renewed is not None else 0,
        nodes=sorted(map(shown, node.nodes), key=lambda one: one.name),
        users_own=own,
        users_copied=len(node.homes) - own,
        forwarded=forwarding.executor.forwarded,
        remote_links=len(forwarding.remote_links),
        relays=len(forwarding.relays),
        backlog_bytes=node.batches.bytes,
        appends=node.batches.closed,
        entries_read=pump.entries_read,
        fences=node.nodes.fences,
        lease_ms=lease_ms,
        dead_name=neighbours.dead_name,
        dead_wall_ms=neighbours.dead_wall_ms,
    )


def _state(node: Node, lease_left_ms: int) -> NodeState:
    if node.is_fenced:
        return "fenced"
    if not node.is_ready:
        return "copying"
    return "serving" if lease_left_ms else "isolated"
