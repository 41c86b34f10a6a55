"""One HTTP connection. It is bounded in bytes and in time, and all connections together in number (`places`), so that
nothing that comes in here can take time from presence.

The file is long because requests, answers and every way in which a connection ends share one state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from presenced import limits
from presenced.config.hosts import is_loopback
from presenced.http.door import Call, HttpRequest
from presenced.http.heads import CONTINUE, HEAD_BYTES_MAX, BadRequest, Exchange, Head, begins_wrong, path_of
from presenced.http.origins import client_of, is_within
from presenced.http.page import HttpPage
from presenced.http.places import Places

IDLE_S = 10.0
"""From the accept, or from an answer, to the whole of the next request; and for reading an answer."""

LINGER_S = 1.0
"""After its last answer a connection reads and drops what the peer still sends for this long. Closing over unread bytes
would reset the connection, and the peer would lose the answer."""


class Responder(Protocol):
    """What a connection needs to answer a request."""

    @property
    def trusted(self) -> tuple[str, ...]:
        """The addresses of proxies whose word is taken for who asks."""

    def open(self, call: Call) -> None:
        """Answer a call, now or later; never raises."""

    def is_health(self, path: str) -> bool:
        """Whether the path is about health alone."""

    def refused_page(self, path: str, status: int, sentence: str) -> HttpPage:
        """How the door of this path says what is refused before the door is asked."""


class HttpConnection(asyncio.Protocol):
    """One HTTP connection. It answers a request before it looks at the next."""

    def __init__(self, places: Places[HttpConnection], responder: Responder, idle_s: float = IDLE_S) -> None:
        self.buffer = b""
        """Bytes that came in and were not read as a request."""
        self.full = False
        """The peer does not read as fast as it is answered."""
        self.ending = False
        """The last answer is given, and anything else that comes is dropped."""
        self.ended_by_peer = False
        self.health_only = False
        """The connection has one of the places for health."""
        self.address = ""
        """See `places.Placed`."""
        self._places = places
        self._responder = responder
        self._idle_s = idle_s
        self._exchange = Exchange()
        self._head: Head | None = None
        """Of a request whose body is to come."""
        self._reads_on = False
        """The next request is looked for in the next pass of the loop."""
        self._call: _Call | None = None
        """The request that is being answered; until the peer has taken the answer."""

    @property
    def answering(self) -> bool:
        """Whether a request is being answered, or its answer waits for a peer that does not read."""
        return self._call is not None

    # --- called by the loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place; another connection may have to give up its own."""
        self.transport = cast(asyncio.Transport, transport)
        self.loop = asyncio.get_running_loop()
        self.transport.set_write_buffer_limits(high=0)
        self.timer = self.loop.call_later(self._idle_s, self.expire)
        peername = transport.get_extra_info("peername")
        host = peername[0] if isinstance(peername, tuple) else ""
        self.address = "" if is_loopback(host) or is_within(host, self._responder.trusted) else host
        self._places.enter(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came in. The buffer keeps at most one read beyond the limit of what is awaited."""
        if self.ending:
            return
        self.buffer += data
        if len(self.buffer) > self._awaited_bytes:
            self.transport.pause_reading()
        if self._call is None:
            self._read_request()

    @property
    def _awaited_bytes(self) -> int:
        return HEAD_BYTES_MAX if self._head is None else max(HEAD_BYTES_MAX, self._head.body_bytes)

    def eof_received(self) -> bool:
        """The peer sends nothing further. What it has asked is still answered, unless the answer may be long in coming,
        or has no end: then it counts as gone, which cannot be told from this before something is written."""
        self.ended_by_peer = True
        if self._call is not None:
            self._end_if_long(self._call)
        # TLS cannot be closed by halves.
        is_busy = self._call is not None or self._reads_on
        return is_busy and self.transport.get_extra_info("sslcontext") is None

    def pause_writing(self) -> None:
        """The peer does not read as fast: the next answer waits."""
        self.full = True

    def resume_writing(self) -> None:
        """The answer is out."""
        self.full = False
        call = self._call
        if call is None or self.ending:
            return
        if call.is_answered:
            self._go_on()
        elif call.drained is not None:
            self._restart_timer(None)
            call.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whichever side ended it."""
        self.ending = True
        self.timer.cancel()
        self._places.leave(self)
        call, self._call = self._call, None
        if call is not None and not call.is_answered:
            call.is_answered = True
            if call.gone is not None:
                call.gone()

    # --- requests ---------------------------------------------------------------------------------------------

    def _read_request(self) -> None:
        """Answer the next request if all of it is here."""
        try:
            if self._head is None:
                self._read_head()
            head = self._head
            if head is not None and len(self.buffer) >= head.body_bytes:
                body, self.buffer = self.buffer[: head.body_bytes], self.buffer[head.body_bytes :]
                self._head = None
                self._ask(head, body)
                return
        except BadRequest as error:
            self._refuse(error.status, error.sentence)
            return
        if self.ended_by_peer:
            self.close()
        elif self.transport.is_reading() is False and len(self.buffer) <= self._awaited_bytes:
            self.transport.resume_reading()

    def _read_head(self) -> None:
        self.buffer = self.buffer.lstrip(b"\r\n")
        end = self.buffer.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX) + 4
        if end >= 4:
            self._head = self._exchange.read(self.buffer[:end])
            self.buffer = self.buffer[end:]
            if self._head.waits:
                self.transport.write(CONTINUE)
        elif begins_wrong(self.buffer):
            raise BadRequest(400, "this is not HTTP/1.1: the request line is missing")
        elif len(self.buffer) >= HEAD_BYTES_MAX:
            raise BadRequest(431, f"the request line and headers are longer than {HEAD_BYTES_MAX} bytes")

    def _ask(self, head: Head, body: bytes) -> None:
        self.timer.cancel()
        peername = self.transport.get_extra_info("peername")
        is_tls = self.transport.get_extra_info("sslcontext") is not None
        address = peername[0] if isinstance(peername, tuple) else ""
        peer, is_secure = client_of(address, is_tls, head.headers, self._responder.trusted)
        request = HttpRequest(head.method, head.path, head.query, head.host, head.headers, body, peer, is_secure)
        self._call = call = _Call(self, request)
        if self.health_only and not self._responder.is_health(request.path):
            sentence = f"{self._places.connections_max} connections are being answered, which is the most"
            self._refuse(503, sentence + "; try again later", head.path)
            return
        self._responder.open(call)
        if self.ended_by_peer:
            self._end_if_long(call)

    def _end_if_long(self, call: _Call) -> None:
        """The peer sends nothing further: end, if the answer may be long in coming or has no end."""
        if call.is_streaming or call.gone is not None:
            self.abort()

    # --- answers, called by the call --------------------------------------------------------------------------

    def write_answer(self, page: HttpPage) -> None:
        """The whole answer to the call."""
        answer = self._exchange.answer(page)
        if self._exchange.is_last:
            self._end_after(answer)
            return
        self._restart_timer(self._idle_s)
        self.transport.write(answer)
        if not self.full:
            self._go_on()

    def write_head(self, page: HttpPage) -> None:
        """The begin of an answer that comes piece by piece."""
        self.timer.cancel()
        self.transport.write(self._exchange.begin(page))

    def write_piece(self, data: bytes) -> None:
        """A piece of it. A peer that takes nothing for `IDLE_S` is cut off."""
        self.transport.write(self._exchange.piece(data))
        if self.full and self.timer.cancelled():
            self._restart_timer(self._idle_s)

    def write_end(self) -> None:
        """Its end; the connection ends with it, so that nobody waits for more."""
        self._end_after(b"")

    @property
    def is_full(self) -> bool:
        """Whether so much is unsent that no more should be written."""
        return self.transport.get_write_buffer_size() > limits.SEND_BUFFER_BYTES

    def hand_over(self) -> tuple[asyncio.Transport, bytes]:
        """See `Call.upgrade`."""
        self.ending = True
        self.timer.cancel()
        self._places.leave(self)
        self._call = None
        rest, self.buffer = self.buffer, b""
        self.transport.resume_reading()
        if self.ended_by_peer:
            # Not every loop says it again, and whoever has the connection now was not told.
            self.loop.call_soon(_tell_end, self.transport)
        return self.transport, rest

    def _go_on(self) -> None:
        self._call = None
        self._exchange.next()
        self._places.move_back(self)
        self._restart_timer(self._idle_s)
        if self.buffer or self.ended_by_peer:
            # Later, so that requests that were sent ahead are not answered one inside the other.
            self._reads_on = True
            self.loop.call_soon(self._read_on)
        elif not self.transport.is_closing():
            self.transport.resume_reading()

    def _read_on(self) -> None:
        self._reads_on = False
        if not self.ending and self._call is None:
            self._read_request()

    # --- the end ----------------------------------------------------------------------------------------------

    def _refuse(self, status: int, sentence: str, path: str = "") -> None:
        """Answer what is not put to a door, and end. Without `path` it is about the request that is being read."""
        path = path or (path_of(self.buffer) if self._head is None else self._head.path)
        page = self._responder.refused_page(path, status, sentence)
        self._end_after(self._exchange.answer(page, is_last=True))

    def _end_after(self, answer: bytes) -> None:
        """Write the last answer, say that nothing follows, and give the peer a moment to read it."""
        self.ending = True
        self.buffer, self._head = b"", None
        self.transport.write(answer)
        if self.ended_by_peer:
            self.close()
            return
        self._restart_timer(LINGER_S)
        if self.transport.can_write_eof() and not self.transport.is_closing():
            # It is closing if the write found that the peer is gone.
            self.transport.write_eof()
            self.transport.resume_reading()
        else:
            self.transport.close()

    def _restart_timer(self, seconds: float | None) -> None:
        self.timer.cancel()
        if seconds is not None:
            self.timer = self.loop.call_later(seconds, self.expire)

    def expire(self) -> None:
        """The time is up for what the peer was to do."""
        if (self.buffer or self._head is not None) and self._call is None:
            self._refuse(408, f"the request was not here whole within {self._idle_s:g} s")
        else:
            self.abort()

    def give_way(self) -> None:
        """Give up the place, because another connection needs it and this one has sent no whole request."""
        if self.buffer or self._head is not None:
            self._refuse(503, "others came, and this request was not here whole")
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


def _tell_end(transport: asyncio.Transport) -> None:
    """Tell the protocol of this connection that the peer sends nothing further."""
    protocol = transport.get_protocol()
    if not transport.is_closing() and not cast(asyncio.Protocol, protocol).eof_received():
        transport.close()


class _Call:
    """The `door.Call` of a connection, and its `door.BodyStream` once it is one."""

    __slots__ = ("request", "_connection", "is_answered", "is_streaming", "gone", "drained")

    def __init__(self, connection: HttpConnection, request: HttpRequest) -> None:
        self.request = request
        self._connection = connection
        self.is_answered = False
        """Answered, or nobody waits for it any longer."""
        self.is_streaming = False
        self.gone: Callable[[], object] | None = None
        self.drained: Callable[[], object] | None = None

    def answer(self, page: HttpPage) -> None:
        if not self.is_answered:
            self.is_answered = True
            self._connection.write_answer(page)

    def stream(self, head: HttpPage) -> _Call:
        if not self.is_answered:
            self.is_streaming = True
            self._connection.write_head(head)
        return self

    def upgrade(self) -> tuple[asyncio.Transport, bytes]:
        self.is_answered = True
        return self._connection.hand_over()

    def on_gone(self, call: Callable[[], object]) -> None:
        self.gone = call

    def write(self, data: bytes) -> None:
        if not self.is_answered and data:
            self._connection.write_piece(data)

    def close(self) -> None:
        if not self.is_answered:
            self.is_answered = True
            self._connection.write_end()

    @property
    def is_full(self) -> bool:
        return not self.is_answered and self._connection.is_full

    def on_drain(self, call: Callable[[], object]) -> None:
        self.drained = call
