"""The server's side towards its operator: systemd, the admin socket, metrics over HTTP, reloads, what it shows.

Nothing in here is needed for presence, and nothing in here may hold it up: what keeps the server healthy each second is
its own `pulse`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

from presenced.ops.admin import AdminServer
from presenced.ops.figures import counted
from presenced.ops.history import History
from presenced.ops.http import HttpServer
from presenced.ops.notify import Notifier
from presenced.ops.picture import take_status
from presenced.ops.reload import ReloadReport, reload
from presenced.ops.starting import Starting, starting_of
from presenced.server.memory import LEVELS
from presenced.server.observer import Observer

if TYPE_CHECKING:
    from presenced.server.server import Server

LOOK_S = 1.0
PATIENCE_S = 5.0
DRAIN_MARGIN_MS = 10_000
CLOSING_MAX_MS = 300_000
"""systemd is asked to wait until the drain should be over and this much longer, then for the disk at most so long: it
is to end a daemon that does not end itself."""

CERTIFICATE_LOOK_MS = 24 * 3_600_000

log = logging.getLogger("presenced")


class Operations(Observer):
    """Everything an operator has of one server; made before it starts. `environ` tells of systemd, and `sockets` are
    the listening ones that systemd passed, by name."""

    def __init__(
        self,
        server: Server,
        *,
        environ: MutableMapping[str, str] | None = None,
        sockets: Mapping[str, socket.socket] | None = None,
    ) -> None:
        self.server = server
        self.history = History()
        self.notifier = Notifier(environ if environ is not None else {})
        self.admin: AdminServer | None = None
        self.http: HttpServer | None = None
        self._sockets = sockets or {}
        self._tasks: set[asyncio.Task[ReloadReport]] = set()
        self._look_timer: asyncio.TimerHandle | None = None
        self._watchdog_timer: asyncio.TimerHandle | None = None
        self._patience_timer: asyncio.TimerHandle | None = None
        self._patient_until_ms = 0
        self._is_closing = False
        self._read_percent = 0
        self._wants_reload = False
        """One was asked for before there was anything to apply it to."""
        self._reloading = asyncio.Lock()
        self._certificate_due_ms = 0
        server.observer = self

    # --- start and end ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open what is configured, or was passed by systemd. Raises `CannotListen`, `SettingsError`."""
        self._loop = asyncio.get_running_loop()
        settings, listeners = self.server.settings, self.server.listeners
        admin, http = self._sockets.get("admin"), self._sockets.get("http")
        if settings.http or http is not None:
            self.http = await HttpServer.open(self, http)
            listeners.append(self.http.url)
        if settings.admin_socket or admin is not None:
            self.admin = await AdminServer.open(self, admin)
            listeners.append(f"unix:{self.admin.path}")

    def ready(self) -> None:
        """Links are taken from now on."""
        # The start has said how it is now.
        self._certificate_due_ms = _monotonic_ms() + CERTIFICATE_LOOK_MS
        self.notifier.ready(self.status_line())
        if self.notifier.watchdog_s:
            self._feed_watchdog()
        self._look_timer = self._loop.call_later(LOOK_S, self._look)
        if self._wants_reload:
            self.begin_reload()

    def replaying(self, percent: int) -> None:
        """The data directory is being read."""
        self._read_percent = percent
        self.notifier.working(f"reading the data directory: {percent} %")

    def stopping(self) -> None:
        """The drain begins."""
        self.notifier.stopping(f"draining {counted(len(self.server.links), 'link')}")
        self._patient_until_ms = _monotonic_ms() + self.server.settings.drain_timeout_ms + DRAIN_MARGIN_MS
        self._be_patient()

    def closing(self) -> None:
        """The links are gone."""
        self._is_closing = True
        self._patient_until_ms = _monotonic_ms() + CLOSING_MAX_MS
        self._be_patient()

    def _be_patient(self) -> None:
        # Asked for again and again, because the drain may be configured to take up to an hour.
        if self._patience_timer is not None:
            self._patience_timer.cancel()
        if _monotonic_ms() >= self._patient_until_ms:
            return
        links = f"draining, {counted(len(self.server.links), 'link')} left"
        self.notifier.working("writing what is left" if self._is_closing else links)
        self._patience_timer = self._loop.call_later(PATIENCE_S, self._be_patient)

    async def close(self) -> None:
        """Close what is open. Idempotent. The operators' socket last: who waits for its end finds all else free."""
        for timer in (self._look_timer, self._watchdog_timer, self._patience_timer):
            if timer is not None:
                timer.cancel()
        try:
            if self.http is not None:
                await self.http.close()
        finally:
            if self.admin is not None:
                await self.admin.close()
            self.notifier.close()

    def begin_reload(self) -> None:
        """Start `reload`, from where nothing can be awaited; while the server starts, as soon as it has."""
        if self.server.state == "starting":
            self._wants_reload = True
            log.info("reload: put off until the start is over")
            return
        task = asyncio.get_running_loop().create_task(self.reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- each second ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._look_timer = self._loop.call_later(LOOK_S, self._look)
        self._look_at_certificate(_monotonic_ms())
        if self.admin is not None or self.http is not None:
            self.history.sample(take_status(self.server))
        if self.server.state == "serving":
            self.notifier.status(self.status_line())

    def _look_at_certificate(self, now_ms: int) -> None:
        """Warn once a day of a certificate whose end is near: nobody reloads for months where nothing renews it."""
        if now_ms < self._certificate_due_ms:
            return
        self._certificate_due_ms = now_ms + CERTIFICATE_LOOK_MS
        certificate = self.server.certificate
        if certificate is not None and (warning := certificate.warning()):
            log.warning("TLS: %s", warning)

    def _feed_watchdog(self) -> None:
        # Whether the disk makes progress is not asked: presence goes on without it, and a restart mends no disk.
        self.notifier.alive()
        self._watchdog_timer = self._loop.call_later(self.notifier.watchdog_s, self._feed_watchdog)

    # --- answers ----------------------------------------------------------------------------------------------

    def status_line(self) -> str:
        """What `systemctl status` shows."""
        server = self.server
        publisher, leases = server.engine.publisher, server.engine.leases
        refusal = server.log.refusal
        parts = [
            f"{counted(len(publisher.online), 'user')} online",
            counted(leases.live, "device"),
            counted(len(server.links), "link"),
        ]
        if server.engine.outboxes.slow:
            parts.append(counted(len(server.engine.outboxes.slow), "slow watcher"))
        if server.memory.level:
            parts.append(f"memory short: {LEVELS[server.memory.level]} links")
        parts.append(f"log {refusal or 'ok'}" if server.settings.data_dir else "in memory only")
        return ", ".join(parts)

    def starting(self) -> Starting | None:
        """How far the start is, None once it is over: till then a status cannot be taken."""
        return starting_of(self.server, self._read_percent)

    async def leave_early(self) -> None:
        """Close what is open, because the process ends before the start is over."""
        self.notifier.stopping("stopping before the start is over")
        await self.close()

    async def reload(self) -> ReloadReport:
        """Read the configuration anew, all or nothing, and say what came of it."""
        async with self._reloading:
            self.notifier.reloading()
            try:
                return await reload(self.server)
            finally:
                if self.server.state == "serving":
                    self.notifier.ready(self.status_line())


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
