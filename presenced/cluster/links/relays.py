"""The table of relays: the links of this node that act at other nodes, what is sent to those nodes, and how relays end.

A link has a relay from when it first needs one until nothing is under way, held or open for it. Most links never have
one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from presenced.cluster.links.refusals import ENDED, RETRY_MS
from presenced.cluster.links.relay import Errand, HeldElsewhere, Relay
from presenced.cluster.messages import (
    HeldAgain,
    LinkFrame,
    LinkHello,
    LinkLost,
    LinkRenewed,
    NodeMessage,
)
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.cluster.ports import Conduit, HomesPort
from presenced.core.engine import Engine
from presenced.core.lost_link import HeldFar
from presenced.core.model import Session
from presenced.core.part import Part
from presenced.core.replies import refuse
from presenced.wire.codec import encode
from presenced.wire.messages import Bye, ClientMessage, TakenWhy


class Relays(Part):
    """Owns the relays."""

    def __init__(self, engine: Engine, homes: HomesPort, conduit: Conduit) -> None:
        self.size = 0
        """Bytes of all that waits and is under way."""
        self.by_link: dict[int, Relay] = {}
        self._engine = engine
        self._homes = homes
        self._conduit = conduit
        self._by_session: dict[Session, Relay] = {}
        self._by_node: dict[NodeKey, dict[Relay, None]] = {}
        self._by_user: dict[str, dict[Relay, None]] = {}
        """Those whose own device is not here, by their user."""
        self._stirred: dict[Relay, None] = {}
        self._links = 0

    # --- the table --------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.by_link)

    def get(self, session: Session) -> Relay | None:
        """The relay of the session's link, if it has one. O(1)."""
        return self._by_session.get(session)

    def get_or_new(self, session: Session) -> Relay:
        """The same, made if need be. O(1)."""
        relay = self._by_session.get(session)
        if relay is None:
            self._links += 1
            relay = Relay(self._links, session, self._homes.position)
            self._by_session[session] = self.by_link[self._links] = relay
        return relay

    def at(self, node: NodeKey) -> list[Relay]:
        """The relays of links that are open at a node. O(these)."""
        return list(self._by_node.get(node, ()))

    def all(self) -> list[Relay]:
        """All of them. O(relays)."""
        return list(self.by_link.values())

    def of_users(self, names: Iterable[str]) -> list[Relay]:
        """Those of links whose own devices are not here, of these users. O(names)."""
        by_user = self._by_user
        return [relay for name in names if name in by_user for relay in by_user[name]]

    def file_own(self, relay: Relay) -> None:
        """The relay's link has a device of its own that is not here, or no longer. O(1)."""
        name = relay.session.user_name
        if relay.own_device is not None:
            self._by_user.setdefault(name, {})[relay] = None
        elif name in self._by_user:
            of_user = self._by_user[name]
            of_user.pop(relay, None)
            if not of_user:
                del self._by_user[name]

    def forget_if_idle(self, relay: Relay) -> None:
        """Keep nothing of a relay that is needed for nothing any longer. O(1)."""
        if relay.is_idle and self.by_link.pop(relay.link, None) is not None:
            self._by_session.pop(relay.session, None)

    # --- what was asked ---------------------------------------------------------------------------------------

    def take(self, relay: Relay, request: Errand) -> None:
        """The request is the relay's to answer from now on."""
        relay.load += request.size
        self.size += request.size
        self._engine.obligations.expect(relay.session)

    def done_with(self, relay: Relay, request: Errand) -> None:
        """The request has its answer, or needs none. Idempotent."""
        if request.is_done:
            return
        request.is_done = True
        relay.load -= request.size
        self.size -= request.size
        self._engine.obligations.answered(relay.session)

    def refuse(self, relay: Relay, request: Errand, code: str, sentence: str) -> None:
        """Answer the request with an error, if it waits for an answer. It is done with. Idempotent."""
        if request.request_id and not request.is_done:
            refuse(self._engine, relay.session, request.request_id, code, sentence, RETRY_MS)
        self.done_with(relay, request)

    def stir(self, relay: Relay) -> None:
        """Something that the link has asked has come back, or is done with: what waits behind it may go, perhaps. It
        does so when whoever is at work with relays is done (`take_stirred`). O(1)."""
        self._stirred[relay] = None

    @property
    def has_stirred(self) -> bool:
        """Whether `take_stirred` has something. O(1)."""
        return bool(self._stirred)

    def take_stirred(self) -> list[Relay]:
        """The relays that were stirred since the last call."""
        stirred, self._stirred = list(self._stirred), {}
        return stirred

    # --- what is sent -----------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """As of a `Conduit`."""
        return self._conduit.is_full

    def send(self, node: NodeKey, message: NodeMessage) -> None:
        """Send a message to a node."""
        self._conduit.send(node, encode(message))

    def open(self, relay: Relay, node: NodeKey) -> int:
        """See to it that the link is open at the node; returns the round that it is in there. O(1)."""
        if node not in relay.rounds:
            self.note_open(relay, node)
            self.open_again(relay, node)
        return relay.rounds[node]

    def open_again(self, relay: Relay, node: NodeKey) -> None:
        """The node may not know the link, which is to be open there. O(1)."""
        session = relay.session
        opened = LinkHello(
            link=relay.link,
            round=relay.rounds[node],
            number=0,
            user=session.user_name,
            role=session.role,
            instance=session.instance,
            issued_ms=session.issued_ms,
            rights=session.rights,
        )
        self.send(node, opened)

    def note_open(self, relay: Relay, node: NodeKey) -> None:
        """The link is open at the node from now on. Idempotent."""
        relay.rounds.setdefault(node, 0)
        self._by_node.setdefault(node, {})[relay] = None

    def note_closed(self, relay: Relay, node: NodeKey) -> None:
        """The link is not open at the node any longer. Idempotent."""
        relay.rounds.pop(node, None)
        at_node = self._by_node.get(node)
        if at_node is not None:
            at_node.pop(relay, None)
            if not at_node:
                del self._by_node[node]

    def send_frame(
        self, relay: Relay, node: NodeKey, message: ClientMessage, number: int = 0, said_ms: int = 0
    ) -> None:
        """Send a message of the link to the node, which answers it under this number. `said_ms` as in `LinkFrame`."""
        if number:
            message = msgspec.structs.replace(message, id=number)
        current = self.open(relay, node)
        self.send(node, LinkFrame(relay.link, current, number, encode(message), said_ms))

    def send_bye(self, relay: Relay, now_ms: int) -> None:
        """The link says bye. Its own device leaves, and what it holds is in grace as when it is lost."""
        relay.has_said_bye = True
        for node in relay.rounds:
            if relay.own_device is not None and relay.own_device.home == node:
                self.send_frame(relay, node, Bye())
            else:
                self.send(node, LinkLost(relay.link, 0, self._engine.clock.wall_ms(now_ms)))

    def send_renewed(self, relay: Relay) -> None:
        """The link has another token."""
        session = relay.session
        for node in relay.rounds:
            self.send(node, LinkRenewed(relay.link, session.issued_ms, session.rights))

    def hold_again(self, relay: Relay, node: NodeKey, position: int, devices: list[HeldFar]) -> None:
        """The node decides these devices now, which the link held at one that is gone, or a lost link of the same
        client. `position` as in `held_devices.hold_again`. O(devices)."""
        self.open(relay, node)
        if_gone: dict[int, TakenWhy] = {one.ref: one.if_gone for one in devices if one.if_gone != "lost"}
        self.send(node, HeldAgain(relay.link, position, [one[:3] for one in devices], if_gone))
        for one in devices:
            relay.hold(one.ref, HeldElsewhere(one.user, one.device, node, relay.next_number()))

    # --- the ends of links ------------------------------------------------------------------------------------

    def end_session(self, session: Session, now_ms: int) -> None:
        """The link is gone, or about to be ended: the nodes at which it is open are told so. What it had asked and what
        was not sent yet is not handled any more: what is applied is what it said first."""
        relay = self._by_session.pop(session, None)
        if relay is None:
            return
        if not relay.has_said_bye:
            lost = LinkLost(relay.link, max(0, now_ms - session.heard_ms), self._engine.clock.wall_ms(now_ms))
            for node in relay.rounds:
                self.send(node, lost)
        for node in list(relay.rounds):
            self.note_closed(relay, node)
        relay.own_device = None
        self.file_own(relay)
        relay.held.clear()
        relay.ref_of.clear()
        relay.put_back()
        while relay.waiting:
            self.refuse(relay, relay.waiting.popleft(), "log_busy", ENDED)
        # What is under way is still answered, if its home does so in time.
        self.forget_if_idle(relay)

    def check(self, users: Iterable[object]) -> None:
        """See `Part`."""
        size = 0
        for relay in self.by_link.values():
            waiting = (request for request in relay.waiting if not request.is_done)
            requests = [*relay.under_way.values(), *relay.returned.values(), *waiting]
            requests += {request.parts.whole: None for request in requests if request.parts is not None}
            unanswered = sum(request.size for request in requests if not request.is_done)
            assert relay.load == unanswered, "what a link waits for is miscounted"
            size += relay.load
            assert not relay.is_idle, "a relay is kept for nothing"
            for node in relay.rounds:
                assert relay in self._by_node[node], "a link is open where nobody knows of it"
            for request in relay.under_way.values():
                assert request.home == NOWHERE or request.home in relay.rounds or relay.session.ended
        assert size == self.size, "what waits for other nodes is miscounted"
