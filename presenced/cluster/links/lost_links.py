"""Brings what a lost link had to the node to which its client comes back (protocol.md, 22.3 and 28.3).

The client comes with a token, which says which life of which node has issued it. The node asks that one, and sends the
welcome when it has all that the lost link had, or none of it: because there is nothing, or because it does not come in
time. The node that is asked hands out each token's state once, to one client, and keeps nothing of it. What arrives too
late is dropped, and the client says everything again, as after any other loss.

A kick, an erasure or a revocation counts whether it stands in the log before what is handed over, or behind it.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Final

import msgspec

from presenced.cluster.messages import LinkGiven, LinkNotGiven, LinkWanted
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.cluster.ports import Conduit, HomesPort
from presenced.core.delays import DelayQueue
from presenced.core.engine import Engine
from presenced.core.link_client import ArrivedClient, LinkClient
from presenced.core.lost_link import HeldFar, Parked
from presenced.core.model import ParkedLink
from presenced.wire.codec import encode

PATIENCE_MS: Final = 2_000
"""How long a client waits for the first part, and for each that follows."""

WHOLE_MS: Final = 6_000
"""How long it waits for all of them."""

KEPT_MS: Final = 10_000
"""How long what has come is kept for a client that has no credit left for its hello."""

SLICE: Final = 1_000
"""Users, as many channels and as many devices that are given in one turn."""

SIGN_BYTES: Final = 3
"""Of a token, which say who has given it; the others are drawn."""

_EVER: Final = 1 << 62


class _Sought:
    """What a client has come for."""

    __slots__ = ("client", "cut_ms", "device_id", "heard_ms", "parts", "node", "since_ms", "then", "token")

    def __init__(
        self, token: str, client: LinkClient, device_id: str, node: NodeKey, now_ms: int, then: Callable[[int], object]
    ) -> None:
        self.token = token
        self.client = client
        self.device_id = device_id
        self.parts: list[LinkGiven] = []
        """What has come of it so far."""
        self.node = node
        """The node that was asked."""
        self.since_ms = self.heard_ms = now_ms
        self.then = then
        self.cut_ms = 0
        """Nobody takes back what a link had whose token was made before this wall time."""

    def take(self, part: LinkGiven, now_ms: int) -> None:
        """The next part has come."""
        self.heard_ms = now_ms
        self.parts.append(part)

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come."""
        return bool(self.parts) and self.parts[-1].is_last

    def found(self) -> ParkedLink | None:
        """What there is to take back; None if nothing has come, or its client may not. O(what there is)."""
        if not self.is_whole or self.parts[-1].issued_ms < self.cut_ms:
            return None
        last = self.parts[-1]
        parked: ParkedLink = Parked(self.client, self.device_id, last.issued_ms, last.good_ms)
        parked.keep_wishes(
            last.watched,
            watches_contacts=last.watches_contacts,
            follows_contacts=last.follows_contacts,
            watches_all=last.watches_all,
        )
        for part in self.parts:
            parked.keep(part.names, part.channels)
            parked.keep_far(HeldFar(*one) for one in part.devices)
            for ref, why in part.taken:
                parked.keep_taken(ref, why)
        return parked


class LostLinks:
    """Asks other nodes for what links of theirs had, and gives them what those of this node had."""

    def __init__(self, engine: Engine, homes: HomesPort, conduit: Conduit) -> None:
        self._engine = engine
        self._homes = homes
        self._conduit = conduit
        self._sought: dict[int, _Sought] = {}
        """By number."""
        self._numbers = 0
        self._due: DelayQueue[int] = DelayQueue(PATIENCE_MS)
        self._giving: dict[ParkedLink, tuple[NodeKey, int]] = {}
        """With the node that is given it, and the number of its question."""

    def draw_token(self) -> str:
        """A new token of this node: 104 of its bits are random, so that nobody comes upon another's."""
        return _sign_of(self._homes.me) + secrets.token_urlsafe(16 - SIGN_BYTES)

    # --- asking -----------------------------------------------------------------------------------------------

    def seek(self, token: str, client: LinkClient, device_id: str, now_ms: int, then: Callable[[int], object]) -> int:
        """Ask for what the link had that had this token, for a client with this device of its own (empty = none).
        Returns the number to `take_found` it by, and `then` is called once, with the time, when it is there or will
        not come, never inside of this; 0 = no other node has it. O(nodes)."""
        node = self._giver_of(token)
        if not node or self._engine.resumptions.knows(token):
            return 0
        self._numbers += 1
        self._sought[self._numbers] = _Sought(token, client, device_id, node, now_ms, then)
        self._due.add(now_ms, self._numbers)
        watch_users_max = self._engine.policy.watch_limit(client.role)
        wanted = LinkWanted(
            self._numbers,
            token,
            client.user_name,
            client.role,
            client.instance,
            client.rights,
            device_id,
            watch_users_max,
        )
        self._conduit.send(node, encode(wanted))
        return self._numbers

    def take_found(self, number: int, now_ms: int) -> None:
        """The client may take back what was found for it here from now on, if anything was. O(what was)."""
        sought = self._sought.pop(number, None)
        parked = sought.found() if sought is not None else None
        if sought is not None and parked is not None:
            self._engine.resumptions.adopt(sought.token, parked, now_ms)

    def note_cut_off(self, user_name: str, before_ms: int | None) -> None:
        """As `Resumptions.forget`, for what is on its way here. O(questions that wait)."""
        for sought in self._sought.values():
            if sought.client.user_name == user_name:
                sought.cut_ms = max(sought.cut_ms, _EVER if before_ms is None else before_ms)

    def _giver_of(self, token: str) -> NodeKey:
        """The node that has given this token, if it is another one and lives; else `NOWHERE`. O(nodes)."""
        for node in self._homes.others:
            if token.startswith(_sign_of(node)) and self._homes.gives_links(node):
                return node
        return NOWHERE

    def _found(self, sender: NodeKey, said: LinkGiven, now_ms: int) -> None:
        sought = self._sought.get(said.number)
        if sought is None or sought.node != sender or sought.is_whole:
            return
        sought.take(said, now_ms)
        if said.is_last:
            sought.then(now_ms)

    def _give_up(self, number: int, now_ms: int) -> None:
        """The client has waited for nothing, unless it has what it waited for."""
        sought = self._sought.pop(number)
        if not sought.is_whole:
            sought.then(now_ms)

    # --- giving -----------------------------------------------------------------------------------------------

    def _asked(self, sender: NodeKey, said: LinkWanted, now_ms: int) -> None:
        client = ArrivedClient(said.user, said.role, said.instance, said.rights)
        sessions = self._engine.sessions
        parked = sessions.give(now_ms, said.token, client, said.device, said.watch_users_max)
        if parked is None:
            self._conduit.send(sender, encode(LinkNotGiven(said.number)))
        else:
            self._giving[parked] = (sender, said.number)

    def _give_part(self, parked: ParkedLink, node: NodeKey, number: int) -> None:
        names, channels = parked.take_watch(SLICE)
        taken, held = parked.take_devices(SLICE)
        devices = [(ref, one.user.name, one.id, parked.why_gone(one)) for ref, one in held]
        devices += parked.take_far(SLICE)
        said = LinkGiven(number, names, channels, devices, taken, is_last=False)
        if parked.is_empty:
            said = msgspec.structs.replace(
                said,
                is_last=True,
                watched=parked.watched,
                issued_ms=parked.issued_ms,
                good_ms=parked.good_ms,
                watches_contacts=parked.watches_contacts,
                follows_contacts=parked.follows_contacts,
                watches_all=parked.watches_all,
            )
            self._end_giving(parked)
        self._conduit.send(node, encode(said))

    def _end_giving(self, parked: ParkedLink) -> None:
        del self._giving[parked]
        self._engine.resumptions.end_giving(parked)

    # --- other nodes, and time --------------------------------------------------------------------------------

    def take(self, sender: NodeKey, said: LinkWanted | LinkGiven | LinkNotGiven, now_ms: int) -> None:
        """Another node asks, or answers. O(what it says)."""
        if isinstance(said, LinkWanted):
            self._asked(sender, said, now_ms)
        elif isinstance(said, LinkGiven):
            self._found(sender, said, now_ms)
        elif (sought := self._sought.get(said.number)) is not None and sought.node == sender:
            self._give_up(said.number, now_ms)

    def node_gone(self, node: NodeKey, now_ms: int) -> None:
        """It gives nothing, and takes nothing. O(what was under way)."""
        for number in [number for number, sought in self._sought.items() if sought.node == node]:
            if not self._sought[number].is_whole:
                self._give_up(number, now_ms)
        for parked in [parked for parked, (taker, _) in self._giving.items() if taker == node]:
            self._end_giving(parked)

    @property
    def next_ms(self) -> int | None:
        """When `tick` wants to be called next: 0 = at once."""
        return 0 if self._giving else self._due.next_ms

    def tick(self, now_ms: int) -> None:
        """Give the next parts, and give up what does not come. O(`SLICE` for each client that is given something)."""
        for parked, (node, number) in list(self._giving.items()):
            # While the lost link is letting go of it, parts would be small, or empty.
            if parked.lost is None:
                self._give_part(parked, node, number)
        for number in self._due.take_due(now_ms):
            sought = self._sought.get(number)
            if sought is None:
                continue
            patience_ms = KEPT_MS if sought.is_whole else PATIENCE_MS
            is_late = not sought.is_whole and now_ms - sought.since_ms >= WHOLE_MS
            if is_late or now_ms - sought.heard_ms >= patience_ms:
                self._give_up(number, now_ms)
            else:
                self._due.add(now_ms, number)


def _sign_of(node: NodeKey) -> str:
    """What a token of this node begins with: nobody is told more of the number that was drawn for it."""
    return urlsafe_b64encode((node % (1 << 8 * SIGN_BYTES)).to_bytes(SIGN_BYTES)).decode()
