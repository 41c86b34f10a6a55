"""The HTTP listener: it accepts connections and puts each request to the first door that takes its path.

Which pages of browsers may ask is decided in here, for all doors. Who asks is theirs: the pages of the operator have no
authentication, so listen on loopback, or on an address that only a proxy and the monitoring can reach.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple

from presenced.config.hosts import is_loopback
from presenced.http.connection import IDLE_S, LINGER_S, HttpConnection
from presenced.http.door import BodyStream, Call, Door, HttpRequest, answer_failure
from presenced.http.origins import is_allowed, is_known
from presenced.http.page import TEXT, HttpPage
from presenced.http.places import Places
from presenced.server.arrivals import Arrivals
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.server.listeners import CannotListen, listen
from presenced.server.report import Report
from presenced.server.transports.readiness import Readiness
from presenced.server.transports.tls_handshake import open_tls

BACKLOG = 128
ACCEPTS_PER_PASS = 8
"""Connections accepted in one pass of the loop: each takes a descriptor before it can be refused."""

log = logging.getLogger("presenced")


CONNECTIONS_MAX = 1_000

PREFLIGHT_KEPT_S = 600
"""For how long a browser need not ask again whether it may ask (the Fetch standard, 3.3.3)."""


class Access(NamedTuple):
    """Who may ask for what, as the settings say. They are read for each request: a reload may change them."""

    names: Callable[[], Sequence[str]] = lambda: ("*",)
    """Host names of the listener besides addresses; `*` = any."""
    origins: Callable[[], Sequence[str]] = lambda: ()
    """Origins of pages that may use the doors for pages; `*` = any."""
    trusted: Callable[[], Sequence[str]] = lambda: ()
    """Addresses and networks of proxies."""
    is_trusting: bool = False
    """Whether a client is believed without a token. Then each door is asked under known names alone, since a request
    for a page's own address carries no origin."""
    pages_are_open: Callable[[], bool] = lambda: True
    """Whether everybody who reaches the listener may read the operator's pages."""
    tls: Callable[[], ssl.SSLContext | None] = lambda: None
    """What connections are encrypted with; None = nothing."""


def bind(address: str, *, is_shared: bool = False) -> list[socket.socket]:
    """Sockets that are bound to `address` (HOST:PORT) and do not listen yet; `is_shared`: see `listeners.listen`.
    Raises `CannotListen`."""
    host, _, port = address.rpartition(":")
    try:
        return listen(host.removeprefix("[").removesuffix("]"), int(port), "http.address", is_shared=is_shared)
    except OSError as error:
        raise CannotListen(error, address) from None


class HttpServer:
    """The listener. `port` is the port it has, `url` its address."""

    def __init__(
        self,
        doors: Sequence[Door],
        report: Report,
        access: Access = Access(),  # noqa: B008  # it is frozen
        *,
        connections_max: int = CONNECTIONS_MAX,
        idle_s: float = IDLE_S,
    ) -> None:
        """The last of the doors takes what no other does."""
        self.doors = doors
        self.report = report
        self.places: Places[HttpConnection] = Places(connections_max)
        self.port = 0
        self.url = ""
        self._access = access
        self._idle_s = idle_s
        self._arrivals: list[Arrivals] = []
        self._claimed: list[socket.socket] = []
        """Bound, and not served yet."""
        self._claimed_address = ""
        self._shared: Arrivals | None = None
        self._readiness = Readiness()
        """Of connections under TLS."""
        self._opening: dict[asyncio.Task[None], None] = {}
        """Connections that are not up yet, with TLS until the handshake is over; the longest so first."""

    @property
    def connections(self) -> dict[HttpConnection, None]:
        """The connections that are open."""
        return self.places.connections

    async def listen(self, address: str, sock: socket.socket | None = None) -> None:
        """Serve from now on at `address` (HOST:PORT), or on the bound `sock`; raises `CannotListen`."""
        listeners = [sock] if sock is not None else bind(address)
        self.port, self.url = self._name_of(listeners)
        self._arrivals.append(self._serve(listeners, address))

    def listen_besides(self, address: str) -> str:
        """Serve from now on at one more address; returns its URL. Raises `CannotListen`."""
        listeners = bind(address)
        _, url = self._name_of(listeners)
        self._arrivals.append(self._serve(listeners, address))
        return url

    def claim(self, address: str) -> None:
        """Bind `address`, where other processes of the same user may serve as well; nobody is served there before
        `share`. Raises `CannotListen`."""
        self._claimed, self._claimed_address = bind(address, is_shared=True), address
        self.port, self.url = self._name_of(self._claimed)

    def share(self) -> None:
        """Serve from now on at the address that was claimed, if one was. Raises `CannotListen`."""
        if self._claimed:
            listeners, self._claimed = self._claimed, []
            self._shared = self._serve(listeners, self._claimed_address)

    def stop_sharing(self) -> None:
        """Take no more connections at the address that was claimed: other processes take them instead. Idempotent."""
        for listener in self._claimed:
            listener.close()
        if self._shared is not None:
            self._shared.close()

    def _serve(self, listeners: list[socket.socket], address: str) -> Arrivals:
        try:
            arrivals = Arrivals(
                listeners, backlog=BACKLOG, per_pass=ACCEPTS_PER_PASS, take=self._accept, fail=self._note_failure
            )
        except OSError as error:
            for listener in listeners:
                listener.close()
            raise CannotListen(error, address) from None
        name = listeners[0].getsockname()
        if isinstance(name, tuple) and not is_loopback(name[0]) and self._access.pages_are_open():
            log.warning(
                "metrics and the status page are open at %s without authentication: anybody who reaches it can read "
                "them",
                self._name_of(listeners)[1],
            )
        return arrivals

    def _name_of(self, listeners: list[socket.socket]) -> tuple[int, str]:
        """The port and the URL of a socket; 0 and "" for a Unix socket."""
        name = listeners[0].getsockname()
        if not isinstance(name, tuple):
            return 0, ""
        scheme = "https" if self._access.tls() is not None else "http"
        return name[1], f"{scheme}://{f'[{name[0]}]' if ':' in name[0] else name[0]}:{name[1]}"

    async def close(self) -> None:
        """Stop listening and close the connections. Idempotent."""
        self.stop_sharing()
        for arrivals in self._arrivals:
            arrivals.close()
        for connection in list(self.connections):
            connection.close()
        give_up_s = SYSTEM_CLOCKS.monotonic_s() + LINGER_S
        while self.connections and SYSTEM_CLOCKS.monotonic_s() < give_up_s:
            await asyncio.sleep(0.005)
        for connection in list(self.connections):
            connection.abort()

    def _accept(self, accepted: socket.socket) -> None:
        task = asyncio.get_running_loop().create_task(self._open(accepted))
        self._opening[task] = None
        task.add_done_callback(lambda done: self._opening.pop(done, None))
        if len(self._opening) > self.places.connections_max:
            # They have no place yet, and each has a descriptor all the same.
            longest = next(iter(self._opening))
            del self._opening[longest]
            longest.cancel()

    async def _open(self, accepted: socket.socket) -> None:
        def make() -> HttpConnection:
            return HttpConnection(self.places, self, self._idle_s)

        try:
            tls = self._access.tls()
            if tls is None:
                await asyncio.get_running_loop().connect_accepted_socket(make, accepted)
            else:
                await open_tls(self._readiness, make(), accepted, tls)
        except OSError:
            # The peer is gone already, or does not speak TLS.
            accepted.close()

    def _note_failure(self, error: OSError) -> None:
        self._warn(f"no connection can be accepted: {error}")

    # --- for connections (`connection.Responder`) ---------------------------------------------------------------

    @property
    def trusted(self) -> tuple[str, ...]:
        """The addresses of proxies whose word is taken for who asks."""
        return tuple(self._access.trusted())

    def is_health(self, path: str) -> bool:
        """Whether the answer for `path` says only whether the server is well."""
        return self._door_of(path).is_health(path)

    def refused_page(self, path: str, status: int, sentence: str) -> HttpPage:
        """How the door of this path says what is refused before the door is asked."""
        return self._door_of(path).refused_page(status, sentence)

    def open(self, call: Call) -> None:
        """Put a call to its door. 421 if it names a host that is not ours and that counts; 403 if a page asks that may
        not; 500 if answering fails, which is logged and reaches nothing else."""
        request = call.request
        door = self._door_of(request.path)
        refusal = self._refusal(request, door)
        if refusal is not None:
            call.answer(refusal)
            return
        origin = request.headers.get("origin", "")
        try:
            if origin and door.is_for_pages:
                if request.method == "OPTIONS":
                    call.answer(_preflight(origin))
                    return
                call = _ForPage(call, origin)
            door.open(call)
        except Exception:
            answer_failure(call, self.report, door.refused_page)

    def _door_of(self, path: str) -> Door:
        return next((door for door in self.doors if door.takes(path)), self.doors[-1])

    def _refusal(self, request: HttpRequest, door: Door) -> HttpPage | None:
        names, access = self._access.names(), self._access
        is_guarded = access.is_trusting or not door.is_for_pages
        if is_guarded and not door.is_health(request.path) and not is_known(request.host, names):
            sentence = f"{request.host[:100]!r} is not a known name of this machine; add it to http.hosts"
            self._warn(f"a request is refused: {sentence}")
            return door.refused_page(421, sentence)
        origin = request.headers.get("origin", "")
        if not origin or not door.is_for_pages:
            return None
        if is_allowed(origin, request.headers.get("host", ""), names, access.origins()):
            return None
        sentence = f"pages of {origin[:100]!r} may not ask here; add their origin to http.origins"
        self._warn(f"a request is refused: {sentence}")
        return door.refused_page(403, sentence)

    def _warn(self, sentence: str) -> None:
        self.report.event(SYSTEM_CLOCKS.monotonic_ms(), "http", sentence, level=logging.WARNING)


class _ForPage:
    """A call by a page of another origin: the answer says that the page may read it."""

    __slots__ = ("_call", "_origin")

    def __init__(self, call: Call, origin: str) -> None:
        self._call = call
        self._origin = origin

    @property
    def request(self) -> HttpRequest:
        return self._call.request

    def answer(self, page: HttpPage) -> None:
        self._call.answer(_readable(page, self._origin))

    def stream(self, head: HttpPage) -> BodyStream:
        return self._call.stream(_readable(head, self._origin))

    def upgrade(self) -> tuple[asyncio.Transport, bytes]:
        return self._call.upgrade()

    def on_gone(self, call: Callable[[], object]) -> None:
        self._call.on_gone(call)


def _readable(page: HttpPage, origin: str) -> HttpPage:
    more = (
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", "Retry-After"),
        ("Vary", "Origin"),
    )
    return page._replace(headers=page.headers + more)


def _preflight(origin: str) -> HttpPage:
    more = (
        ("Access-Control-Allow-Methods", "GET, HEAD, POST"),
        ("Access-Control-Allow-Headers", "Authorization, Content-Type, Last-Event-ID, Presence-User, Presence-Role"),
        ("Access-Control-Max-Age", str(PREFLIGHT_KEPT_S)),
    )
    return _readable(HttpPage(204, TEXT, b"", headers=more), origin)
