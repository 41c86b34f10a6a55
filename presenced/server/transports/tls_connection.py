"""One connection under TLS, as the loops' own transports are one without: OpenSSL reads and writes the socket itself.

The loops put TLS behind a transport of theirs and copy every byte through buffers in memory, 10 KiB of them for a link
that rests. Here a write is one call, which enciphers and writes, and a link that rests has what OpenSSL keeps of it.
What the kernel does not take stays one write that OpenSSL goes on with; nothing else is enciphered meanwhile.

The file is long because the loops ask so much of a transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import ssl
import termios
from collections.abc import Callable
from typing import Any, Final, cast

from presenced import limits
from presenced.server.transports.readiness import BROKEN, READ, WRITE, Readiness

RECORD_BYTES: Final = 16_384
"""The most that a record of TLS carries."""

RECORDS_PER_WAKE: Final = 16
"""A peer that sends more at once is read on in the next pass of the loop, behind what others have sent."""

UNREAD_BYTES: Final = 65_536
"""Of what somebody has sent who does not speak TLS."""

_NOTHING: Final = bytes(4)
_NOBODY: Final = asyncio.Protocol()
_OPENING, _UP, _CLOSING, _LINGERING, _CLOSED = range(5)
"""In this order: in the handshake; up; what is left is written, and that it ends; the peer's end is awaited; gone."""


class TlsConnection(asyncio.Transport):
    """The server's end. It begins with the handshake, and calls `connection_made` of its protocol once that is over.

    `abort` may be called at any time. Whoever closes it has the peer's close awaited for as long as a handshake may
    take; what still comes is dropped.
    """

    __slots__ = (
        "_loop", "_readiness", "_watched", "_protocol", "_socket", "_fd", "_state", "_done", "_timer", "_unwritten",
        "_high", "_is_full", "_is_paused", "_is_ended",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        readiness: Readiness,
        protocol: asyncio.BaseProtocol,
        accepted: socket.socket,
        context: ssl.SSLContext,
        done: Callable[[OSError | None], object],
    ) -> None:
        """Take over `accepted`, which does not block. `done` is called once: with None before the connection is made,
        or with what the handshake failed of, or `abort` broke off; then the connection is closed and was never made.
        """
        self._loop = loop
        self._protocol = cast(asyncio.Protocol, protocol)
        self._socket = context.wrap_socket(
            accepted, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )
        self._fd = self._socket.fileno()
        self._state = _OPENING
        self._done: Callable[[OSError | None], object] | None = done
        self._timer: asyncio.TimerHandle | None = loop.call_later(limits.TLS_HANDSHAKE_S, self._expire)
        self._unwritten: list[bytes] | None = None
        """What the kernel has not taken yet. OpenSSL has begun with the first of them and must be given it again."""
        self._high = limits.SEND_BUFFER_BYTES
        self._is_full = False
        """The protocol was told to stop writing."""
        self._is_paused = False
        self._is_ended = False
        """The peer sends nothing more."""
        self._watched = 0
        self._readiness = readiness
        self._watch(READ)

    # --- called by the readiness ------------------------------------------------------------------------------

    def ready(self, events: int) -> None:
        """The socket can be read or written, or is broken."""
        if self._state == _OPENING:
            self._shake_hands()
            return
        if events & WRITE:
            self._writable()
        if self._state == _CLOSED or not events & (READ | BROKEN):
            return
        if not self._watched & READ:
            if events & BROKEN:
                self._lose(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
        elif self._state == _UP:
            self._readable()
        else:
            self._drop()

    def _watch(self, events: int) -> None:
        if events != self._watched:
            self._watched = events
            self._readiness.watch(self._fd, self, events)

    # --- up and down ------------------------------------------------------------------------------------------

    def _shake_hands(self) -> None:
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._watch(READ)
            return
        except ssl.SSLWantWriteError:
            self._watch(WRITE)
            return
        except OSError as error:
            self._fail(error)
            return
        self._stop_timer()
        self._state = _UP
        self._watch(READ)
        done, self._done = self._done, None
        assert done is not None
        done(None)
        self._protocol.connection_made(self)

    def _fail(self, error: OSError) -> None:
        self._leave()
        # Closing over unread bytes would reset the connection, and take OpenSSL's word of what was wrong with it.
        with contextlib.suppress(OSError):
            os.read(self._fd, UNREAD_BYTES)
        self._socket.close()
        self._protocol = _NOBODY
        done, self._done = self._done, None
        if done is not None:
            # Its traceback holds this frame, and this frame it: the collector would find them only much later.
            done(error.with_traceback(None))

    def _expire(self) -> None:
        self._timer = None
        self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        self._state = _CLOSED
        self._unwritten = None
        self._stop_timer()
        self._readiness.forget(self._fd)

    def abort(self) -> None:
        """Drop the connection without a word. Idempotent."""
        if self._state == _OPENING:
            self._fail(ConnectionAbortedError("the handshake was broken off"))
        else:
            self._lose(None)

    def _lose(self, error: OSError | None) -> None:
        if self._state == _CLOSED:
            return
        self._leave()
        self._loop.call_soon(self._tell_lost, error.with_traceback(None) if error is not None else None)

    def _tell_lost(self, error: OSError | None) -> None:
        self._socket.close()
        # The protocol knows its connection: without this the two would keep each other until the collector comes.
        protocol, self._protocol = self._protocol, _NOBODY
        protocol.connection_lost(error)

    def close(self) -> None:
        """Send what is not sent yet and the word that this was all (close_notify), and close our half. Idempotent."""
        if self._state != _UP:
            return
        self._state = _CLOSING
        self._timer = self._loop.call_later(limits.TLS_HANDSHAKE_S, self._expire)
        self._watch((0 if self._is_ended else READ) | self._watched & WRITE)
        if self._unwritten is None:
            self._say_end()

    def _say_end(self) -> None:
        try:
            self._socket.unwrap()
        except ssl.SSLWantWriteError:
            self._watch(self._watched | WRITE)
            return
        except (OSError, ValueError):
            pass  # ours is out, and the peer's is not here yet or never comes
        self._watch(self._watched & ~WRITE)
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._lose(error)
            return
        self._state = _LINGERING
        if self._is_ended:
            self._lose(None)

    def _drop(self) -> None:
        """Read on for nobody: closing over unread bytes would reset the connection, and the last of ours with it."""
        try:
            for _ in range(RECORDS_PER_WAKE):
                if self._socket.recv(RECORD_BYTES):
                    continue
                self._is_ended = True
                self._watch(self._watched & ~READ)
                if self._state == _LINGERING:
                    self._lose(None)
                return
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._lose(error)

    # --- reading ----------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        read = self._socket.recv
        try:
            for _ in range(RECORDS_PER_WAKE):
                data = read(RECORD_BYTES)
                if not data:
                    self._end()
                    return
                # It may have handed the connection over to another one meanwhile.
                self._protocol.data_received(data)
                if self._state != _UP or self._is_paused or not self._has_more():
                    return
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass  # the rest of a record is still to come
        except OSError as error:
            self._lose(error)

    def _has_more(self) -> bool:
        """Whether anything can be read. Asking the kernel is cheaper than the exception that says no."""
        return fcntl.ioctl(self._fd, termios.FIONREAD, _NOTHING) != _NOTHING

    def _end(self) -> None:
        self._is_ended = True
        self._protocol.eof_received()
        # Whatever that says: TLS is not closed by halves here.
        self.close()

    def pause_reading(self) -> None:
        """Leave what comes in the kernel."""
        if self._state == _UP and not self._is_paused:
            self._is_paused = True
            self._watch(self._watched & ~READ)

    def resume_reading(self) -> None:
        """Read on."""
        if self._state == _UP and self._is_paused:
            self._is_paused = False
            self._watch(self._watched | READ)

    def is_reading(self) -> bool:
        """Whether what comes is read."""
        return self._state == _UP and not self._is_paused

    # --- writing ----------------------------------------------------------------------------------------------

    @property
    def seal(self) -> Callable[[bytes], int]:
        """Enciphers and writes at once; for whoever has to write to many. What it raises is for `keep`, and before that
        is written (`get_write_buffer_size`) it must not be called again.

        It is what the socket's own `send` calls, without two calls in Python, which are a twentieth of a delivery."""
        below = getattr(self._socket, "_sslobj", None)
        return cast(Callable[[bytes], int], self._socket.send if below is None else below.write)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write, or keep what the kernel does not take; nothing once the connection closes."""
        if self._state != _UP or not data:
            return
        if self._unwritten is not None:
            self._unwritten.append(bytes(data))
            self._note_full()
            return
        try:
            self._socket.send(data)
        except OSError as error:
            self.keep(bytes(data), error)

    def keep(self, data: bytes, error: OSError) -> None:
        """`seal` has raised `error` for these bytes: write them once there is room, or end if there is room."""
        if not isinstance(error, ssl.SSLWantWriteError):
            self._lose(error)
        elif self._state == _UP:
            self._unwritten = [data]
            self._watch(self._watched | WRITE)
            self._note_full()

    def _note_full(self) -> None:
        if not self._is_full and self.get_write_buffer_size() > self._high:
            self._is_full = True
            self._protocol.pause_writing()

    def _writable(self) -> None:
        unwritten = self._unwritten
        try:
            while unwritten:
                self._socket.send(unwritten[0])
                del unwritten[0]
        except ssl.SSLWantWriteError:
            return
        except OSError as error:
            self._lose(error)
            return
        self._unwritten = None
        self._watch(self._watched & ~WRITE)
        if self._state == _CLOSING:
            self._say_end()
        elif self._is_full:
            self._is_full = False
            self._protocol.resume_writing()

    def can_write_eof(self) -> bool:
        """TLS is not closed by halves here."""
        return False

    def get_write_buffer_size(self) -> int:
        """Bytes that the kernel has not taken, before they are enciphered."""
        return sum(map(len, self._unwritten)) if self._unwritten is not None else 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Above `high` the protocol is told to stop; it may go on once nothing is left, whatever `low` says."""
        self._high = limits.SEND_BUFFER_BYTES if high is None else high

    def set_read_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no such buffer."""

    # --- the rest of a transport ------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether it closes, or has."""
        return self._state > _UP

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is told."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Tell another one from now on."""
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`peername`, `sockname`, `socket`, `sslcontext`."""
        if name == "sslcontext":
            return self._socket.context
        if name == "socket":
            return self._socket
        try:
            if name == "peername":
                return self._socket.getpeername()
            if name == "sockname":
                return self._socket.getsockname()
        except OSError:
            pass
        return default
