"""The own device of a link whose user another node decides, or nobody yet. It is attached at the user's home for as
long as the link is there, even if the home changes.

The link gets its welcome before the device is attached. If the user is connected at the other home, the device is
attached there; if not, that home hands the user over to this node.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from presenced.cluster.links.beats import GatheredBeats
from presenced.cluster.links.held_devices import HelloPositions, is_overtaken, return_terms
from presenced.cluster.links.relay import Errand, OwnDevice, Relay
from presenced.cluster.links.relays import Relays
from presenced.cluster.links.waits import Waits
from presenced.cluster.messages import LinkHello
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.cluster.ports import BidsPort, HomesPort
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.errors import RequestError
from presenced.wire.codec import encode
from presenced.wire.messages import Hello


class OwnDevices:
    """Attaches the devices of links that have said hello here."""

    def __init__(
        self,
        engine: Engine,
        homes: HomesPort,
        bids: BidsPort,
        relays: Relays,
        waits: Waits,
        beats: GatheredBeats,
        positions: HelloPositions,
    ) -> None:
        self._engine = engine
        self._homes = homes
        self._bids = bids
        self._relays = relays
        self._waits = waits
        self._beats = beats
        self._positions = positions

    def open(self, session: Session, hello: Hello, now_ms: int) -> None:
        """The session's link has said this hello, and its user is not this node's. It has no device yet. O(1)."""
        relay = self._relays.get_or_new(session)
        relay.own_device = OwnDevice(msgspec.structs.replace(hello, token=""), now_ms)
        self._relays.file_own(relay)
        self.settle(relay, now_ms)

    def homes_changed(self, names: Iterable[str], now_ms: int) -> None:
        """These users have other homes than before. O(names, and their links)."""
        for relay in self._relays.of_users(names):
            self.settle(relay, now_ms)
            self._relays.stir(relay)

    def settle(self, relay: Relay, now_ms: int) -> None:
        """Attach the link's own device at the present home of its user, unless it is there. Idempotent."""
        own, session = relay.own_device, relay.session
        if own is None or session.ended:
            return
        name = session.user_name
        node = self._homes.home_of(name)
        if own.opening and (request := relay.under_way.get(own.opening)) is not None:
            if request.home == node:
                return
            self.drop_opening(relay, request)
        if node == self._homes.me:
            self._attach_here(relay, own, now_ms)
        elif node == NOWHERE:
            number = self._start(relay, own, NOWHERE, now_ms)
            self._bids.bid([name], lambda now_ms: self._decided(relay, number, now_ms))
        elif own.home != node:
            self._attach_at(relay, own, node, now_ms)

    def opened(self, relay: Relay, number: int) -> None:
        """The home has attached the device, perhaps after this was given up."""
        own = relay.own_device
        if own is not None and own.opening == number:
            own.opening = 0
            own.is_attached = True
        request = relay.finish(number)
        if request is not None:
            self._relays.done_with(relay, request)
        self._relays.stir(relay)

    def refused(self, relay: Relay, request: Errand, now_ms: int) -> None:
        """The node at which the device was to be attached is no longer the user's home."""
        self.drop_opening(relay, request)
        self.settle(relay, now_ms)

    def came_to_nothing(self, relay: Relay, number: int, now_ms: int) -> None:
        """As `refused`, for a request that may have been given up, so that only its number is known. Idempotent."""
        own = relay.own_device
        if own is not None and own.opening == number:
            own.opening, own.home = 0, NOWHERE
            self.settle(relay, now_ms)

    def drop_opening(self, relay: Relay, request: Errand) -> None:
        """The request to attach the device has failed. Idempotent."""
        relay.finish(request.number)
        self._relays.done_with(relay, request)
        if request.opens:
            self._relays.note_closed(relay, request.home)
        own = relay.own_device
        if own is not None and own.opening == request.number:
            own.opening, own.home = 0, NOWHERE

    # --- within -----------------------------------------------------------------------------------------------

    def _start(self, relay: Relay, own: OwnDevice, node: NodeKey, now_ms: int) -> int:
        """The device is being attached. What the link asks meanwhile is handled after that."""
        request = Errand(relay.next_number(), None, 0, 0)
        request.opens = node != NOWHERE and node not in relay.rounds
        own.opening, own.home = request.number, node
        self._relays.take(relay, request)
        relay.start(request, node, is_exclusive=True)
        self._waits.await_opening(relay, request, now_ms)
        return request.number

    def _decided(self, relay: Relay, number: int, now_ms: int) -> None:
        request = relay.finish(number)
        if request is not None:
            self._relays.done_with(relay, request)
        if relay.own_device is not None and relay.own_device.opening == number:
            relay.own_device.opening = 0
        if relay.own_device is not None and relay.own_device.home == NOWHERE:
            # Also if it took so long that nobody waits for it any longer.
            self.settle(relay, now_ms)
        self._relays.stir(relay)

    def _attach_at(self, relay: Relay, own: OwnDevice, node: NodeKey, now_ms: int) -> None:
        session = relay.session
        number = self._start(relay, own, node, now_ms)
        self._relays.note_open(relay, node)
        if self._beats.is_held:
            # Heartbeats are late now: idleness in this hello would be taken for that of its arrival, and for newer than
            # what follows.
            hello = msgspec.structs.replace(own.hello, idle_ms=None)
            self._beats.tell_later(relay, now_ms)
        else:
            hello = msgspec.structs.replace(own.hello, idle_ms=own.idle_ms(now_ms))
            own.note_told()
        opened = LinkHello(
            link=relay.link,
            round=relay.rounds[node],
            number=number,
            user=session.user_name,
            role=session.role,
            instance=session.instance,
            issued_ms=session.issued_ms,
            rights=session.rights,
            hello=encode(hello),
            position=relay.position,
            yields=not own.is_attached,
            is_again=own.is_attached,
            came_ms=self._engine.clock.wall_ms(session.edge.since_ms),
            said_ms=self._engine.clock.wall_ms(now_ms),
        )
        self._relays.send(node, opened)

    def _attach_here(self, relay: Relay, own: OwnDevice, now_ms: int) -> None:
        session, hello = relay.session, own.hello
        relay.own_device = None
        self._relays.file_own(relay)
        is_again, only_free = own.is_attached, hello.only_free
        if is_again:
            terms = return_terms(self._engine, self._positions, session, hello.device, relay.position)
            if terms is None:
                self._engine.sessions.drop(now_ms, session, "replaced")
                return
            only_free = terms
        elif is_overtaken(self._engine, session, hello.device, now_ms):
            self._engine.sessions.drop(now_ms, session, "replaced")
            return
        try:
            device = self._engine.sessions.take_device(
                now_ms,
                session,
                hello,
                idle_ms=None if is_again else own.idle_ms(now_ms),
                as_was=is_again or hello.as_was,
                only_free=only_free,
            )
        except RequestError as error:
            self._engine.sessions.drop(now_ms, session, "replaced" if error.code == "device_held" else error.code)
            return
        # It was heard of last when its client said hello, or since: it is looked at that much earlier.
        self._engine.leases.heard_at(device, session.heard_ms)
        self._engine.leases.rearm(device)
        self._positions.note(session, relay.position)
