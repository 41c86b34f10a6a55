"""How a server starts and how it ends: addresses, data directory and listener are opened in this order, and given
back in order, whatever fails on the way.

It tells the server's parts what to do; they know nothing of it. Only who asks for a start or an end comes here.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import time
from typing import TYPE_CHECKING

from presenced.config.hosts import is_loopback
from presenced.config.settings import Durability, SettingsError
from presenced.server.accepting import Acceptor
from presenced.server.data_directory import restore
from presenced.server.drain import close_links, finish_snapshot
from presenced.server.durable import DurableLog, LogFailed
from presenced.server.listening import CannotListen, links_max_for, listen
from presenced.server.pulse import Pulse
from presenced.server.replay import Replay, StartAbandoned
from presenced.storage.files import OsDirectory

if TYPE_CHECKING:
    from presenced.server.conversation import Conversation
    from presenced.server.server import Server

logger = logging.getLogger("presenced")


class Lifecycle:
    """The one start and the one end of `server`; its state, log and addresses are set from here."""

    def __init__(self, server: Server, given: socket.socket | None) -> None:
        """`given` is a bound socket to listen on instead of `settings.listen`."""
        self.acceptors: list[Acceptor] = []
        self._server = server
        self._given = given
        self._pulse = Pulse(server)
        self._directory: OsDirectory | None = None
        self._replay: Replay | None = None
        """The one that is under way."""
        self._is_ending = False
        self._over = asyncio.Event()
        self._last_tasks: list[asyncio.Task[None]] = []

    # --- the start --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """See `Server.start`."""
        server = self._server
        server.links_max = links_max_for(server.settings.max_links)
        # The addresses are claimed first: finding one taken must not cost a replay.
        listeners = self._listening_sockets()
        try:
            await server.observer.open()
            if self._is_ending:
                raise StartAbandoned("it was stopped before it had started")
            if server.settings.data_dir:
                await self._open_data_dir()
            self.acceptors += [self._acceptor_of(listener) for listener in listeners]
            # What exists now lives for ever: collections need not walk it again.
            gc.freeze()
            server.state = "serving"
            server.stats.ready_took_ms = _monotonic_ms() - server.stats.started_ms
            self._pulse.start()
            server.observer.ready()
        except BaseException:
            for listener in listeners:
                listener.close()
            await self._undo_start()
            raise

    def _listening_sockets(self) -> list[socket.socket]:
        if self._given is not None:
            self._announce(self._given)
            return [self._given]
        try:
            listeners = listen(*self._server.settings.address())
        except OSError as error:
            raise CannotListen(error) from None
        for listener in listeners:
            self._announce(listener)
        return listeners

    def _announce(self, listener: socket.socket) -> None:
        """Note where it listens. Raises `SettingsError`, with the socket closed, if it is not where it may."""
        server = self._server
        host, server.port = listener.getsockname()[:2]
        if self._given is not None and server.settings.dev and not is_loopback(host):
            # The rule for listen.address, which a socket unit knows nothing of.
            listener.close()
            raise SettingsError(
                f"auth.dev believes every name and so listens on loopback only, not on {host}, which is what the "
                "socket unit passes; set ListenStream=127.0.0.1:PORT there, or give a secret file instead"
            )
        scheme = "presences" if server.tls is not None else "presence"
        server.listeners.append(f"{scheme}://{f'[{host}]' if ':' in host else host}:{server.port}")

    async def _open_data_dir(self) -> None:
        server = self._server
        directory = self._directory = OsDirectory(server.settings.data_dir)
        durability = Durability.parse(server.settings.durability)
        engine, now_ms = server.engine, _monotonic_ms()
        replay = self._replay = Replay(
            lambda progress: restore(engine, directory, durability, now_ms, progress), server.observer.replaying
        )
        try:
            restored = await replay.run()
        finally:
            self._replay = None
        server.recovered = restored.findings
        durable = DurableLog(
            engine,
            restored,
            durability,
            loop=asyncio.get_running_loop(),
            wake=server.begin,
            on_failure=lambda error: self.end_at_once(LogFailed(error)),
            observe=server.stats.fsync.add,
        )
        settings = server.settings
        durable.plan_snapshots(every_ms=settings.snapshot_every_ms, log_bytes=settings.snapshot_log_bytes)
        durable.start()
        server.log = durable
        server.first_turn()
        if replay.reason is not None:
            # Too late for the replay to notice; by now the log can be closed in order.
            raise replay.reason

    def _acceptor_of(self, listener: socket.socket) -> Acceptor:
        try:
            return Acceptor(self._server, listener)
        except OSError as error:
            # Two may bind a port at the same time, and only one may listen.
            raise CannotListen(error) from None

    async def _undo_start(self) -> None:
        """Close what a start that failed has opened. What goes wrong in that is told and not raised."""
        server = self._server
        self._is_ending = True
        self._stop_accepting()
        server.end_turns()
        try:
            if not server.log.refusal:
                await server.log.close(server.engine.ledger.version)
        except Exception:
            logger.error("the log could not be closed after the start failed", exc_info=True)
        await self._end()

    # --- the end ----------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """See `Server.stop`."""
        if self._replay is not None:
            # `start` raises it, and sees to the rest.
            self._replay.abandon(StartAbandoned("it was stopped before it had started"))
            self._is_ending = True
        if self._is_ending:
            await self._over.wait()
            return
        self._is_ending = True
        server = self._server
        server.state = "draining"
        server.refuse_links()
        server.engine.stop()
        # A turn takes what that has left for the log: the snapshot waits for it.
        server.begin()
        try:
            await self._drain(_monotonic_ms() + server.settings.drain_timeout_ms)
        except Exception as error:
            # Nobody waits for this: a daemon that neither serves nor ends would be the worst of all.
            logger.critical("the stop failed; ending as it is, and the next start reads the log", exc_info=True)
            server.failed = server.failed or error
            self._stop_accepting()
            for link in list(server.links):
                link.abort()
        finally:
            await self._end()

    async def _drain(self, until_ms: int) -> None:
        server = self._server
        server.observer.stopping()
        self._stop_accepting()
        if server.log.has_news and not server.log.refusal:
            server.log.take_snapshot()
        await close_links(server, until_ms)
        server.stop_timer()
        if not server.log.is_over and server.failed is None:
            await finish_snapshot(server.log, until_ms)
            server.observer.closing()
            server.last_turn()
            await server.log.close(server.engine.ledger.version)
            if server.log.error is not None and server.failed is None:
                server.failed = LogFailed(server.log.error)

    def begin_stop(self) -> None:
        """Start `stop`, from where nothing can be awaited."""
        self._last_tasks.append(asyncio.get_running_loop().create_task(self.stop()))

    def end_at_once(self, error: BaseException) -> None:
        """There is something that cannot be gone on from."""
        server = self._server
        server.failed = error
        self._is_ending = True
        server.refuse_links()
        self._stop_accepting()
        for link in list(server.links):
            link.abort()
        self._last_tasks.append(asyncio.get_running_loop().create_task(self._end()))

    def stop_opening(self, link: Conversation) -> None:
        """A link is to end whose TLS handshake may still be under way."""
        for acceptor in self.acceptors:
            acceptor.stop_opening(link)

    def _stop_accepting(self) -> None:
        for acceptor in self.acceptors:
            acceptor.close()

    async def _end(self) -> None:
        server = self._server
        self._pulse.stop()
        try:
            if self._directory is not None and self._may_release():
                # Before the operators' connections close: whoever waited for that may start the next daemon.
                self._directory.close()
            await server.observer.close()
        except Exception:
            logger.error("the sockets for operators did not close in order", exc_info=True)
        finally:
            server.state = "stopped"
            self._over.set()

    def _may_release(self) -> bool:
        """Whether nothing of this process writes to the data directory any more."""
        return self._server.log.is_over

    async def wait(self) -> None:
        """Return once the server has ended, in order or not."""
        await self._over.wait()


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
