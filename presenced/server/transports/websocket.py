"""One WebSocket (RFC 6455): the same connection as over TCP, with each frame of the protocol in a message of its own.

The library `websockets` judges what comes in. What goes out is made of the frames that the core has queued: once for
each of them and each encoding, however many links are sent it (protocol.md, section 24).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import ClassVar, Final

import msgspec
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import OPEN as CONNECTED
from websockets.server import ServerProtocol

from presenced import limits
from presenced.server.conversation import Conversation
from presenced.server.link import CLOSING, ENDING, OPEN
from presenced.server.transports.close_codes import BYE, CLOSE_CODES
from presenced.server.transports.tcp import TcpTransport
from presenced.server.transports.websocket_frames import frame_length, framed, goodbye_in, payloads
from presenced.wire.frames import LENGTH_BYTES, frame
from presenced.wire.json_faults import json_fault

SHARED_MAX: Final = 512
SHARED_BYTES_MAX: Final = 4_096
"""Of the last writes so many are kept as messages, if they are no longer than this: the next link is sent the same."""

STRANGE_FRAMES_BEFORE_HELLO: Final = 16
"""Frames that end no message."""

LAST_BYTES_MAX: Final = 65_536
"""So much is read of what a peer sends after its link has begun to end; its close frame should be among it."""

_quiet = logging.getLogger("presenced.websocket")
_quiet.setLevel(logging.WARNING)
"""The library tells it of each connection otherwise."""


class WebSocketTransport(TcpTransport):
    """The transport of one conversation. What it has from TCP carries bytes, and frames are made into messages here."""

    __slots__ = ("protocol", "fragments", "client", "unparsed", "missing_bytes", "last_bytes", "is_waiting")

    subprotocol: ClassVar[str]
    opcode: ClassVar[Opcode]
    shared: ClassVar[dict[bytes, bytes]]
    """Frames as they were queued → the messages that carry them, for both of which each kind has its own."""

    def __init__(self, conversation: Conversation, client: str = "") -> None:
        super().__init__(conversation)
        self.client = client
        """The address that asked for it; behind a proxy it is not that of the connection."""
        self.protocol = ServerProtocol(state=CONNECTED, max_size=limits.HELLO_BYTES_MAX, logger=_quiet)
        self.fragments: list[bytes] | None = None
        """What has come of a message in several frames."""
        self.unparsed = b""
        """Bytes that came in and were not handled: the begin of a head, or what waits for the next pass."""
        self.missing_bytes = 0
        """How many bytes are still to come of the frame that has begun."""
        self.last_bytes = 0
        """How many bytes of frames were read since the conversation began to end."""
        self.is_waiting = False
        """Frames are left over, and nothing is read before they are handled."""

    @staticmethod
    def payload_of(message: bytes) -> bytes:
        """The payload that a client's message carries, as msgpack; raises `ValueError` if it carries none."""
        raise NotImplementedError

    @staticmethod
    def message_of(payload: bytes) -> bytes:
        """The message that carries this payload to a client."""
        raise NotImplementedError

    # --- called by the loop -----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        self.unparsed = self.unparsed + data if self.unparsed else data
        if not self.is_waiting:
            self._parse()

    def _parse(self) -> None:
        """Handle frames, one by one: as many as the link may have handled now. The library would read all that came in
        one go, and 256 KiB of empty pings would hold up everybody for 200 ms."""
        data, at, intake = self.unparsed, 0, self.conversation.intake
        for _ in range(limits.FRAMES_PER_WAKE_MAX):
            length = self._next_length(data, at)
            if not length:
                break
            self._feed(data if length == len(data) else data[at : at + length])
            at += length
            if self.conversation.state >= ENDING:
                self.last_bytes += length
                if self.last_bytes > LAST_BYTES_MAX:
                    # Its close frame does not come, and what else comes is dropped anyway.
                    at = len(data)
            elif intake.paused:
                break
            elif self.is_closing:
                at = len(data)
        self.unparsed = data[at:]
        if self._next_length(self.unparsed, 0):
            self._wait()
        elif not intake.paused:
            self._note_partial()

    def _note_partial(self) -> None:
        """As with a frame of ours, a message that is begun has to be whole in time (protocol.md, 4.3)."""
        conversation = self.conversation
        if self.unparsed or self.missing_bytes or self.fragments is not None:
            now_ms = conversation.links.host.monotonic_ns() // 1_000_000
            conversation.intake.note_begun(conversation.links, now_ms, conversation)
        elif conversation.intake.partial_ms:
            conversation.intake.note_whole()

    def _next_length(self, data: bytes, at: int) -> int:
        """How many of these bytes are of one frame, as far as it has come; 0 if there is not even a head."""
        if not self.missing_bytes:
            self.missing_bytes = frame_length(data, at)
        return min(self.missing_bytes, len(data) - at)

    def _wait(self) -> None:
        """Frames are left over. What the intake has put off it resumes itself; the others have their turn in the next
        pass of the loop, behind what has come on other links."""
        assert self.connection is not None
        self.is_waiting = True
        self.connection.pause_reading()
        if not self.conversation.intake.paused or self.conversation.state >= ENDING:
            asyncio.get_running_loop().call_soon(self._parse_on)

    def _parse_on(self) -> None:
        if self.conversation.intake.paused and self.conversation.state < ENDING:
            return
        self.is_waiting = False
        if self.connection is not None and not self.connection.is_closing():
            self._parse()
            if not self.is_waiting and not self.conversation.intake.paused:
                self.connection.resume_reading()

    def resume_reading(self) -> None:
        """Read on, behind what is left over."""
        if self.is_waiting:
            asyncio.get_running_loop().call_soon(self._parse_on)
        else:
            super().resume_reading()

    def _feed(self, data: bytes) -> None:
        """One frame, or a piece of it."""
        self.missing_bytes -= len(data)
        protocol, conversation = self.protocol, self.conversation
        protocol.receive_data(data)
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._take(event)
            elif event.opcode is Opcode.CLOSE:
                self._closed_by_peer()
                return
            else:
                self._charge()
        answers = b"".join(protocol.data_to_send())
        error = protocol.parser_exc
        if error is not None:
            too_large = type(error).__name__ == "PayloadTooBig"
            conversation.end("frame_too_large" if too_large else "bad_frame", f"WebSocket: {error}"[:200])
        elif answers and not self.is_closed:
            self._send_pong(answers)

    def _send_pong(self, pong: bytes) -> None:
        unsent_bytes = self.unsent_bytes
        if not unsent_bytes:
            self.write(pong)
        elif unsent_bytes <= limits.SEND_BUFFER_BYTES and self.connection is not None:
            # Behind what is in the loop's buffer, which may end within a frame. Who does not read for longer is owed no
            # pong (RFC 6455, 5.5.3).
            self.connection.write(pong)

    def _take(self, event: Frame) -> None:
        """A frame that carries a message, or a part of one."""
        if event.opcode is not Opcode.CONT:
            if event.opcode is not self.opcode:
                expected = self.opcode.name.lower()
                self.conversation.end("bad_frame", f"{self.subprotocol} has {expected} frames, and another came")
                return
            if event.fin:
                self._receive(bytes(event.data))
                return
            self.fragments = []
        fragments = self.fragments
        if fragments is None:
            return
        if event.data:
            fragments.append(bytes(event.data))
        if event.fin:
            self.fragments = None
            self._receive(b"".join(fragments))
        else:
            self._charge()

    def _receive(self, message: bytes) -> None:
        conversation = self.conversation
        if self.is_closed or conversation.is_over:
            return
        try:
            payload = self.payload_of(message)
        except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
            conversation.end("bad_frame", f"the message is not {self.subprotocol}: {json_fault(message, error)}"[:200])
            return
        if not 0 < len(payload) <= conversation.intake.reader.frame_bytes_max:
            self._refuse_size(len(payload))
            return
        super().data_received(frame(payload))
        if conversation.state == OPEN:
            self.protocol.max_message_size = limits.FRAME_BYTES_MAX

    def _refuse_size(self, size: int) -> None:
        if size:
            self.conversation.end("frame_too_large", f"a message of {size} bytes as msgpack is over the limit")
        else:
            self.conversation.end("bad_frame", "a message is empty; every message carries one array")

    def _charge(self) -> None:
        """A frame came that ends no message, such as a ping: it costs what a message costs, so that nobody is busy with
        a link that sends nothing else."""
        conversation = self.conversation
        account = conversation.intake.account
        if conversation.session is None:
            if conversation.intake.note_strange_frame() > STRANGE_FRAMES_BEFORE_HELLO:
                conversation.end("hello_required", "many frames came before hello, and no message; say hello first")
            return
        account.credit -= 1
        if account.credit < 0 and not conversation.intake.paused:
            conversation.serve(conversation.links.host.begin())

    def _closed_by_peer(self) -> None:
        """The peer has sent its close frame: answer with ours, unless that is out, and close. Without a bye before, its
        link is lost, as a connection that breaks is."""
        self.is_half_closed = True
        connection, conversation = self.connection, self.conversation
        if connection is None or connection.is_closing():
            return
        if conversation.state == CLOSING:
            connection.close()
        elif not conversation.answers_on:
            self.fd = -1
            self.is_closed = True
            connection.write(b"".join(self.protocol.data_to_send()))
            connection.close()

    # --- called by the conversation and by the turn -----------------------------------------------------------

    @classmethod
    def messages_of(cls, data: bytes) -> bytes:
        """The WebSocket frames that carry these frames of ours. O(bytes) but for what was made a moment ago."""
        made = cls.shared.get(data)
        if made is None:
            made = b"".join(framed(cls.opcode, cls.message_of(payload)) for payload in payloads(data))
            if len(data) <= SHARED_BYTES_MAX:
                if len(cls.shared) >= SHARED_MAX:
                    cls.shared.clear()
                cls.shared[data] = made
        return made

    def send(self, data: bytes) -> None:
        """Write these frames now, each as a message."""
        messages = self.messages_of(data)
        if self.fd >= 0 or len(messages) <= limits.SEND_BUFFER_BYTES:
            self.write(messages)
            return
        # Under TLS, what the peer has not taken stays with the conversation (`TcpTransport._send_in_pieces`), which
        # knows nothing of messages: so it keeps whole frames.
        at = 0
        for payload in payloads(data):
            if self.conversation.is_held:
                self.conversation.take_back(data[at:])
                return
            if self.connection is not None and not self.is_closed:
                self.connection.write(framed(self.opcode, self.message_of(payload)))
            at += LENGTH_BYTES + len(payload)

    @classmethod
    def _send_all(cls, sinks: Collection[TcpTransport], data: bytes) -> None:
        messages = cls.messages_of(data)
        if len(messages) <= limits.SEND_BUFFER_BYTES:
            TcpTransport.send_all(sinks, messages)
            return
        for transport in sinks:
            transport.send(data)

    @property
    def peer(self) -> str:
        """The other side's address."""
        return self.client or super().peer

    def close(self, last: bytes) -> None:
        """See `Transport.close`. The close frame says in short why, and the peer answers it with its own."""
        connection = self.connection
        assert connection is not None
        self.fd = -1
        self.is_closed = True
        code, reason = BYE, ""
        messages = b""
        for payload in payloads(last):
            messages += framed(self.opcode, self.message_of(payload))
            goodbye = goodbye_in(payload)
            if goodbye is not None:
                code, reason = CLOSE_CODES.get(goodbye.code, BYE), goodbye.code
        connection.write(messages + framed(Opcode.CLOSE, Close(code, reason).serialize()))
        if self.is_half_closed:
            connection.close()
        elif self.protocol.parser_exc is not None and connection.can_write_eof():
            # The peer's close frame would not be understood any more: the end of the connection stands for it.
            connection.write_eof()
