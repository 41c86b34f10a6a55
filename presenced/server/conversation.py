"""One link's talk with the server: bytes in, frames to the core, bytes out. No rule of presence is in here.

A conversation is AWAITING its hello, then OPEN, then ENDING (no frame is taken from it, and replies that were promised
are still to come), CLOSING (goodbye was said, the peer may still read) and CLOSED. It knows no socket, loop or clock:
its bytes leave through a `Transport`, every event is told with the time at which it happens, and what it shares with
other links is in `Links`. An exception while serving a link is logged, counted, and closes this link alone.

The file is long because all of it changes the state of one link. A second object for a part of that state, such as what
was read and why reading rests, would cost each idle link 72 bytes more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from presenced import limits
from presenced.core.model import Edge, Session, Sink
from presenced.core.replies import refuse
from presenced.core.requests.costs import HELLO, cost_of_change
from presenced.errors import CODES, PresenceError, ProtocolError
from presenced.server.greeting import open_session, read_hello, refuse_while_short, welcome
from presenced.server.identity import Identity
from presenced.server.link import AWAITING, CLOSED, CLOSING, ENDING, OPEN
from presenced.server.links import Links
from presenced.server.transports.base import Transport
from presenced.wire.codec import BadMessage, decode_client, encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import Bye, Goodbye, Hello

log = logging.getLogger("presenced")

READ: Final = 0
RATE: Final = 1
BACKLOG: Final = 2
REPLIES: Final = 3
"""Why a link is not read for now: it is read; its user is over the rate (`TurnShares.over`); frames of an earlier read
are still to be handled (`TurnShares.backlog`); it asks and does not read its replies (`drained` resumes it)."""

OWED_USER_BYTES = 64
"""About what one user costs in the dict of the users that a slow link is owed."""

_UNIT_BYTES_BITS = 10
"""A frame costs a unit more for each so many bytes, as a power of two: they are decoded and checked one by one."""


class Conversation(Edge):
    """The edge of one link."""

    __slots__ = (
        "links", "_give_up_opening", "transport", "session", "ending_session", "state", "farewell", "closing_ms",
        "device_id", "reader", "account", "greeting", "paused", "partial_ms", "partial_queued", "since_ms",
    )  # fmt: skip

    def __init__(self, links: Links, now_ms: int) -> None:
        self.links = links
        self.since_ms = now_ms
        """When it was accepted."""
        self._give_up_opening: Callable[[], object] | None = None
        self.transport: Transport | None = None
        """What carries its bytes, from when the connection is up until it is gone."""
        self.session: Session | None = None
        self.ending_session: Session | None = None
        """While it ends: its session, whose replies are still written before the goodbye."""
        self.farewell = b""
        """What is written last."""
        self.closing_ms = 0
        """When goodbye was said."""
        self.device_id = ""
        """As its hello named it: the session has let go of its device when the end of the link is written."""
        self.state = AWAITING
        self.reader = FrameReader(limits.HELLO_BYTES_MAX)
        self.account = links.accounts.strangers
        """Whose credit its frames are taken from."""
        self.greeting: tuple[Hello, int, Identity] | None = None
        """A hello that waits until its user has credit again."""
        self.paused = READ
        """Why it is not read for now."""
        self.partial_ms = 0
        """When the frame was begun that is not whole yet; 0 = none."""
        self.partial_queued = False

    # --- called by the transport ------------------------------------------------------------------------------

    def note_opening(self, give_up: Callable[[], object] | None) -> None:
        """The connection is being brought up (with TLS, by a handshake) and `give_up` ends that; None: it is up."""
        self._give_up_opening = give_up

    def opened(self, transport: Transport) -> None:
        """The connection is up. Not to be called once the conversation `is_over`."""
        self.transport = transport

    def receive(self, now_ms: int, data: bytes) -> None:
        """Bytes came in."""
        if self.state >= ENDING:
            return
        self.reader.feed(data)
        if not self.paused:
            self.serve(now_ms)

    def heartbeat(self, now_ms: int, session: Session, idle_ms: int) -> None:
        """A heartbeat came in and nothing else (`NO_REPORT`: without an idle time); the transport has recognised it. It
        needs no turn unless it changes something: with a turn for each, heartbeats would cost three times as much."""
        links = self.links
        links.stats.frames_in += 1
        try:
            if links.engine.heartbeat(session, now_ms, None if idle_ms < 0 else idle_ms):
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
        self._leave_account(now_ms)
        session = self._take_session()
        if session is not None and not links.host.is_broken:
            links.engine.sessions.detach(now_ms, session)
        if self.ending_session is not None:
            links.engine.outboxes.end(self.ending_session)
            self.ending_session = None

    def hold(self) -> None:
        """The peer does not read. Of what it watches, only the latest record of each user is kept from now on."""
        session = self.session or self.ending_session
        if session is not None:
            self.links.engine.outboxes.pause(session, self.links.host.begin())

    def drained(self) -> None:
        """The peer has read. It is sent the latest record of each user that changed meanwhile."""
        session = self.session or self.ending_session
        if session is not None:
            self.links.host.begin()
            self.links.engine.resume(session)
            if self.paused == REPLIES and self.session is not None:
                self._wait_for_turn()

    @property
    def is_held(self) -> bool:
        """Whether what is sent waits until the peer reads."""
        session = self.session or self.ending_session
        return session is not None and session.owed is not None

    def take_back(self, rest: bytes) -> None:
        """Put back what the transport did not take while the link `is_held`. It is sent first once the peer reads."""
        session = self.session or self.ending_session
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

    def serve(self, now_ms: int) -> None:
        """Handle the frames that are whole, as many as this link may have handled now."""
        try:
            count = self._serve(now_ms)
            self.links.stats.frames_in += count
        except PresenceError as error:
            self.end(error.code, error.message, error.retry_ms)
            return
        except Exception:
            self.fail(now_ms)
            return
        if self.state >= ENDING:
            return
        self._bound(now_ms, count)

    def fail(self, now_ms: int) -> None:
        """End this link alone, because serving it raised an exception that nothing foresaw. To be called while that is
        handled."""
        self.links.report.event(now_ms, "link_failed", f"while serving {self.label()}", level=logging.ERROR, exc=True)
        self.end("link_failed")

    def resume(self, now_ms: int) -> None:
        """Serve the link again after a while in which it was not read."""
        if self.state >= ENDING:
            return
        self.paused = READ
        if self.transport is not None:
            self.transport.resume_reading()
        self.serve(now_ms)

    def wait_longer(self, now_ms: int) -> None:
        """Its user has no credit yet. A frame of the link waits to be handled, so the link does not count as silent."""
        if self.session is not None and self.reader.has_frame:
            self.links.engine.heard(self.session, now_ms)

    def check_partial(self, now_ms: int) -> None:
        """End the link if the frame that it began is still not whole (protocol.md, 4.3)."""
        self.partial_queued = False
        if self.state >= ENDING or not self.partial_ms:
            return
        if now_ms - self.partial_ms >= limits.FRAME_TIMEOUT_MS:
            seconds = limits.FRAME_TIMEOUT_MS // 1000
            self.end("frame_timeout", f"a frame was begun and not finished within {seconds} s")
        else:
            self.partial_queued = True
            self.links.deadlines.partials.add(now_ms, self)

    def make_way(self, now_ms: int) -> None:
        """End at once, because another link is given the place of one that has not said hello."""
        if self._give_up_opening is not None:
            self._give_up_opening()
            self._give_up_opening = None
        message = "no hello came, and others wait for the place"
        self.links.note_goodbye(now_ms, "hello_timeout", self, message)
        self.send(frame(encode(Goodbye("hello_timeout", message, 0))))
        self.abort()
        self._give_up()

    def check_hello(self) -> None:
        """End the link if it has not said hello since it was accepted (protocol.md, 4.3)."""
        if self.transport is None and self.state != CLOSED:
            # The TLS handshake came to nothing: the loop tells nobody, and it must not count for ever.
            self._give_up()
        elif self.state == AWAITING:
            seconds = limits.HELLO_TIMEOUT_MS // 1000
            self.end("hello_timeout", f"no hello came within {seconds} s")

    def check_ending(self, now_ms: int) -> None:
        """Close the link if the disk has not answered in time, and abort it if its peer has not closed."""
        if self.state == ENDING:
            self._close()
        elif self.state == CLOSING and now_ms - self.closing_ms >= limits.CLOSE_TIMEOUT_MS:
            self.abort()

    def end(self, code: str, message: str = "", retry_ms: int = 0) -> None:
        """Say goodbye (nothing, if `code` is empty) and close; abort if the peer does not go along. Idempotent.

        What was asked before is answered before: while replies wait for the disk, so does the goodbye, and the turn
        that has written the last of them calls this once more.
        """
        if self.state == ENDING and self.ending_session is not None and not self.ending_session.unanswered:
            self._close()
        if self.state >= ENDING:
            return
        now_ms = self.links.host.begin()
        if code:
            self.links.note_goodbye(now_ms, code, self, message)
            text = (message or CODES[code].meaning)[: limits.MESSAGE_CHARS_MAX]
            self.farewell = frame(encode(Goodbye(code, text, retry_ms)))
        if self.transport is None:
            # The TLS handshake is still under way, and nobody can be told anything.
            self._give_up()
            return
        session = self._leave()
        if session is not None:
            self.links.engine.sessions.detach(now_ms, session)
        if session is None or not session.unanswered:
            self._close()

    def _leave(self) -> Session | None:
        """Take nothing from the peer from now on. Replies that are owed are still written."""
        self.state = ENDING
        self.ending_session = self._take_session()
        self.links.deadlines.ends.add(self.links.host.begin(), self)
        return self.ending_session

    def _close(self) -> None:
        """Write what is left and the goodbye, and close our half; the peer has two seconds for the other."""
        links, transport, session = self.links, self.transport, self.ending_session
        assert transport is not None
        self.ending_session = None
        last = links.engine.outboxes.take_last(session) if session is not None else []
        last.append(self.farewell)
        self.state = CLOSING
        self.closing_ms = links.host.begin()
        links.note_closing()
        if self.paused:
            # What is not read would reset the connection when it closes.
            transport.resume_reading()
        transport.close(b"".join(last))
        links.deadlines.ends.add(self.closing_ms, self)

    def abort(self) -> None:
        """Drop the connection without a word. Idempotent."""
        if self.transport is not None:
            self.transport.abort()
        else:
            self._give_up()

    def _give_up(self) -> None:
        """End a link whose connection is not up yet. The connection is dropped if it comes up (`is_over`)."""
        self.state = CLOSED
        self._leave_account(self.links.host.begin())
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
        size = transport.unsent_bytes + self.reader.pending_bytes + OWED_USER_BYTES * len(session.owed or ())
        return size + (session.reply_bytes if session.owed is not None else 0)

    def label(self) -> str:
        """Who this is, for the log. Quoted: it came from outside."""
        if self.session is None:
            return f"a link without hello from {self.peer!r}"
        return repr(f"{self.session.user_name}/{self.device_id}")

    # --- frames -----------------------------------------------------------------------------------------------

    def _serve(self, now_ms: int) -> int:
        """Handle frames up to a bound on their number, on the bytes of their replies, on the user's credit and on the
        user's share of this turn; gives how many.

        The first is handled in any case, and the clock is read for those behind it alone: nearly every read is of one
        frame, and the credit pays for it however long it takes.
        """
        links, reader = self.links, self.reader
        outboxes, shares, until_bytes = links.engine.outboxes, links.shares, links.shares.replies_until_bytes
        count, began_ns, until_ns = 0, 0, 0
        while self.account.credit >= 0 and count < limits.FRAMES_PER_WAKE_MAX and outboxes.reply_bytes < until_bytes:
            if count:
                if count == 1:
                    began_ns = at_ns = shares.monotonic_ns()
                    until_ns = began_ns + shares.share_ns(self.account)
                else:
                    at_ns = shares.monotonic_ns()
                if at_ns >= until_ns:
                    break
            if self.greeting is not None:
                greeting, self.greeting = self.greeting, None
                self._greet(now_ms, *greeting)
            elif payloads := reader.take(1):
                count += 1
                if self.session is not None:
                    self._message(now_ms, self.session, payloads[0])
                elif self.state == AWAITING:
                    self._hello(now_ms, payloads[0])
            else:
                break
            if self.state >= ENDING or (
                self.session and self._unread_reply_bytes(self.session) > limits.OUTBOX_BYTES_MAX
            ):
                break
            if not reader.pending_bytes and self.greeting is None:
                break
        if until_ns:
            shares.charge(self.account, shares.monotonic_ns() - began_ns)
        return count

    def _message(self, now_ms: int, session: Session, payload: bytes) -> None:
        engine, requests = self.links.engine, self.links.requests
        self.account.credit -= 1 + (len(payload) >> _UNIT_BYTES_BITS)
        try:
            message = decode_client(payload)
        except BadMessage as error:
            if error.code == "bad_frame":
                raise ProtocolError("bad_frame", str(error)) from None
            engine.heard(session, now_ms)
            refuse(engine, session, error.request_id, error.code, str(error))
            return
        self.account.credit -= requests.cost(engine, session, message)
        requests.handle(engine, session, now_ms, message)
        if type(message) is Bye:
            # Frames behind a bye are ignored. The turn sends what is pending, and closes.
            self._leave()

    def _take_session(self) -> Session | None:
        session, self.session = self.session, None
        if session is not None:
            self.links.note_session_ended(session)
        return session

    def _bound(self, now_ms: int, count: int) -> None:
        """Decide when this link's further input is taken: by its rate, its backlog, its unread replies."""
        account = self.account
        if account.credit < 0:
            account.refill(now_ms)
        session = self.session
        if account.credit < 0:
            self._pause(RATE)
            self.links.shares.wait_for_credit(now_ms, account, self)
        elif (
            session is not None
            and session.owed is not None
            and self._unread_reply_bytes(session) > self.links.outbox_bytes_max
        ):
            # Its lease goes on running.
            self._pause(REPLIES)
        elif not self.reader.pending_bytes and self.greeting is None:
            self.partial_ms = 0
        elif self.greeting is not None or self.reader.has_frame:
            self._wait_for_turn()
        else:
            self._note_partial(now_ms, count)

    def _unread_reply_bytes(self, session: Session) -> int:
        """Replies that are not written yet and, while the peer does not read, what the transport holds."""
        if session.owed is None or self.transport is None:
            return session.reply_bytes
        return session.reply_bytes + self.transport.unsent_bytes

    def _wait_for_turn(self) -> None:
        """Serve the link again in the next turn."""
        self._pause(BACKLOG)
        self.links.shares.wait_for_turn(self)

    def _pause(self, why: int) -> None:
        if not self.paused:
            self.partial_ms = 0
            if self.transport is not None:
                self.transport.pause_reading()
        self.paused = why

    def _note_partial(self, now_ms: int, count: int) -> None:
        if count or not self.partial_ms:
            self.partial_ms = now_ms
        if not self.partial_queued:
            self.partial_queued = True
            self.links.deadlines.partials.add(now_ms, self)

    def _hello(self, now_ms: int, payload: bytes) -> None:
        """The first frame: who is it? Raises what the goodbye will say."""
        hello, version = read_hello(payload)
        identity = self.links.authority.identify(hello)
        refuse_while_short(self.links.memory)
        self.account = self.links.enter_account(now_ms, identity)
        self.greeting = hello, version, identity
        # With credit it goes on at once (`_serve`); without, it waits in line as other frames do: a link that is
        # opened anew for each burst must not be served more than one that stays.

    def _greet(self, now_ms: int, hello: Hello, version: int, identity: Identity) -> None:
        """Open a session for the hello (protocol.md, 5.1). Raises what the goodbye will say."""
        engine = self.links.engine
        self.account.credit -= HELLO + cost_of_change(engine, identity.user)
        expires_ms = self.links.authority.deadline_of(now_ms, identity.expires_ms)
        session = self.session = open_session(engine, self, hello, identity, expires_ms, now_ms)
        self.device_id = session.device.id if session.device is not None else ""
        self.state = OPEN
        self.links.note_session_opened(session)
        self.reader.frame_bytes_max = limits.FRAME_BYTES_MAX
        if log.isEnabledFor(logging.DEBUG):
            log.debug("hello: %s as %s from %r, protocol %d", self.label(), session.role, self.peer, version)
        pace = (self.account.rate, self.account.burst) if self.account.rate else (0, 0)
        engine.outboxes.reply(session, encode(welcome(engine, session, version, now_ms, pace)))

    def _leave_account(self, now_ms: int) -> None:
        account, self.account = self.account, self.links.accounts.strangers
        if account is not self.account:
            self.links.shares.forget(account, self)
            self.links.accounts.leave(account, now_ms)
