"""One link's talk with the server: bytes in, frames to the core, bytes out. No rule of presence is in here.

A conversation is AWAITING its hello, then (if another node is asked for what its client's lost link had) SEEKING that,
then OPEN, then ENDING (no frame is taken from it, and replies that were promised
are still to come), CLOSING (goodbye was said, the peer may still read) and CLOSED. It knows no socket, loop or clock:
its bytes leave through a `Transport`, every event is told with the time at which it happens, and what it shares with
other links is in `Links`. An exception while serving a link is logged, counted, and closes this link alone.

What came in and the pace at which it is handled are `intake`'s, the hello is read and answered by `greeting`, and
`unread` weighs what the peer leaves unread. In here is what ties them together: the state of the link, and its end.
The file is long because the transport, the server and the intake all call one object.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from presenced import limits
from presenced.core.model import Edge, Session, Sink
from presenced.core.replies import refuse
from presenced.core.requests.costs import HELLO, cost_of_change
from presenced.errors import PresenceError, ProtocolError
from presenced.server.farewell import Farewell, goodbye_frame
from presenced.server.greeting import Greeting, open_session, read_greeting, say_welcome, seek_lost
from presenced.server.intake import FOUND, REPLIES, Intake
from presenced.server.link import AWAITING, CLOSED, CLOSING, ENDING, OPEN, SEEKING
from presenced.server.links import Links
from presenced.server.transports.base import Transport
from presenced.server.unread import unread_bytes, unread_reply_bytes
from presenced.wire.codec import BadMessage, decode_client
from presenced.wire.messages import Bye

log = logging.getLogger("presenced")


class Conversation(Edge):
    """The edge of one link."""

    __slots__ = (
        "links", "_give_up_opening", "transport", "session", "farewell", "state", "device_id", "intake", "since_ms",
    )  # fmt: skip

    def __init__(self, links: Links, now_ms: int) -> None:
        self.links = links
        self.since_ms = now_ms
        """When it was accepted."""
        self._give_up_opening: Callable[[], object] | None = None
        self.transport: Transport | None = None
        """What carries its bytes, from when the connection is up until it is gone."""
        self.session: Session | None = None
        self.farewell: Farewell | None = None
        """What it still sends; from when it begins to end."""
        self.device_id = ""
        """As its hello named it: the session has let go of its device when the end of the link is written."""
        self.state = AWAITING
        self.intake = Intake(links)

    # --- called by the transport ------------------------------------------------------------------------------

    def note_opening(self, give_up: Callable[[], object] | None) -> None:
        """The connection is being brought up (with TLS, by a handshake) and `give_up` ends that; None: it is up."""
        self._give_up_opening = give_up

    def opened(self, transport: Transport) -> None:
        """The connection is up. Not to be called once the conversation `is_over`."""
        self.transport = transport

    def begin(self, now_ms: int, greeting: Greeting) -> None:
        """Its hello came by another way than in a frame, and was accepted there."""
        self.intake.accept(self.links, now_ms, greeting)
        self.serve(now_ms)

    def receive(self, now_ms: int, data: bytes) -> None:
        """Bytes came in."""
        if self.state < ENDING:
            intake, session = self.intake, self.session
            payload = None
            if session is not None and session.parked is None and not intake.paused:
                payload = intake.lone_frame(self.links, data)
            if payload is None:
                intake.reader.feed(data)
            if not intake.paused:
                self.serve(now_ms, payload)

    def heartbeat(self, session: Session, idle_ms: int) -> None:
        """A heartbeat came in and nothing else (`NO_REPORT`: without an idle time); the transport has recognised it. It
        needs no turn unless it changes something: with a turn for each, heartbeats would cost three times as much."""
        links, device = self.links, session.device
        links.stats.frames_in += 1
        # Into a name of its own: to call what an attribute holds takes longer than to call a method.
        now_ns = links.now_ns
        now_ms = now_ns() // 1_000_000
        try:
            if device is not None and idle_ms >= 0:
                beat = links.beat
                if beat(device, now_ms, idle_ms):
                    links.host.begin()
            elif device is not None or links.elsewhere is None:
                links.engine.heard(session, now_ms)
            elif links.elsewhere.heartbeat(session, now_ms, None if idle_ms < 0 else idle_ms):
                links.host.begin()
        except Exception:
            self.fail(now_ms)

    def lost(self, now_ms: int) -> None:
        """The connection is gone, whoever ended it."""
        links = self.links
        if self.state == CLOSING:
            links.note_closed()
        self.state = CLOSED
        # The transport knows its conversation: without this the two would keep each other until the collector comes.
        self.transport = None
        links.forget(self)
        self.intake.leave_account(links, now_ms, self)
        session = self._take_session()
        if session is not None and not links.host.is_broken:
            links.engine.sessions.detach(now_ms, session)
        farewell, self.farewell = self.farewell, None
        if farewell is not None:
            farewell.drop(links.engine.outboxes)

    def hold(self) -> None:
        """The peer does not read. Of what it watches, only the latest record of each user is kept from now on."""
        session = self._written_session
        if session is not None:
            self.links.engine.outboxes.pause(session, self.links.host.begin())

    def drained(self) -> None:
        """The peer has read. It is sent the latest record of each user that changed meanwhile."""
        session = self._written_session
        if session is not None:
            self.links.host.begin()
            self.links.engine.resume(session)
            if self.intake.paused == REPLIES and self.session is not None:
                self.intake.wait_for_turn(self.links, self)

    @property
    def _written_session(self) -> Session | None:
        """The session whose replies and pushes are written to the link, also while that ends."""
        return self.session if self.farewell is None else self.farewell.session

    @property
    def is_held(self) -> bool:
        """Whether what is sent waits until the peer reads."""
        session = self._written_session
        return session is not None and session.owed is not None

    def take_back(self, rest: bytes) -> None:
        """Put back what the transport did not take while the link `is_held`. It is sent first once the peer reads."""
        session = self._written_session
        assert session is not None
        self.links.engine.outboxes.take_back(session, rest)

    @property
    def answers_on(self) -> bool:
        """Whether a peer that has closed its half is still answered. A peer that has said bye waits for its replies;
        any other has gone."""
        return self.state == ENDING

    @property
    def is_over(self) -> bool:
        """Whether the link has ended. A connection that comes up now is to be dropped."""
        return self.state == CLOSED

    # --- called by the server and by the turn -----------------------------------------------------------------

    def serve(self, now_ms: int, lone: bytes | None = None) -> None:
        """Handle the frames that are whole, as many as this link may have handled now; or the payload of the `lone`
        one, which may be."""
        links, intake = self.links, self.intake
        if self.state == SEEKING:
            intake.pause(FOUND, self.transport)
            return
        if lone is None and self.is_returning:
            intake.wait_for_turn(links, self)
            return
        count = 1
        try:
            if lone is not None:
                intake.charge(len(lone))
                self.handle(now_ms, lone)
            else:
                count = intake.serve(links, now_ms, self)
        except PresenceError as error:
            self.end(error.code, error.message, error.retry_ms)
        except Exception:
            self.fail(now_ms)
        else:
            links.stats.frames_in += count
            if self.state == SEEKING:
                intake.pause(FOUND, self.transport)
            elif self.state < ENDING:
                intake.settle(links, now_ms, self, count)

    def fail(self, now_ms: int) -> None:
        """End this link alone, because serving it raised an exception that nothing foresaw. To be called while that is
        handled."""
        self.links.report.event(now_ms, "link_failed", f"while serving {self.label()}", level=logging.ERROR, exc=True)
        self.end("link_failed")

    def resume(self, now_ms: int) -> None:
        """Serve the link again after a while in which it was not read."""
        if self.state < ENDING:
            self.intake.resume(self.transport)
            self.serve(now_ms)

    def wait_longer(self, now_ms: int) -> None:
        """Its user has no credit yet. A frame of the link waits to be handled, so the link does not count as silent."""
        if self.session is not None and self.intake.reader.has_frame:
            self.links.engine.heard(self.session, now_ms)

    def check_partial(self, now_ms: int) -> None:
        """End the link if the frame that it began is still not whole (protocol.md, 4.3)."""
        if self.state < ENDING and self.intake.is_partial_late(self.links, now_ms, self):
            self.end("frame_timeout", f"a frame was begun and not finished within {limits.FRAME_TIMEOUT_MS // 1000} s")

    def make_way(self, now_ms: int) -> None:
        """End at once, because another link is given the place of one that has not said hello."""
        if self._give_up_opening is not None:
            self._give_up_opening()
            self._give_up_opening = None
        message = "no hello came, and others wait for the place"
        self.links.note_goodbye(now_ms, "hello_timeout", self, message)
        self.send(goodbye_frame("hello_timeout", message))
        self.abort()
        self._give_up()

    def check_hello(self) -> None:
        """End the link if it has not said hello since it was accepted (protocol.md, 4.3)."""
        if self.transport is None and self.state != CLOSED:
            # The TLS handshake came to nothing: the loop tells nobody, and it must not count for ever.
            self._give_up()
        elif self.state == AWAITING:
            self.end("hello_timeout", f"no hello came within {limits.HELLO_TIMEOUT_MS // 1000} s")

    def check_ending(self, now_ms: int) -> None:
        """Close the link if the disk has not answered in time, and abort it if its peer has not closed."""
        if self.state == ENDING:
            self._close()
        elif self.state == CLOSING and self.farewell is not None and self.farewell.is_late(now_ms):
            self.abort()

    def end(self, code: str, message: str = "", retry_ms: int | None = None) -> None:
        """Say goodbye (nothing, if `code` is empty) and close; abort if the peer does not go along. Idempotent.

        What was asked before is answered before: while replies wait for the disk, so does the goodbye, and the turn
        that has written the last of them calls this once more.
        """
        if self.state >= ENDING:
            if self.state == ENDING and self.farewell is not None and not self.farewell.waits_for_replies:
                self._close()
            return
        now_ms = self.links.host.begin()
        if code:
            self.links.note_goodbye(now_ms, code, self, message)
        if self.transport is None:
            # The TLS handshake is still under way, and nobody can be told anything.
            self._give_up()
            return
        farewell = self._leave(goodbye_frame(code, message, retry_ms) if code else b"")
        if farewell.session is not None:
            # Without a code its session has ended already.
            self.links.engine.sessions.detach(now_ms, farewell.session, code)
        if not farewell.waits_for_replies:
            self._close()

    def _leave(self, goodbye: bytes) -> Farewell:
        """Take nothing from the peer from now on. Replies that are owed are still written, and then the goodbye."""
        self.state = ENDING
        farewell = self.farewell = Farewell(self._take_session(), goodbye)
        self.links.deadlines.ends.add(self.links.host.begin(), self)
        return farewell

    def _close(self) -> None:
        """Write what is left and the goodbye, and close our half; the peer has two seconds for the other."""
        links, transport, farewell = self.links, self.transport, self.farewell
        assert transport is not None and farewell is not None
        self.state, now_ms = CLOSING, links.host.begin()
        last = farewell.close(now_ms, links.engine.outboxes)
        links.note_closing()
        if self.intake.paused:
            # What is not read would reset the connection when it closes.
            transport.resume_reading()
        transport.close(last)
        links.deadlines.ends.add(now_ms, self)

    def abort(self) -> None:
        """Drop the connection without a word. Idempotent."""
        if self.transport is not None:
            self.transport.abort()
        else:
            self._give_up()

    def _give_up(self) -> None:
        """End a link whose connection is not up yet. The connection is dropped if it comes up (`is_over`)."""
        self.state = CLOSED
        self.intake.leave_account(self.links, self.links.host.begin(), self)
        self.links.forget(self)

    @property
    def sink(self) -> Sink:
        """Its transport. There is one once its hello is read."""
        assert self.transport is not None
        return self.transport

    def send(self, data: bytes) -> None:
        """Write now; nothing happens while the connection is not up."""
        if self.transport is not None:
            self.transport.send(data)

    @property
    def peer(self) -> str:
        """The other side's address; empty while the connection is not up."""
        return self.transport.peer if self.transport is not None else ""

    @property
    def unread_bytes(self) -> int:
        """About how many bytes it holds that the peer does not read, or that were not taken from the peer yet."""
        transport, session = self.transport, self.session
        if transport is None or session is None or transport.is_closing:
            return 0
        return unread_bytes(session, transport) + self.intake.reader.pending_bytes

    def label(self) -> str:
        """Who this is, for the log. Quoted: it came from outside."""
        if self.session is None:
            return f"a link without hello from {self.peer!r}"
        return repr(f"{self.session.user_name}/{self.device_id}")

    # --- frames, called by the intake --------------------------------------------------------------------------

    def handle(self, now_ms: int, payload: bytes) -> None:
        """Handle one frame. Raises what the goodbye will say."""
        session = self.session
        if session is None:
            if self.state == AWAITING:
                self.intake.accept(self.links, now_ms, read_greeting(self.links, payload))
            return
        engine, requests = self.links.engine, self.links.requests
        try:
            message = decode_client(payload)
        except BadMessage as error:
            if error.code == "bad_frame":
                raise ProtocolError("bad_frame", str(error)) from None
            engine.heard(session, now_ms)
            refuse(engine, session, error.request_id, error.code, str(error))
            return
        self.intake.account.credit -= requests.cost(engine, session, message)
        requests.handle(engine, session, now_ms, message)
        if type(message) is Bye:
            # Frames behind a bye are ignored. The turn sends what is pending, and closes.
            self._leave(b"")

    @property
    def is_returning(self) -> bool:
        """Whether its session is taking back what its client's lost link had. What came behind the hello is handled
        when all of that is back, as on a link that was never lost."""
        return self.session is not None and self.session.parked is not None

    @property
    def takes_more(self) -> bool:
        """Whether another frame may be handled now."""
        session = self.session
        if session is None:
            return self.state == AWAITING
        if self.is_returning:
            return False
        return unread_reply_bytes(session, self.transport) <= limits.OUTBOX_BYTES_MAX

    def _take_session(self) -> Session | None:
        session, self.session = self.session, None
        if session is not None:
            self.links.note_session_ended(session)
        return session

    def greet(self, now_ms: int, greeting: Greeting) -> None:
        """Open a session for a hello that was accepted (protocol.md, 5.1). Raises what the goodbye will say."""
        links, intake = self.links, self.intake
        engine, account, identity = links.engine, intake.account, greeting.identity
        hello, elsewhere = greeting.hello, links.elsewhere
        if not greeting.sought:
            account.credit -= HELLO + cost_of_change(engine, identity.user)
        if elsewhere is not None and hello.resume:
            if greeting.sought:
                elsewhere.take_found(greeting.sought, now_ms)
            elif sought := seek_lost(elsewhere, greeting, now_ms, self._found):
                self.state = SEEKING
                intake.put_off(greeting._replace(sought=sought))
                return
        expires_ms = links.authority.deadline_of(now_ms, identity.expires_ms)
        session = self.session = open_session(engine, self, hello, identity, expires_ms, now_ms, elsewhere)
        self.device_id = hello.device
        self.state = OPEN
        links.note_session_opened(session)
        intake.open()
        if log.isEnabledFor(logging.DEBUG):
            log.debug("hello: %s as %s from %r, protocol %d", self.label(), session.role, self.peer, greeting.version)
        account.credit -= say_welcome(engine, session, greeting, now_ms, account.pace)

    def _found(self, now_ms: int) -> None:
        """What its client's lost link had is here, or does not come: greet it now."""
        if self.state == SEEKING:
            self.state = AWAITING
            self.intake.wait_for_turn(self.links, self)
