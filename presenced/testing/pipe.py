"""A connection inside the process: two transports of asyncio's kind, whose bytes arrive in the next pass of the loop.

No time passes on the way. What the other end does not take counts as unsent, so that a protocol whose peer does not
read is told to pause.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

HIGH_BYTES = 65_536


class Pipe(asyncio.Transport):
    """One end."""

    other: Pipe

    def __init__(self, loop: asyncio.AbstractEventLoop, info: dict[str, Any]) -> None:
        super().__init__(info)
        self._loop = loop
        self._protocol: asyncio.Protocol | None = None
        self._came = bytearray()
        """What the other end has written and this one's protocol has not taken."""
        self._is_reading = True
        self._is_arriving = False
        """The protocol is given what came in the next pass."""
        self._is_closing = False
        self._is_over = False
        self._eof_came = False
        self._is_full = False
        self._high, self._low = HIGH_BYTES, HIGH_BYTES // 4

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """The connection is up, for this protocol."""
        self._protocol = cast(asyncio.Protocol, protocol)
        self._protocol.connection_made(self)

    # --- asyncio.Transport ------------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See `asyncio.BaseTransport`."""
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.Protocol:
        """See `asyncio.BaseTransport`."""
        assert self._protocol is not None
        return self._protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.WriteTransport`."""
        if self._is_closing or not data:
            return
        self.other._arrive(data)
        if not self._is_full and self.get_write_buffer_size() > self._high:
            self._is_full = True
            self.get_protocol().pause_writing()

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`."""
        return len(self.other._came)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See `asyncio.WriteTransport`."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        self._high = HIGH_BYTES if high is None else high
        self._low = self._high // 4 if low is None else low

    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As TLS transports have it; nothing is kept here that it could bound."""

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport`."""
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._is_reading = False

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._is_reading = True
        self._plan()

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport`; it closes as TLS does, not by halves."""
        return False

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._is_closing

    def close(self) -> None:
        """See `asyncio.BaseTransport`."""
        if not self._is_closing:
            self._is_closing = True
            if not self.other._came:
                self._loop.call_soon(self._end, None)

    def abort(self) -> None:
        """See `asyncio.WriteTransport`."""
        self._is_closing = True
        self._came.clear()
        self.other._came.clear()
        self._loop.call_soon(self._end, None)

    def break_off(self) -> None:
        """The network resets the connection: both ends are told."""
        for end in (self, self.other):
            end._is_closing = True
            end._came.clear()
            self._loop.call_soon(end._end, ConnectionResetError(104, "Connection reset by peer"))

    # --- within -----------------------------------------------------------------------------------------------

    def _arrive(self, data: bytes | bytearray | memoryview) -> None:
        if not self._is_over:
            self._came += data
            self._plan()

    def _plan(self) -> None:
        if not self._is_arriving and self._is_reading and (self._came or self._eof_came):
            self._is_arriving = True
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._is_arriving = False
        if self._is_over or not self._is_reading:
            return
        data = bytes(self._came)
        self._came.clear()
        if data and not self._is_closing:
            self.get_protocol().data_received(data)
        self.other._was_taken()
        if self._eof_came and not self._came:
            self._eof_came = False
            if not self.get_protocol().eof_received():
                self.close()

    def _was_taken(self) -> None:
        """The other end has taken everything."""
        if self._is_full and not self._is_over:
            self._is_full = False
            self.get_protocol().resume_writing()
        if self._is_closing and not self._is_over:
            self._loop.call_soon(self._end, None)

    def _end(self, error: Exception | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._came.clear()
        self.get_protocol().connection_lost(error)
        other = self.other
        other._eof_came = True
        if other._is_closing:
            # It waits for nobody any longer.
            self._loop.call_soon(other._end, None)
        else:
            other._plan()


def connect_pipes(
    loop: asyncio.AbstractEventLoop, client: asyncio.BaseProtocol, server: asyncio.BaseProtocol
) -> tuple[Pipe, Pipe]:
    """A connection between the two; returns the client's end and the server's."""
    address = ("127.0.0.1", 0)
    near = Pipe(loop, {"peername": address, "sockname": address})
    # With `sslcontext` the server does not write past the transport to a socket.
    far = Pipe(loop, {"peername": address, "sockname": address, "sslcontext": True})
    near.other, far.other = far, near
    far.begin(server)
    near.begin(client)
    return near, far
