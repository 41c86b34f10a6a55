"""Connections between clients and the server: what a kernel and an event loop do for the real `TcpTransport`.

A client that reads has what is written at once. For one that does not the kernel takes a little, and the loop's
transport keeps the rest and says so. Bytes from the client lie in flight until they are delivered, in pieces of any
size.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from presenced.server.transports.tcp import TcpTransport
from tests.sim.loop import Loop

KERNEL_BYTES = 64
"""What the kernel takes for a client that does not read: less than many a frame, so that it is cut anywhere."""


class Connection:
    """One connection: towards the server the loop's transport (`asyncio.Transport`), and a socket by its number."""

    def __init__(self, loop: Loop, fd: int, *, is_tls: bool, receive: Callable[[bytes], None]) -> None:
        """`receive` is the client's: what arrives there."""
        self.fd = fd
        self.protocol: TcpTransport | None = None
        self.in_flight = bytearray()
        """From the client to the server."""
        self.client_reads = True
        self.client_ended = False
        """The client has closed its half."""
        self.is_broken = False
        """Nothing goes through any more, either way."""
        self.server_ended = False
        """The client has read the end of what the server sends."""
        self.is_lost = False
        """The server knows that the connection is gone."""
        self._loop = loop
        self._is_tls = is_tls
        self._receive = receive
        self._kernel = bytearray()
        self._buffer = bytearray()
        self._mark = 65_536
        self._is_full = False
        """The protocol was told to pause."""
        self._is_reading = True
        self._is_closing = False
        self._ends_half = False
        self._eof_told = False

    # --- asyncio.Transport --------------------------------------------------------------------------------------

    def get_extra_info(self, name: str) -> Any:
        if name == "sslcontext":
            return self if self._is_tls else None
        return self if name == "socket" else ("198.51.100.7", 4711)

    def fileno(self) -> int:
        return self.fd

    def set_write_buffer_limits(self, high: int) -> None:
        self._mark = high

    def set_read_buffer_limits(self, high: int) -> None:
        assert self._is_tls

    def write(self, data: bytes) -> None:
        assert data, "an empty write"
        if self._is_closing and not self._ends_half:
            return
        assert not self._ends_half, "written after the end of the server's half"
        taken = 0 if self._buffer else self.take(data)
        self._buffer += data[taken:]
        if len(self._buffer) > self._mark and not self._is_full:
            self._is_full = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        assert self._is_reading, "a link is paused twice"
        self._is_reading = False

    def resume_reading(self) -> None:
        assert not self._is_reading or self._is_closing, "a link is resumed that is read"
        self._is_reading = True

    def can_write_eof(self) -> bool:
        return not self._is_tls

    def write_eof(self) -> None:
        self._ends_half = True
        self._flush()

    def close(self) -> None:
        self._is_closing = True
        self._flush()

    def abort(self) -> None:
        self._is_closing = True
        self._buffer.clear()
        self.is_broken = True
        self._lose()

    # --- the kernel's socket ------------------------------------------------------------------------------------

    def take(self, data: bytes) -> int:
        """How many of these bytes the socket takes now."""
        if self.is_broken:
            return len(data)
        if self.client_reads:
            self._receive(bytes(data))
            return len(data)
        taken = bytes(data[: max(0, KERNEL_BYTES - len(self._kernel))])
        self._kernel += taken
        return len(taken)

    # --- the client's side --------------------------------------------------------------------------------------

    def stop_reading(self) -> None:
        self.client_reads = False

    def read_on(self) -> None:
        """Read what has piled up, and from now on."""
        self.client_reads = True
        if not self.is_broken:
            kernel, self._kernel = bytes(self._kernel), bytearray()
            if kernel:
                self._receive(kernel)
        self._flush()

    def send(self, data: bytes) -> None:
        """Put bytes on their way."""
        if not self.client_ended and not self.is_broken:
            self.in_flight += data

    def deliver(self, size: int) -> None:
        """Let the server have the next `size` bytes, if it reads."""
        if not self.is_readable:
            return
        data = bytes(self.in_flight[:size])
        del self.in_flight[:size]
        if data:
            self._protocol.data_received(data)
        self._deliver_end()

    @property
    def is_readable(self) -> bool:
        """Whether there is something for the server to read, and it reads."""
        if self.is_lost or self.is_broken or self._is_closing or not self._is_reading:
            return False
        return bool(self.in_flight) or self.client_ended and not self._eof_told

    def end_sending(self) -> None:
        """The client closes its half: the server reads that behind what is on the way."""
        self.client_ended = True

    def break_off(self, *, told: bool) -> None:
        """The connection is gone; `told`: the server hears of it, with all that is in flight lost."""
        self.is_broken = True
        self.in_flight.clear()
        self._kernel.clear()
        if told:
            self._lose()

    def _deliver_end(self) -> None:
        if self.client_ended and not self.in_flight and not self._eof_told:
            self._eof_told = True
            if not self._protocol.eof_received():
                self.close()

    # --- both ---------------------------------------------------------------------------------------------------

    @property
    def _protocol(self) -> TcpTransport:
        assert self.protocol is not None
        return self.protocol

    def _flush(self) -> None:
        if self.is_broken:
            return
        if self._buffer:
            taken = self.take(bytes(self._buffer))
            del self._buffer[:taken]
        if self._is_full and not self._buffer:
            self._is_full = False
            self._loop.call_soon(self._resume)
        if not self._buffer and self.client_reads:
            if self._ends_half or self._is_closing:
                self.server_ended = True
            if self._is_closing:
                self._lose()

    def _resume(self) -> None:
        if not self.is_lost:
            self._protocol.resume_writing()

    def _lose(self) -> None:
        if not self.is_lost:
            self.is_lost = True
            self._is_closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)


class Sockets:
    """Stands for `os` in the transport's module: sockets by number."""

    def __init__(self) -> None:
        self.by_fd: dict[int, Connection] = {}

    def write(self, fd: int, data: bytes) -> int:
        connection = self.by_fd[fd]
        if connection.is_broken and not connection.is_lost:
            raise OSError(errno.EPIPE, "broken pipe")
        taken = connection.take(data)
        if not taken:
            raise BlockingIOError
        return taken
