"""A connection without TLS that reads and writes its socket itself, instead of by a transport of the loop.

A transport of the loop has a handle and a context for each link, and the kernel is asked anew about each link that was
read. This one is an entry in `Readiness`, and is told of what has come once (edge-triggered): a link takes 1.2 KiB less
memory by it, and its hello and its heartbeats less CPU.

Rules of this file: a connection that is lost keeps its descriptor until its protocol knows of it, because the next
connection is given the number as soon as that is free, and protocols write to it. As with transports of the loop,
nothing is told to a protocol inside of the call that brings it about, but for `connection_made` and `pause_writing`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from select import EPOLLET, EPOLLRDHUP
from typing import Any, Final

from presenced.server.transports.readiness import READ, WRITE, Readiness

FIRST_BYTES: Final = 479
"""So much is read at first. Nearly all that comes is shorter, and Python has room at hand for a string of this size;
for a longer one it asks malloc."""

MORE_BYTES: Final = 65_536
"""So much is read of what is longer, before it is the turn of the others."""

_READ: Final = READ | EPOLLRDHUP | EPOLLET


class PlainConnection(asyncio.Transport):
    """As much of a transport of the loop as protocols here use."""

    __slots__ = (
        "_buffer", "_ends_half", "_fd", "_is_closing", "_is_ended", "_is_lost", "_is_read", "_protocol", "_readiness",
    )  # fmt: skip

    def __init__(self, readiness: Readiness, accepted: socket.socket, protocol: asyncio.Protocol) -> None:
        """Serve a connection that was accepted and does not block. Its protocol is told at once that it is up. Raises
        `OSError` if the system has no room for it; it is closed then."""
        self._readiness = readiness
        self._protocol = protocol
        self._fd = accepted.detach()
        self._is_read = True
        """What comes is read."""
        self._buffer: bytearray | None = None
        """What the kernel has not taken; None = nothing. The protocol is paused while there is something."""
        self._is_ended = False
        """The peer sends nothing more."""
        self._ends_half = False
        """Nothing more is written."""
        self._is_closing = False
        self._is_lost = False
        try:
            readiness.watch(self._fd, self, _READ)
        except OSError:
            os.close(self._fd)
            raise
        protocol.connection_made(self)

    # --- called by the protocol -------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`socket`: what has its number. `peername`: the other side's address, which is asked of the kernel."""
        if name == "socket":
            return self
        if name == "peername" and not self._is_lost:
            with borrowed(self._fd) as its:
                try:
                    return its.getpeername()
                except OSError:
                    return default
        return default

    def fileno(self) -> int:
        """The number of its socket."""
        return self._fd

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing to set: a protocol is paused as soon as the kernel leaves a byte."""
        assert high == 0

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken."""
        return 0 if self._buffer is None else len(self._buffer)

    def is_closing(self) -> bool:
        """Whether it is closed, or will be once the kernel has taken all."""
        return self._is_closing

    def is_reading(self) -> bool:
        """Whether what comes is read."""
        return self._is_read

    def pause_reading(self) -> None:
        """Read nothing. Idempotent."""
        if self._is_read:
            self._is_read = False
            self._expect()

    def resume_reading(self) -> None:
        """Read on, in the loop's next pass if there is something. Idempotent."""
        if not (self._is_read or self._is_ended or self._is_closing):
            self._is_read = True
            self._expect()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, behind what the kernel has not taken yet."""
        if self._is_closing or self._ends_half:
            return
        if self._buffer is not None:
            self._buffer += data
            return
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            written = 0
        except OSError:
            self.abort()
            return
        if written < len(data):
            self._buffer = bytearray(data[written:])
            self._expect()
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        """Yes."""
        return True

    def write_eof(self) -> None:
        """Close our half behind all that was written. Idempotent."""
        if not (self._is_closing or self._ends_half):
            self._ends_half = True
            if self._buffer is None:
                self._shut_down()

    def close(self) -> None:
        """Read nothing more, and close behind all that was written. Idempotent."""
        if not self._is_closing:
            self._is_closing = True
            self._is_read = False
            if self._buffer is None:
                self.abort()
            else:
                self._expect()

    def abort(self) -> None:
        """Drop it, with what the kernel has not taken. Idempotent."""
        self._is_closing = True
        self._is_read = False
        self._buffer = None
        if not self._is_lost:
            self._is_lost = True
            self._readiness.forget(self._fd)
            asyncio.get_running_loop().call_soon(self._finish)

    # --- called by `Readiness` --------------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        """Something has come, there is room to write, or the connection ends. One read, nearly always."""
        if events != READ:
            self._note(events)
        elif self._is_read:
            try:
                data = os.read(self._fd, FIRST_BYTES)
            except OSError as error:
                self._note_failure(error)
                return
            if 0 < len(data) < FIRST_BYTES:
                self._protocol.data_received(data)
            else:
                self._read_on(data)

    def _read_on(self, data: bytes) -> None:
        """The first read brought nothing, which is the end, or as much as there was room for: read the rest."""
        if not data:
            self._end()
            return
        try:
            data += os.read(self._fd, MORE_BYTES)
        except BlockingIOError:
            pass
        except OSError as error:
            self._note_failure(error)
            return
        else:
            # There may be more, or the end: tell of it once more.
            self._expect()
        self._protocol.data_received(data)

    def _note(self, events: int) -> None:
        """Something else than bytes alone: there is room to write, or the connection ends, with bytes before that."""
        if events & WRITE and self._buffer is not None:
            self._flush(self._buffer)
        if not self._is_read or not events & ~WRITE:
            return
        try:
            data = os.read(self._fd, MORE_BYTES)
        except OSError as error:
            self._note_failure(error)
            return
        if not data:
            self._end()
            return
        # Bytes stand before the end, if it is one: tell of that once more.
        self._expect()
        self._protocol.data_received(data)

    # --- by itself --------------------------------------------------------------------------------------------

    def _note_failure(self, error: OSError) -> None:
        """Reading or writing has failed. That there is nothing, or no room, is no failure."""
        if not isinstance(error, BlockingIOError):
            self.abort()

    def _finish(self) -> None:
        """It is lost: tell the protocol, and only then give the number away."""
        protocol = self._protocol
        # The protocol knows its connection: without this the two would keep each other until the collector comes.
        del self._protocol
        try:
            protocol.connection_lost(None)
        finally:
            os.close(self._fd)

    def _expect(self) -> None:
        """Have it told from now on of what it waits for, and of what there is of that by now."""
        if not self._is_lost:
            events = _READ if self._is_read else EPOLLET
            self._readiness.watch(self._fd, self, events if self._buffer is None else events | WRITE)

    def _end(self) -> None:
        self._is_read = False
        self._is_ended = True
        if not self._protocol.eof_received():
            self.close()

    def _flush(self, buffer: bytearray) -> None:
        try:
            del buffer[: os.write(self._fd, buffer)]
        except OSError as error:
            self._note_failure(error)
            return
        if buffer:
            return
        self._buffer = None
        if self._is_closing:
            self.abort()
            return
        self._expect()
        if self._ends_half:
            self._shut_down()
        self._protocol.resume_writing()

    def _shut_down(self) -> None:
        with borrowed(self._fd) as its:
            try:
                its.shutdown(socket.SHUT_WR)
            except OSError:
                # The peer may have reset it.
                self.abort()


@contextmanager
def borrowed(fd: int) -> Iterator[socket.socket]:
    """The socket that has this number, for as long as the block runs. It stays open. Raises `OSError` if none has."""
    its = socket.socket(fileno=fd)
    try:
        yield its
    finally:
        its.detach()
