"""Takes what other nodes send back for links of this node: answers, pushes, and that a link has to end."""

from __future__ import annotations

from typing import Final

from presenced.cluster.links.device_requests import DeviceRequests
from presenced.cluster.links.dispatch import Dispatch
from presenced.cluster.links.own_devices import OwnDevices
from presenced.cluster.links.refusals import GONE
from presenced.cluster.links.relay import Errand, Relay, RouteParts
from presenced.cluster.links.relays import Relays
from presenced.cluster.links.split_questions import joined
from presenced.cluster.messages import EndLink, LinkOpened, Returned, ToLink
from presenced.cluster.node_keys import NOWHERE, NodeKey
from presenced.core.engine import Engine
from presenced.core.lost_link import HeldFar
from presenced.core.model import Session
from presenced.core.part import Part
from presenced.limits import SERVER_FRAME_BYTES_MAX
from presenced.wire.codec import BadMessage, decode_server, encode
from presenced.wire.envelopes import envelope_of, with_id
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import Attach, Done, Error, OwnState, Routes, Taken

DONE: Final = Done.__struct_config__.tag
ERROR: Final = Error.__struct_config__.tag
OWN_STATE: Final = OwnState.__struct_config__.tag
TAKEN: Final = Taken.__struct_config__.tag


class Answers(Part):
    """Hands on what comes for the links of this node."""

    def __init__(
        self,
        engine: Engine,
        relays: Relays,
        dispatch: Dispatch,
        own_devices: OwnDevices,
        device_requests: DeviceRequests,
    ) -> None:
        self._engine = engine
        self._relays = relays
        self._dispatch = dispatch
        self._own_devices = own_devices
        self._device_requests = device_requests

    def take(self, sender: NodeKey, message: ToLink | Returned | LinkOpened | EndLink, now_ms: int) -> None:
        """A message of a home about a link. O(what is in it)."""
        relay = self._relays.by_link.get(message.link)
        if relay is None:
            # The link is gone, and its end has crossed this.
            return
        if type(message) is ToLink:
            reader = FrameReader(SERVER_FRAME_BYTES_MAX)
            reader.feed(message.frames)
            for payload in reader.take(len(message.frames)):
                try:
                    self._told(relay, sender, payload, now_ms)
                except BadMessage:
                    # The home is of a later version. It may be mistaken about what this link has by now.
                    relay.session.edge.fail(now_ms)
            self._relays.stir(relay)
        elif type(message) is Returned:
            self._returned(relay, sender, message, now_ms)
        elif type(message) is LinkOpened:
            self._own_devices.opened(relay, message.number)
        else:
            assert type(message) is EndLink
            self._ended(relay, sender, message.code, now_ms)

    # --- what a link is told ----------------------------------------------------------------------------------

    def _told(self, relay: Relay, sender: NodeKey, payload: bytes, now_ms: int) -> None:
        session, outboxes = relay.session, self._engine.outboxes
        envelope = envelope_of(payload)
        if envelope.id:
            request = relay.finish(envelope.id)
            if request is not None:
                self._answer(relay, request, envelope.type, payload, now_ms)
            return
        if session.ended:
            return
        if envelope.type == OWN_STATE:
            relay.missed = b""
            if not outboxes.push(session, frame(payload)):
                relay.missed = payload
            return
        if envelope.type == TAKEN:
            taken = decode_server(payload)
            assert isinstance(taken, Taken)
            held = relay.held.get(taken.ref)
            if (held is not None and held.home != sender) or taken.ref in (session.refs or ()):
                # Another device is held under it since.
                return
            relay.drop(taken.ref)
            if not self._engine.holders.note_told(session, taken.ref):
                return
        outboxes.reply(session, payload)

    def _answer(self, relay: Relay, request: Errand, kind: int, payload: bytes, now_ms: int) -> None:
        if request.parts is not None:
            self._answer_part(relay, request.parts, payload)
            request.is_done = True
            return
        if request.request_id:
            self._engine.outboxes.reply(relay.session, with_id(payload, request.request_id))
        if kind == DONE:
            self._device_requests.granted(relay, request, now_ms)
            self._note_own(relay, request)
        self._relays.done_with(relay, request)

    def _note_own(self, relay: Relay, request: Errand) -> None:
        """A service may attach the device that its link is itself: the link has no device of its own then."""
        own, attach = relay.own_device, request.message
        if own is None or not isinstance(attach, Attach):
            return
        if (attach.user, attach.device) == (relay.session.user_name, own.hello.device):
            relay.own_device = None
            self._relays.file_own(relay)

    def _answer_part(self, relay: Relay, parts: RouteParts, payload: bytes) -> None:
        """One of several homes has answered its part of a question."""
        parts.open_parts -= 1
        told = decode_server(payload)
        if isinstance(told, Routes):
            parts.answers.append(told)
        elif isinstance(told, Error):
            parts.error = parts.error or told
        whole = parts.whole
        if parts.open_parts or whole.is_done:
            return
        session = relay.session
        if parts.error is not None:
            error = parts.error
            self._engine.outboxes.reply(
                session, encode(Error(whole.request_id, error.code, error.message, error.retry_ms))
            )
        else:
            self._engine.outboxes.reply(session, encode(joined(parts)))
        self._relays.done_with(relay, whole)

    def resume_session(self, session: Session) -> None:
        """The link reads again: it is sent the newest own state that it missed."""
        relay = self._relays.get(session)
        if relay is not None and relay.missed:
            missed, relay.missed = relay.missed, b""
            self._engine.outboxes.push(session, frame(missed))

    # --- what came to nothing ---------------------------------------------------------------------------------

    def _returned(self, relay: Relay, sender: NodeKey, message: Returned, now_ms: int) -> None:
        """Its sender does not decide what the request is about. What was sent there behind it comes back as well, and
        goes again in its order."""
        self._relays.stir(relay)
        request = relay.finish(message.number)
        if request is None:
            self._own_devices.came_to_nothing(relay, message.number, now_ms)
            return
        if sender in relay.rounds:
            relay.rounds[sender] += 1
            if message.is_unknown and request.message is not None:
                # It did not open the link for a device of which it was not the home.
                self._relays.open_again(relay, sender)
        if request.message is None:
            self._own_devices.refused(relay, request, now_ms)
        elif request.parts is not None:
            request.is_done = True
            self._dispatch.ask_again(relay, request.parts)
        else:
            self._dispatch.send_back(relay, request)

    def _ended(self, relay: Relay, sender: NodeKey, code: str, now_ms: int) -> None:
        """The home has ended the link: what it has not answered it will not handle any more."""
        self._relays.note_closed(relay, sender)
        session = relay.session
        for request in [one for one in relay.under_way.values() if one.home == sender]:
            relay.finish(request.number)
            if request.parts is None:
                self._relays.done_with(relay, request)
        if session.ended:
            self._relays.forget_if_idle(relay)
        else:
            self._engine.sessions.drop(now_ms, session, code or "link_failed")

    def lose_node(self, relay: Relay, node: NodeKey) -> list[HeldFar]:
        """The node is gone: what can be asked again is, and of the rest nobody knows whether it was applied. Returns
        what the link held there. O(that)."""
        self._relays.note_closed(relay, node)
        for request in [one for one in relay.under_way.values() if one.home == node]:
            if request.message is None:
                self._own_devices.drop_opening(relay, request)
            elif request.repeats and request.parts is None:
                relay.finish(request.number)
                self._dispatch.send_back(relay, request)
            else:
                self._dispatch.give_up(relay, request, GONE)
        if relay.own_device is not None and relay.own_device.home == node:
            relay.own_device.home = NOWHERE
        held = [HeldFar(ref, one.user, one.device, "lost") for ref, one in relay.held.items() if one.home == node]
        for one in held:
            relay.drop(one.ref)
        return held
