"""The transport of a conversation under TLS: as over TCP, but that each write is enciphered on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import cast

from presenced.server.conversation import Conversation
from presenced.server.transports.kind import TransportKind
from presenced.server.transports.tcp import TcpTransport
from presenced.server.transports.tls_connection import TlsConnection
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Goodbye


class TlsTransport(TcpTransport):
    """The transport of one conversation, whose connection is a `TlsConnection`."""

    __slots__ = ("seal",)

    def __init__(self, conversation: Conversation) -> None:
        super().__init__(conversation)
        self.seal: Callable[[bytes], object] = _drop
        """Writes at once, or by way of the connection where it keeps something, closes or is not up."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        super().connection_made(transport)
        # As on plain TCP: whoever does not read is told only the latest from the first byte on that finds no room.
        cast(TlsConnection, transport).set_write_buffer_limits(high=0)
        self._write_straight()

    def _write_straight(self) -> None:
        connection = cast(TlsConnection, self.connection)
        if not connection.is_closing():
            self.seal = connection.seal

    def _write_by_connection(self) -> None:
        if self.connection is not None:
            self.seal = self.connection.write

    def connection_lost(self, exc: Exception | None) -> None:
        """See `TcpTransport.connection_lost`."""
        self.seal = _drop
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """See `TcpTransport.pause_writing`."""
        self._write_by_connection()
        super().pause_writing()

    def resume_writing(self) -> None:
        """See `TcpTransport.resume_writing`."""
        self._write_straight()
        super().resume_writing()

    def write(self, data: bytes) -> None:
        """Write these bytes now."""
        try:
            self.seal(data)
        except OSError as error:
            self._keep(data, error)

    send = write

    def _keep(self, data: bytes, error: OSError) -> None:
        cast(TlsConnection, self.connection).keep(data, error)

    @staticmethod
    def send_all(sinks: Collection[TcpTransport], data: bytes) -> None:
        """`write` to each without the call."""
        for transport in cast(Collection[TlsTransport], sinks):
            try:
                transport.seal(data)
            except OSError as error:
                transport._keep(data, error)

    def close(self, last: bytes) -> None:
        """See `Transport.close`."""
        self._write_by_connection()
        super().close(last)

    def abort(self) -> None:
        """See `Transport.abort`."""
        self.seal = _drop
        super().abort()


def _drop(data: bytes) -> None:
    """There is nobody to write to."""


def _refusal(goodbye: Goodbye) -> bytes:
    return frame(encode(goodbye))


TCP = TransportKind("presence", "presences", TcpTransport, TlsTransport, _refusal)
