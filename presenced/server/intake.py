"""What came in on one link and is not handled yet, and when more of it is taken: the pace of one link.

A link is served up to a bound on its frames, on the bytes of their replies, on the credit of its user and on the user's
share of the turn. What is left over waits in a queue of `Links`, and the link is not read meanwhile, so that the
kernel holds the peer back.
"""

from __future__ import annotations

from typing import Final, Protocol

from presenced import limits
from presenced.server.greeting import Greeting
from presenced.server.link import Link
from presenced.server.links import Links
from presenced.server.transports.base import Transport
from presenced.server.unread import unread_reply_bytes
from presenced.wire.frames import FrameReader

READ: Final = 0
RATE: Final = 1
BACKLOG: Final = 2
REPLIES: Final = 3
FOUND: Final = 4
"""Why a link is not read for now: it is read; its user is over the rate (`TurnShares.over`); frames of an earlier read
are still to be handled (`TurnShares.backlog`); it asks and does not read its replies (`Conversation.drained` resumes
it); another node is asked for what its client's lost link had."""

UNIT_BYTES_BITS = 10
"""A frame costs a unit more for each so many bytes, as a power of two: they are decoded and checked one by one."""


class Talk(Link, Protocol):
    """The link whose input this is."""

    __slots__ = ()

    @property
    def transport(self) -> Transport | None:
        """What carries its bytes."""

    @property
    def takes_more(self) -> bool:
        """Whether another frame may be handled now."""

    def handle(self, now_ms: int, payload: bytes) -> None:
        """Handle one frame. Raises what the goodbye will say."""

    def greet(self, now_ms: int, greeting: Greeting) -> None:
        """Answer a hello that was accepted. Raises what the goodbye will say."""


class Intake:
    """The input of one link."""

    __slots__ = ("reader", "account", "greeting", "paused", "partial_ms", "strange_frames", "_partial_queued")

    def __init__(self, links: Links) -> None:
        self.reader = FrameReader(limits.HELLO_BYTES_MAX)
        self.account = links.accounts.strangers
        """Whose credit its frames are taken from."""
        self.greeting: Greeting | None = None
        """A hello that waits until its user has credit."""
        self.paused = READ
        """Why it is not read for now."""
        self.partial_ms = 0
        """When the frame was begun that is not whole yet; 0 = none."""
        self.strange_frames = 0
        """How many frames that carry no message came before the hello, from a transport that has such."""
        self._partial_queued = False

    # --- the hello --------------------------------------------------------------------------------------------

    def accept(self, links: Links, now_ms: int, greeting: Greeting) -> None:
        """The hello was accepted. With credit it is answered at once; without, it waits in line as other frames do: a
        link that is opened anew for each burst must not be served more than one that stays."""
        self.account = links.enter_account(now_ms, greeting.identity)
        self.greeting = greeting

    def put_off(self, greeting: Greeting) -> None:
        """The hello is to be answered once what it asks for has come."""
        self.greeting = greeting

    def open(self) -> None:
        """The hello was answered: frames may be as large as those of any open link (protocol.md, 2)."""
        self.reader.set_frame_bytes_max(limits.FRAME_BYTES_MAX)

    def charge(self, size: int) -> None:
        """Take credit for input of so many bytes that came by another way than in a frame. O(1)."""
        self.account.credit -= 1 + (size >> UNIT_BYTES_BITS)

    def leave_account(self, links: Links, now_ms: int, link: Link) -> None:
        """The link is gone, and takes credit from no user any longer. Idempotent."""
        account, self.account = self.account, links.accounts.strangers
        if account is not self.account:
            links.shares.forget(account, link)
            links.accounts.leave(account, now_ms)

    def note_strange_frame(self) -> int:
        """A frame came before the hello that carries no message; returns how many there were."""
        self.strange_frames += 1
        return self.strange_frames

    # --- frames -----------------------------------------------------------------------------------------------

    def lone_frame(self, links: Links, data: bytes) -> bytes | None:
        """The payload of what came in behind the hello, if it is one frame, with nothing left over from before, and may
        be handled now. Nearly every read is that, and needs no buffer, loop or clock. None: it is to be fed."""
        if self.account.credit >= 0 and links.engine.outboxes.reply_bytes < links.shares.replies_until_bytes:
            return self.reader.lone(data)
        return None

    def serve(self, links: Links, now_ms: int, talk: Talk) -> int:
        """Handle frames, and return how many. Raises what the goodbye will say.

        The first is handled in any case, and the clock is read for those behind it alone: nearly every read is of one
        frame, and the credit pays for it however long it takes.
        """
        reader, outboxes, shares = self.reader, links.engine.outboxes, links.shares
        until_bytes = shares.replies_until_bytes
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
                talk.greet(now_ms, greeting)
            elif (payload := reader.take_one()) is not None:
                count += 1
                self.account.credit -= 1 + (len(payload) >> UNIT_BYTES_BITS)
                talk.handle(now_ms, payload)
            else:
                break
            if reader.is_empty and self.greeting is None:
                break
            if not talk.takes_more:
                break
        if until_ns:
            shares.charge(self.account, shares.monotonic_ns() - began_ns)
        return count

    def settle(self, links: Links, now_ms: int, talk: Talk, count: int) -> None:
        """After `count` frames were handled, decide when further input is taken: by the rate, by the replies that the
        peer leaves unread, by what is left over."""
        account, session = self.account, talk.session
        if account.credit < 0:
            account.refill(now_ms)
        if account.credit < 0:
            self.pause(RATE, talk.transport)
            links.shares.wait_for_credit(now_ms, account, talk)
        elif (
            session is not None
            and session.owed is not None
            and unread_reply_bytes(session, talk.transport) > links.outbox_bytes_max
        ):
            # Its lease goes on running.
            self.pause(REPLIES, talk.transport)
        elif self.reader.is_empty and self.greeting is None:
            self.partial_ms = 0
        elif self.greeting is not None or self.reader.has_frame:
            self.wait_for_turn(links, talk)
        else:
            self._note_partial(links, now_ms, talk, count)

    def wait_for_turn(self, links: Links, talk: Talk) -> None:
        """Serve the link again in the next turn."""
        self.pause(BACKLOG, talk.transport)
        links.shares.wait_for_turn(talk)

    def pause(self, why: int, transport: Transport | None) -> None:
        """Read nothing from the peer for now."""
        if not self.paused:
            self.partial_ms = 0
            if transport is not None:
                transport.pause_reading()
        self.paused = why

    def resume(self, transport: Transport | None) -> None:
        """Read from the peer again."""
        self.paused = READ
        if transport is not None:
            transport.resume_reading()

    # --- a frame that is not whole ----------------------------------------------------------------------------

    def note_begun(self, links: Links, now_ms: int, link: Link) -> None:
        """What carries a frame on this transport was begun, now or before, and is not whole."""
        self._note_partial(links, now_ms, link, 0)

    def note_whole(self) -> None:
        """Nothing is begun that is not whole."""
        self.partial_ms = 0

    def _note_partial(self, links: Links, now_ms: int, link: Link, count: int) -> None:
        if count or not self.partial_ms:
            self.partial_ms = now_ms
        if not self._partial_queued:
            self._partial_queued = True
            links.deadlines.partials.add(now_ms, link)

    def is_partial_late(self, links: Links, now_ms: int, link: Link) -> bool:
        """Whether the frame that was begun should be whole by now. To be called when the link comes out of the queue;
        a frame that was begun later has it queued again."""
        self._partial_queued = False
        if not self.partial_ms:
            return False
        if now_ms - self.partial_ms >= limits.FRAME_TIMEOUT_MS:
            return True
        self._partial_queued = True
        links.deadlines.partials.add(now_ms, link)
        return False
