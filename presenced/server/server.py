"""The server: makes its parts, hands each the others that it needs, and is the face of all of them.

No rule is in here. Time and turns are `pacing`'s, the table of links is `links`', who may come in is `admission`'s,
what is checked each second is `pulse`'s, start and end are `lifecycle`'s.
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from presenced import chat_commands
from presenced.config import Configuration
from presenced.config.certificate import Certificate
from presenced.config.settings import Settings
from presenced.core.engine import Engine
from presenced.core.requests import HANDLERS, Requests
from presenced.core.wheel import TICK_BITS
from presenced.server import renewal
from presenced.server.active_settings import ActiveSettings
from presenced.server.admission import Admission
from presenced.server.clocks import SYSTEM_CLOCKS, Clocks
from presenced.server.closed_links import ClosedLinks, LinksToClose, close_links
from presenced.server.clustering.status import ClusterStatus
from presenced.server.collector import Collector
from presenced.server.drain import Stopping
from presenced.server.fact_log import Log
from presenced.server.lifecycle import Lifecycle
from presenced.server.link_report import FoundLinks, LinkQuery, find_links
from presenced.server.links import Links
from presenced.server.memory import Memory
from presenced.server.memory_guard import MemoryGuard
from presenced.server.node_faults import alone
from presenced.server.observer import NoObserver, Observer
from presenced.server.pacing import Pacing
from presenced.server.pulse import Pulse
from presenced.server.reconfiguration import Reconfiguration, reconfigure
from presenced.server.report import Report
from presenced.server.shedding import Shedding
from presenced.server.stats import Stats
from presenced.server.zones import calendar
from presenced.storage.recovery import RecoveryFindings

if TYPE_CHECKING:
    from presenced.server.clustering.operators import Operators

logger = logging.getLogger("presenced")


class Server:
    """One listening presence server. `start`, then `stop`."""

    def __init__(
        self,
        settings: Settings,
        *,
        log: Log | None = None,
        configuration: Configuration | None = None,
        listener: socket.socket | None = None,
        collector: Collector | None = None,
        clocks: Clocks = SYSTEM_CLOCKS,
        tick_bits: int = TICK_BITS,
    ) -> None:
        """`log` keeps the facts where `settings.data_dir` is not set; without either, they are kept in memory.
        `configuration` is where the settings come from, for reloads. `listener` is a bound socket to listen on instead
        of `settings.listen`. `collector` collects garbage between turns, where the server has the process to itself.
        `tick_bits`: how fine deadlines are (`core.wheel`).

        Raises `SettingsError`, `SecretError`.
        """
        self.clocks = clocks
        self.active = ActiveSettings(settings, clocks)
        self.configuration = configuration
        now_ms = clocks.monotonic_ms()
        wall_ms = now_ms + clocks.wall_offset_ms()
        self.engine = Engine(
            settings.policy(), now_ms=now_ms, wall_ms=wall_ms, epoch=wall_ms, calendar=calendar, tick_bits=tick_bits
        )
        self.stats = Stats(now_ms, wall_ms)
        self.report = Report()
        self.memory = Memory(settings.memory_bytes, wall_ms=clocks.wall_ms)
        guard = MemoryGuard(self.memory, self.engine, self.report, clocks)
        self.pacing = Pacing(
            self.engine,
            guard,
            self.stats,
            self.report,
            clocks,
            log=log,
            check=settings.check,
            collector=collector,
        )
        requests = Requests(HANDLERS, chat_commands.HANDLERS, renewal.handlers(self.active))
        self.links = Links(self.pacing, self.active, self.engine, requests, self.stats, self.report, self.memory)
        self.admission = Admission(self.links)
        shedding = Shedding(self.memory, self.links)
        self.pulse = Pulse(self.pacing, guard, shedding, self.engine.schedules, self.stats, self.report, clocks)
        self._lifecycle = Lifecycle(self.active, self.links, self.admission, self.pacing, self.pulse, clocks, listener)

    # --- start and stop ---------------------------------------------------------------------------------------

    async def start(self, observer: Observer | None = None) -> None:
        """Read the data directory, then listen. Links are served from here on; `observer` is told of the server's life.

        While the directory is read the loop goes on, and the engine is not to be touched: `state` is `starting`.
        What is raised leaves nothing open, and a data directory that was read as after a stop in order.

        Raises `SettingsError`, `CannotListen` (port in use), what `storage.store` and `observer.open` raise, and
        `StartAbandoned` if `stop` was called meanwhile.
        """
        await self._lifecycle.start(observer if observer is not None else NoObserver())

    async def stop(self) -> None:
        """Drain: stop accepting, tell each link to come back after its own delay and close one after the other, take
        a snapshot meanwhile, mark the store as stopped in order.

        No user is announced as offline. Takes at most about `drain_timeout_ms`, and with few links far less.
        Idempotent.
        """
        await self._lifecycle.stop()

    async def leave_early(self) -> None:
        """Leave the cluster, because the process ends before the start is over."""
        await self._lifecycle.leave_early()

    def begin_stop(self) -> None:
        """Start `stop`, from where nothing can be awaited."""
        self._lifecycle.begin_stop()

    async def wait_stopped(self) -> None:
        """Return once `stop` is done; raise what the server could not go on from, if that is why."""
        await self._lifecycle.wait()

    async def reconfigure(self, to: Reconfiguration) -> None:
        """Put other settings in force; see `reconfiguration`."""
        await reconfigure(to, self.active, self.admission, self.links, self.pacing)

    async def close_links(self, wanted: LinksToClose) -> ClosedLinks:
        """Close these links here and on the other nodes, if there are any. O(links and nodes), in slices."""
        operators = self._operators
        if operators is not None:
            return await operators.close_links(wanted)
        return await close_links(self.links, wanted)

    async def find_links(self, query: LinkQuery, node: str = "") -> FoundLinks:
        """List links of all nodes, or of the one of this name. Raises `NodeFault`. O(links and nodes), in slices."""
        operators = self._operators
        if operators is not None:
            return await operators.find_links(query, node)
        if node:
            raise alone()
        return await find_links(self.links, query, self.clocks)

    async def drain(self, node: str = "") -> Stopping:
        """Begin to stop, as `begin_stop` does, or let another node do so. Raises `NodeFault`."""
        if not node:
            return self._lifecycle.drain()
        operators = self._operators
        if operators is None:
            raise alone()
        return await operators.drain(node)

    @property
    def _operators(self) -> Operators | None:
        membership = self._lifecycle.membership
        return membership.operators if membership is not None else None

    def take_snapshot(self) -> None:
        """Begin a snapshot of the state, while serving; nothing happens without a data directory."""
        if self.state == "starting":
            logger.info("snapshot: none is taken, because the daemon is starting")
        else:
            self.log.take_snapshot()

    def announce(self, url: str) -> None:
        """Add an address at which somebody who is not a client can reach the server."""
        self._lifecycle.announce(url)

    # --- what it is now ---------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """`starting`, `serving`, `draining`, `stopped`."""
        return self._lifecycle.state

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.active.settings

    @property
    def certificate(self) -> Certificate | None:
        """The certificate that new links are shown, if there is one that can be read."""
        return self.active.certificate

    @property
    def log(self) -> Log:
        """Where facts are kept."""
        return self.pacing.log

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        return self._lifecycle.port

    @property
    def listeners(self) -> list[str]:
        """Where the server can be reached, as URLs; the clients' first."""
        return self._lifecycle.listeners

    def cluster_status(self) -> ClusterStatus | None:
        """How this node stands in its cluster; None = the server is alone, or has not joined yet. O(nodes)."""
        cluster = self._lifecycle.cluster
        return cluster.status() if cluster is not None else None

    @property
    def store(self) -> str:
        """Where the state is kept; "" = in memory alone."""
        return self._lifecycle.store

    @property
    def recovered(self) -> RecoveryFindings | None:
        """What was found in the data directory; None without one."""
        return self._lifecycle.recovered
