"""What a link asks, in the order in which it asks: handled here, sent to who decides it, or kept until it may go.

The file is long because one object decides what may go, what waits and what goes again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from presenced.cluster.links.addressee import OWN_IF_EMPTY, is_meant, named
from presenced.cluster.links.device_beats import DeviceBeats
from presenced.cluster.links.refusals import FULL, NOT_ANSWERED, NOT_SENT, RETRY_MS
from presenced.cluster.links.relay import Errand, HeldElsewhere, Relay, RouteParts
from presenced.cluster.links.relays import Relays
from presenced.cluster.links.routing import OF_LINK, OF_SENDER, Destination, destination_of
from presenced.cluster.links.split_questions import nodes_of
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.cluster.ports import BidsPort, HomesPort
from presenced.core.delays import DelayQueue
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.replies import refuse
from presenced.core.requests import Requests
from presenced.wire.codec import encode
from presenced.wire.messages import (
    Attach,
    Beats,
    ClientMessage,
    Detach,
    Focus,
    Renew,
    Route,
)

PATIENCE_MS: Final = 5_000
"""How long a request waits for the node that decides it."""

ATTACHED_MS: Final = 1_000
"""How long it waits for the link's own device to be attached elsewhere: most of what a link asks first are questions,
which need no other node. The home may be one that has died and is not taken for dead yet."""

REQUEST_BYTES: Final = 512
"""What a request that waits or is under way counts besides its bytes."""

LINK_BYTES_MAX: Final = 1 << 20
SERVICE_LINK_BYTES_MAX: Final = 16 << 20
NODE_BYTES_MAX: Final = 64 << 20
"""What may wait and be under way, of one link and of all. A link has as much as it may send in `PATIENCE_MS`."""

BID_TOGETHER: Final = 1_000
"""Users for whom a home is asked for at once, if the link's next requests are about so many."""


class Dispatch:
    """Handles messages of links in order."""

    def __init__(
        self,
        engine: Engine,
        requests: Requests,
        homes: HomesPort,
        bids: BidsPort,
        relays: Relays,
        device_beats: DeviceBeats,
    ) -> None:
        self.forwarded = 0
        """Requests that were sent to other nodes, counted for the operator."""
        self.given_up = 0
        """Of these, those that were not answered in time."""
        self._engine = engine
        self._requests = requests
        self._homes = homes
        self._bids = bids
        self._relays = relays
        self._device_beats = device_beats
        self._deadlines: DelayQueue[tuple[Relay, Errand]] = DelayQueue(PATIENCE_MS)
        self._openings: DelayQueue[tuple[Relay, Errand]] = DelayQueue(ATTACHED_MS)
        self._settle: Callable[[Relay, int], object] | None = None

    def settle_by(self, settle: Callable[[Relay, int], object]) -> None:
        """Have this attach a link's own device where its user's home is now."""
        self._settle = settle

    # --- what comes in ----------------------------------------------------------------------------------------

    def handle(self, session: Session, now_ms: int, message: ClientMessage) -> None:
        """A message of a link of this node. O(1) beside what is done with it."""
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
            self._deadlines.add(now_ms, (relay, request))
        self._relays.forget_if_idle(relay)

    def _is_own(self, session: Session, message: ClientMessage) -> bool:
        """Whether a person means themselves, whom this node decides."""
        named_user: str = getattr(message, "user", "")
        return named_user in ("", session.user_name) and self._homes.own(session.user_name)

    def _is_here(self, session: Session, way: Destination, message: ClientMessage) -> bool:
        """Whether a link without a relay needs none for this."""
        where = way.where
        if where == "home":
            return not is_meant(self._engine, session, None, way, message) or self._homes.own(way.users[0])
        if where == "registrar":
            return self._homes.registrar == self._homes.me
        return where != "homes" or nodes_of(self._homes, session, way.users) in ({}, {self._homes.me: way.users})

    def _is_full(self, relay: Relay, size: int) -> bool:
        most = LINK_BYTES_MAX if relay.session.role == "user" else SERVICE_LINK_BYTES_MAX
        return relay.load + size > most or self._relays.size + size > NODE_BYTES_MAX

    def pump(self, relay: Relay, now_ms: int) -> None:
        """Something has come back, or was given up: let go what may go now. O(that)."""
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
            self._device_beats.flush(relay, now_ms)
            self._relays.send_bye(relay, now_ms)
            return self._do(relay, request, now_ms)
        if way.where == "refs":
            return self._go_by_refs(relay, request, way, now_ms)
        if way.where == "own":
            return self._go_own(relay, request, now_ms)
        if way.where == "registrar":
            node = homes.registrar
            if node == NOWHERE:
                self._relays.refuse(relay, request, "log_busy", NOT_SENT)
                return True
            return self._go_to(relay, request, node, now_ms, is_exclusive=True)
        if way.where == "homes":
            return self._go_to_homes(relay, request, way, now_ms)
        if way.where == "here" or not is_meant(self._engine, session, relay, way, message):
            return self._go_to(relay, request, homes.me, now_ms, is_exclusive=True)
        name = way.users[0]
        node = homes.home_of(name)
        if node == NOWHERE:
            if way.makes:
                return self._bid(relay, request, name)
            return self._go_to(relay, request, homes.me, now_ms, is_exclusive=True)
        if (
            relay.own_device is not None
            and name == session.user_name
            and relay.own_device.home != node
            and self._settle
        ):
            self._settle(relay, now_ms)
        request.repeats, request.user = way.repeats, name
        if isinstance(message, Attach):
            return self._go_attaching(relay, request, message, node, now_ms)
        return self._go_to(relay, request, node, now_ms, is_exclusive=False)

    def _go_to(self, relay: Relay, request: Errand, node: NodeKey, now_ms: int, *, is_exclusive: bool) -> bool:
        if not relay.may_go((node,), is_exclusive=is_exclusive, user=request.user):
            return False
        if node == self._homes.me:
            return self._do(relay, request, now_ms)
        self._send(relay, request, node, is_exclusive=is_exclusive)
        return True

    def _do(self, relay: Relay, request: Errand, now_ms: int) -> bool:
        """Handle the request on this node."""
        session, message = relay.session, request.message
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

    def _send(self, relay: Relay, request: Errand, node: NodeKey, *, is_exclusive: bool) -> None:
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
        self._relays.start(relay, request, node, is_exclusive=is_exclusive)

    # --- devices ----------------------------------------------------------------------------------------------

    def _go_own(self, relay: Relay, request: Errand, now_ms: int) -> bool:
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
        return self._go_to(relay, request, node, now_ms, is_exclusive=False)

    def _go_by_refs(self, relay: Relay, request: Errand, way: Destination, now_ms: int) -> bool:
        """Of each device that is named its own home is told; of those that the link does not hold, this node."""
        if len(way.refs) == 1 and not isinstance(request.message, Beats):
            node = relay.node_of(way.refs[0]) or self._homes.me
            return self._go_to(relay, request, node, now_ms, is_exclusive=False)
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
            self.forwarded += 1
            self._device_beats.tell(relay, node, part, now_ms)
        self._relays.done_with(relay, request)
        if here is not None or not parts:
            self._requests.handle(self._engine, relay.session, now_ms, Beats(here or []))
        return True

    def _go_attaching(self, relay: Relay, request: Errand, message: Attach, node: NodeKey, now_ms: int) -> bool:
        """A device is attached at its home. If the ref stands for another one elsewhere, that is let go of once this is
        granted, and not before: what is refused changes nothing."""
        me, session, ref = self._homes.me, relay.session, message.ref
        before = relay.node_of(ref) or (me if session.refs is not None and ref in session.refs else node)
        is_exclusive = before != node
        may_go = relay.may_go((node,), is_exclusive=is_exclusive, user=request.user)
        if not may_go or (is_exclusive and relay.under_way):
            return False
        if node != me:
            request.releases = (before, ref) if is_exclusive else None
            self._send(relay, request, node, is_exclusive=is_exclusive)
            relay.attaching[ref] = request
            return True
        self._do(relay, request, now_ms)
        device = (session.refs or {}).get(ref)
        if is_exclusive and device is not None and (device.user.name, device.id) == (message.user, message.device):
            self.release(relay, before, ref, now_ms)
        return True

    def granted(self, relay: Relay, request: Errand, now_ms: int) -> None:
        """A request was done that its home has answered: the relay holds what was attached, and nothing that was let go
        of. O(1)."""
        message, session = request.message, relay.session
        if isinstance(message, Detach):
            refs = relay.refs_of(message.user, message.device) if message.user else [message.ref]
            for ref in refs:
                relay.let_go(ref, request.home, request.number)
        if not isinstance(message, Attach) or session.ended:
            return
        self._engine.holders.holds(session, message.ref)
        if request.releases is not None:
            self.release(relay, *request.releases, now_ms)
        if not request.is_outdated:
            relay.hold(message.ref, HeldElsewhere(message.user, message.device, request.home, request.number))

    def release(self, relay: Relay, node: NodeKey, ref: int, now_ms: int) -> None:
        """The device under the ref says bye at its home, for another one is held under it now."""
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
        self._deadlines.add(now_ms, (relay, request))
        self._send(relay, request, node, is_exclusive=True)

    # --- users without a home ---------------------------------------------------------------------------------

    def _bid(self, relay: Relay, request: Errand, name: str) -> bool:
        """See to it that the user has a home, and ask again then; with them the users of what waits behind."""
        if not relay.may_go((NOWHERE,), is_exclusive=True):
            return False
        request.user = ""
        names = {name: None}
        for other in relay.waiting:
            if len(names) >= BID_TOGETHER:
                break
            if other.message is not None and not other.is_done:
                way = destination_of(other.message, relay.session.user_name)
                if way.makes and is_meant(self._engine, relay.session, relay, way, other.message):
                    if self._homes.home_of(way.users[0]) == NOWHERE:
                        names[way.users[0]] = None
        self._relays.start(relay, request, NOWHERE, is_exclusive=True)
        self._bids.bid(list(names), lambda now_ms: self._decided(relay, request, now_ms))
        return True

    def _decided(self, relay: Relay, request: Errand, now_ms: int) -> None:
        if self._relays.finish(relay, request.number) is None:
            return
        self.send_back(relay, request)
        self.pump(relay, now_ms)

    def send_back(self, relay: Relay, request: Errand) -> None:
        """The request is not under way any longer, and nothing came of it: it is to go again, before what came after
        it."""
        if relay.session.ended:
            self._relays.refuse(relay, request, "log_busy", NOT_SENT)
        else:
            relay.returned[request.number] = request

    # --- users of several homes -------------------------------------------------------------------------------

    def _go_to_homes(self, relay: Relay, request: Errand, way: Destination, now_ms: int) -> bool:
        message = request.message
        assert isinstance(message, Route)
        nodes = nodes_of(self._homes, relay.session, way.users)
        if len(nodes) < 2:
            request.repeats = True
            node = next(iter(nodes), self._homes.me)
            return self._go_to(relay, request, node, now_ms, is_exclusive=not nodes)
        if not relay.may_go(nodes, is_exclusive=True):
            return False
        parts = RouteParts(request, len(nodes))
        for node, names in nodes.items():
            asked = msgspec.structs.replace(message, users=list(names))
            part = Errand(relay.next_number(), asked, 0, 0)
            part.parts = parts
            self._deadlines.add(now_ms, (relay, part))
            # What comes next about one of them, and is handled here, must not overtake the question.
            self._send(relay, part, node, is_exclusive=True)
        return True

    def ask_again(self, relay: Relay, parts: RouteParts) -> None:
        """Who was asked for a part does not decide all users of that any longer: the whole question goes again, and
        what the others answer is of no account. O(what is under way)."""
        for part in [one for one in relay.under_way.values() if one.parts is parts]:
            self._relays.finish(relay, part.number)
            part.is_done = True
        if not parts.whole.is_done:
            self.send_back(relay, parts.whole)

    # --- time -------------------------------------------------------------------------------------------------

    def await_opening(self, relay: Relay, request: Errand, now_ms: int) -> None:
        """Let what comes behind this wait no longer for it if the device is not attached in time."""
        self._openings.add(now_ms, (relay, request))

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next."""
        late_ms, open_ms = self._deadlines.next_ms, self._openings.next_ms
        return late_ms if open_ms is None or (late_ms is not None and late_ms < open_ms) else open_ms

    def tick(self, now_ms: int) -> None:
        """Give up what was not answered in time. What waited behind it and needs no other node is answered now.
        O(that)."""
        late: dict[Relay, None] = {}
        for relay, request in (*self._openings.take_due(now_ms), *self._deadlines.take_due(now_ms)):
            if request.is_done:
                continue
            late[relay] = None
            if request.number in relay.under_way or not self._needs_nobody(relay, request):
                self.give_up(relay, request)
        for relay in late:
            self.pump(relay, now_ms)

    def _needs_nobody(self, relay: Relay, request: Errand) -> bool:
        message, session = request.message, relay.session
        if message is None or request.number in relay.returned:
            return False
        return self._is_here(session, destination_of(message, session.user_name), message)

    def give_up(self, relay: Relay, request: Errand, sentence: str = NOT_ANSWERED) -> None:
        """Nobody knows whether the request was handled, if it was sent: say so, and wait for it no longer."""
        if self._relays.finish(relay, request.number) is not None and request.home != NOWHERE:
            self.given_up += 1
        else:
            relay.returned.pop(request.number, None)
            sentence = NOT_SENT
        if request.parts is not None:
            request.is_done = True
            request = request.parts.whole
            sentence = NOT_ANSWERED
        self._relays.refuse(relay, request, "log_busy", sentence)
