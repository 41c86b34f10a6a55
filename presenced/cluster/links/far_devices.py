"""Devices that links of this node hold at other nodes: what is kept of them when a link is lost, and how the client's
next link holds them again."""

from __future__ import annotations

from collections.abc import Sequence

from presenced.cluster.links.held_devices import OLDEST, HelloPositions, hold_again
from presenced.cluster.links.relays import Relays
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.cluster.ports import HomesPort
from presenced.core.engine import Engine
from presenced.core.lost_link import HeldFar
from presenced.core.model import Session
from presenced.wire.messages import TakenWhy


class FarDevices:
    """See `core.far_port`."""

    def __init__(self, engine: Engine, homes: HomesPort, relays: Relays, positions: HelloPositions) -> None:
        self._engine = engine
        self._homes = homes
        self._relays = relays
        self._positions = positions

    def own_device(self, session: Session) -> tuple[str, str]:
        """The id and the kind of the link's own device, if it is not here; else two empty ones. O(1)."""
        relay = self._relays.get(session)
        if relay is None or relay.own_device is None:
            return "", ""
        hello = relay.own_device.hello
        if hello.kind:
            return hello.device, hello.kind
        user = self._engine.users.awake(session.user_name)
        device = user.devices.get(hello.device) if user is not None else None
        return hello.device, device.kind if device is not None else ""

    def held(self, session: Session) -> list[HeldFar]:
        """The other devices that the link holds at other nodes. O(these)."""
        relay = self._relays.get(session)
        if relay is None:
            return []
        return [
            HeldFar(ref, one.user, one.device, self._if_gone(one.user, one.device)) for ref, one in relay.held.items()
        ]

    def _if_gone(self, name: str, device_id: str) -> TakenWhy:
        user = self._engine.users.awake(name)
        device = user.devices.get(device_id) if user is not None else None
        return "ended" if device is not None and device.lease_ms is not None else "lost"

    def hold_again(self, session: Session, devices: Sequence[HeldFar], now_ms: int) -> None:
        """A lost link of the same client held these devices. The session's link holds them now, and is told which of
        them are gone or another client's. O(devices)."""
        self.hold(session, devices, OLDEST, now_ms)

    def hold(self, session: Session, devices: Sequence[HeldFar], position: int, now_ms: int) -> None:
        """The link holds these devices from now on, each at its home. `position` as in `held_devices.hold_again`.
        O(devices)."""
        by_node: dict[NodeKey, list[HeldFar]] = {}
        for one in devices:
            by_node.setdefault(self._homes.home_of(one.user), []).append(one)
        for node, there in by_node.items():
            if node in (NOWHERE, self._homes.me):
                hold_again(self._engine, self._positions, session, position, there, now_ms)
            else:
                self._relays.hold_again(self._relays.get_or_new(session), node, position, there)
