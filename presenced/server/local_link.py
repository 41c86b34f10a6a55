"""A client inside of this process: it speaks whole messages with a conversation, and there is no socket between.

Programs of the server's own use it, such as the requests that come over HTTP. So they are served, bounded, paced and
refused as every client is, by the same code.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from presenced import limits
from presenced.errors import ProtocolError
from presenced.server.admission import Admission
from presenced.server.conversation import Conversation
from presenced.server.greeting import Greeting
from presenced.server.identity import Identity
from presenced.wire.codec import decode_server, encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import PROTOCOL_VERSIONS, ClientMessage, Goodbye, Hello, ServerMessage


class LocalLink:
    """One link, and its transport (`transports.base.Transport`). What the server says comes later than the call that
    asks for it, never inside of it."""

    __slots__ = (
        "_conversation", "_receive", "_closed", "_reader", "_arrived", "_loop", "_goodbye", "peer",
        "is_held", "is_closing", "unsent_bytes",
    )  # fmt: skip

    def __init__(
        self,
        conversation: Conversation,
        receive: Callable[[ServerMessage], object],
        closed: Callable[[Goodbye], object],
        peer: str,
    ) -> None:
        self.peer = peer
        """For whom it speaks, for the log."""
        self.is_held = False
        """The server takes no more for now, because the user has no credit left: what is sent waits."""
        self.is_closing = False
        self.unsent_bytes = 0
        self._conversation = conversation
        self._receive = receive
        self._closed = closed
        self._reader = FrameReader(limits.SERVER_FRAME_BYTES_MAX)
        self._arrived: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._goodbye = Goodbye("", "")

    @classmethod
    def open(
        cls,
        admission: Admission,
        hello: Hello,
        identity: Identity,
        *,
        receive: Callable[[ServerMessage], object],
        closed: Callable[[Goodbye], object],
        peer: str = "",
    ) -> LocalLink:
        """Open a link for this hello; `identity` is taken for who it is, and the hello's token is not looked at.

        `receive` is called with each message of the server, the welcome first. `closed` is called once, when the link
        has ended: with the goodbye, or with one of the code "" if nothing was said. Raises `ProtocolError` (`busy`) if
        there is no room for another link.
        """
        conversation = admission.admit()
        if conversation is None:
            refusal = admission.refusal()
            raise ProtocolError(refusal.code, refusal.message, retry_ms=refusal.retry_ms)
        link = cls(conversation, receive, closed, peer)
        conversation.opened(link)
        conversation.begin(conversation.links.host.begin(), Greeting(hello, max(PROTOCOL_VERSIONS), identity))
        return link

    # --- called by whoever uses it ----------------------------------------------------------------------------

    def ask(self, message: ClientMessage) -> None:
        """Send a message; after the end nothing happens. What the server owes for it comes to `receive`."""
        if not self.is_closing:
            conversation = self._conversation
            conversation.receive(conversation.links.host.begin(), frame(encode(message)))

    def charge(self, size: int) -> None:
        """Take credit from the user for input of so many bytes that came to nothing, as a frame of it would have."""
        self._conversation.intake.charge(size)

    @property
    def credit_wait_ms(self) -> int:
        """How long it takes until the user has credit; 0 = there is some."""
        conversation = self._conversation
        account = conversation.intake.account
        if account.credit < 0:
            account.refill(conversation.links.host.begin())
        return -account.credit * 1000 // account.rate if account.credit < 0 and account.rate else 0

    def hold(self) -> None:
        """Take nothing for now: of records the latest alone is kept."""
        self._conversation.hold()

    def take_on(self) -> None:
        """Take messages again, the latest records first."""
        self._conversation.drained()

    def leave(self) -> None:
        """End the link without a word, as a connection that is lost. Idempotent."""
        self.abort()

    # --- called by the conversation and by the turn -----------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Take frames for the owner, who is told of them in the next pass of the loop: nobody may ask the server
        anything while it writes."""
        if not self.is_closing:
            self._take(data)

    @staticmethod
    def send_all(sinks: Collection[LocalLink], data: bytes) -> None:
        """`send` to each."""
        for sink in sinks:
            sink.send(data)

    def pause_reading(self) -> None:
        """The server takes nothing more for now."""
        self.is_held = True

    def resume_reading(self) -> None:
        """The server takes messages again."""
        self.is_held = False

    def close(self, last: bytes) -> None:
        """The server ends the link, and this is the last that it says."""
        if not self.is_closing:
            self._take(last)
            self._end()

    def abort(self) -> None:
        """The link is over at once. Idempotent."""
        if not self.is_closing:
            self._end()

    def _take(self, data: bytes) -> None:
        if not self._arrived:
            self._loop.call_soon(self._deliver)
        self._arrived.append(data)

    def _end(self) -> None:
        self.is_closing = True
        self._loop.call_soon(self._finish)

    def _deliver(self) -> None:
        arrived, self._arrived = self._arrived, []
        self._reader.feed(b"".join(arrived))
        while payloads := self._reader.take(limits.FRAMES_PER_WAKE_MAX):
            for payload in payloads:
                message = decode_server(payload)
                if type(message) is Goodbye:
                    self._goodbye = message
                else:
                    self._receive(message)

    def _finish(self) -> None:
        if self._arrived:
            self._deliver()
        conversation = self._conversation
        conversation.lost(conversation.links.host.begin())
        self._closed(self._goodbye)
