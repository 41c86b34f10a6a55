"""The start and the end of a server: it opens addresses, data directory and listener in this order, and closes them in
order, whatever fails on the way.

It tells the parts of the server what to do, and none of them knows it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from presenced.config.hosts import is_loopback
from presenced.config.settings import Durability, SettingsError
from presenced.core.parts.leases import EVER_MS
from presenced.server.acceptor import Acceptor
from presenced.server.active_settings import ActiveSettings
from presenced.server.admission import Admission
from presenced.server.clocks import Clocks
from presenced.server.clustering.status import ClusterReport
from presenced.server.data_directory import Restored, restore
from presenced.server.drain import Stopping, close_links, finish_snapshot
from presenced.server.durable_log import DurableLog
from presenced.server.fact_log import LogFailed
from presenced.server.heap import everything_stays
from presenced.server.links import Links
from presenced.server.listeners import CannotListen, links_max_for, listen
from presenced.server.observer import NoObserver, Observer
from presenced.server.pacing import Pacing
from presenced.server.pulse import Pulse
from presenced.server.replay import Replay, StartAbandoned
from presenced.server.transports.kind import TransportKind
from presenced.server.transports.tls import TCP
from presenced.storage.files import OsDirectory
from presenced.storage.meter import Progress
from presenced.storage.recovery import RecoveryFindings

if TYPE_CHECKING:
    from presenced.server.clustering.membership import Membership

logger = logging.getLogger("presenced")


class Lifecycle:
    """The one start and the one end of a server. It owns the server's state, addresses and acceptors."""

    def __init__(
        self,
        active: ActiveSettings,
        links: Links,
        admission: Admission,
        pacing: Pacing,
        pulse: Pulse,
        clocks: Clocks,
        given: socket.socket | None,
    ) -> None:
        """`given` is a bound socket to listen on instead of `settings.listen`."""
        self.state = "starting"
        """`starting`, `serving`, `draining`, `stopped`."""
        _, self.port = active.settings.address()
        """The port that clients connect to; the one that was bound, once it is."""
        self.listeners: list[str] = []
        """Where the server can be reached, as URLs; the clients' first."""
        self.recovered: RecoveryFindings | None = None
        """What was found in the store; None without one."""
        self.store = ""
        """Where the store is; "" = there is none."""
        self.cluster: ClusterReport | None = None
        """What tells how this node stands in its cluster; None = the server is alone, or has not joined yet."""
        self._active = active
        self._links = links
        self._engine = links.engine
        self._stats = links.stats
        self._admission = admission
        self._pacing = pacing
        self._pulse = pulse
        self._clocks = clocks
        self._given = given
        self._observer: Observer = NoObserver()
        self._acceptors: list[Acceptor] = []
        self._directory: OsDirectory | None = None
        self._replay: Replay | None = None
        """The one that is under way."""
        self.membership: Membership | None = None
        """This node's part in the cluster, from when it serves; None = the server is alone."""
        self._joining: Membership | None = None
        """The same part from when it begins to join, for a start that is given up."""
        self._is_ending = False
        self._over = asyncio.Event()
        self._last_tasks: list[asyncio.Task[None]] = []

    def announce(self, url: str) -> None:
        """Add an address at which the server can be reached by somebody who is not a client."""
        self.listeners.append(url)

    # --- the start --------------------------------------------------------------------------------------------

    async def start(self, observer: Observer) -> None:
        """See `Server.start`."""
        self._observer = observer
        self._pacing.start(self._links, on_failure=self.end_at_once)
        self._admission.set_links_max(links_max_for(self._active.settings))
        # The addresses are claimed first: finding one taken must not cost a replay.
        listeners = self._listening_sockets(TCP)
        try:
            await observer.open()
            if self._is_ending:
                raise StartAbandoned("it was stopped before it had started")
            if self._active.settings.cluster_url:
                # The own disk may be old: clients were at other nodes since, or could be nowhere. Nobody goes offline
                # by it before this node has learned what the others know.
                self._engine.leases.be_patient(EVER_MS)
                self._engine.publisher.said.tell()
            if self._active.settings.data_dir:
                await self._open_data_dir()
            elif self._active.settings.storage_url:
                await self._open_engine_store()
            if self._active.settings.cluster_url:
                # Late: most servers are alone.
                from presenced.server.clustering.entrance import open_cluster

                with everything_stays():
                    self.membership = await open_cluster(
                        self._active.settings,
                        self._links,
                        self._pacing,
                        self._clocks,
                        self.end_at_once,
                        self._note_cluster,
                        self.drain,
                        lambda: self._active.settings,
                    )
            self._acceptors += [self._acceptor_of(listener, TCP) for listener in listeners]
            # Objects that exist now live for ever: collections need not visit them again.
            gc.freeze()
            self.state = "serving"
            self._stats.ready_took_ms = self._clocks.monotonic_ms() - self._stats.started_ms
            self._pulse.start()
            observer.ready()
        except BaseException:
            for listener in listeners:
                listener.close()
            await self._undo_start()
            raise

    def _note_cluster(self, joining: Membership) -> None:
        self.cluster = self._joining = joining

    async def leave_early(self) -> None:
        """The process ends before the start is over: let the other nodes not wait for this one."""
        if self._joining is not None:
            await self._joining.give_up()

    def _listening_sockets(self, kind: TransportKind) -> list[socket.socket]:
        if self._given is not None:
            self._announce_clients(self._given, kind)
            return [self._given]
        try:
            listeners = listen(*self._active.settings.address(), is_shared=self._active.settings.listen_shared)
        except OSError as error:
            raise CannotListen(error) from None
        for listener in listeners:
            self._announce_clients(listener, kind)
        return listeners

    def _announce_clients(self, listener: socket.socket, kind: TransportKind) -> None:
        """Note where clients connect. Raises `SettingsError`, with the socket closed, if that is not allowed."""
        host, self.port = listener.getsockname()[:2]
        if self._given is not None and self._active.settings.dev and not is_loopback(host):
            # The rule for listen.address, which a socket unit knows nothing of.
            listener.close()
            raise SettingsError(
                f"auth.dev believes every name, so it allows only loopback addresses, but the socket unit listens on "
                f"{host}; set ListenStream=127.0.0.1:PORT there, or give a secret file instead"
            )
        scheme = kind.tls_scheme if self._active.tls is not None else kind.scheme
        self.listeners.append(f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}")

    async def _open_data_dir(self) -> None:
        settings, engine, now_ms = self._active.settings, self._engine, self._clocks.monotonic_ms()
        directory = self._directory = OsDirectory(settings.data_dir)
        durability = Durability.parse(settings.durability)
        await self._go_on_from(
            lambda progress: restore(engine, directory, durability, now_ms, progress, clocks=self._clocks), durability
        )

    async def _open_engine_store(self) -> None:
        # Late: few servers keep their state in an engine.
        from presenced.server.engine_store import restore_from_engine, store_place

        engine, now_ms = self._engine, self._clocks.monotonic_ms()
        place = store_place(self._active.settings)
        await self._go_on_from(
            lambda progress: restore_from_engine(engine, place, now_ms, progress, clocks=self._clocks),
            Durability("always"),
        )

    async def _go_on_from(self, read: Callable[[Progress], Restored], durability: Durability) -> None:
        """Read a store, and keep it from then on."""
        settings, engine, pacing = self._active.settings, self._engine, self._pacing
        replay = self._replay = Replay(read, self._observer.replaying, self._clocks)
        try:
            restored = await replay.run()
        finally:
            self._replay = None
        self.recovered = restored.findings
        self.store = restored.place
        durable = DurableLog(
            engine,
            restored,
            durability,
            loop=asyncio.get_running_loop(),
            clocks=self._clocks,
            wake=pacing.begin,
            on_failure=lambda error: self.end_at_once(LogFailed(error)),
            observe=self._stats.fsync.add,
        )
        durable.plan_snapshots(every_ms=settings.snapshot_every_ms, log_bytes=settings.snapshot_log_bytes)
        durable.start()
        pacing.use_log(durable)
        if not settings.cluster_url:
            # A node runs its first turn when it has joined: before, the homes decide what ends by itself.
            pacing.run_first()
        if replay.reason is not None:
            # Too late for the replay to notice; by now the log can be closed in order.
            raise replay.reason

    def _acceptor_of(self, listener: socket.socket, kind: TransportKind) -> Acceptor:
        try:
            return Acceptor(listener, kind, self._admission, self._links, self._active)
        except OSError as error:
            # Two may bind a port at the same time, and only one may listen.
            raise CannotListen(error) from None

    async def _undo_start(self) -> None:
        """Close what a start that failed has opened. An error in doing so is logged and not raised."""
        self._is_ending = True
        self._stop_accepting()
        self._admission.close()
        self._pacing.end()
        try:
            if self.membership is not None:
                await self.membership.give_up()
            log = self._pacing.log
            if not log.refusal:
                await log.close(self._engine.ledger.version)
        except Exception:
            logger.error("the cluster or the log could not be left in order after the start failed", exc_info=True)
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
        self.state = "draining"
        self._admission.close()
        self._pacing.stop_time()
        self._engine.stop()
        # A turn takes what that has left for the log: the snapshot waits for it.
        self._pacing.begin()
        try:
            await self._drain(self._clocks.monotonic_ms() + self._active.settings.drain_timeout_ms)
        except Exception as error:
            # Nobody waits for this: a daemon that neither serves nor ends would be the worst of all.
            logger.critical("the stop failed; ending as it is, and the next start reads the log", exc_info=True)
            self._pacing.fail(error)
            self._stop_accepting()
            self._links.abort_all()
        finally:
            await self._end()

    async def _drain(self, until_ms: int) -> None:
        pacing, log = self._pacing, self._pacing.log
        self._observer.stopping()
        self._stop_accepting()
        if log.has_news and not log.refusal:
            log.take_snapshot()
        await close_links(self._links, until_ms, self._active.settings.drain_spread_ms, self._clocks)
        if self.membership is not None:
            await self.membership.leave()
        pacing.stop_timer()
        if not log.is_over and not pacing.is_broken:
            await finish_snapshot(log, until_ms, self._clocks)
            self._observer.closing()
            pacing.run_last()
            await log.close(self._engine.ledger.version)
            if log.error is not None:
                pacing.fail(LogFailed(log.error))

    def begin_stop(self) -> None:
        """Start `stop`, from where nothing can be awaited."""
        self._last_tasks.append(asyncio.get_running_loop().create_task(self.stop()))

    def drain(self) -> Stopping:
        """Start `stop`, unless it has begun, and tell how long it takes."""
        if self.state != "draining":
            self.begin_stop()
        settings = self._active.settings
        return Stopping(len(self._links), settings.drain_spread_ms, settings.drain_timeout_ms)

    def end_at_once(self, error: BaseException) -> None:
        """The server cannot go on from this."""
        self._pacing.fail(error)
        self._is_ending = True
        self._admission.close()
        self._stop_accepting()
        self._links.abort_all()
        self._last_tasks.append(asyncio.get_running_loop().create_task(self._end()))

    def _stop_accepting(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()

    async def _end(self) -> None:
        self._pulse.stop()
        self._pacing.end()
        try:
            if self._directory is not None and self._pacing.log.is_over:
                # Do this before the operators' connections close: a program that waits for that may start the next
                # daemon. While the log is not over, this process may still write to the directory.
                self._directory.close()
            await self._observer.close()
        except Exception:
            logger.error("the sockets for operators did not close in order", exc_info=True)
        finally:
            self.state = "stopped"
            self._over.set()

    async def wait(self) -> None:
        """Return once the server has ended, in order or not; raise what it could not go on from, if that is why."""
        await self._over.wait()
        if self._pacing.failure is not None:
            raise self._pacing.failure
