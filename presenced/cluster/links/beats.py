"""Heartbeats of links whose own devices another node decides: gathered for some seconds, with one message for each
home.

A heartbeat that changes what its device shows is sent at once, and so is one that keeps the device from becoming idle.
All others only say that the device is as it was, of which the home would tell nobody.
"""

from __future__ import annotations

from typing import Final

from presenced.cluster.links.relay import Relay
from presenced.cluster.links.relays import Relays
from presenced.cluster.messages import LinkBeats
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.core.engine import Engine
from presenced.core.idleness import level_for
from presenced.core.model import UNTOLD, Session
from presenced.core.part import Part

GATHER_MS: Final = 10_000
"""How long a heartbeat may wait for others."""

UNDER_WAY_MS: Final = 2_000
"""How long it may be under way to its home then."""

BEATS_PER_MESSAGE: Final = 4_000


class GatheredBeats(Part):
    """What was heard of links and not told yet. It comes before `Relays` among the parts: what was heard of a link is
    told before its end."""

    def __init__(self, engine: Engine, relays: Relays) -> None:
        self._engine = engine
        self._relays = relays
        self._gathered: dict[Relay, tuple[int, bool]] = {}
        """When each was heard last, and whether it has said since how idle its person is (`OwnDevice.active_ms`)."""
        self._due_ms: int | None = None
        self.is_held = False
        """What is sent now comes late."""

    def hold(self, is_held: bool, now_ms: int) -> None:
        """Keep what is heard, since what is sent now comes late, and what it says would be taken for what holds then;
        or tell it again. O(what was gathered)."""
        self.is_held = is_held
        if not is_held:
            self.flush(now_ms)

    def tell_later(self, relay: Relay, now_ms: int) -> None:
        """Tell the home how idle the link's person is once that comes in time: it is held. O(1)."""
        self._gathered[relay] = (now_ms, True)

    def heartbeat(self, session: Session, now_ms: int, idle_ms: int | None) -> bool:
        """As `Engine.heartbeat`, for any link of this node: a turn is to follow if something is to be told, or to be
        told later. O(1)."""
        relay = self._relays.get(session)
        if relay is None or relay.own_device is None:
            return self._engine.heartbeat(session, now_ms, idle_ms)
        if idle_ms is not None:
            relay.own_device.note_active(now_ms - idle_ms)
        if relay.own_device.home == NOWHERE:
            return self._engine.heartbeat(session, now_ms, idle_ms)
        self._engine.heard(session, now_ms)
        before = self._gathered.get(relay)
        self._gathered[relay] = (now_ms, idle_ms is not None or (before is not None and before[1]))
        if idle_ms is not None and not self.is_held and self._is_news(relay, idle_ms, now_ms):
            self._send({relay: self._gathered.pop(relay)}, now_ms)
            return True
        if self._due_ms is None:
            self._due_ms = now_ms + GATHER_MS
            return True
        return False

    def _is_news(self, relay: Relay, idle_ms: int, now_ms: int) -> bool:
        """Whether the device would show another idle level by this than the copy of it does, or would come to show one
        before this is told with others."""
        own = relay.own_device
        assert own is not None
        user = self._engine.users.get(relay.session.user_name)
        device = user.devices.get(own.hello.device) if user is not None else None
        if device is None or device.idle_known == UNTOLD:
            return True
        times_ms = self._engine.policy.idle_limits(device.kind)
        if level_for(idle_ms, *times_ms) != device.idle_level:
            return True
        told_ms = own.told_active_ms
        if told_ms is None:
            return True
        is_later = now_ms - idle_ms > told_ms
        return is_later and level_for(now_ms + GATHER_MS + UNDER_WAY_MS - told_ms, *times_ms) != device.idle_level

    def end_session(self, session: Session, now_ms: int) -> None:
        """Tell what was gathered of the link, which is about to be lost: its device may become idle in its grace."""
        relay = self._relays.get(session)
        gathered = self._gathered.pop(relay, None) if relay is not None else None
        if relay is not None and gathered is not None and not relay.has_said_bye:
            self._send({relay: gathered}, now_ms)

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next."""
        return None if self.is_held else self._due_ms

    def tick(self, now_ms: int) -> None:
        """Tell what was gathered, if it is time. O(that)."""
        if self._due_ms is not None and now_ms >= self._due_ms and not self.is_held:
            self.flush(now_ms)

    def flush(self, now_ms: int) -> None:
        """Tell what was gathered, now. O(that)."""
        gathered, self._gathered, self._due_ms = self._gathered, {}, None
        self._send(gathered, now_ms)

    def _send(self, heard: dict[Relay, tuple[int, bool]], now_ms: int) -> None:
        by_node: dict[NodeKey, list[int]] = {}
        said_ms = self._engine.clock.wall_ms(now_ms)
        for relay, (heard_ms, says_idle) in heard.items():
            own = relay.own_device
            if own is None or own.home == NOWHERE:
                continue
            idle_ms = own.idle_ms(heard_ms) if says_idle else None
            if idle_ms is not None:
                own.note_told()
            beats = by_node.setdefault(own.home, [])
            beats += (relay.link, now_ms - heard_ms, -1 if idle_ms is None else idle_ms)
            if len(beats) >= 3 * BEATS_PER_MESSAGE:
                self._relays.send(own.home, LinkBeats(by_node.pop(own.home), said_ms))
        for node, beats in by_node.items():
            self._relays.send(node, LinkBeats(beats, said_ms))
