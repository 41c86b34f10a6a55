"""`BlockingTestServer`: the test server for applications without asyncio, which use `presenced.sync`.

Server and clients live on one loop in a thread of its own, whose clock is virtual. So do clients that the application
connects by itself while the server is open.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from presenced.client.blocking_client import Blocking, BlockingClient, BlockingService, blocking
from presenced.client.loop_thread import LoopThread, begin_threads, end_threads
from presenced.client.values import Idle
from presenced.testing.errors import TestServerError
from presenced.testing.failures import Whose
from presenced.testing.faults import InjectedFault
from presenced.testing.history import StatusChange
from presenced.testing.host_thread import ClientThread, HostThread
from presenced.testing.options import Length
from presenced.testing.server import TestServer
from presenced.wire.messages import Record, Role, Status

T = TypeVar("T")
B = TypeVar("B", bound=Blocking[Any])


class BlockingTestServer:
    """As `TestServer`, without `await`, for applications that use `presenced.sync`: `with BlockingTestServer() as
    server:`. Its clients are those of `presenced.sync`.

    While it is open, each client that `presenced.sync` connects in this process is on the server's virtual clock, as is
    one that the application connects to `server.url`. No time passes while a callback runs.
    """

    __test__ = False

    def __init__(self, *, patience_s: float | None = 5.0, **options: Any) -> None:
        """As `TestServer`. `patience_s`: so long in real time the test's own thread waits for a client while nothing
        moves the clock, before it raises `StandstillError`."""
        self._server = TestServer(patience_s=None, **options)
        self._patience_s = patience_s
        self._host: HostThread | None = None
        self._make = self._new_thread
        self._clients: list[Blocking[Any]] = []

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """What entering does. Raises `TestServerError` if it was opened before."""
        host = HostThread(self._patience_s)
        try:
            host.call(self._server.open)
        except BaseException:
            host.stop()
            raise
        host.set_clock(self._server._clock)
        self._host = host
        begin_threads(self._make)

    def close(self) -> None:
        """What leaving does. Does nothing the second time."""
        host, self._host = self._host, None
        if host is not None:
            end_threads(self._make)
            try:
                host.do(self._server.close)
                self._clients.clear()
            finally:
                host.stop()

    def _new_thread(self) -> LoopThread:
        return ClientThread(self._open_host())

    def _open_host(self) -> HostThread:
        if self._host is None:
            # It says why.
            self._server._begin_use()
            raise TestServerError("this server is closed")
        return self._host

    def _do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._open_host().do(work)

    def _call(self, function: Callable[[], T]) -> T:
        return self._open_host().call(function)

    def _fault(self, make: Callable[[], InjectedFault]) -> InjectedFault:
        host = self._open_host()
        fault = host.call(make)
        fault.end_by(lambda end: host.call(end) if self._host is host else None)
        return fault

    def __repr__(self) -> str:
        return repr(self._server).replace("TestServer", "BlockingTestServer")

    # --- clients ----------------------------------------------------------------------------------------------

    def connect(self, user: str, device: str = "laptop", *, idle: Idle | None = 0, **options: Any) -> BlockingClient:
        """See `TestServer.connect`; returns a client of `presenced.sync`, for `with` as well."""
        return self._keep(blocking(self._server.connect, BlockingClient)(user, device, idle=idle, **options))

    def connect_service(self, name: str = "backend", **options: Any) -> BlockingService:
        """See `TestServer.connect_service`; returns a service of `presenced.sync`."""
        return self._keep(blocking(self._server.connect_service, BlockingService)(name, **options))

    def _keep(self, client: B) -> B:
        """A client that the test does not look at stays online until the end."""
        self._clients.append(client)
        return client

    def token(
        self, user: str, role: Role = "user", *, expires_in: Length = "1d", presence: dict[str, object] | None = None
    ) -> str:
        """See `TestServer.token`."""
        return self._server.token(user, role, expires_in=expires_in, presence=presence)

    @property
    def port(self) -> int:
        """See `TestServer.port`."""
        return self._call(lambda: self._server.port)

    @property
    def url(self) -> str:
        """See `TestServer.url`."""
        return self._call(lambda: self._server.url)

    @property
    def http_url(self) -> str:
        """See `TestServer.http_url`."""
        return self._call(lambda: self._server.http_url)

    def url_of(self, user: str, device: str = "") -> str:
        """See `TestServer.url_of`."""
        return self._call(lambda: self._server.url_of(user, device))

    # --- time, and what is so ---------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """See `TestServer.now`."""
        return self._server.now

    @property
    def now_ms(self) -> int:
        """See `TestServer.now_ms`."""
        return self._server.now_ms

    def advance(
        self, length: Length = 0, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> None:
        """See `TestServer.advance`."""
        self._do(lambda: self._server.advance(length, days=days, hours=hours, minutes=minutes, seconds=seconds))

    def advance_to(self, moment: datetime) -> None:
        """See `TestServer.advance_to`."""
        self._do(lambda: self._server.advance_to(moment))

    def settle(self) -> None:
        """See `TestServer.settle`."""
        self._do(self._server.settle)

    def until(self, condition: Callable[[], object], within: Length = "1h") -> None:
        """See `TestServer.until`. The condition is called on the server's thread: it must not call a client."""
        self._do(lambda: self._server.until(condition, within))

    def until_connected(self, *clients: Blocking[Any], within: Length = "5m") -> None:
        """See `TestServer.until_connected`."""
        self._do(lambda: self._server.until_connected(*[client._client for client in clients], within=within))

    def record_of(self, user: str) -> Record:
        """See `TestServer.record_of`."""
        return self._do(lambda: self._server.record_of(user))

    def status_of(self, user: str) -> Status:
        """See `TestServer.status_of`."""
        return self._do(lambda: self._server.status_of(user))

    def statuses_of(self, user: str) -> list[Status]:
        """See `TestServer.statuses_of`."""
        return self._call(lambda: self._server.statuses_of(user))

    def history(self, user: str) -> list[StatusChange]:
        """See `TestServer.history`."""
        return self._call(lambda: self._server.history(user))

    # --- the life of the server -------------------------------------------------------------------------------

    def start(self) -> None:
        """See `TestServer.start`."""
        self._call(self._server.start)

    def stop(self) -> None:
        """See `TestServer.stop`."""
        self._do(self._server.stop)

    def kill(self) -> None:
        """See `TestServer.kill`."""
        self._do(self._server.kill)

    def restart(self, *, down: Length = 0) -> None:
        """See `TestServer.restart`."""
        self._do(lambda: self._server.restart(down=down))

    # --- failures ---------------------------------------------------------------------------------------------

    def lose_link(self, who: Whose, code: str = "") -> None:
        """See `TestServer.lose_link`."""
        self._do(lambda: self._server.lose_link(who, code))

    def cut_off(self, who: Whose = None) -> InjectedFault:
        """See `TestServer.cut_off`."""
        return self._fault(lambda: self._server.cut_off(who))

    def freeze(self, who: Whose = None) -> InjectedFault:
        """See `TestServer.freeze`."""
        return self._fault(lambda: self._server.freeze(who))

    def slow(self, length: Length) -> InjectedFault:
        """See `TestServer.slow`. A call of a client waits for the clock then: move it in another thread, or use a
        length that the test does not wait for."""
        return self._fault(lambda: self._server.slow(length))

    def pause(self) -> InjectedFault:
        """See `TestServer.pause`."""
        return self._fault(self._server.pause)

    def read_only(self, code: str = "read_only") -> InjectedFault:
        """See `TestServer.read_only`."""
        return self._fault(lambda: self._server.read_only(code))

    def refuse(self, code: str, who: Whose = None, *, retry: Length = 0, message: str = "") -> InjectedFault:
        """See `TestServer.refuse`."""
        return self._fault(partial(self._server.refuse, code, who, retry=retry, message=message))

    def fail(
        self, request: str, code: str | None, who: Whose = None, *, retry: Length = 0, message: str = ""
    ) -> InjectedFault:
        """See `TestServer.fail`."""
        return self._fault(partial(self._server.fail, request, code, who, retry=retry, message=message))

    def lose_disk(self) -> None:
        """See `TestServer.lose_disk`."""
        self._call(self._server.lose_disk)
