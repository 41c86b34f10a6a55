"""Serves the links of a node in a cluster: those of its own whose users other nodes decide, and those of others that
act here.

It takes the place of the table of requests (`core.requests.Requests`) where links are served. For a link that needs no
other node it costs one look at whom a message is about.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from presenced.cluster.links.answers import Answers
from presenced.cluster.links.beats import GatheredBeats
from presenced.cluster.links.device_beats import DeviceBeats
from presenced.cluster.links.device_requests import DeviceRequests
from presenced.cluster.links.dispatch import Dispatch
from presenced.cluster.links.executor import Executor
from presenced.cluster.links.far_devices import FarDevices
from presenced.cluster.links.held_devices import HelloPositions
from presenced.cluster.links.inquiries import Inquiries
from presenced.cluster.links.lost_links import LostLinks
from presenced.cluster.links.own_devices import OwnDevices
from presenced.cluster.links.relay import Relay
from presenced.cluster.links.relays import Relays
from presenced.cluster.links.remote_links import RemoteLinks
from presenced.cluster.links.waits import Waits
from presenced.cluster.messages import (
    OPERATOR_ANSWERS,
    OPERATOR_QUESTIONS,
    EndLink,
    LinkGiven,
    LinkNotGiven,
    LinkOpened,
    LinksKicked,
    LinkWanted,
    Returned,
    ToLink,
    decode_node_message,
)
from presenced.cluster.node_keys import NodeKey
from presenced.cluster.ports import BidsPort, Conduit, HomesPort
from presenced.core.engine import Engine
from presenced.core.link_client import LinkClient
from presenced.core.model import Session
from presenced.core.requests import Requests
from presenced.wire.codec import encode
from presenced.wire.messages import ClientMessage, Heartbeat, Hello

SLICE: Final = 500
"""Links of this node that were open at one that is gone, and go on elsewhere in one turn."""


class Forwarding:
    """Serves the links of this node wherever their users are decided, and those of other nodes here."""

    def __init__(
        self,
        engine: Engine,
        requests: Requests,
        homes: HomesPort,
        bids: BidsPort,
        conduit: Conduit,
        now: Callable[[], int],
    ) -> None:
        """`now` tells the time, and sees to it that a turn follows."""
        self._engine = engine
        self.cost: Callable[[Engine, Session, ClientMessage], int] = requests.cost
        """As `Requests.cost`."""
        self._homes = homes
        self._conduit = conduit
        self.relays = Relays(engine, homes, conduit)
        self._positions = HelloPositions()
        self.beats = GatheredBeats(engine, self.relays)
        self.device_beats = DeviceBeats(engine, self.relays)
        waits = Waits()
        self._own_devices = OwnDevices(engine, homes, bids, self.relays, waits, self.beats, self._positions)
        self.executor = Executor(engine, requests, homes, self.relays, self.device_beats)
        device_requests = DeviceRequests(engine, homes, self.relays, waits, self.executor)
        self._dispatch = Dispatch(
            engine, requests, homes, bids, self.relays, waits, self.executor, self._own_devices, device_requests
        )
        self._answers = Answers(engine, self.relays, self._dispatch, self._own_devices, device_requests)
        self.remote_links = RemoteLinks(engine, requests, homes, conduit, self._positions, now)
        self.inquiries = Inquiries(conduit)
        self._moving: deque[tuple[Relay, NodeKey]] = deque()
        """Links that were open at nodes which are gone."""
        self._far_devices = FarDevices(engine, homes, self.relays, self._positions)
        self.lost_links = LostLinks(engine, homes, conduit)
        engine.resumptions.share(self._far_devices, self.lost_links.note_cut_off)
        engine.parts.add(self.beats, self.device_beats, self.relays, self._answers, self._positions)
        engine.moderation.tell_kicks(self._tell_kick)

    # --- links of this node -----------------------------------------------------------------------------------

    def attaches_here(self, name: str) -> bool:
        """Whether this node decides the user, so that links attach their devices here as ever. O(1)."""
        return self._homes.own(name)

    def open(self, session: Session, hello: Hello, now_ms: int) -> None:
        """A link has said this hello, with a device, whose user this node does not decide. Its session is open and has
        no device: it gets it as soon as can be, here or there. If it cannot, the link is ended with a goodbye. O(1)."""
        self._own_devices.open(session, hello, now_ms)

    def draw_token(self) -> str:
        """A token by which a client takes back what a link of this node had."""
        return self.lost_links.draw_token()

    def seek(self, token: str, client: LinkClient, device_id: str, now_ms: int, then: Callable[[int], object]) -> int:
        """See `LostLinks.seek`."""
        return self.lost_links.seek(token, client, device_id, now_ms, then)

    def take_found(self, number: int, now_ms: int) -> None:
        """See `LostLinks.take_found`."""
        self.lost_links.take_found(number, now_ms)

    def handle(self, engine: Engine, session: Session, now_ms: int, message: ClientMessage) -> None:
        """As `Requests.handle`, whoever decides what the message is about: it has one answer, now or later."""
        if type(message) is Heartbeat and not session.ended:
            engine.ledger.reach(now_ms)
            self.heartbeat(session, now_ms, message.idle_ms)
            return
        self._dispatch.handle(session, now_ms, message)

    def heartbeat(self, session: Session, now_ms: int, idle_ms: int | None) -> bool:
        """As `Engine.heartbeat`. O(1)."""
        return self.beats.heartbeat(session, now_ms, idle_ms)

    def note_away(self, is_away: bool, now_ms: int) -> None:
        """What is sent to other nodes comes late from now on, or in time again. O(links and devices heard of
        meanwhile)."""
        self.beats.hold(is_away, now_ms)
        self.device_beats.hold(is_away, now_ms)

    def held(self, session: Session) -> int:
        """How many devices the session's link holds at other nodes. O(1)."""
        relay = self.relays.get(session)
        return len(relay.held) if relay is not None else 0

    def holders(self, name: str, device_ids: Iterable[str]) -> list[Session]:
        """The sessions of links of this node that hold one of these devices of the user at another. O(links that act
        elsewhere, times devices)."""
        wanted = [(name, device_id) for device_id in device_ids]
        return [
            relay.session for relay in self.relays.all() if relay.held and not relay.ref_of.keys().isdisjoint(wanted)
        ]

    # --- what other nodes say, and what becomes of them -------------------------------------------------------

    def receive(self, sender: NodeKey, message: bytes, now_ms: int) -> None:
        """A message that another node's `Forwarding` has sent by the conduit, once the facts before it are applied. A
        turn is to follow. O(what it says)."""
        said = decode_node_message(message)
        if isinstance(said, (ToLink, Returned, LinkOpened, EndLink)):
            self._answers.take(sender, said, now_ms)
            self._dispatch.go_on(now_ms)
        elif isinstance(said, LinksKicked):
            self._engine.moderation.apply_kick(now_ms, said.user)
        elif isinstance(said, (LinkWanted, LinkGiven, LinkNotGiven)):
            self.lost_links.take(sender, said, now_ms)
        elif isinstance(said, (*OPERATOR_QUESTIONS, *OPERATOR_ANSWERS)):
            self.inquiries.take(sender, said)
        else:
            self.remote_links.take(sender, said, now_ms)

    def node_gone(self, node: NodeKey, heard_ms: int, now_ms: int) -> None:
        """The node is gone, and was heard last at `heard_ms` of this node's monotonic clock; homes say already who
        decides its users. Its links are lost, and what links of this node had there goes on elsewhere, in slices.
        O(links that are open there)."""
        self.remote_links.node_gone(node, heard_ms)
        self.inquiries.node_gone(node)
        self.lost_links.node_gone(node, now_ms)
        self._moving.extend((relay, node) for relay in self.relays.at(node))

    def homes_changed(self, names: Iterable[str], now_ms: int) -> None:
        """These users have another home than before, or have one at last. To be called once what is known of them is
        applied; for the heirs of a node that is gone `node_gone` is enough. O(names, and their links of this node)."""
        self._own_devices.homes_changed(names, now_ms)
        self._dispatch.go_on(now_ms)

    # --- time -------------------------------------------------------------------------------------------------

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once, None = not until something happens."""
        if self._moving:
            return 0
        first: int | None = None
        for due_ms in (self.remote_links.next_ms, self._dispatch.next_ms, self.lost_links.next_ms):
            if due_ms is not None and (first is None or due_ms < first):
                first = due_ms
        return first

    def tick(self, now_ms: int) -> None:
        """Do what time brings about, as much as a turn may take. To be called at the start of a turn.
        O(what is due)."""
        self.remote_links.tick(now_ms)
        for _ in range(min(SLICE, len(self._moving))):
            relay, node = self._moving.popleft()
            self._move(relay, node, now_ms)
        self._dispatch.tick(now_ms)
        self.lost_links.tick(now_ms)

    def _move(self, relay: Relay, node: NodeKey, now_ms: int) -> None:
        """Whatever the link had at a node that is gone it has at the heirs from now on."""
        held = self._answers.lose_node(relay, node)
        if not relay.session.ended:
            self._own_devices.settle(relay, now_ms)
            self._far_devices.hold(relay.session, held, relay.position, now_ms)
        self.relays.stir(relay)

    # --- who is kicked ----------------------------------------------------------------------------------------

    def _tell_kick(self, name: str) -> None:
        message = encode(LinksKicked(name))
        for node in self._homes.others:
            self._conduit.send(node, message)
