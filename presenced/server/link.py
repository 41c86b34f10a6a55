"""One TCP connection: bytes in, frames to the core, bytes out. No rule of presence is in here.

A link is AWAITING its hello, then OPEN, then ENDING (nothing more is taken from it, and what it was promised is still
to be answered), CLOSING (goodbye said, the peer may still read) and CLOSED. What goes
wrong on one link ends in here: an exception while serving it is logged, counted, and closes this link alone.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, cast

from presenced import limits
from presenced.core.model import Session
from presenced.core.replying import refuse
from presenced.core.requests import handle
from presenced.core.requests.costs import COSTS, HELLO, cost_of_change
from presenced.errors import CODES, PresenceError, ProtocolError
from presenced.server.greeting import open_session, read_hello, welcome
from presenced.server.identity import Identity
from presenced.server.outgoing import AWAITING, CLOSED, CLOSING, ENDING as ENDING, OPEN, Outgoing
from presenced.server.shedding import refuse_hello
from presenced.wire.frames import FrameReader, frame
from presenced.wire.lone_heartbeat import lone_heartbeat
from presenced.wire.messages import BadMessage, Bye, Goodbye, Hello, decode_client, encode

if TYPE_CHECKING:
    from presenced.server.server import Server

log = logging.getLogger("presenced")

READ: Final = 0
RATE: Final = 1
BACKLOG: Final = 2
REPLIES: Final = 3
"""Why a link is not read for now: it is read; its user is over the rate (`waiting.over`); frames of an earlier read are
still to be handled (`waiting.backlog`); it asks and does not read its replies (`resume_writing` takes it up again)."""

_UNIT_BYTES_BITS = 10
"""A frame costs a unit more for each so many bytes, as a power of two: they are decoded and checked one by one."""


class Link(Outgoing):
    """The edge of one connection (`core.model.Edge`)."""

    __slots__ = (
        "server", "farewell", "is_half_closed", "closing_ms", "device_id",
        "reader", "account", "greeting", "paused", "partial_ms", "partial_queued", "since_ms",
    )  # fmt: skip

    def __init__(self, server: Server, now_ms: int) -> None:
        self.server = server
        self.since_ms = now_ms
        """When it was accepted."""
        self.transport: asyncio.Transport | None = None
        self.fd = -1
        """The socket, where it may be written to directly; -1 with TLS and once the link ends."""
        self.session: Session | None = None
        self.owed: Session | None = None
        """While it ends: its session, whose replies are still written before the goodbye."""
        self.farewell = b""
        """What is written last."""
        self.is_half_closed = False
        """The peer will send no more."""
        self.closing_ms = 0
        """When goodbye was said."""
        self.device_id = ""
        """As its hello named it: the session has let go of its device when the end of the link is written."""
        self.state = AWAITING
        self.reader = FrameReader(limits.HELLO_BYTES_MAX)
        self.account = server.accounts.strangers
        """Whose credit its frames are taken from."""
        self.greeting: tuple[Hello, int, Identity] | None = None
        """A hello that waits until its user has credit again."""
        self.paused = READ
        """Why it is not read for now."""
        self.partial_ms = 0
        """When the frame was begun that is not whole yet; 0 = none."""
        self.partial_queued = False

    # --- called by the loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up (with TLS: after the handshake)."""
        self.transport = cast(asyncio.Transport, transport)
        self.server.begin()
        if self.state == CLOSED:
            self.transport.abort()
        elif transport.get_extra_info("sslcontext") is None:
            self.fd = transport.get_extra_info("socket").fileno()
            # Any byte that the kernel does not take at once means a slow link: from then on only the latest counts.
            self.transport.set_write_buffer_limits(high=0)
        else:
            # The loops' own mark for TLS is 512 KiB: as much outdated presence for each watcher that stops reading.
            self.transport.set_write_buffer_limits(high=limits.SEND_BUFFER_BYTES)
            # And as much undeciphered input, while the link is not read, instead of 256 KiB or 512.
            cast(Any, transport).set_read_buffer_limits(high=limits.SEND_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        if not self.paused and not self.partial_ms:
            # Nothing is left over from before, so what came begins with a frame.
            session = self.session
            if session is not None and (account := self.account).credit > 0:
                idle_ms = lone_heartbeat(data)
                if idle_ms is not None:
                    account.credit -= 1
                    self.server.heartbeat(self, session, idle_ms)
                    return
        if self.state >= ENDING:
            return
        now_ms = self.server.begin()
        self.reader.feed(data)
        if not self.paused:
            self.serve(now_ms)

    def eof_received(self) -> bool:
        """The peer will send no more: close, unless it has said bye and is still to be answered."""
        self.is_half_closed = True
        return self.state == ENDING and self.fd >= 0

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self.fd = -1
        if self.state == CLOSING:
            self.server.ending -= 1
        self.state = CLOSED
        now_ms = self.server.begin()
        self.server.forget(self)
        self._leave_account(now_ms)
        session = self._take_session()
        if session is not None and self.server.failed is None:
            self.server.engine.detach(now_ms, session)
        if self.owed is not None:
            self.server.engine.outboxes.end(self.owed)
            self.owed = None

    def pause_writing(self) -> None:
        """The peer does not read: what it watches is kept latest-wins from now on."""
        session = self.session or self.owed
        if session is not None:
            self.server.engine.outboxes.hold(session, self.server.begin())

    def resume_writing(self) -> None:
        """The peer has read: it gets the latest of what changed."""
        session = self.session or self.owed
        if session is not None:
            self.server.begin()
            self.server.engine.drained(session)
            if self.paused == REPLIES and self.session is not None:
                self._wait_for_turn()

    # --- called by the server and by the turn -----------------------------------------------------------------

    def serve(self, now_ms: int) -> None:
        """Handle the frames that are whole, as many as this link may have handled now."""
        try:
            count = self._serve(now_ms)
            self.server.stats.frames_in += count
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
        """Serving this link raised what nobody foresaw: it alone ends. To be called while the exception is handled."""
        self.server.report.event(now_ms, "link_failed", f"while serving {self.label()}", level=logging.ERROR, exc=True)
        self.end("link_failed")

    def resume(self, now_ms: int) -> None:
        """Go on with a link that was not read for a while."""
        if self.state >= ENDING:
            return
        self.paused = READ
        if self.transport is not None:
            self.transport.resume_reading()
        self.serve(now_ms)

    def wait_longer(self, now_ms: int) -> None:
        """Its user has no credit so far. The next frame lies here unread, so it is not silent."""
        if self.session is not None and self.reader.has_frame:
            self.server.engine.heard(self.session, now_ms)

    def check_partial(self, now_ms: int) -> None:
        """A frame was begun a while ago: is it still not whole?"""
        self.partial_queued = False
        if self.state >= ENDING or not self.partial_ms:
            return
        if now_ms - self.partial_ms >= limits.FRAME_TIMEOUT_MS:
            seconds = limits.FRAME_TIMEOUT_MS // 1000
            self.end("frame_timeout", f"a frame was begun and not finished within {seconds} s")
        else:
            self.partial_queued = True
            self.server.waiting.partials.add(now_ms, self)

    @property
    def awaits_hello(self) -> bool:
        """Whether nobody has said so far who this is."""
        return self.state == AWAITING

    def make_way(self, now_ms: int) -> None:
        """Somebody else takes the place of a link that has not said hello: it ends at once."""
        message = "no hello came, and others wait for the place"
        self.server.note_goodbye(now_ms, "hello_timeout", self, message)
        self.send(frame(encode(Goodbye("hello_timeout", message, 0))))
        self.abort()
        self._give_up()

    def check_hello(self) -> None:
        """It was accepted a while ago: has it said who it is?"""
        if self.transport is None and self.state != CLOSED:
            # The TLS handshake came to nothing: the loop tells nobody, and it must not count for ever.
            self._give_up()
        elif self.state == AWAITING:
            seconds = limits.HELLO_TIMEOUT_MS // 1000
            self.end("hello_timeout", f"no hello came within {seconds} s")

    def check_ending(self, now_ms: int) -> None:
        """It was to end a while ago: has the disk answered, and has the peer closed?"""
        if self.state == ENDING:
            self._close()
        elif self.state == CLOSING and now_ms - self.closing_ms >= limits.CLOSE_TIMEOUT_MS:
            self.abort()

    def end(self, code: str, message: str = "", retry_ms: int = 0) -> None:
        """Say goodbye (nothing, if `code` is empty) and close; abort if the peer does not go along. Idempotent.

        What was asked before is answered before: while replies wait for the disk, so does the goodbye, and the turn
        that has written the last of them calls this once more.
        """
        if self.state == ENDING and self.owed is not None and not self.owed.unanswered:
            self._close()
        if self.state >= ENDING:
            return
        now_ms = self.server.begin()
        if code:
            self.server.note_goodbye(now_ms, code, self, message)
            text = (message or CODES[code].meaning)[: limits.MESSAGE_CHARS_MAX]
            self.farewell = frame(encode(Goodbye(code, text, retry_ms)))
        if self.transport is None:
            # The TLS handshake is still under way, and nobody can be told anything.
            self._give_up()
            return
        session = self._leave()
        if session is not None:
            self.server.engine.detach(now_ms, session)
        if session is None or not session.unanswered:
            self._close()

    def _leave(self) -> Session | None:
        """Nothing more is taken from the peer; what it is owed is still written."""
        self.state = ENDING
        self.owed = self._take_session()
        self.server.waiting.ending.add(self.server.begin(), self)
        return self.owed

    def _close(self) -> None:
        """Write what is left and the goodbye, and close our half."""
        server, transport, session = self.server, self.transport, self.owed
        assert transport is not None
        # From here on all goes through the transport: what it has not got rid of comes first.
        self.fd, self.owed = -1, None
        if session is not None:
            server.engine.outboxes.spread()
            for frames in (session.pending, session.replies):
                if frames:
                    transport.write(b"".join(frames))
                    frames.clear()
            server.engine.outboxes.end(session)
        self.state = CLOSING
        self.closing_ms = server.begin()
        server.ending += 1
        if self.farewell:
            transport.write(self.farewell)
        # Closing at once while the peer still sends would reset the connection and take the goodbye with it. So
        # only our half is closed; the peer's bytes are read and dropped until it closes, or for two seconds.
        if self.paused:
            transport.resume_reading()
        if transport.can_write_eof() and not self.is_half_closed:
            try:
                transport.write_eof()
            except OSError:
                # asyncio's own loop shuts the socket down at once, and the peer may have reset it.
                transport.abort()
        else:
            transport.close()
        server.waiting.ending.add(self.closing_ms, self)

    def abort(self) -> None:
        """Drop the connection without a word. Idempotent."""
        self.fd = -1
        if self.transport is not None:
            self.transport.abort()
        else:
            self._give_up()

    def _give_up(self) -> None:
        """The connection is not up so far, and will be dropped when it comes (`connection_made`)."""
        self.state = CLOSED
        self._leave_account(self.server.begin())
        self.server.forget(self)

    @property
    def peer(self) -> str:
        """The other side's address."""
        name = self.transport.get_extra_info("peername") if self.transport is not None else None
        return f"{name[0]}:{name[1]}" if name else ""

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
        server, reader = self.server, self.reader
        outboxes, until_bytes = server.engine.outboxes, server.replies_until_bytes
        count, began_ns, until_ns = 0, 0, 0
        while self.account.credit >= 0 and count < limits.FRAMES_PER_WAKE_MAX and outboxes.reply_bytes < until_bytes:
            if count:
                if count == 1:
                    began_ns = at_ns = server.clock_ns()
                    until_ns = began_ns + server.waiting.share_ns(self.account)
                else:
                    at_ns = server.clock_ns()
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
            if self.state >= ENDING or (self.session and self._unread_bytes(self.session) > limits.OUTBOX_BYTES_MAX):
                break
            if not reader.pending_bytes and self.greeting is None:
                break
        if until_ns:
            self.account.used_ns += server.clock_ns() - began_ns
        return count

    def _message(self, now_ms: int, session: Session, payload: bytes) -> None:
        engine = self.server.engine
        self.account.credit -= 1 + (len(payload) >> _UNIT_BYTES_BITS)
        try:
            message = decode_client(payload)
        except BadMessage as error:
            if error.code == "bad_frame":
                raise ProtocolError("bad_frame", str(error)) from None
            engine.heard(session, now_ms)
            refuse(engine, session, error.request_id, error.code, str(error))
            return
        cost = COSTS.get(type(message))
        if cost is not None:
            self.account.credit -= cost(engine, session, message)
        handle(engine, session, now_ms, message)
        if type(message) is Bye:
            # What comes behind it counts no more; the turn sends what is pending, and closes.
            self._leave()

    def _take_session(self) -> Session | None:
        session, self.session = self.session, None
        if session is not None:
            self.server.roles[session.role] -= 1
        return session

    def _bound(self, now_ms: int, count: int) -> None:
        """Decide when this link's further input is taken: by its rate, its backlog, its unread replies."""
        account = self.account
        if account.credit < 0:
            account.refill(now_ms)
        session = self.session
        if account.credit < 0:
            self._pause(RATE)
            self.server.waiting.wait_for_credit(now_ms, account, self)
        elif (
            session is not None
            and session.held is not None
            and self._unread_bytes(session) > self.server.outbox_bytes_max
        ):
            # Its lease goes on running.
            self._pause(REPLIES)
        elif not self.reader.pending_bytes and self.greeting is None:
            self.partial_ms = 0
        elif self.greeting is not None or self.reader.has_frame:
            self._wait_for_turn()
        else:
            self._note_partial(now_ms, count)

    def _unread_bytes(self, session: Session) -> int:
        """Of its replies: those that are not written so far, and while it does not read, what the transport has."""
        if session.held is None or self.transport is None:
            return session.reply_bytes
        return session.reply_bytes + self.transport.get_write_buffer_size()

    def _wait_for_turn(self) -> None:
        """Go on with it in the next turn."""
        self._pause(BACKLOG)
        self.server.waiting.backlog[self] = None

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
            self.server.waiting.partials.add(now_ms, self)

    def _hello(self, now_ms: int, payload: bytes) -> None:
        """The first frame: who is it? Raises what the goodbye will say."""
        hello, version = read_hello(payload)
        identity = self.server.identify(hello)
        refuse_hello(self.server)
        self.account = self.server.enter_account(now_ms, identity)
        self.greeting = hello, version, identity
        # With credit it goes on at once (`_serve`); without, it waits in line as other frames do: a link that is
        # opened anew for each burst must not be served more than one that stays.

    def _greet(self, now_ms: int, hello: Hello, version: int, identity: Identity) -> None:
        """Let in who said hello. Raises what the goodbye will say."""
        engine = self.server.engine
        self.account.credit -= HELLO + cost_of_change(engine, identity.user)
        expires_ms = self.server.deadline_of(now_ms, identity.expires_ms)
        session = self.session = open_session(engine, self, hello, identity, expires_ms, now_ms)
        self.device_id = session.device.id if session.device is not None else ""
        self.state = OPEN
        self.server.roles[session.role] += 1
        self.server.stats.hellos += 1
        self.reader.frame_bytes_max = limits.FRAME_BYTES_MAX
        if log.isEnabledFor(logging.DEBUG):
            log.debug("hello: %s as %s from %r, protocol %d", self.label(), session.role, self.peer, version)
        pace = (self.account.rate, self.account.burst) if self.account.rate else (0, 0)
        engine.outboxes.reply(session, encode(welcome(engine, session, version, now_ms, pace)))

    def _leave_account(self, now_ms: int) -> None:
        account, self.account = self.account, self.server.accounts.strangers
        if account is not self.account:
            account.line.pop(self, None)
            self.server.accounts.leave(account, now_ms)
