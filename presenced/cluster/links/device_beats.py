"""Heartbeats of devices that a service holds at other nodes. They are sent at once, as they come.

While messages arrive late, only the last heartbeat of each device is kept, until they arrive in time again. So an
outage costs memory for each device, and not for each heartbeat.
"""

from __future__ import annotations

from collections.abc import Iterable

from presenced.cluster.links.relay import Relay
from presenced.cluster.links.relays import Relays
from presenced.cluster.node_keys import NodeKey
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.part import Part
from presenced.limits import BEATS_MAX, IDLE_MS_MAX
from presenced.wire.messages import Beats


class DeviceBeats(Part):
    """What services say of devices and was not told yet. It comes before `Relays` among the parts: what is kept of a
    link is told before its end."""

    def __init__(self, engine: Engine, relays: Relays) -> None:
        self._engine = engine
        self._relays = relays
        self._kept: dict[Relay, dict[int, int | None]] = {}
        """By ref, when the person at the device was active last; None = it was not told."""
        self._is_held = False
        """What is sent now comes late."""

    def hold(self, is_held: bool, now_ms: int) -> None:
        """Keep what is said, since what is sent now comes late; or tell it again. O(devices of which is kept)."""
        self._is_held = is_held
        if not is_held:
            for relay in list(self._kept):
                self.flush(relay, now_ms)

    def tell(self, relay: Relay, node: NodeKey, beats: list[int], now_ms: int) -> None:
        """The link says this of devices that it holds at the node: as in `Beats`. O(these)."""
        if not self._is_held:
            self._send(relay, node, beats, now_ms)
            return
        kept = self._kept.setdefault(relay, {})
        for ref, idle_ms in zip(beats[::2], beats[1::2], strict=True):
            kept[ref] = now_ms - idle_ms if idle_ms >= 0 else kept.get(ref)

    def forget(self, relay: Relay, refs: Iterable[int]) -> None:
        """These refs are about to stand for other devices, or for none. O(refs)."""
        kept = self._kept.get(relay, {})
        for ref in refs:
            kept.pop(ref, None)

    def flush(self, relay: Relay, now_ms: int) -> None:
        """Tell what is kept of the link's devices, now, wherever they are held by now. O(these)."""
        session = relay.session
        parts: dict[NodeKey | None, list[int]] = {}
        for ref, active_ms in self._kept.pop(relay, {}).items():
            idle_ms = -1 if active_ms is None else min(now_ms - active_ms, IDLE_MS_MAX)
            parts.setdefault(relay.node_of(ref), []).extend((ref, idle_ms))
        for node, beats in parts.items():
            if node is None:
                self._engine.sessions.beats(now_ms, session, beats)
                continue
            for start in range(0, len(beats), 2 * BEATS_MAX):
                self._send(relay, node, beats[start : start + 2 * BEATS_MAX], now_ms)

    def end_session(self, session: Session, now_ms: int) -> None:
        """Tell what is kept of the devices of the link, which is about to be lost."""
        relay = self._relays.get(session)
        if relay is not None and relay in self._kept:
            self.flush(relay, now_ms)

    def _send(self, relay: Relay, node: NodeKey, beats: list[int], now_ms: int) -> None:
        self._relays.send_frame(relay, node, Beats(beats), said_ms=self._engine.clock.wall_ms(now_ms))
