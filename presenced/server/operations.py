"""The server's side towards its operator: systemd, the admin socket, metrics over HTTP, reloads, a look each second.

Nothing in here is needed for presence, and nothing in here may hold it up.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from presenced.server.admin import AdminServer
from presenced.server.history import History
from presenced.server.http import HttpServer
from presenced.server.notify import Notifier
from presenced.server.picture import take_status
from presenced.server.reload import ReloadReport, reload

if TYPE_CHECKING:
    from presenced.server.server import Server

LOOK_S = 1.0
WALL_JUMP_MS = 500
"""The wall clock is set this much forward or back against the monotonic one: it jumped."""

log = logging.getLogger("presenced")


class Operations:
    """`open` when the state stands, `ready` when links are taken, `close` at the end."""

    def __init__(self, server: Server, inherited: dict[str, socket.socket]) -> None:
        self.history = History()
        self.notifier = Notifier(os.environ)
        self.admin: AdminServer | None = None
        self.http: HttpServer | None = None
        self._server = server
        self._inherited = inherited
        self._tasks: set[asyncio.Task[Any]] = set()
        self._look_timer: asyncio.TimerHandle | None = None
        self._watchdog_timer: asyncio.TimerHandle | None = None
        self._reloading = asyncio.Lock()
        self._wall_offset_ms = 0
        self._base_descriptors = 0

    # --- start and end ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open what is configured, or was passed by systemd. Raises `CannotListen`, `SettingsError`."""
        settings = self._server.settings
        admin, http = self._inherited.pop("admin", None), self._inherited.pop("http", None)
        if settings.admin_socket or admin is not None:
            self.admin = await AdminServer.open(self._server, admin)
        if settings.http or http is not None:
            self.http = await HttpServer.open(self._server, http)

    def ready(self) -> None:
        """Links are taken from now on."""
        self._loop = asyncio.get_running_loop()
        self._base_descriptors = len(os.listdir("/proc/self/fd"))
        self._wall_offset_ms = _wall_offset_ms()
        self.notifier.ready(self.status_line())
        if self.notifier.watchdog_s:
            self._feed_watchdog()
        if self.notifier.active or self.admin is not None or self.http is not None:
            self._look_timer = self._loop.call_later(LOOK_S, self._look)

    def replaying(self, percent: int) -> None:
        """The data directory is being read."""
        self.notifier.working(f"reading the data directory: {percent} %")

    def stopping(self) -> None:
        """The drain begins."""
        self.notifier.stopping(f"draining {len(self._server.links):,} links")

    async def close(self) -> None:
        """Close what is open. Idempotent."""
        for timer in (self._look_timer, self._watchdog_timer):
            if timer is not None:
                timer.cancel()
        if self.admin is not None:
            await self.admin.close()
        if self.http is not None:
            await self.http.close()
        self.notifier.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run a task of the operator's, from where nothing can be awaited."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- each second ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        self._look_timer = self._loop.call_later(LOOK_S, self._look)
        stats = self._server.stats
        offset_ms = _wall_offset_ms()
        if abs(offset_ms - self._wall_offset_ms) > WALL_JUMP_MS:
            stats.wall_jumps += 1
            stats.wall_jump_ms = offset_ms - self._wall_offset_ms
            log.warning(
                "clock: the system's clock was set by %+d ms; what is displayed follows it, no deadline does",
                stats.wall_jump_ms,
            )
        self._wall_offset_ms = offset_ms
        self.history.sample(take_status(self._server))
        if self._server.state == "serving":
            self.notifier.status(self.status_line())

    def _feed_watchdog(self) -> None:
        # Whether the disk makes progress is not asked: presence goes on without it, and a restart mends no disk.
        self.notifier.alive()
        self._watchdog_timer = self._loop.call_later(self.notifier.watchdog_s, self._feed_watchdog)

    # --- answers ----------------------------------------------------------------------------------------------

    def status_line(self) -> str:
        """What `systemctl status` shows."""
        server = self._server
        publisher, leases = server.engine.publisher, server.engine.leases
        refusal = server.log.refusal
        kept = ("log ok" if not refusal else f"log {refusal}") if server.settings.data_dir else "in memory only"
        slow = f", {len(publisher.slow):,} slow watchers" if publisher.slow else ""
        return f"{len(publisher.online):,} users online, {leases.live:,} devices, {len(server.links):,} links{slow}, {kept}"

    def listeners(self) -> list[str]:
        """Where the server can be reached, as URLs."""
        server = self._server
        host = f"[{server.host}]" if ":" in server.host else server.host
        urls = [f"{'presences' if server.settings.tls_cert else 'presence'}://{host}:{server.port}"]
        if self.http is not None:
            urls.append(self.http.url)
        if self.admin is not None:
            urls.append(f"unix:{self.admin.path}")
        return urls

    def descriptors(self) -> int:
        """Open file descriptors. The kernel tells their number since Linux 6.2; before, it is estimated."""
        return os.stat("/proc/self/fd").st_size or self._base_descriptors + len(self._server.links)

    async def reload(self) -> ReloadReport:
        """Read the configuration anew, all or nothing, and say what came of it."""
        async with self._reloading:
            self.notifier.reloading()
            try:
                return await reload(self._server)
            finally:
                if self._server.state == "serving":
                    self.notifier.ready(self.status_line())


def _wall_offset_ms() -> int:
    return (time.time_ns() - time.monotonic_ns()) // 1_000_000
