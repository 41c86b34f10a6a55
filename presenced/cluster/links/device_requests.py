"""What a link asks about its devices. Each device has its own home, and a ref may come to stand for a device
elsewhere."""

from __future__ import annotations

import msgspec

from presenced.cluster.links.executor import Executor
from presenced.cluster.links.relay import REQUEST_BYTES, Errand, HeldElsewhere, Relay
from presenced.cluster.links.relays import Relays
from presenced.cluster.links.routing import Destination
from presenced.cluster.links.waits import Waits
from presenced.cluster.node_keys import NodeKey
from presenced.cluster.ports import HomesPort
from presenced.core.engine import Engine
from presenced.wire.messages import Attach, Beats, Detach, Focus


class DeviceRequests:
    """Has these requests handled, and keeps account of which device is held where. Methods return True if the request
    was handled or sent, and False, with nothing done, if it has to wait."""

    def __init__(self, engine: Engine, homes: HomesPort, relays: Relays, waits: Waits, executor: Executor) -> None:
        self._engine = engine
        self._homes = homes
        self._relays = relays
        self._waits = waits
        self._executor = executor

    def go_own(self, relay: Relay, request: Errand, now_ms: int) -> bool:
        """The request is about the link's own device."""
        own = relay.own_device
        node = own.home if own is not None else self._homes.me
        if own is not None and own.opening in relay.under_way:
            # It has no answer, and would be lost if the home hands the user over.
            return False
        request.user = relay.session.user_name
        if not relay.may_go((node,), is_exclusive=False, user=request.user):
            return False
        if own is not None and isinstance(request.message, Focus):
            # For a home to come.
            own.hello = msgspec.structs.replace(own.hello, focus=request.message.focus)
        return self._executor.go_to(relay, request, node, now_ms, is_exclusive=False)

    def go_by_refs(self, relay: Relay, request: Errand, way: Destination, now_ms: int) -> bool:
        """Tell the home of each device that is named. Refs that the link does not hold are handled here."""
        if len(way.refs) == 1 and not isinstance(request.message, Beats):
            node = relay.node_of(way.refs[0]) or self._homes.me
            return self._executor.go_to(relay, request, node, now_ms, is_exclusive=False)
        message = request.message
        assert isinstance(message, Beats)
        parts: dict[NodeKey, list[int]] = {}
        beats = message.beats
        for at in range(0, len(beats), 2):
            node = relay.node_of(beats[at]) or self._homes.me
            parts.setdefault(node, []).extend(beats[at : at + 2])
        if not relay.may_go(parts, is_exclusive=False):
            return False
        here = parts.pop(self._homes.me, None)
        for node, part in parts.items():
            self._executor.send_beats(relay, node, part, now_ms)
        if here is not None or not parts:
            return self._executor.here(relay, request, now_ms, Beats(here or []))
        self._relays.done_with(relay, request)
        return True

    def go_attaching(self, relay: Relay, request: Errand, message: Attach, node: NodeKey, now_ms: int) -> bool:
        """Attach a device at its home. If the ref stands for another device elsewhere, that one is let go of once this
        is granted, and not before, since a refused request changes nothing."""
        me, session, ref = self._homes.me, relay.session, message.ref
        before = relay.node_of(ref) or (me if session.refs is not None and ref in session.refs else node)
        is_exclusive = before != node
        may_go = relay.may_go((node,), is_exclusive=is_exclusive, user=request.user)
        if not may_go or (is_exclusive and relay.under_way):
            return False
        if node != me and self._executor.is_refused(relay, request):
            return True
        if node != me:
            request.releases = (before, ref) if is_exclusive else None
            self._executor.send(relay, request, node, is_exclusive=is_exclusive)
            relay.attaching[ref] = request
            return True
        self._executor.here(relay, request, now_ms)
        device = (session.refs or {}).get(ref)
        if is_exclusive and device is not None and (device.user.name, device.id) == (message.user, message.device):
            self._release(relay, before, ref, now_ms)
        return True

    def granted(self, relay: Relay, request: Errand, now_ms: int) -> None:
        """The home has granted the request: the relay holds what was attached, and no longer what was let go of.
        O(1)."""
        message, session = request.message, relay.session
        if isinstance(message, Detach):
            refs = relay.refs_of(message.user, message.device) if message.user else [message.ref]
            for ref in refs:
                relay.let_go(ref, request.home, request.number)
        if not isinstance(message, Attach) or session.ended:
            return
        self._engine.holders.holds(session, message.ref)
        if request.releases is not None:
            self._release(relay, *request.releases, now_ms)
        if not request.is_outdated:
            relay.hold(message.ref, HeldElsewhere(message.user, message.device, request.home, request.number))

    def _release(self, relay: Relay, node: NodeKey, ref: int, now_ms: int) -> None:
        """The device under the ref says bye at its home, since another device is held under the ref now."""
        engine, session = self._engine, relay.session
        if node == self._homes.me:
            device = (session.refs or {}).get(ref)
            if device is not None:
                engine.sessions.end_device(device, now_ms)
            return
        if node not in relay.rounds:
            return
        relay.drop(ref)
        request = Errand(relay.next_number(), Detach(1, ref), 0, REQUEST_BYTES)
        self._relays.take(relay, request)
        self._waits.await_answer(relay, request, now_ms)
        self._executor.send(relay, request, node, is_exclusive=True)
