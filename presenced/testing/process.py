"""One life of a server inside the process of the test: the real parts, without listeners, and with a disk in memory.

It starts from what the disk has, and ends in order or as by `kill -9`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from msgspec.structs import replace

from presenced import limits
from presenced.config.settings import Settings
from presenced.core.restorer import Restorer
from presenced.server.clocks import Clocks
from presenced.server.drain import close_links
from presenced.server.key_ring import KeyRing
from presenced.server.server import Server
from presenced.testing.disk import Disk, KeepingLog, dump

LINKS_MAX = 100_000


class _Handle:
    """Something that a server will do, unless it is cancelled."""

    def __init__(self, call: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self._call: Callable[..., object] | None = call
        self._arguments = arguments

    def cancel(self) -> None:
        self._call = None

    def run(self) -> None:
        if self._call is not None:
            self._call(*self._arguments)


class _ProcessLoop:
    """What a server takes for its loop: it can stand still, as a process that was stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_paused = False
        self._late: deque[_Handle] = deque()

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> _Handle:
        handle = _Handle(call, arguments)
        self._loop.call_soon(self._come, handle)
        return handle

    def call_later(self, delay_s: float, call: Callable[..., object], *arguments: Any) -> _Handle:
        handle = _Handle(call, arguments)
        self._loop.call_later(delay_s, self._come, handle)
        return handle

    def _come(self, handle: _Handle) -> None:
        if self._is_paused:
            self._late.append(handle)
        else:
            handle.run()

    def pause(self) -> None:
        self._is_paused = True

    def go_on(self) -> None:
        """What came due meanwhile is done in the next pass."""
        self._is_paused = False
        while self._late:
            self._loop.call_soon(self._come, self._late.popleft())


class Process:
    """A running server."""

    def __init__(self, settings: Settings, clocks: Clocks, disk: Disk, secret: bytes) -> None:
        """Starts on a disk, on the running loop. With a `secret`, links need tokens that it signs.

        Raises `SettingsError`.
        """
        self.log = KeepingLog()
        self.failure: BaseException | None = None
        """What the server could not go on from."""
        self._clocks = clocks
        self._disk = disk
        self._loop = _ProcessLoop(asyncio.get_running_loop())
        self.server = server = Server(settings, log=self.log, clocks=clocks, tick_bits=0)
        if secret:
            server.active.adopt(replace(settings, dev=False), None, KeyRing((secret,)))
        server.admission.set_links_max(LINKS_MAX)
        self._restore()
        with _running(cast(asyncio.AbstractEventLoop, self._loop)):
            server.pacing.start(server.links, on_failure=self._failed)
        server.pacing.run_first()

    def _restore(self) -> None:
        engine, disk, now_ms = self.server.engine, self._disk, self._clocks.monotonic_ms()
        wall_ms = self._clocks.wall_ms()
        disk.note_start(wall_ms)
        if not disk.epoch:
            engine.ledger.continue_from(disk.next_epoch(wall_ms), 0, now_ms)
            return
        engine.wheel.advance(now_ms, 1)
        restorer = Restorer(engine, now_ms)
        restorer.apply_log(disk.facts)
        engine.ledger.continue_from(disk.epoch, disk.version, now_ms)
        restorer.finish(
            grace_ms=limits.RESTART_GRACE_MS,
            spread_ms=0,
            version_gap=0 if disk.is_clean else limits.VERSION_GAP,
            stopped_wall_ms=disk.seen_ms,
            starts=disk.starts,
        )
        engine.catch_up(now_ms)
        self.log.begin(dump(engine, now_ms))

    def _failed(self, error: BaseException) -> None:
        self.failure = self.failure or error

    def refuse_to_save(self, code: str) -> None:
        """Save nothing from now on, for this reason (an error code); empty: save again."""
        self.log.refuse(code)
        self.server.engine.set_read_only(code)

    def pause(self) -> None:
        """It stands still: what comes due waits."""
        self._loop.pause()

    def go_on(self) -> None:
        """It goes on as a process that was stopped for a while."""
        self._loop.go_on()

    async def stop(self) -> None:
        """End in order: every link is told when to come back, and nobody is announced as offline."""
        server, clocks, drain_ms = self.server, self._clocks, self.server.settings.drain_timeout_ms
        server.admission.close()
        server.pacing.stop_time()
        server.engine.stop()
        server.pacing.begin()
        until_ms = clocks.monotonic_ms() + drain_ms
        await close_links(server.links, until_ms, server.settings.drain_spread_ms, clocks)
        server.pacing.stop_timer()
        server.pacing.run_last()
        server.pacing.end()
        facts = self.log.saved if self.log.refusal else dump(server.engine, clocks.monotonic_ms())
        self._disk.keep(server.engine, facts, clocks.wall_ms(), is_clean=True)

    def kill(self) -> None:
        """End as by `kill -9`: nobody is told anything, and the disk is as it is."""
        server = self.server
        server.pacing.end()
        server.admission.close()
        self._disk.keep(server.engine, self.log.saved, self._clocks.wall_ms(), is_clean=False)


@contextmanager
def _running(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """The loop is the one that runs, for whoever asks."""
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(before)
