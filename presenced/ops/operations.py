"""The server's side towards its operator: systemd, the admin socket, metrics over HTTP, and reloads.

Presence needs nothing in here, and nothing in here may hold it up. What keeps the server healthy each second belongs to
the server itself.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

from presenced.ops.admin import AdminServer, SocketPlace
from presenced.ops.control import Control
from presenced.ops.examination import Examination
from presenced.ops.formats import counted
from presenced.ops.history import History
from presenced.ops.notifier import Notifier
from presenced.ops.reload import ReloadReport, reload
from presenced.ops.startup import Starting, starting_of
from presenced.ops.webhook_host import WebhookHost
from presenced.server.status import ServerStatus

if TYPE_CHECKING:
    from presenced.http.listener import HttpServer
    from presenced.server.server import Server

SAMPLE_S = 1.0
PATIENCE_S = 5.0
DRAIN_MARGIN_MS = 10_000
CLOSING_MAX_MS = 300_000
"""systemd is asked to wait for the drain and DRAIN_MARGIN_MS longer, and then at most CLOSING_MAX_MS for the disk: it
has to end a daemon that does not end by itself."""

CERTIFICATE_CHECK_MS = 24 * 3_600_000

log = logging.getLogger("presenced")


class Operations:
    """Everything an operator has of one server, and the `Observer` that the server is started with. `environ` tells of
    systemd, and `sockets` are the listening sockets that systemd passed, by name."""

    def __init__(
        self,
        server: Server,
        *,
        environ: MutableMapping[str, str] | None = None,
        sockets: Mapping[str, socket.socket] | None = None,
    ) -> None:
        self.server = server
        self.history = History()
        self.webhooks = WebhookHost(server)
        self.examination = Examination(server, self.history, self.webhooks.status)
        self.notifier = Notifier(environ if environ is not None else {})
        self.admin: AdminServer | None = None
        self.http: HttpServer | None = None
        self._sockets = sockets or {}
        self._tasks: set[asyncio.Task[ReloadReport]] = set()
        self._sample_timer: asyncio.TimerHandle | None = None
        self._watchdog_timer: asyncio.TimerHandle | None = None
        self._patience_timer: asyncio.TimerHandle | None = None
        self._patient_until_ms = 0
        self._is_closing = False
        self._read_percent = 0
        self._wants_reload = False
        """A reload was asked for while the server started."""
        self._reloading = asyncio.Lock()
        self._certificate_due_ms = 0

    @property
    def demo_url(self) -> str:
        """The address of the demo; empty where there is none."""
        return f"{self.http.url}/" if self.http is not None and self.http.url and self.server.settings.has_demo else ""

    # --- start and end ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the sockets that are configured or that systemd passed. Raises `CannotListen`, `SettingsError`."""
        self._loop = asyncio.get_running_loop()
        self.webhooks.open()
        settings = self.server.settings
        admin, http = self._sockets.get("admin"), self._sockets.get("http")
        if settings.http or http is not None:
            self.http = self._make_http()
            if settings.listen_shared and http is None:
                self.http.claim(settings.http)
            else:
                await self.http.listen(settings.http, http)
            self.server.announce(self.http.url)
            if settings.http_own:
                self.server.announce(self.http.listen_besides(settings.http_own))
        if settings.admin_socket or admin is not None:
            self.admin = await self._open_admin(admin)
            self.examination.add_socket(self.admin.path)
            self.server.announce(f"unix:{self.admin.path}")

    def _make_http(self) -> HttpServer:
        # Late: a daemon without HTTP saves the memory and the start of this and of the libraries behind it.
        from presenced.ops.http_listener import http_listener

        return http_listener(self.server, self.examination, self.history, self.starting)

    async def _open_admin(self, sock: socket.socket | None) -> AdminServer:
        settings = self.server.settings
        control = Control(
            self.server,
            self.examination,
            self.history,
            starting=self._starting_sentence,
            reload=self.reload,
            test_webhooks=self.webhooks.test,
        )
        place = SocketPlace(settings.admin_socket, settings.admin_mode, settings.admin_group)
        return await AdminServer.open(control, place, sock)

    def ready(self) -> None:
        """The server accepts links from now on. Raises `CannotListen`."""
        if self.http is not None:
            # Until now the other nodes at this address took who came.
            self.http.share()
        # The start has already told of the certificate.
        self._certificate_due_ms = self.server.clocks.monotonic_ms() + CERTIFICATE_CHECK_MS
        self.notifier.ready(status_line(self.examination.status()))
        if self.notifier.watchdog_s:
            self._feed_watchdog()
        self._sample_timer = self._loop.call_later(SAMPLE_S, self._each_second)
        self.webhooks.ready()
        if self._wants_reload:
            self.begin_reload()

    def replaying(self, percent: int) -> None:
        """The data directory is being read."""
        self._read_percent = percent
        self.notifier.working(f"reading the saved state: {percent} %")

    def stopping(self) -> None:
        """The drain begins."""
        if self.http is not None:
            self.http.stop_sharing()
        self.notifier.stopping(f"draining {counted(len(self.server.links), 'link')}")
        drain_ms = self.server.settings.drain_timeout_ms + DRAIN_MARGIN_MS
        self._patient_until_ms = self.server.clocks.monotonic_ms() + drain_ms
        self.webhooks.stop()
        self._be_patient()

    def closing(self) -> None:
        """The links are gone."""
        self._is_closing = True
        self._patient_until_ms = self.server.clocks.monotonic_ms() + CLOSING_MAX_MS
        self._be_patient()

    def _be_patient(self) -> None:
        # systemd is asked again and again, because the drain may be configured to take up to an hour.
        if self._patience_timer is not None:
            self._patience_timer.cancel()
        if self.server.clocks.monotonic_ms() >= self._patient_until_ms:
            return
        links = f"draining, {counted(len(self.server.links), 'link')} left"
        self.notifier.working("writing what is left" if self._is_closing else links)
        self._patience_timer = self._loop.call_later(PATIENCE_S, self._be_patient)

    async def close(self) -> None:
        """Close what is open, the admin socket last: a program that waits for its end then finds all else free.
        Idempotent."""
        for timer in (self._sample_timer, self._watchdog_timer, self._patience_timer):
            if timer is not None:
                timer.cancel()
        try:
            await self.webhooks.close()
            if self.http is not None:
                await self.http.close()
        finally:
            if self.admin is not None:
                await self.admin.close()
            self.notifier.close()

    def begin_reload(self) -> None:
        """Start `reload`, from where nothing can be awaited. While the server starts, the reload waits for the end of
        the start."""
        if self.server.state == "starting":
            self._wants_reload = True
            log.info("reload: put off until the start is over")
            return
        task = asyncio.get_running_loop().create_task(self.reload())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- each second ------------------------------------------------------------------------------------------

    def _each_second(self) -> None:
        self._sample_timer = self._loop.call_later(SAMPLE_S, self._each_second)
        self._check_certificate(self.server.clocks.monotonic_ms())
        status = self.examination.status()
        if self.admin is not None or self.http is not None:
            self.history.sample(status)
        if self.server.state == "serving":
            self.notifier.status(status_line(status))

    def _check_certificate(self, now_ms: int) -> None:
        """Warn once a day of a certificate that ends soon: without a renewal there may be no reload for months."""
        if now_ms < self._certificate_due_ms:
            return
        self._certificate_due_ms = now_ms + CERTIFICATE_CHECK_MS
        certificate = self.server.certificate
        if certificate is not None and (warning := certificate.warning()):
            log.warning("TLS: %s", warning)

    def _feed_watchdog(self) -> None:
        # The disk is not asked for progress: presence goes on without it, and a restart mends no disk.
        self.notifier.alive()
        self._watchdog_timer = self._loop.call_later(self.notifier.watchdog_s, self._feed_watchdog)

    # --- answers ----------------------------------------------------------------------------------------------

    def starting(self) -> Starting | None:
        """How far the start is; None once it is over. Until then a status cannot be taken."""
        return starting_of(self.server, self._read_percent)

    def _starting_sentence(self) -> str:
        starting = self.starting()
        return starting.sentence if starting is not None else ""

    async def leave_early(self) -> None:
        """Close what is open, because the process ends before the start is over."""
        self.notifier.stopping("stopping before the start is over")
        await self.server.leave_early()
        await self.close()

    async def reload(self) -> ReloadReport:
        """Read the configuration again, apply all of it or nothing, and say what came of it."""
        async with self._reloading:
            self.notifier.reloading()
            try:
                return await reload(self.server, self.webhooks)
            finally:
                if self.server.state == "serving":
                    self.notifier.ready(status_line(self.examination.status()))


def status_line(status: ServerStatus) -> str:
    """The line that `systemctl status` shows."""
    parts = [
        f"{counted(status.users_online, 'user')} online",
        counted(status.devices_connected + status.devices_grace, "device"),
        counted(status.links, "link"),
    ]
    if status.slow_watchers:
        parts.append(counted(status.slow_watchers, "slow watcher"))
    if status.memory.level != "ok":
        parts.append(f"memory short: {status.memory.level} links")
    if status.cluster is not None:
        parts.append(f"node {status.cluster.state}, one of {len(status.cluster.nodes)}")
    parts.append(f"log {status.log.state}" if status.log is not None else "in memory only")
    return ", ".join(parts)
