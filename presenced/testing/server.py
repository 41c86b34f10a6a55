"""`TestServer`: a presence server inside a test, on a clock that the test moves, with the real SDK on top."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from presenced.client.client_base import ConnectedClient, connection_of
from presenced.core.model import unknown_record
from presenced.testing.clock import VirtualClock
from presenced.testing.connections import SECRET, Connections
from presenced.testing.disk import Disk
from presenced.testing.errors import TestServerError
from presenced.testing.history import StatusChange, status_changes
from presenced.testing.network import Network
from presenced.testing.options import Length, make_settings, milliseconds, moment_ns
from presenced.testing.process import Process
from presenced.wire.messages import Record, Status

T = TypeVar("T")


class TestServer(Connections):
    """A presence server in this process, in memory, on a virtual clock: `async with TestServer() as server:`.

    Server, protocol and clients are the real ones; what is missing are sockets and the passing of time. The clock of
    the running event loop stands still until `advance`, `until` and the like move it, for everything on the loop: the
    application's own `asyncio.sleep` and `asyncio.timeout`, too. Servers on one loop share it. Whatever needs no time
    happens by itself while the test awaits something.

    When the block is left, clients that `connect` has made are closed, and the loop goes by real time again.
    """

    __test__ = False

    def __init__(
        self,
        *,
        now: datetime | None = None,
        tokens: bool = False,
        seed: int = 0,
        patience_s: float | None = 5.0,
        outside_s: float = 0.02,
        **settings: Any,
    ) -> None:
        """`settings` are those of a server, lengths of time as seconds, timedelta or text: `away_after="10m"`,
        `grace=30`, `offline_after`, `heartbeat`, `kind_grace`, `idle`, `grounds`, `change_spacing`, ...; for the rest
        see `presenced.testing.options.SETTINGS`. The rate of clients is unlimited unless `rate` says otherwise.

        `now` is the wall time at the start (aware; Monday 2026-01-05, 9:00 UTC). With `tokens` the server believes
        nobody without a token (`token` makes them, and `connect` brings one). `seed` is where the jitter of clients
        comes from. When everybody waits and nothing happens for `patience_s` of real time, the test is interrupted by
        a `StandstillError`; None: never. `outside_s`: how much of real time programs outside this process (or threads)
        have to answer what they were told, before the clock moves on.

        Raises `TestServerError`, and `SettingsError` for what a server would refuse.
        """
        self._settings = make_settings(settings)
        self._start = moment_ns(now)
        self._secret = SECRET if tokens else b""
        self._seed = seed
        self._patience_s = patience_s
        self._outside_s = outside_s
        self._state = "new"
        self._clients: list[ConnectedClient] = []
        self._process = None
        self._disk = Disk()

    # --- the life of the server -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        clock, task = self._clock, asyncio.current_task()
        standstill = clock.standstill if isinstance(exc, asyncio.CancelledError) and clock.tester is task else ""
        if standstill and task is not None:
            task.uncancel()
        await self.close()
        if standstill:
            raise clock.standstill_error() from exc

    def open(self) -> None:
        """What entering does: lay the clock under the running loop, and start. Raises `TestServerError` if it was
        opened before, or if the loop's clock cannot be moved."""
        if self._state != "new":
            raise TestServerError(f"this TestServer is {self._state}; make another one")
        self._clock = VirtualClock.enter(self._seed, self._patience_s, self._outside_s)
        self._clocks = self._clock.clocks(self._start)
        self._network = Network(self._clock)
        self._state = "open"
        try:
            self.start()
        except BaseException:
            self._release()
            raise

    async def close(self) -> None:
        """What leaving does: close the clients that `connect` has made, stop, and give the loop its time back. Raises
        what the server could not go on from, if anything. Does nothing the second time."""
        if self._state != "open":
            return
        try:
            self._network.faults.clear()
            self._network.thaw()
            if self._process is not None:
                self._process.go_on()
            for client in self._clients:
                await self._clock.finish(client.close())
            if self._process is not None:
                await self._end(self._process.stop)
        finally:
            self._release()

    def _release(self) -> None:
        self._state = "closed"
        self._clients.clear()
        self._network.break_all()
        self._network.close()
        self._clock.leave()

    def start(self) -> None:
        """Start the server again after `stop` or `kill`, with what its disk has. Raises `TestServerError` if it
        runs."""
        self._begin_use()
        if self._process is not None:
            raise TestServerError("the server runs already; `restart` stops it before")
        self._process = Process(self._settings, self._clocks, self._disk, self._secret)
        self._network.serve(self._process)

    async def stop(self) -> None:
        """Stop the server in order: clients are told when to come back, nobody is announced as offline, and everything
        is saved. Takes some milliseconds of the clock."""
        self._begin_use()
        await self._end(self._running().stop)

    async def kill(self) -> None:
        """End the server as `kill -9` does: every connection breaks. What was acknowledged is on its disk."""
        self._begin_use()
        process = self._running()

        async def kill() -> None:
            process.kill()

        await self._end(kill)

    async def restart(self, *, down: Length = 0) -> None:
        """Stop it in order, and start it again after `down`. Clients come back by themselves within some seconds of the
        clock."""
        await self.stop()
        await self.advance(down)
        self.start()

    async def _end(self, end: Callable[[], Any]) -> None:
        process = self._running()
        self._network.serve_nobody()
        await self._clock.finish(end())
        self._process = None
        self._network.break_all()
        process.server.links.abort_all()
        await self._clock.settle()
        if process.failure is not None:
            raise process.failure

    # --- time -------------------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """The server's wall time in milliseconds since 1970."""
        self._begin_use()
        return self._clocks.wall_ms()

    @property
    def now(self) -> datetime:
        """The server's wall time, in UTC."""
        return datetime.fromtimestamp(self.now_ms / 1000, UTC)

    async def advance(
        self, length: Length = 0, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> None:
        """Let time pass: `advance(minutes=6)`, `advance(90)`, `advance("1h30m")`. Every timer that comes due on the way
        goes off in its turn, and all that follows from it happens. Returns when everything is quiet.

        Raises `TestServerError` for a time that is negative, and if two tasks do so at once.
        """
        self._begin_use()
        named = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if named < timedelta():
            raise TestServerError("the clock only goes forward; make another TestServer for another beginning")
        passing_ms = milliseconds(length, "the time to pass") + round(named / timedelta(milliseconds=1))
        await self._clock.advance(self._clock.now_ns + passing_ms * 1_000_000)
        self._raise_failure()

    async def advance_to(self, moment: datetime) -> None:
        """Let time pass until this (aware) moment of the server's wall clock. Raises `TestServerError` if it has
        passed."""
        ahead_ms = round(moment.timestamp() * 1000) - self.now_ms
        if moment.tzinfo is None or ahead_ms < 0:
            raise TestServerError(f"{moment} is no aware datetime from {self.now} on; the clock only goes forward")
        await self.advance(ahead_ms / 1000)

    async def settle(self) -> None:
        """Let everything happen that needs no time: what was sent arrives, and tasks go on until each waits."""
        await self.advance()

    async def run(self, work: Coroutine[Any, Any, T], within: Length = "1d") -> T:
        """What comes of an application's own coroutine, with as much time as it takes: `await
        server.run(application())`. Raises `StandstillError` if it does not come to an end in this time."""
        self._begin_use()
        result = await self._clock.finish(work, milliseconds(within, "within") / 1000)
        self._raise_failure()
        return result

    async def until(self, condition: Callable[[], object], within: Length = "1h") -> None:
        """Let time pass until the condition holds, at most for this long: `await server.until(lambda: anna.state ==
        "connected")`. Raises `AssertionError` if it does not come to hold."""
        self._begin_use()
        most_ns = milliseconds(within, "within") * 1_000_000
        if not await self._clock.advance(self._clock.now_ns + most_ns, lambda: bool(condition())):
            raise AssertionError(f"the condition did not come to hold within {within} of the server's clock")
        self._raise_failure()

    async def until_connected(self, *clients: ConnectedClient, within: Length = "5m") -> None:
        """Let time pass until these clients have a link again, or all that `connect` has made and nobody has closed.
        Raises `AssertionError` if one does not come back."""
        wanted = clients or [client for client in self._clients if connection_of(client).is_open]
        await self.until(lambda: all(client.state == "connected" for client in wanted), within)

    # --- to assert --------------------------------------------------------------------------------------------

    async def record_of(self, user: str) -> Record:
        """What somebody sees of the user who may see everything, after what is under way has arrived."""
        await self.settle()
        known = self._running().server.engine.users.get(user)
        return known.record if known is not None else unknown_record(user)

    async def status_of(self, user: str) -> Status:
        """The status of the user, after what is under way has arrived: `assert await server.status_of("anna") ==
        "away"`."""
        return (await self.record_of(user)).status

    def statuses_of(self, user: str) -> list[Status]:
        """What the user has shown, one status after the other: `assert server.statuses_of("anna") == ["online",
        "away"]`."""
        return [change.new for change in self.history(user)]

    def history(self, user: str) -> list[StatusChange]:
        """The same with the time and the reason of each change, since the server's first start."""
        self._begin_use()
        return status_changes(self._running().server.engine, user)

    # --- within -----------------------------------------------------------------------------------------------

    def _begin_use(self) -> None:
        if self._state == "new":
            raise TestServerError("this TestServer is not open yet: `async with TestServer() as server:`")
        if self._state == "closed":
            raise TestServerError("this TestServer is closed; what uses it has to be inside of its block")
        self._clock.note_tester()

    def _raise_failure(self) -> None:
        if self._process is not None and self._process.failure is not None:
            raise self._process.failure

    def __repr__(self) -> str:
        if self._state != "open":
            return f"<TestServer, {self._state}>"
        return f"<TestServer at {self.now:%Y-%m-%d %H:%M:%S} UTC, {'running' if self._process else 'stopped'}>"
