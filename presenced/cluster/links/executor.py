"""Handles one request of a link whose turn has come: on this node, or by sending it to the node that decides."""

from __future__ import annotations

from presenced.cluster.links.addressee import OWN_IF_EMPTY, named
from presenced.cluster.links.device_beats import DeviceBeats
from presenced.cluster.links.refusals import NOT_SENT
from presenced.cluster.links.relay import Errand, Relay
from presenced.cluster.links.relays import Relays
from presenced.cluster.node_keys import NodeKey
from presenced.cluster.ports import HomesPort
from presenced.core.engine import Engine
from presenced.core.requests import Requests
from presenced.wire.messages import Attach, ClientMessage, Detach, Renew


class Executor:
    """Handles requests, whatever their order."""

    def __init__(
        self, engine: Engine, requests: Requests, homes: HomesPort, relays: Relays, device_beats: DeviceBeats
    ) -> None:
        self.forwarded = 0
        """Requests that were sent to other nodes, counted for the operator."""
        self._engine = engine
        self._requests = requests
        self._homes = homes
        self._relays = relays
        self._device_beats = device_beats

    def go_to(self, relay: Relay, request: Errand, node: NodeKey, now_ms: int, *, is_exclusive: bool) -> bool:
        """Have the node handle the request, which may be this one. Returns False, with nothing done, if it has to
        wait."""
        if not relay.may_go((node,), is_exclusive=is_exclusive, user=request.user):
            return False
        if node == self._homes.me:
            return self.here(relay, request, now_ms)
        if not self.is_refused(relay, request):
            self.send(relay, request, node, is_exclusive=is_exclusive)
        return True

    def is_refused(self, relay: Relay, request: Errand) -> bool:
        """Refuse what is to be sent, if too much waits for that already: the engine may be away for hours, and whoever
        is told nothing asks again. Returns whether it was refused."""
        if self._relays.is_full:
            self._relays.refuse(relay, request, "log_busy", NOT_SENT)
        return request.is_done

    def here(self, relay: Relay, request: Errand, now_ms: int, part: ClientMessage | None = None) -> bool:
        """Handle the request on this node; `part`: what of it alone is this node's to handle."""
        session, message = relay.session, part or request.message
        assert message is not None
        if session.role != "user" and type(message) in OWN_IF_EMPTY:
            message = named(relay, message)
        token = (session.issued_ms, session.rights)
        try:
            self._requests.handle(self._engine, session, now_ms, message)
        finally:
            self._relays.done_with(relay, request)
        if type(message) is Renew and token != (session.issued_ms, session.rights):
            self._relays.send_renewed(relay)
        return True

    def bye(self, relay: Relay, request: Errand, now_ms: int) -> bool:
        """The link says bye, wherever it acts."""
        self._device_beats.flush(relay, now_ms)
        self._relays.send_bye(relay, now_ms)
        return self.here(relay, request, now_ms)

    def send(self, relay: Relay, request: Errand, node: NodeKey, *, is_exclusive: bool) -> None:
        """Send the request to the node that decides it."""
        message = request.message
        assert message is not None
        self.forwarded += 1
        own = relay.own_device
        if relay.session.role != "user" and not (own is not None and own.home == node):
            message = named(relay, message)
        if isinstance(message, Attach | Detach):
            refs = [message.ref] if message.ref else relay.refs_of(message.user, message.device)
            self._device_beats.forget(relay, refs)
        if not hasattr(message, "id"):
            self._relays.send_frame(relay, node, message)
            self._relays.done_with(relay, request)
            return
        self._relays.send_frame(relay, node, message, request.number)
        relay.start(request, node, is_exclusive=is_exclusive)

    def send_beats(self, relay: Relay, node: NodeKey, beats: list[int], now_ms: int) -> None:
        """Send what a request says of devices that the link holds at the node."""
        self.forwarded += 1
        self._device_beats.tell(relay, node, beats, now_ms)
