"""Links of other nodes that act here: each has a session of its own, as if it were a link of this node. So nothing that
a link may ask is handled in a second way.

The node that serves the link keeps its lease, and says when it was heard and when it is lost. If that node is gone, all
of its links are lost.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from presenced.cluster.links.held_devices import LATE_MS, HelloPositions, hold_again, is_overtaken, return_terms
from presenced.cluster.links.routing import Destination, destination_of
from presenced.cluster.messages import (
    EndLink,
    HeldAgain,
    LinkBeats,
    LinkFrame,
    LinkHello,
    LinkLost,
    LinkOpened,
    LinkRenewed,
    NodeMessage,
    Returned,
    ToLink,
)
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.cluster.ports import Conduit, HomesPort
from presenced.core.engine import Engine
from presenced.core.lost_link import HeldFar
from presenced.core.model import CONNECTED, Edge, KeptSession
from presenced.core.replies import refuse
from presenced.core.requests import Requests
from presenced.errors import RequestError
from presenced.wire.codec import BadMessage, decode_client, encode
from presenced.wire.messages import Beats, Hello

log = logging.getLogger("presenced")

SLICE: Final = 500
"""Links of a node that is gone which are lost in one turn."""


class RemoteLink(Edge):
    """One link of another node: the edge of its session here."""

    __slots__ = ("code", "is_forgotten", "is_lost", "link", "node", "refused", "session", "since_ms", "table")

    def __init__(self, table: RemoteLinks, node: NodeKey, message: LinkHello) -> None:
        self.table = table
        self.node = node
        self.link = message.link
        self.refused = -1
        """The round in which a message came that is not this node's to handle."""
        self.code: str | None = None
        """What it is to be ended with, once all that was promised is answered."""
        self.is_forgotten = False
        self.is_lost = False
        """Its node has said that it has ended: it is sent what it is still owed, and not told of its end."""
        self.since_ms = 0
        self.session = KeptSession(
            self, message.user, message.role, message.instance, 0, message.rights, message.issued_ms
        )

    def note_came(self, since_ms: int) -> None:
        """The link came to its node then."""
        self.since_ms = since_ms

    def send(self, data: bytes) -> None:
        """Send frames to the link's node."""
        if not self.is_forgotten:
            self.table.send(self.node, ToLink(self.link, data))

    def end(self, code: str) -> None:
        """The link is to end. Idempotent: the first code counts."""
        if self.code is None:
            self.code = code
            if not self.session.ended:
                self.table.detach(self.session, code)
        if not self.session.unanswered and not self.is_forgotten:
            self.table.forget(self)
            if not self.is_lost:
                self.table.send(self.node, EndLink(self.link, self.code))

    def fail(self, now_ms: int) -> None:
        """See `Edge`."""
        name = self.table.name_of(self.node)
        log.exception("link_failed: while serving a link of %s at the node %s", self.session.user_name, name)
        self.end("link_failed")


class RemoteLinks:
    """Owns the sessions of links of other nodes."""

    def __init__(
        self,
        engine: Engine,
        requests: Requests,
        homes: HomesPort,
        conduit: Conduit,
        positions: HelloPositions,
        now: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._requests = requests
        self._homes = homes
        self._conduit = conduit
        self._positions = positions
        self._now = now
        self._by_node: dict[NodeKey, dict[int, RemoteLink]] = {}
        self._lost: deque[tuple[list[RemoteLink], int]] = deque()
        """Links of nodes that are gone, and when they were heard last."""

    def __len__(self) -> int:
        return sum(map(len, self._by_node.values()))

    # --- for the edges ----------------------------------------------------------------------------------------

    def send(self, node: NodeKey, message: NodeMessage) -> None:
        """Send a message to a node."""
        self._conduit.send(node, encode(message))

    def name_of(self, node: NodeKey) -> str:
        """What operators call the node."""
        return self._homes.name_of(node)

    def detach(self, session: KeptSession, code: str) -> None:
        """The session's link is to end: its devices are in grace."""
        self._engine.sessions.detach(self._now(), session, code)

    def forget(self, link: RemoteLink) -> None:
        """Nothing more is said to the link. Idempotent."""
        link.is_forgotten = True
        of_node = self._by_node.get(link.node)
        if of_node is not None and of_node.get(link.link) is link:
            del of_node[link.link]
            if not of_node:
                del self._by_node[link.node]

    # --- what their nodes say ---------------------------------------------------------------------------------

    def take(
        self,
        sender: NodeKey,
        message: LinkHello | LinkFrame | LinkLost | LinkBeats | LinkRenewed | HeldAgain,
        now_ms: int,
    ) -> None:
        """A message of a node about its links. O(what it says), or O(devices of the link) if it has waited for long."""
        of_node = self._by_node.get(sender, {})
        if type(message) is LinkHello:
            self._open(of_node.get(message.link), sender, message, now_ms)
        elif isinstance(message, LinkBeats):
            self._beat(of_node, message, now_ms)
        elif type(message) is LinkFrame:
            self._handle(of_node.get(message.link), sender, message, now_ms)
        else:
            link = of_node.get(message.link)
            if link is None or link.session.ended:
                # It was ended here meanwhile, and its node is about to be told.
                return
            if type(message) is LinkLost:
                waited_ms = self._waited_ms(message.said_ms, now_ms)
                heard_ms = now_ms - message.age_ms - waited_ms
                if waited_ms:
                    # What it said of these last may have waited as long.
                    for device in (link.session.refs or {}).values():
                        self._engine.leases.heard_at(device, min(device.heard_ms, heard_ms))
                self._lose(link, heard_ms, now_ms)
            elif type(message) is LinkRenewed:
                # When the token ends is for its node to see.
                self._engine.sessions.renew(now_ms, link.session, 0, message.rights, message.issued_ms)
            elif type(message) is HeldAgain:
                why = message.if_gone
                devices = [HeldFar(ref, name, one, why.get(ref, "lost")) for ref, name, one in message.devices]
                hold_again(self._engine, self._positions, link.session, message.position, devices, now_ms)

    def _open(self, link: RemoteLink | None, sender: NodeKey, message: LinkHello, now_ms: int) -> None:
        if message.hello and not self._homes.own(message.user):
            self.send(sender, Returned(message.link, message.number))
            return
        if message.yields and self._yields(message.user, sender):
            self.send(sender, Returned(message.link, message.number))
            return
        is_new = link is None
        if link is None:
            link = RemoteLink(self, sender, message)
            self._by_node.setdefault(sender, {})[message.link] = link
        # All that came before this in an earlier round is here.
        link.refused = -1
        session = link.session
        if session.ended:
            return
        if not message.hello:
            if is_new:
                self._engine.sessions.open_without_device(now_ms, session)
            return
        if message.came_ms:
            link.note_came(now_ms - max(0, self._engine.clock.wall_ms(now_ms) - message.came_ms))
        try:
            self._attach(session, message, now_ms)
        except BadMessage:
            link.end("bad_hello")
            return
        except RequestError as error:
            link.end("replaced" if error.code == "device_held" else error.code)
            return
        self.send(sender, LinkOpened(message.link, message.number))

    def _yields(self, name: str, to: NodeKey) -> bool:
        """Whether the user is handed over: then the person is where the link is, and nowhere else."""
        user = self._engine.users.for_request(name)
        if any(device.state == CONNECTED for device in user.devices.values()):
            return False
        return self._homes.hand_over(name, to)

    def _attach(self, session: KeptSession, message: LinkHello, now_ms: int) -> None:
        """Attach the link's own device. Raises `RequestError`, and `BadMessage` if this version does not understand the
        hello."""
        hello = decode_client(message.hello)
        assert isinstance(hello, Hello)
        as_was, only_free, idle_ms = hello.as_was, hello.only_free, hello.idle_ms
        if idle_ms is not None:
            idle_ms += self._waited_ms(message.said_ms, now_ms)
        if message.is_again:
            terms = return_terms(self._engine, self._positions, session, hello.device, message.position)
            if terms is None:
                raise RequestError("device_held", "another link has come for the device since")
            as_was, only_free, idle_ms = True, terms, None
        elif is_overtaken(self._engine, session, hello.device, now_ms):
            raise RequestError("device_held", "a link that came later has the device")
        self._engine.sessions.take_device(now_ms, session, hello, idle_ms=idle_ms, as_was=as_was, only_free=only_free)
        self._positions.note(session, message.position)

    def _handle(self, link: RemoteLink | None, sender: NodeKey, message: LinkFrame, now_ms: int) -> None:
        if link is None or message.round <= link.refused:
            if message.number:
                self.send(sender, Returned(message.link, message.number, link is None))
            return
        session = link.session
        if session.ended:
            return
        try:
            said = decode_client(message.payload)
        except BadMessage as error:
            # The node of the link is of a later version, which has understood this.
            refuse(self._engine, session, message.number, error.code, str(error))
            return
        if not self._decides(destination_of(said, session.user_name)):
            link.refused = message.round
            if message.number:
                self.send(sender, Returned(message.link, message.number))
            return
        try:
            if isinstance(said, Beats):
                said = _idle_longer(said, self._waited_ms(message.said_ms, now_ms))
            self._requests.handle(self._engine, session, now_ms, said)
        except Exception:
            link.fail(now_ms)

    def _decides(self, way: Destination) -> bool:
        """Whether this node decides what a message is about, as far as anybody does. O(users)."""
        if way.where == "home":
            return self._homes.own(way.users[0])
        if way.where == "homes":
            return all(self._homes.home_of(name) in (self._homes.me, NOWHERE) for name in way.users)
        return way.where != "registrar" or self._homes.registrar == self._homes.me

    def _waited_ms(self, said_ms: int, now_ms: int) -> int:
        """How long what a node said at this wall time has waited for the engine. O(1)."""
        waited_ms = self._engine.clock.wall_ms(now_ms) - said_ms
        return waited_ms if said_ms and waited_ms > LATE_MS else 0

    def _beat(self, of_node: dict[int, RemoteLink], message: LinkBeats, now_ms: int) -> None:
        engine, beats = self._engine, message.beats
        waited_ms = self._waited_ms(message.said_ms, now_ms)
        for number, told_ms, idle_ms in zip(beats[::3], beats[1::3], beats[2::3], strict=True):
            age_ms = told_ms + waited_ms
            link = of_node.get(number)
            device = link.session.device if link is not None else None
            if link is None or device is None:
                continue
            heard_ms = max(device.heard_ms, now_ms - age_ms)
            engine.heartbeat(link.session, now_ms, idle_ms + age_ms if idle_ms >= 0 else None)
            engine.leases.heard_at(device, heard_ms)

    def _lose(self, link: RemoteLink, heard_ms: int, now_ms: int) -> None:
        """The link has ended. What it asked before is still answered, and then it is forgotten: its node waits with the
        goodbye for that."""
        link.is_lost = True
        session = link.session
        if session.device is not None:
            self._engine.leases.heard_at(session.device, heard_ms)
        self._engine.sessions.detach(now_ms, session)
        if not session.unanswered:
            self._engine.obligations.close(session, "")

    # --- nodes that are gone ----------------------------------------------------------------------------------

    def node_gone(self, node: NodeKey, heard_ms: int) -> None:
        """All links of the node are lost; it was heard last at this moment. They are let go of in slices. O(1)."""
        of_node = self._by_node.get(node)
        if of_node is not None:
            self._lost.append((list(of_node.values()), heard_ms))

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once."""
        return 0 if self._lost else None

    def tick(self, now_ms: int) -> None:
        """Let go of some links of nodes that are gone. O(`SLICE`)."""
        left = SLICE
        while self._lost and left > 0:
            links, heard_ms = self._lost[0]
            while links and left > 0:
                link = links.pop()
                left -= 1
                if not link.is_forgotten:
                    # Nobody is there to be answered.
                    self.forget(link)
                    self._lose(link, heard_ms, now_ms)
            if not links:
                self._lost.popleft()


def _idle_longer(message: Beats, waited_ms: int) -> Beats:
    """The same of persons who have been idle for so long besides. O(devices)."""
    if not waited_ms:
        return message
    beats = message.beats.copy()
    beats[1::2] = [idle_ms + waited_ms if idle_ms >= 0 else -1 for idle_ms in beats[1::2]]
    return Beats(beats)
