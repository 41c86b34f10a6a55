"""One TCP connection, with TLS or without: the loop's side of a conversation, and the way out.

What is to be sent, and to whom, is decided by the core; the writing here is a tenth of what a delivery costs. So plain
TCP is written to straight, and a lone heartbeat is recognised before anything else is done with what came in.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from typing import Any, cast

from presenced import limits
from presenced.server.conversation import Conversation
from presenced.server.link import ENDING
from presenced.wire.lone_heartbeat import lone_heartbeat


class TcpTransport(asyncio.Protocol):
    """The transport (`transports.base.Transport`) of one conversation. Its connection may still be on its way up."""

    __slots__ = ("conversation", "fd", "connection", "is_half_closed", "is_closed")

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.connection: asyncio.Transport | None = None
        """The loop's; None until the connection is up, which with TLS is after the handshake."""
        self.fd = -1
        """The socket, where it may be written to directly; -1 with TLS and once the conversation ends."""
        self.is_half_closed = False
        """The peer will send nothing more."""
        self.is_closed = False
        """The last was written."""

    # --- called by the loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is up."""
        connection = self.connection = cast(asyncio.Transport, transport)
        conversation = self.conversation
        conversation.links.host.begin()
        if conversation.is_over:
            connection.abort()
            return
        if connection.get_extra_info("sslcontext") is None:
            self.fd = connection.get_extra_info("socket").fileno()
            # Any byte that the kernel does not take at once means a slow link: from then on only the latest counts.
            connection.set_write_buffer_limits(high=0)
        else:
            # The loops' own mark for TLS is 512 KiB: as much outdated presence for each watcher that stops reading.
            connection.set_write_buffer_limits(high=limits.SEND_BUFFER_BYTES)
            # And as much undeciphered input, while the link is not read, instead of 256 KiB or 512.
            cast(Any, connection).set_read_buffer_limits(high=limits.SEND_BUFFER_BYTES)
        conversation.opened(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came in."""
        conversation = self.conversation
        intake = conversation.intake
        if not intake.paused and not intake.partial_ms:
            # Nothing is left over from before, so what came begins with a frame.
            session = conversation.session
            if session is not None and (account := intake.account).credit > 0:
                idle_ms = lone_heartbeat(data)
                if idle_ms is not None:
                    account.credit -= 1
                    conversation.heartbeat(session, idle_ms)
                    return
        if conversation.state < ENDING:
            # For what is dropped no turn is run.
            conversation.receive(conversation.links.host.begin(), data)

    def eof_received(self) -> bool:
        """The peer will send nothing more: close, unless the conversation has something to say all the same and there
        is no TLS, which cannot be closed by halves."""
        self.is_half_closed = True
        return self.fd >= 0 and self.conversation.answers_on

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whichever side ended it."""
        self.fd = -1
        self.is_closed = True
        self.conversation.lost(self.conversation.links.host.begin())

    def pause_writing(self) -> None:
        """The peer does not read."""
        self.conversation.hold()

    def resume_writing(self) -> None:
        """The peer has read."""
        self.conversation.drained()

    # --- called by the conversation and by the turn -----------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write these bytes now. On plain TCP straight to the socket: measured against `transport.write` 10 % less CPU
        per delivery. The loop's own buffer is empty then: only the rest of a write that the kernel did not take whole
        ever goes into it, and while it is there, the turn sends nothing."""
        fd = self.fd
        if fd < 0:
            if not self.is_closed and self.connection is not None:
                if len(data) > limits.SEND_BUFFER_BYTES:
                    self._send_in_pieces(self.connection, data)
                else:
                    self.connection.write(data)
            return
        try:
            written = os.write(fd, data)
        except BlockingIOError:
            written = 0
        except OSError:
            self.abort()
            return
        if written != len(data) and self.connection is not None:
            self.connection.write(data[written:])

    send = write
    """What a conversation has to send are the bytes of this transport."""

    def _send_in_pieces(self, connection: asyncio.Transport, data: bytes) -> None:
        """Under TLS all that is written is encrypted at once, into a buffer of OpenSSL's that never shrinks. So it gets
        little more than its mark, and the conversation keeps the rest until the buffer has drained."""
        conversation = self.conversation
        for at in range(0, len(data), limits.SEND_BUFFER_BYTES):
            if conversation.is_held:
                conversation.take_back(data[at:])
                return
            connection.write(data[at : at + limits.SEND_BUFFER_BYTES])

    @staticmethod
    def send_all(sinks: Collection[TcpTransport], data: bytes) -> None:
        """`write` to each without the call, which is a twentieth of a delivery. Whatever is not written whole at the
        first try goes through `write`."""
        write, size = os.write, len(data)
        for transport in sinks:
            fd = transport.fd
            if fd < 0:
                transport.write(data)
                continue
            try:
                written = write(fd, data)
            except OSError:
                written = 0
            if written != size:
                transport.write(data[written:])

    @property
    def peer(self) -> str:
        """The other side's address."""
        name = self.connection.get_extra_info("peername") if self.connection is not None else None
        return f"{name[0]}:{name[1]}" if name else ""

    @property
    def unsent_bytes(self) -> int:
        """Bytes in the loop's buffer."""
        return self.connection.get_write_buffer_size() if self.connection is not None else 0

    @property
    def is_closing(self) -> bool:
        """Whether the loop closes the connection, or has."""
        return self.connection is None or self.connection.is_closing()

    def pause_reading(self) -> None:
        """Let what the peer sends stay in the kernel's buffer."""
        if self.connection is not None:
            self.connection.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self.connection is not None:
            self.connection.resume_reading()

    def close(self, last: bytes) -> None:
        """See `Transport.close`. From here on all goes through the loop's transport, so that what that has not got rid
        of comes first."""
        connection = self.connection
        assert connection is not None
        self.fd = -1
        self.is_closed = True
        if last:
            connection.write(last)
        if connection.can_write_eof() and not self.is_half_closed:
            try:
                connection.write_eof()
            except OSError:
                # asyncio's own loop shuts the socket down at once, and the peer may have reset it.
                connection.abort()
        else:
            connection.close()

    def abort(self) -> None:
        """Drop the connection without a word. Idempotent."""
        self.fd = -1
        if self.connection is not None:
            self.connection.abort()
