"""Handles what a link asks in the order in which it asks: at once (`executor`), or when its turn has come."""

from __future__ import annotations

from typing import Final

import msgspec

from presenced.cluster.links.addressee import is_meant
from presenced.cluster.links.device_requests import DeviceRequests
from presenced.cluster.links.executor import Executor
from presenced.cluster.links.own_devices import OwnDevices
from presenced.cluster.links.refusals import FULL, NOT_ANSWERED, NOT_SENT, RETRY_MS
from presenced.cluster.links.relay import REQUEST_BYTES, Errand, Relay, RouteParts
from presenced.cluster.links.relays import Relays
from presenced.cluster.links.routing import OF_LINK, OF_SENDER, Destination, destination_of
from presenced.cluster.links.split_questions import nodes_of
from presenced.cluster.links.waits import Waits
from presenced.cluster.node_keys import NOWHERE
from presenced.cluster.ports import BidsPort, HomesPort
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import refuse
from presenced.core.requests import Requests
from presenced.wire.codec import encode
from presenced.wire.messages import Attach, ClientMessage, Route

LINK_BYTES_MAX: Final = 1 << 20
SERVICE_LINK_BYTES_MAX: Final = 16 << 20
NODE_BYTES_MAX: Final = 64 << 20
"""The most that may wait and be under way, of a user's link, a service's link, and all links. A link has as much as it
may send in `waits.PATIENCE_MS`."""

BID_TOGETHER: Final = 1_000
"""For how many users a home is asked for at once, if so many of the link's next requests are about users without
one."""


class Dispatch:
    """Handles messages of links in order."""

    def __init__(
        self,
        engine: Engine,
        requests: Requests,
        homes: HomesPort,
        bids: BidsPort,
        relays: Relays,
        waits: Waits,
        executor: Executor,
        own_devices: OwnDevices,
        device_requests: DeviceRequests,
    ) -> None:
        self._engine = engine
        self._requests = requests
        self._homes = homes
        self._bids = bids
        self._relays = relays
        self._waits = waits
        self._executor = executor
        self._own_devices = own_devices
        self._device_requests = device_requests

    # --- what comes in ----------------------------------------------------------------------------------------

    def handle(self, session: Session, now_ms: int, message: ClientMessage) -> None:
        """A link of this node has sent the message. O(1), and what it costs to handle it."""
        relay = self._relays.get(session)
        if relay is None:
            # Most messages, so that they cost no more than without a cluster.
            kind = type(message)
            is_own = kind in OF_SENDER and session.role == "user" and self._is_own(session, message)
            if is_own or kind in OF_LINK:
                self._requests.handle(self._engine, session, now_ms, message)
                return
        way = destination_of(message, session.user_name)
        if way.where == "at_once" or (relay is None and self._is_here(session, way, message)):
            self._requests.handle(self._engine, session, now_ms, message)
            return
        if session.ended:
            return
        self._engine.ledger.reach(now_ms)
        self._engine.heard(session, now_ms)
        relay = relay or self._relays.get_or_new(session)
        size = REQUEST_BYTES + len(encode(message))
        if way.where != "bye" and self._is_full(relay, size):
            refuse(self._engine, session, getattr(message, "id", 0), "log_busy", FULL, RETRY_MS)
            return
        request = Errand(relay.next_number(), message, getattr(message, "id", 0), size)
        self._relays.take(relay, request)
        if relay.is_busy or not self._go(relay, request, way, now_ms):
            relay.waiting.append(request)
        if not request.is_done and request.request_id:
            self._waits.await_answer(relay, request, now_ms)
        self._relays.forget_if_idle(relay)

    def _is_own(self, session: Session, message: ClientMessage) -> bool:
        """Whether a person's message is about themselves, and this node decides them."""
        named_user: str = getattr(message, "user", "")
        return named_user in ("", session.user_name) and self._homes.own(session.user_name)

    def _is_here(self, session: Session, way: Destination, message: ClientMessage) -> bool:
        """Whether this node handles the message by itself, if the link has nothing under way elsewhere."""
        where = way.where
        if where == "home":
            return not is_meant(self._engine, session, None, way, message) or self._homes.own(way.users[0])
        if where == "registrar":
            return self._homes.registrar == self._homes.me
        return where != "homes" or nodes_of(self._homes, session, way.users) in ({}, {self._homes.me: way.users})

    def _is_full(self, relay: Relay, size: int) -> bool:
        most = LINK_BYTES_MAX if relay.session.role == "user" else SERVICE_LINK_BYTES_MAX
        return relay.load + size > most or self._relays.size + size > NODE_BYTES_MAX

    def go_on(self, now_ms: int) -> None:
        """Let those requests go that may by now, of all links for which an answer came or a request was given up.
        O(these)."""
        for relay in self._relays.take_stirred():
            self._go_on(relay, now_ms)

    def _go_on(self, relay: Relay, now_ms: int) -> None:
        while True:
            if relay.returned:
                if relay.under_way:
                    return
                relay.put_back()
            if not relay.waiting:
                break
            request = relay.waiting.popleft()
            if request.is_done:
                continue
            assert request.message is not None
            try:
                has_gone = self._go(relay, request, destination_of(request.message, relay.session.user_name), now_ms)
            except Exception:
                # Nobody who serves this link called: it alone ends.
                relay.session.edge.fail(now_ms)
                continue
            if not has_gone:
                relay.waiting.appendleft(request)
                break
        self._relays.forget_if_idle(relay)

    # --- where it goes ----------------------------------------------------------------------------------------

    def _go(self, relay: Relay, request: Errand, way: Destination, now_ms: int) -> bool:
        """Handle the request or send it. Returns False, with nothing done, if it has to wait."""
        homes, session = self._homes, relay.session
        message = request.message
        assert message is not None
        if way.where == "bye":
            if relay.under_way:
                return False
            return self._executor.bye(relay, request, now_ms)
        if way.where == "refs":
            return self._device_requests.go_by_refs(relay, request, way, now_ms)
        if way.where == "own":
            return self._device_requests.go_own(relay, request, now_ms)
        if way.where == "registrar":
            node = homes.registrar
            if node == NOWHERE:
                self._relays.refuse(relay, request, "log_busy", NOT_SENT)
                return True
            return self._executor.go_to(relay, request, node, now_ms, is_exclusive=True)
        if way.where == "homes":
            return self._go_to_homes(relay, request, way, now_ms)
        if way.where == "here" or not is_meant(self._engine, session, relay, way, message):
            return self._executor.go_to(relay, request, homes.me, now_ms, is_exclusive=True)
        name = way.users[0]
        node = homes.home_of(name)
        if node == NOWHERE:
            if way.makes:
                return self._bid(relay, request, name)
            return self._executor.go_to(relay, request, homes.me, now_ms, is_exclusive=True)
        if relay.own_device is not None and name == session.user_name and relay.own_device.home != node:
            self._own_devices.settle(relay, now_ms)
        request.repeats, request.user = way.repeats, name
        if isinstance(message, Attach):
            return self._device_requests.go_attaching(relay, request, message, node, now_ms)
        return self._executor.go_to(relay, request, node, now_ms, is_exclusive=False)

    # --- users without a home ---------------------------------------------------------------------------------

    def _bid(self, relay: Relay, request: Errand, name: str) -> bool:
        """Ask for a home of the user, and of users of requests that wait behind. The request goes on when the user has
        one."""
        if not relay.may_go((NOWHERE,), is_exclusive=True):
            return False
        request.user = ""
        names = {name: None}
        # Who was asked for already was so together with who waits behind: to look through them again for each would
        # take the square of their number.
        for other in () if self._bids.is_asked_for(name) else relay.waiting:
            if len(names) >= BID_TOGETHER:
                break
            if other.message is not None and not other.is_done:
                way = destination_of(other.message, relay.session.user_name)
                if way.makes and is_meant(self._engine, relay.session, relay, way, other.message):
                    if self._homes.home_of(way.users[0]) == NOWHERE:
                        names[way.users[0]] = None
        relay.start(request, NOWHERE, is_exclusive=True)
        self._bids.bid(list(names), lambda now_ms: self._decided(relay, request))
        return True

    def _decided(self, relay: Relay, request: Errand) -> None:
        if relay.finish(request.number) is not None:
            self.send_back(relay, request)

    def send_back(self, relay: Relay, request: Errand) -> None:
        """The request is no longer under way, and nothing of it was applied. It goes again, before those behind it."""
        if relay.session.ended:
            self._relays.refuse(relay, request, "log_busy", NOT_SENT)
        else:
            relay.returned[request.number] = request
        self._relays.stir(relay)

    # --- users of several homes -------------------------------------------------------------------------------

    def _go_to_homes(self, relay: Relay, request: Errand, way: Destination, now_ms: int) -> bool:
        message = request.message
        assert isinstance(message, Route)
        nodes = nodes_of(self._homes, relay.session, way.users)
        if len(nodes) < 2:
            request.repeats = True
            node = next(iter(nodes), self._homes.me)
            return self._executor.go_to(relay, request, node, now_ms, is_exclusive=not nodes)
        if not relay.may_go(nodes, is_exclusive=True):
            return False
        parts = RouteParts(request, len(nodes))
        for node, names in nodes.items():
            asked = msgspec.structs.replace(message, users=list(names))
            part = Errand(relay.next_number(), asked, 0, 0)
            part.parts = parts
            self._waits.await_answer(relay, part, now_ms)
            # What comes next about one of them, and is handled here, must not overtake the question.
            self._executor.send(relay, part, node, is_exclusive=True)
        return True

    def ask_again(self, relay: Relay, parts: RouteParts) -> None:
        """A node that was asked for a part no longer decides all users in it. The whole question goes again, and
        answers to the other parts are dropped. O(requests under way)."""
        for part in [one for one in relay.under_way.values() if one.parts is parts]:
            relay.finish(part.number)
            part.is_done = True
        if not parts.whole.is_done:
            self.send_back(relay, parts.whole)

    # --- time -------------------------------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once."""
        return 0 if self._relays.has_stirred else self._waits.next_ms

    def tick(self, now_ms: int) -> None:
        """Give up what was not answered in time. What waited behind it and needs no other node is answered now.
        O(these)."""
        for relay, request in self._waits.take_due(now_ms):
            if request.is_done:
                continue
            self._relays.stir(relay)
            if request.number in relay.under_way or not self._needs_nobody(relay, request):
                self.give_up(relay, request)
        self.go_on(now_ms)

    def _needs_nobody(self, relay: Relay, request: Errand) -> bool:
        message, session = request.message, relay.session
        if message is None or request.number in relay.returned:
            return False
        return self._is_here(session, destination_of(message, session.user_name), message)

    def give_up(self, relay: Relay, request: Errand, sentence: str = NOT_ANSWERED) -> None:
        """Answer the request with an error, and wait for it no longer. If it was sent, it may have been applied."""
        if relay.finish(request.number) is None or request.home == NOWHERE:
            relay.returned.pop(request.number, None)
            sentence = NOT_SENT
        if request.parts is not None:
            request.is_done = True
            request = request.parts.whole
            sentence = NOT_ANSWERED
        self._relays.refuse(relay, request, "log_busy", sentence)
