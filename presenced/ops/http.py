"""HTTP for operators: GET and HEAD of a few pages, on a listener of its own.

Every connection is bounded in bytes, in time and in number, and all of them together in requests per second, so that
nothing that comes in here can take presence its time. There is no authentication: listen on loopback, or on an address
that only the monitoring can reach.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Collection
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from presenced.config.settings import is_loopback
from presenced.ops.doctor import Finding, diagnose
from presenced.ops.host import facts_of
from presenced.ops.pages import Page, Pages, text
from presenced.ops.picture import take_status
from presenced.ops.request import HEAD_BYTES_MAX, BadRequest, Request, begins_wrong, is_known, parse
from presenced.server.arrivals import Arrivals
from presenced.server.listening import CannotListen, listen
from presenced.server.report import Report
from presenced.server.status import Status

if TYPE_CHECKING:
    from presenced.ops.operations import Operations

CONNECTIONS_MAX = 32
"""Beyond these the one that has been longest without a whole request gives up its place."""

HEALTH_CONNECTIONS = 8
"""Further ones, which may ask for nothing but health, and those that are told so."""

BACKLOG = 128
ACCEPTS_PER_PASS = 8
"""Connections that are taken in one pass of the loop: each has a descriptor before anything can be said of it."""

IDLE_S = 10.0
"""From the accept, or from one answer, to the whole head of the next request; and for reading an answer."""

LINGER_S = 1.0
"""After the last answer of a connection the rest of what the peer sends is read and dropped for this long: closing
over unread bytes would reset the connection, and the peer would lose the answer."""

OPEN_TO_ALL = ("/healthz", "/readyz")

REQUEST_GAP_S = 0.005
"""Between two answers of the whole listener; a request that comes sooner waits."""


class HttpServer:
    """The listener. `port` is the one it got, `url` where it answers."""

    def __init__(self, pages: Pages, report: Report, idle_s: float = IDLE_S) -> None:
        self.pages = pages
        self.report = report
        self.idle_s = idle_s
        self.names: Callable[[], Collection[str]] = lambda: ("*",)
        """By which names it may be asked, besides addresses; `*` = by any."""
        self.port = 0
        self.url = ""
        self.connections: dict[Connection, None] = {}
        """Those first that have been without a whole request for longest."""
        self._arrivals: Arrivals | None = None
        self._opening: set[asyncio.Task[None]] = set()
        self._free_s = 0.0
        """When the next answer may be given."""

    @classmethod
    async def open(cls, operations: Operations, sock: socket.socket | None = None) -> HttpServer:
        """Listen on `settings.http` (HOST:PORT), or on the bound `sock`; raises `CannotListen`."""
        server = operations.server

        def examine(status: Status) -> list[Finding]:
            admin = operations.admin
            facts = facts_of(server, status, admin.path if admin is not None else "")
            return diagnose(status, server.settings, facts, operations.history.earlier(status))

        pages = Pages(lambda: take_status(server), operations.history, examine, operations.starting)
        http = cls(pages, server.report)
        http.names = lambda: server.settings.http_names()
        await http.listen(server.settings.http, sock)
        return http

    async def listen(self, address: str, sock: socket.socket | None = None) -> None:
        """Serve from here on; raises `CannotListen` with the address."""
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        listeners: list[socket.socket] = []
        try:
            listeners = [sock] if sock is not None else listen(host, int(port), "http.address")
            name = listeners[0].getsockname()
            self._arrivals = Arrivals(
                listeners, backlog=BACKLOG, per_pass=ACCEPTS_PER_PASS, take=self._take, fail=self._cannot_take
            )
        except OSError as error:
            for listener in listeners:
                listener.close()
            raise CannotListen(error, address) from None
        if isinstance(name, tuple):
            self.port = name[1]
            self.url = f"http://{f'[{name[0]}]' if ':' in name[0] else name[0]}:{self.port}"
        if self.port and not is_loopback(name[0]):
            logging.getLogger("presenced").warning(
                "metrics and the status page are open at %s without authentication: whoever reaches it can read them",
                self.url,
            )

    async def close(self) -> None:
        """Stop listening and close the connections. Idempotent."""
        if self._arrivals is not None:
            self._arrivals.close()
        for connection in list(self.connections):
            connection.close()
        give_up_s = time.monotonic() + LINGER_S
        while self.connections and time.monotonic() < give_up_s:
            await asyncio.sleep(0.005)
        for connection in list(self.connections):
            connection.abort()

    def _take(self, accepted: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._open(accepted))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: Connection(self), accepted)
        except OSError:
            # The peer is gone already.
            accepted.close()

    def _cannot_take(self, error: OSError) -> None:
        now_ms = time.monotonic_ns() // 1_000_000
        self.report.event(now_ms, "http", f"no connection can be taken: {error}", level=logging.WARNING)

    def make_room(self, newcomer: Connection) -> None:
        """Take a connection in. If there are as many as may be, the one that has been longest without a whole request
        goes; if all are being answered, this one has a place for health alone. O(connections)."""
        others = list(self.connections)
        self.connections[newcomer] = None
        serving = [other for other in others if not other.ending]
        waiting = next((other for other in serving if not other.answering), None)
        if len(serving) >= CONNECTIONS_MAX and waiting is not None:
            waiting.give_way()
        newcomer.health_only = len(serving) >= CONNECTIONS_MAX and waiting is None
        if len(others) >= CONNECTIONS_MAX + HEALTH_CONNECTIONS:
            # Those that were told something and have not closed so far have had their time.
            next((other for other in others if other.ending), newcomer).abort()

    def waits_anew(self, connection: Connection) -> None:
        """It has been answered: from now on it is the one that was without a request for the shortest time."""
        if connection in self.connections:
            del self.connections[connection]
            self.connections[connection] = None

    def reserve_s(self) -> float:
        """Take the next free moment for an answer; gives how long it is until then, in seconds."""
        now_s = time.monotonic()
        self._free_s = max(self._free_s, now_s)
        wait_s = self._free_s - now_s
        self._free_s += REQUEST_GAP_S
        return wait_s

    def answer(self, path: str, host: str = "") -> Page:
        """The page, or 421 for who asks for another host, or 500: what goes wrong in making one is logged and reaches
        nobody else. Health is told under any name, since it says nothing and load balancers ask for it."""
        if path not in OPEN_TO_ALL and not is_known(host, self.names()):
            sentence = f"{host[:100]!r} is no name of this machine that is known here; add it to http.hosts"
            now_ms = time.monotonic_ns() // 1_000_000
            self.report.event(now_ms, "http", f"a request is refused: {sentence}", level=logging.WARNING)
            return text(421, sentence)
        try:
            return self.pages.answer(path)
        except Exception:
            now_ms = time.monotonic_ns() // 1_000_000
            self.report.event(now_ms, "http", f"while answering {path}", level=logging.ERROR, exc=True)
            return text(500, "the server failed while making this page; its log says why")


class Connection(asyncio.Protocol):
    """One HTTP connection: a request is answered before the next one is looked at."""

    def __init__(self, http: HttpServer) -> None:
        self.http = http
        self.buffer = b""
        self.answering = False
        """A request waits for its moment, or its answer for a peer that does not read."""
        self.full = False
        self.ending = False
        """The last answer is given: whatever else comes is dropped."""
        self.ended_by_peer = False
        self.health_only = False
        """It has one of the places that are kept for this."""

    # --- called by the loop -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection; another may have to go for it."""
        self.transport = cast(asyncio.Transport, transport)
        self.loop = asyncio.get_running_loop()
        self.transport.set_write_buffer_limits(high=0)
        self.timer = self.loop.call_later(self.http.idle_s, self.expire)
        self.http.make_room(self)

    def data_received(self, data: bytes) -> None:
        """Bytes came in; not more than one read beyond a head's limit are kept."""
        if self.ending:
            return
        self.buffer += data
        if len(self.buffer) > HEAD_BYTES_MAX:
            self.transport.pause_reading()
        if not self.answering:
            self._look()

    def eof_received(self) -> bool:
        """The peer will send no more: what it asked is still answered."""
        self.ended_by_peer = True
        return self.answering

    def pause_writing(self) -> None:
        """The peer does not read as fast: nothing further is answered for now."""
        self.full = True

    def resume_writing(self) -> None:
        """The answer is out."""
        self.full = False
        if self.answering and not self.ending:
            self._answered()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self.ending = True
        self.timer.cancel()
        self.http.connections.pop(self, None)

    # --- requests ---------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Answer the next request if it is here whole."""
        self.buffer = self.buffer.lstrip(b"\r\n")
        end = self.buffer.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX)
        try:
            if end >= 0:
                request = parse(self.buffer[:end])
                self.buffer = self.buffer[end + 4 :]
                self.answering = True
                self.timer.cancel()
                self.timer = self.loop.call_later(self.http.reserve_s(), self._answer, request)
                return
            if begins_wrong(self.buffer):
                raise BadRequest(400, "this is not HTTP/1.1: the request line is missing")
            if len(self.buffer) >= HEAD_BYTES_MAX:
                raise BadRequest(431, f"the request line and headers are longer than {HEAD_BYTES_MAX} bytes")
        except BadRequest as error:
            self._last(text(error.status, error.sentence), allow=error.status == 405)
            return
        if self.ended_by_peer:
            self.close()

    def _answer(self, request: Request) -> None:
        if self.health_only and request.path not in OPEN_TO_ALL:
            self._last(text(503, f"{CONNECTIONS_MAX} connections are being answered, which is the most; come back"))
            return
        page = self.http.answer(request.path, request.host)
        if not request.keep:
            self._last(page, request.head_only)
            return
        self._restart(self.http.idle_s)
        self._write(page, request.head_only)
        if not self.full:
            self._answered()

    def _answered(self) -> None:
        self.answering = False
        self.http.waits_anew(self)
        self._restart(self.http.idle_s)
        self._look()
        if self.ending or self.answering or len(self.buffer) > HEAD_BYTES_MAX or self.transport.is_closing():
            return
        self.transport.resume_reading()

    def _write(self, page: Page, head_only: bool = False, *, last: bool = False, allow: bool = False) -> None:
        lines = (
            f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}",
            f"Date: {formatdate(usegmt=True)}",
            f"Content-Type: {page.content_type}",
            f"Content-Length: {len(page.body)}",
            f"Content-Security-Policy: {page.policy}",
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "Cache-Control: no-store",
            *(["Allow: GET, HEAD"] if allow else []),
            *(["Connection: close"] if last else []),
            "\r\n",
        )
        self.transport.write("\r\n".join(lines).encode("latin-1") + (b"" if head_only else page.body))

    # --- the end ----------------------------------------------------------------------------------------------

    def _last(self, page: Page, head_only: bool = False, *, allow: bool = False) -> None:
        """Answer, say that nothing follows, and give the peer a moment to read it."""
        self.ending = True
        self.buffer = b""
        self._write(page, head_only, last=True, allow=allow)
        if self.ended_by_peer:
            self.close()
            return
        self._restart(LINGER_S)
        if not self.transport.is_closing():
            # It is, if the peer was found to be gone while writing to it.
            self.transport.write_eof()
            self.transport.resume_reading()

    def _restart(self, seconds: float) -> None:
        self.timer.cancel()
        self.timer = self.loop.call_later(seconds, self.expire)

    def expire(self) -> None:
        """Time is up for whatever the peer was to do."""
        if self.buffer and not self.answering:
            self._last(text(408, f"the request was not here whole within {self.http.idle_s:g} s"))
        else:
            self.abort()

    def give_way(self) -> None:
        """Another needs the place of this one, which has not sent a whole request."""
        if self.buffer:
            self._last(text(503, "others came, and this request was not here whole"))
        else:
            self.abort()

    def close(self) -> None:
        """Close once what was written is out; not later than the time for reading it allows."""
        self.ending = True
        self._restart(LINGER_S)
        self.transport.close()

    def abort(self) -> None:
        """Close now."""
        self.ending = True
        self.transport.abort()
