"""One HTTP connection, and the places that all connections share.

Each connection is bounded in bytes and in time, and all of them together in number and in answers per second, so that
nothing that comes in here can take time from presence.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from presenced.ops.http.heads import HEAD_BYTES_MAX, BadRequest, Exchange, HttpRequest, begins_wrong
from presenced.ops.http.page import HttpPage, text
from presenced.server.clocks import SYSTEM_CLOCKS

CONNECTIONS_MAX = 32
"""Beyond this number the connection that has been longest without a whole request gives up its place."""

HEALTH_CONNECTIONS = 8
"""Further places, for requests about health alone, and for connections that are told so."""

IDLE_S = 10.0
"""From the accept, or from an answer, to the whole head of the next request; and for reading an answer."""

LINGER_S = 1.0
"""After its last answer a connection reads and drops what the peer still sends for this long. Closing over unread bytes
would reset the connection, and the peer would lose the answer."""

REQUEST_GAP_S = 0.005
"""Between two answers of the whole listener; a request that comes sooner waits."""


class Responder(Protocol):
    """What a connection needs to answer a request."""

    def answer(self, path: str, host: str) -> HttpPage:
        """The page for a request; never raises."""

    def is_health(self, path: str) -> bool:
        """Whether the path is about health alone."""


class Places:
    """Which connections there are, and when the next answer may be given."""

    def __init__(self) -> None:
        self.connections: dict[HttpConnection, None] = {}
        """In the order in which they last had a whole request, the longest without one first."""
        self._free_s = 0.0
        """When the next answer may be given."""

    def enter(self, newcomer: HttpConnection) -> None:
        """Give a connection a place. If all are taken, the one that has been longest without a whole request goes. If
        all are being answered, this one gets a place for health alone. O(connections)."""
        others = list(self.connections)
        self.connections[newcomer] = None
        serving = [other for other in others if not other.ending]
        waiting = next((other for other in serving if not other.answering), None)
        if len(serving) >= CONNECTIONS_MAX and waiting is not None:
            waiting.give_way()
        newcomer.health_only = len(serving) >= CONNECTIONS_MAX and waiting is None
        if len(others) >= CONNECTIONS_MAX + HEALTH_CONNECTIONS:
            # A connection that has its last answer has had its time.
            next((other for other in others if other.ending), newcomer).abort()

    def move_back(self, connection: HttpConnection) -> None:
        """A connection was answered: from now on it is the one that was without a request for the shortest time."""
        if connection in self.connections:
            del self.connections[connection]
            self.connections[connection] = None

    def leave(self, connection: HttpConnection) -> None:
        """Free the place. Idempotent."""
        self.connections.pop(connection, None)

    def reserve_s(self) -> float:
        """Reserve the next free moment for an answer; returns the seconds until then."""
        now_s = SYSTEM_CLOCKS.monotonic_s()
        self._free_s = max(self._free_s, now_s)
        wait_s = self._free_s - now_s
        self._free_s += REQUEST_GAP_S
        return wait_s


class HttpConnection(asyncio.Protocol):
    """One HTTP connection. It answers a request before it looks at the next."""

    def __init__(self, places: Places, responder: Responder, idle_s: float = IDLE_S) -> None:
        self.buffer = b""
        """Bytes that came in and were not read as a request."""
        self.answering = False
        """A request waits for its moment, or its answer for a peer that does not read."""
        self.full = False
        """The peer does not read as fast as it is answered."""
        self.ending = False
        """The last answer is given, and anything else that comes is dropped."""
        self.ended_by_peer = False
        self.health_only = False
        """The connection has one of the places for health."""
        self._places = places
        self._responder = responder
        self._idle_s = idle_s
        self._exchange = Exchange()

    # --- called by the loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place; another connection may have to give up its own."""
        self.transport = cast(asyncio.Transport, transport)
        self.loop = asyncio.get_running_loop()
        self.transport.set_write_buffer_limits(high=0)
        self.timer = self.loop.call_later(self._idle_s, self.expire)
        self._places.enter(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came in. The buffer keeps at most one read beyond the limit of a head."""
        if self.ending:
            return
        self.buffer += data
        if len(self.buffer) > HEAD_BYTES_MAX:
            self.transport.pause_reading()
        if not self.answering:
            self._read_request()

    def eof_received(self) -> bool:
        """The peer sends nothing further. What it has asked is still answered."""
        self.ended_by_peer = True
        return self.answering

    def pause_writing(self) -> None:
        """The peer does not read as fast: the next answer waits."""
        self.full = True

    def resume_writing(self) -> None:
        """The answer is out."""
        self.full = False
        if self.answering and not self.ending:
            self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whichever side ended it."""
        self.ending = True
        self.timer.cancel()
        self._places.leave(self)

    # --- requests ---------------------------------------------------------------------------------------------

    def _read_request(self) -> None:
        """Answer the next request if its whole head is here."""
        self.buffer = self.buffer.lstrip(b"\r\n")
        end = self.buffer.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX) + 4
        try:
            if end >= 4:
                request = self._exchange.read(self.buffer[:end])
                self.buffer = self.buffer[end:]
                self.answering = True
                self.timer.cancel()
                self.timer = self.loop.call_later(self._places.reserve_s(), self._answer, request)
                return
            if begins_wrong(self.buffer):
                raise BadRequest(400, "this is not HTTP/1.1: the request line is missing")
            if len(self.buffer) >= HEAD_BYTES_MAX:
                raise BadRequest(431, f"the request line and headers are longer than {HEAD_BYTES_MAX} bytes")
        except BadRequest as error:
            self._end_with(text(error.status, error.sentence))
            return
        if self.ended_by_peer:
            self.close()

    def _answer(self, request: HttpRequest) -> None:
        if self.health_only and not self._responder.is_health(request.path):
            sentence = f"{CONNECTIONS_MAX} connections are being answered, which is the most; try again later"
            self._end_with(text(503, sentence))
            return
        answer = self._exchange.answer(self._responder.answer(request.path, request.host))
        if self._exchange.is_last:
            self._end_after(answer)
            return
        self._restart_timer(self._idle_s)
        self.transport.write(answer)
        if not self.full:
            self._go_on()

    def _go_on(self) -> None:
        self.answering = False
        self._exchange.next()
        self._places.move_back(self)
        self._restart_timer(self._idle_s)
        self._read_request()
        if self.ending or self.answering or len(self.buffer) > HEAD_BYTES_MAX or self.transport.is_closing():
            return
        self.transport.resume_reading()

    # --- the end ----------------------------------------------------------------------------------------------

    def _end_with(self, page: HttpPage) -> None:
        self._end_after(self._exchange.answer(page, is_last=True))

    def _end_after(self, answer: bytes) -> None:
        """Write the last answer, say that nothing follows, and give the peer a moment to read it."""
        self.ending = True
        self.buffer = b""
        self.transport.write(answer)
        if self.ended_by_peer:
            self.close()
            return
        self._restart_timer(LINGER_S)
        if not self.transport.is_closing():
            # It is closing if the write found that the peer is gone.
            self.transport.write_eof()
            self.transport.resume_reading()

    def _restart_timer(self, seconds: float) -> None:
        self.timer.cancel()
        self.timer = self.loop.call_later(seconds, self.expire)

    def expire(self) -> None:
        """The time is up for what the peer was to do."""
        if self.buffer and not self.answering:
            self._end_with(text(408, f"the request was not here whole within {self._idle_s:g} s"))
        else:
            self.abort()

    def give_way(self) -> None:
        """Give up the place, because another connection needs it and this one has sent no whole request."""
        if self.buffer:
            self._end_with(text(503, "others came, and this request was not here whole"))
        else:
            self.abort()

    def close(self) -> None:
        """Close once what was written is out, at the latest after `LINGER_S`."""
        self.ending = True
        self._restart_timer(LINGER_S)
        self.transport.close()

    def abort(self) -> None:
        """Close now."""
        self.ending = True
        self.transport.abort()
