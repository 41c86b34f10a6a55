"""The HTTP listener: it accepts connections and answers each request with a page.

There is no authentication: listen on loopback, or on an address that only the monitoring can reach.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Collection

from presenced.config.hosts import is_loopback
from presenced.ops.http.connection import IDLE_S, LINGER_S, HttpConnection, Places
from presenced.ops.http.heads import is_known
from presenced.ops.http.page import HttpPage, text
from presenced.ops.http.pages import Pages
from presenced.server.arrivals import Arrivals
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.server.listeners import CannotListen, listen
from presenced.server.report import Report

BACKLOG = 128
ACCEPTS_PER_PASS = 8
"""Connections accepted in one pass of the loop: each takes a descriptor before it can be refused."""

log = logging.getLogger("presenced")


class HttpServer:
    """The listener. `port` is the port it has, `url` its address."""

    def __init__(
        self,
        pages: Pages,
        report: Report,
        *,
        names: Callable[[], Collection[str]] = lambda: ("*",),
        idle_s: float = IDLE_S,
    ) -> None:
        """`names` are the host names of requests that are answered, beside addresses; `*` = any."""
        self.pages = pages
        self.report = report
        self.places = Places()
        self.port = 0
        self.url = ""
        self._names = names
        self._idle_s = idle_s
        self._arrivals: Arrivals | None = None
        self._opening: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> dict[HttpConnection, None]:
        """The connections that are open."""
        return self.places.connections

    async def listen(self, address: str, sock: socket.socket | None = None) -> None:
        """Serve from now on at `address` (HOST:PORT), or on the bound `sock`; raises `CannotListen`."""
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        listeners: list[socket.socket] = []
        try:
            listeners = [sock] if sock is not None else listen(host, int(port), "http.address")
            name = listeners[0].getsockname()
            self._arrivals = Arrivals(
                listeners, backlog=BACKLOG, per_pass=ACCEPTS_PER_PASS, take=self._accept, fail=self._note_failure
            )
        except OSError as error:
            for listener in listeners:
                listener.close()
            raise CannotListen(error, address) from None
        if isinstance(name, tuple):
            self.port = name[1]
            self.url = f"http://{f'[{name[0]}]' if ':' in name[0] else name[0]}:{self.port}"
        if self.port and not is_loopback(name[0]):
            log.warning(
                "metrics and the status page are open at %s without authentication: anybody who reaches it can read "
                "them",
                self.url,
            )

    async def close(self) -> None:
        """Stop listening and close the connections. Idempotent."""
        if self._arrivals is not None:
            self._arrivals.close()
        for connection in list(self.connections):
            connection.close()
        give_up_s = SYSTEM_CLOCKS.monotonic_s() + LINGER_S
        while self.connections and SYSTEM_CLOCKS.monotonic_s() < give_up_s:
            await asyncio.sleep(0.005)
        for connection in list(self.connections):
            connection.abort()

    def _accept(self, accepted: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._open(accepted))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket) -> None:
        def make() -> HttpConnection:
            return HttpConnection(self.places, self, self._idle_s)

        try:
            await asyncio.get_running_loop().connect_accepted_socket(make, accepted)
        except OSError:
            # The peer is gone already.
            accepted.close()

    def _note_failure(self, error: OSError) -> None:
        self._report(f"no connection can be accepted: {error}", logging.WARNING)

    # --- for connections (`connection.Responder`) ---------------------------------------------------------------

    def is_health(self, path: str) -> bool:
        """Whether the page at `path` says only whether the server is well."""
        return self.pages.is_health(path)

    def answer(self, path: str, host: str = "") -> HttpPage:
        """The page at `path`; 421 if the request names a host that is not ours; 500 if making the page fails, which is
        logged and reaches nothing else."""
        if not self.is_health(path) and not is_known(host, self._names()):
            sentence = f"{host[:100]!r} is not a known name of this machine; add it to http.hosts"
            self._report(f"a request is refused: {sentence}", logging.WARNING)
            return text(421, sentence)
        try:
            return self.pages.answer(path)
        except Exception:
            self._report(f"while answering {path}", logging.ERROR, exc=True)
            return text(500, "the server failed while making this page; its log says why")

    def _report(self, sentence: str, level: int, *, exc: bool = False) -> None:
        self.report.event(SYSTEM_CLOCKS.monotonic_ms(), "http", sentence, level=level, exc=exc)
