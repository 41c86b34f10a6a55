"""Carries out what an operator asks. Knows no socket: `admin` carries the question here and the answer back.

What takes long goes in slices, with the event loop in between, so that nobody's presence is late because an operator
looks at a list.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from presenced.ops import logs
from presenced.ops.admin_messages import (
    AdminCluster,
    AdminDoctor,
    AdminDrain,
    AdminHistory,
    AdminKick,
    AdminLinks,
    AdminLoglevel,
    AdminReload,
    AdminSnapshot,
    AdminStatus,
    AdminWebhooks,
    AnyRequest,
    Drained,
    Kicked,
    Level,
    LinkList,
    Snapshotted,
)
from presenced.ops.examination import Examination
from presenced.ops.history import History
from presenced.ops.reload import ReloadReport
from presenced.server.closed_links import LinksToClose
from presenced.server.link_report import SLICE_ROWS, LinkFilter, LinkQuery
from presenced.server.node_faults import NodeFault, alone

if TYPE_CHECKING:
    from presenced.server.server import Server

log = logging.getLogger("presenced")

SNAPSHOT_CHECK_S = 0.02


class ControlError(Exception):
    """A request cannot be carried out. `code` is for programs, the sentence for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Caller(NamedTuple):
    """The process that asks, for the log."""

    uid: int
    pid: int

    def __str__(self) -> str:
        name = "unmapped uid" if self.uid == overflow_uid() else f"uid {self.uid}"
        return f"{name} (pid {self.pid})"


@cache
def overflow_uid() -> int:
    """The number that the kernel shows for a user without a number here, such as another user in a unit with
    PrivateUsers= (user_namespaces(7)). A unit with ProcSubset=pid cannot read it; it is 65534 unless it was changed."""
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return 65534


class Control:
    """The requests of operators, carried out at one server."""

    def __init__(
        self,
        server: Server,
        examination: Examination,
        history: History,
        *,
        starting: Callable[[], str],
        reload: Callable[[], Awaitable[ReloadReport]],
        test_webhooks: Callable[[], Awaitable[object]],
    ) -> None:
        """`starting` returns how far the start is, in words, and "" once it is over; until then nothing is carried
        out."""
        self._server = server
        self._examination = examination
        self._history = history
        self._starting = starting
        self._reload = reload
        self._test_webhooks = test_webhooks

    async def perform(self, request: AnyRequest, caller: Caller) -> object:
        """Carry out the request and return its answer. What changes anything is logged. Raises `ControlError`."""
        if isinstance(request, AdminCluster) and (cluster := self._server.cluster_status()) is not None:
            return cluster
        if sentence := self._starting():
            raise ControlError("starting", f"{sentence}; ask again in a moment")
        match request:
            case AdminStatus():
                return self._examination.status()
            case AdminDoctor():
                return self._examination.findings(self._examination.status())
            case AdminLinks():
                return await self._links(request)
            case AdminKick():
                return await self._kick(request, caller)
            case AdminDrain():
                return await self._drain(request, caller)
            case AdminSnapshot():
                return await self._snapshot(request, caller)
            case AdminReload():
                log.info("admin: reload, asked by %s", caller)
                return await self._reload()
            case AdminLoglevel():
                return self._loglevel(request, caller)
            case AdminHistory():
                return self._history.series
            case AdminCluster():
                raise ControlError("no_cluster", alone().sentence)
            case AdminWebhooks():
                return await self._webhooks(request, caller)

    # --- links ------------------------------------------------------------------------------------------------

    async def _links(self, request: AdminLinks) -> LinkList:
        """As `Server.find_links`."""
        which = LinkFilter(request.user, request.role, request.slow)
        try:
            found = await self._server.find_links(LinkQuery(which, request.sort, request.limit), request.node)
        except NodeFault as fault:
            raise ControlError(fault.code, fault.sentence) from None
        rows: list[msgspec.Raw] = []
        for at in range(0, len(found.links), SLICE_ROWS):
            await asyncio.sleep(0)
            rows.extend(msgspec.Raw(msgspec.json.encode(row)) for row in found.links[at : at + SLICE_ROWS])
        return LinkList(found.total, found.matching, rows, found.silent)

    async def _kick(self, request: AdminKick, caller: Caller) -> Kicked:
        if not request.user and request.role is None:
            raise ControlError("bad_request", "nobody is named; give user (USER or USER/DEVICE), or role, or both")
        if request.gone and (request.role is not None or "/" in request.user):
            raise ControlError("bad_request", "gone is for all devices of a user; give the user alone")
        wanted = LinksToClose(request.user, request.role, request.message, request.retry_ms, request.gone)
        closed = await self._server.close_links(wanted)
        whom = ", ".join(
            [*([repr(request.user)] if request.user else []), *([f"role {request.role}"] if request.role else [])]
        )
        log.info("admin: kick %s, %d links closed, asked by %s", whom, closed.links, caller)
        return Kicked(closed.links, closed.held_by, closed.elsewhere, closed.silent)

    # --- the daemon -------------------------------------------------------------------------------------------

    async def _drain(self, request: AdminDrain, caller: Caller) -> Drained:
        server = self._server
        if request.node or server.state != "draining":
            log.info("admin: drain%s, asked by %s", f" of the node {request.node!r}" if request.node else "", caller)
        try:
            stopping = await server.drain(request.node)
        except NodeFault as fault:
            raise ControlError(fault.code, fault.sentence) from None
        node = request.node if stopping.incarnation else ""
        return Drained(stopping.links, stopping.spread_ms, stopping.timeout_ms, node, stopping.incarnation)

    async def _snapshot(self, request: AdminSnapshot, caller: Caller) -> Snapshotted:
        before = self._server.log.status()
        if before is None:
            raise ControlError("no_data_dir", "the state is in memory only; a snapshot needs a data directory")
        begun = not before.snapshot_running
        if begun:
            log.info("admin: snapshot, asked by %s", caller)
            self._server.take_snapshot()
        if not request.wait:
            return Snapshotted(begun, False, 0, 0)
        while True:
            now = self._server.log.status()
            if now is None or now.state in ("failed", "closed"):
                raise ControlError("snapshot_failed", "the log has ended, and the snapshot with it; see the log")
            if not now.snapshot_running:
                break
            await asyncio.sleep(SNAPSHOT_CHECK_S)
        if now.snapshots == before.snapshots:
            raise ControlError("snapshot_failed", "the snapshot was given up; the daemon's log says why")
        return Snapshotted(begun, True, now.snapshot_bytes, now.snapshot_took_ms)

    async def _webhooks(self, request: AdminWebhooks, caller: Caller) -> object:
        now = self._examination.status().webhooks
        if now is None:
            raise ControlError("no_webhooks", "no webhooks are configured; set webhooks.url, and reload")
        if not request.test:
            return now
        log.info("admin: test of webhooks, asked by %s", caller)
        return await self._test_webhooks()

    def _loglevel(self, request: AdminLoglevel, caller: Caller) -> Level:
        if request.level is not None:
            # The line is written while the level still lets it through, or else as soon as it does.
            was_heard = log.isEnabledFor(logging.INFO)
            if was_heard:
                log.info("admin: log level %s, asked by %s", request.level, caller)
            logs.set_level(request.level)
            if not was_heard:
                log.info("admin: log level %s, asked by %s", request.level, caller)
        return Level(logs.level())
