"""A question about users of several homes: which home is asked about which of them, and how the answers are joined.
Pure."""

from __future__ import annotations

from collections.abc import Sequence

from presenced.cluster.links.relay import RouteParts
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.cluster.ports import HomesPort
from presenced.core.model import Session
from presenced.limits import ROUTED_DEVICES_MAX
from presenced.wire.messages import RouteInfo, Routes


def nodes_of(homes: HomesPort, session: Session, names: Sequence[str]) -> dict[NodeKey, Sequence[str]]:
    """Which node is asked about which users; empty if the whole question is refused. Users who have no home are asked
    about at any of the nodes. O(names)."""
    rights = session.rights
    if session.role == "user":
        if any(name != session.user_name for name in names):
            return {}
    elif rights is not None and not all(rights.may_ask(name) for name in names):
        return {}
    nodes: dict[NodeKey, list[str]] = {}
    unknown: list[str] = []
    for name in dict.fromkeys(names):
        node = homes.home_of(name)
        (nodes.setdefault(node, []) if node != NOWHERE else unknown).append(name)
    if unknown:
        nodes.setdefault(next(iter(nodes), homes.me), []).extend(unknown)
    if len(nodes) == 1:
        return dict.fromkeys(nodes, names)
    return {**nodes}


def joined(parts: RouteParts) -> Routes:
    """The answers of all homes as one, in the order of the question, and only up to the first user who has none or is
    beyond the bound."""
    found = {route.user: route for answer in parts.answers for route in answer.routes}
    routes: list[RouteInfo] = []
    devices = 0
    for name in getattr(parts.whole.message, "users", ()):
        route = found.get(name)
        if route is None:
            break
        devices += len(route.devices)
        if devices > ROUTED_DEVICES_MAX:
            break
        routes.append(route)
    return Routes(parts.whole.request_id, routes)
