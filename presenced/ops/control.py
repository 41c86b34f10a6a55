"""How what an operator asks is done. Knows no socket: `admin` carries it there and back.

What takes long is done in slices, with the loop in between, so that nobody's presence is late because somebody looks
at a list.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
import time
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from presenced.core.model import Session
from presenced.ops import logs
from presenced.ops.control_values import (
    AnyRequest,
    Doctor,
    Drain,
    Drained,
    History,
    Kick,
    Kicked,
    Level,
    LinkInfo,
    LinkList,
    LinkRole,
    Links,
    Loglevel,
    Reload,
    Snapshot,
    Snapshotted,
    Status,
)
from presenced.ops.doctor import Finding, diagnose
from presenced.ops.host import facts_of
from presenced.ops.picture import take_status
from presenced.server.conversation import ENDING

if TYPE_CHECKING:
    from presenced.ops.operations import Operations
    from presenced.server.conversation import Conversation

log = logging.getLogger("presenced")

SLICE_LINKS = 200
"""Links looked at between two looks at the sockets."""

SLICE_ROWS = 100
SLICE_KICKS = 10
"""Links ended between two looks at the sockets: each costs a few system calls."""

SNAPSHOT_LOOK_S = 0.02


class ControlError(Exception):
    """What was asked cannot be done. `code` is for programs, the sentence for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Caller(NamedTuple):
    """Who asks, for the log."""

    uid: int
    pid: int

    def __str__(self) -> str:
        who = "unmapped uid" if self.uid == overflow_uid() else f"uid {self.uid}"
        return f"{who} (pid {self.pid})"


@cache
def overflow_uid() -> int:
    """What the kernel says instead of a uid that has no number here, as those of others in a unit with PrivateUsers=
    (user_namespaces(7)). A unit with ProcSubset=pid cannot see it; it is 65534 unless somebody changed it."""
    try:
        return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        return 65534


class Control:
    """The requests of operators, done at one server."""

    def __init__(self, operations: Operations, socket_path: str) -> None:
        self._operations = operations
        self._server = operations.server
        self._socket_path = socket_path

    async def perform(self, request: AnyRequest, caller: Caller) -> object:
        """Do it and return the answer. What changes anything is logged. Raises `ControlError`."""
        server = self._server
        if server.state == "starting":
            raise self._is_starting()
        match request:
            case Status():
                return take_status(server)
            case Doctor():
                return self.findings()
            case Links():
                return await self._links(request)
            case Kick():
                return await self._kick(request, caller)
            case Drain():
                return self._drain(caller)
            case Snapshot():
                return await self._snapshot(request, caller)
            case Reload():
                log.info("admin: reload, asked by %s", caller)
                return await self._operations.reload()
            case Loglevel():
                return self._loglevel(request, caller)
            case History():
                return self._operations.history.series

    def _is_starting(self) -> ControlError:
        starting = self._operations.starting()
        assert starting is not None
        return ControlError("starting", f"{starting.sentence}; ask again in a moment")

    def findings(self) -> list[Finding]:
        """What the doctor says of the server."""
        status = take_status(self._server)
        facts = facts_of(self._server, status, self._socket_path)
        return diagnose(status, self._server.settings, facts, self._operations.history.earlier(status))

    # --- links ------------------------------------------------------------------------------------------------

    async def _links(self, request: Links) -> LinkList:
        """O(links), and O(links log limit) for the order; in slices."""
        total = matching = 0
        holders = {session.edge for session in self._holding(request.user)}
        best: list[tuple[int, int, Conversation]] = []
        async for links in self._slices():
            found: list[tuple[int, int, Conversation]] = []
            for link in links:
                total += 1
                is_of_user = _fits(link, request.user, request.role)
                is_holder = link in holders and _fits(link, "", request.role)
                if (is_of_user or is_holder) and not (request.slow and not _is_slow(link)):
                    matching += 1
                    # The running number decides between equals, and keeps links themselves from being compared.
                    found.append((_key(link, request.sort), total, link))
            best = heapq.nlargest(request.limit, [*best, *found])
        rows: list[msgspec.Raw] = []
        now_ms = time.monotonic_ns() // 1_000_000
        for at in range(0, len(best), SLICE_ROWS):
            await asyncio.sleep(0)
            rows.extend(
                msgspec.Raw(msgspec.json.encode(link_info(link, now_ms)))
                for _, _, link in best[at : at + SLICE_ROWS]
                if link.state < ENDING
            )
        return LinkList(total, matching, rows)

    async def _kick(self, request: Kick, caller: Caller) -> Kicked:
        if not request.user and request.role is None:
            raise ControlError("bad_request", "whom? give user (USER or USER/DEVICE), or role, or both")
        chosen: list[Conversation] = []
        async for links in self._slices():
            chosen.extend(link for link in links if _fits(link, request.user, request.role))
        number = 0
        for at, link in enumerate(chosen):
            if at % SLICE_KICKS == 0:
                await asyncio.sleep(0)
            if link.state < ENDING:
                number += 1
                # Each comes back at its own moment, so that they do not all come at once.
                link.end("kicked", request.message, request.retry_ms + random.randint(0, request.retry_ms))
        whom = ", ".join(
            [*([repr(request.user)] if request.user else []), *([f"role {request.role}"] if request.role else [])]
        )
        log.info("admin: kick %s, %d links closed, asked by %s", whom, number, caller)
        return Kicked(number, self._holders(request.user, {*chosen}))

    def _holders(self, name: str, closed: set[Conversation]) -> list[str]:
        """Services that still hold devices of the user. O(devices)."""
        return [session.user_name for session in self._holding(name) if session.edge not in closed]

    def _holding(self, name: str) -> list[Session]:
        """Links of services that hold devices of the user, or the one device of `user/device`. O(devices)."""
        user_name, _, device_id = name.partition("/")
        user = self._server.engine.users.get(user_name)
        if user is None:
            return []
        sessions = {
            device.session: None
            for device in user.devices.values()
            if device.session is not None and device.session.role != "user" and device_id in ("", device.id)
        }
        return list(sessions)

    async def _slices(self) -> AsyncIterator[list[Conversation]]:
        """All links that are not ending, some at a time; what comes and goes meanwhile may be missed."""
        everyone = list(self._server.links)
        for at in range(0, len(everyone), SLICE_LINKS):
            # Also after the copy: of many links that lie cold in memory it takes most of a millisecond.
            await asyncio.sleep(0)
            yield [link for link in everyone[at : at + SLICE_LINKS] if link.state < ENDING]

    # --- the daemon -------------------------------------------------------------------------------------------

    def _drain(self, caller: Caller) -> Drained:
        server = self._server
        if server.state != "draining":
            log.info("admin: drain, asked by %s", caller)
            server.begin_stop()
        settings = server.settings
        return Drained(len(server.links), settings.drain_spread_ms, settings.drain_timeout_ms)

    async def _snapshot(self, request: Snapshot, caller: Caller) -> Snapshotted:
        server = self._server
        before = take_status(server).log
        if before is None:
            raise ControlError("no_data_dir", "the state is in memory only; a snapshot takes a data directory")
        begun = not before.snapshot_running
        if begun:
            log.info("admin: snapshot, asked by %s", caller)
            server.take_snapshot()
        if not request.wait:
            return Snapshotted(begun, False, 0, 0)
        while True:
            now = take_status(server).log
            if now is None or now.state in ("failed", "closed"):
                raise ControlError("snapshot_failed", "the log has ended, and the snapshot with it; see the log")
            if not now.snapshot_running:
                break
            await asyncio.sleep(SNAPSHOT_LOOK_S)
        if now.snapshots == before.snapshots:
            raise ControlError("snapshot_failed", "the snapshot was given up; the daemon's log says why")
        return Snapshotted(begun, True, now.snapshot_bytes, now.snapshot_took_ms)

    def _loglevel(self, request: Loglevel, caller: Caller) -> Level:
        if request.level is not None:
            # While the log still says so, or as soon as it does again.
            was_heard = log.isEnabledFor(logging.INFO)
            if was_heard:
                log.info("admin: log level %s, asked by %s", request.level, caller)
            logs.set_level(request.level)
            if not was_heard:
                log.info("admin: log level %s, asked by %s", request.level, caller)
        return Level(logs.level())


def link_info(link: Conversation, now_ms: int) -> LinkInfo:
    """One link as an operator sees it. O(1)."""
    session = link.session
    age_ms = now_ms - link.since_ms
    if session is None:
        return LinkInfo("", "", "none", link.peer, age_ms, -1, 0, 0, 0, False)
    held, device = session.held, session.device
    # A device's own link is heard of through the device.
    heard_ms = max(session.heard_ms, device.heard_ms) if device is not None else session.heard_ms
    return LinkInfo(
        session.user_name,
        device.id if device is not None else "",
        session.role,
        link.peer,
        age_ms,
        now_ms - heard_ms,
        len(session.watching or ()),
        len(session.refs or ()),
        len(held or ()),
        held is not None,
    )


def _fits(link: Conversation, user: str, role: LinkRole | None) -> bool:
    session = link.session
    if role is not None and role != ("none" if session is None else session.role):
        return False
    if not user:
        return True
    if session is None:
        return False
    name, _, device = user.partition("/")
    return session.user_name == name and (not device or (session.device is not None and session.device.id == device))


def _is_slow(link: Conversation) -> bool:
    return link.session is not None and link.session.held is not None


def _key(link: Conversation, sort: str) -> int:
    """What the largest of comes first."""
    session = link.session
    if sort == "since":
        return link.since_ms
    if session is None:
        return -1
    return len((session.held if sort == "held" else session.watching) or ())
