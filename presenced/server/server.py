"""The server: listens, reads the clock, runs the turns, and stops in order.

It owns what belongs to no single link: the engine, the log, the queues of links that wait for a fixed time, and the
one timer that wakes the loop for the next turn.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import time
from collections import Counter
from typing import cast

from presenced import limits
from presenced.config.settings import Durability, Settings
from presenced.core import invariants
from presenced.core.delays import DelayQueue
from presenced.core.engine import Engine
from presenced.server.durable import DurableLog, LogFailed
from presenced.server.identity import Identity, believe, load_secret, verify
from presenced.server.link import AWAITING, CLOSED, ENDING, Link
from presenced.server.listening import CannotListen, links_max_for, listen, tls_context
from presenced.server.report import Report
from presenced.server.turn import Log, MemoryLog, run_turn
from presenced.server.zones import calendar
from presenced.storage.files import OsDirectory
from presenced.storage.recovery import Findings
from presenced.wire.frames import frame
from presenced.wire.messages import Goodbye, Hello, Role, encode

BACKLOG_CONNECTIONS = 4096
UNLIMITED = 1 << 60


class Server:
    """One listening presence server. `start`, then `stop`; `port` is the one it got."""

    def __init__(self, settings: Settings, *, log: Log | None = None) -> None:
        settings.validate()
        self.settings = settings
        now_ms, wall_ms = _monotonic_ms(), _wall_ms()
        self.engine = Engine(settings.policy(), now_ms=now_ms, wall_ms=wall_ms, epoch=wall_ms, calendar=calendar)
        self.log: Log = log if log is not None else MemoryLog()
        self.recovered: Findings | None = None
        """What was found in the data directory."""
        self.report = Report()
        self.port = 0
        self.links: dict[Link, None] = {}
        self.links_max = 0
        self.goodbyes: Counter[str] = Counter()
        """Links ended by the server, by code."""
        self.stalls = 0
        self.failed: BaseException | None = None
        """What broke the turn itself; the server stops for it."""
        # Links that wait for a fixed time. Each is looked at again when it comes out.
        self.hello_due: DelayQueue[Link] = DelayQueue(limits.HELLO_TIMEOUT_MS)
        self.partials: DelayQueue[Link] = DelayQueue(limits.FRAME_TIMEOUT_MS)
        self.throttled: DelayQueue[Link] = DelayQueue(limits.THROTTLE_MS)
        self.ending: DelayQueue[Link] = DelayQueue(limits.CLOSE_TIMEOUT_MS)
        self.backlog: list[Link] = []
        """Links with whole frames left over for the next turn."""
        self._secret = b"" if settings.dev else load_secret(settings.secret_file)
        self._began_ms = now_ms
        """When the input of the coming turn began to be read."""
        self._turn_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._catching_up = False
        """The turn has been put off once because the process stood still."""
        self._listener: asyncio.Server | None = None
        self._stopping = False
        self._stopped = asyncio.Event()

    # --- start and stop ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the data directory, then listen. Links are served from here on.

        Raises `SettingsError`, `CannotListen` (port in use), and what `storage.store` raises.
        """
        self._loop = asyncio.get_running_loop()
        self.links_max = links_max_for(self.settings.max_links)
        tls = tls_context(self.settings)
        # The port is claimed first: finding it taken must not cost a replay.
        try:
            listener = listen(*self.settings.address())
        except OSError as error:
            raise CannotListen(error) from None
        self.port = listener.getsockname()[1]
        try:
            if self.settings.data_dir:
                self._open_data_dir()
        except BaseException:
            listener.close()
            raise
        self._listener = await self._loop.create_server(
            self._accept,
            sock=listener,
            backlog=BACKLOG_CONNECTIONS,
            ssl=tls,
            ssl_handshake_timeout=limits.TLS_HANDSHAKE_S if tls else None,
        )
        # What exists now lives for ever: collections need not walk it again.
        gc.freeze()

    def _open_data_dir(self) -> None:
        durable = DurableLog(OsDirectory(self.settings.data_dir), Durability.parse(self.settings.durability))
        now_ms = _monotonic_ms()
        self.recovered = durable.open_into(self.engine, now_ms)
        durable.start(self._loop, self.begin, lambda: self._fail(LogFailed(str(durable.error))))
        self.log = durable
        # What came due while nobody was running is applied before anybody can ask.
        now_ms = _monotonic_ms()
        self._arm(now_ms, run_turn(self.engine, self.log, now_ms))

    async def stop(self) -> None:
        """Stop accepting, tell each link to come back in a while, close them; after two seconds abort the rest.

        Nobody is announced as offline. Idempotent.
        """
        if self._stopping:
            await self._stopped.wait()
            return
        self._stopping = True
        if self._listener is not None:
            self._listener.close()
        for link in list(self.links):
            # Each comes back at its own moment, so that they do not all come at once.
            link.end("going_away", retry_ms=random.randint(200, 2_000))
        give_up_ms = _monotonic_ms() + limits.CLOSE_TIMEOUT_MS
        while self.links and _monotonic_ms() < give_up_ms:
            await asyncio.sleep(0.01)
        for link in list(self.links):
            link.abort()
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(self.log, DurableLog) and self.failed is None:
            run_turn(self.engine, self.log, _monotonic_ms(), stopping=True)
            self.log.close(self.engine.publisher.version)
        self._stopped.set()

    def take_snapshot(self) -> None:
        """Write a snapshot of the state now, while serving; nothing happens without a data directory."""
        if isinstance(self.log, DurableLog):
            self.log.take_snapshot()

    def _fail(self, error: BaseException) -> None:
        """Stop at once: there is something that cannot be gone on from."""
        self.failed = error
        self._stopping = True
        if self._listener is not None:
            self._listener.close()
        for link in list(self.links):
            link.abort()
        self._stopped.set()

    async def wait_stopped(self) -> None:
        """Return once `stop` is done; raise what broke the turn, if that is why."""
        await self._stopped.wait()
        if self.failed is not None:
            raise self.failed

    # --- the turn ---------------------------------------------------------------------------------------------

    def begin(self) -> int:
        """The time, read anew: were it that of the first call, what is read after the process stood still would be
        dated before it. The first call after a turn sees to it that a turn follows once everything that is readable
        now has been read."""
        now_ms = _monotonic_ms()
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._began_ms = now_ms
            self._loop.call_soon(self._turn)
        return now_ms

    def _turn(self) -> None:
        if self._stopped.is_set():
            return
        now_ms = _monotonic_ms()
        if now_ms - self._began_ms > limits.STALL_MS and not self._catching_up:
            # As in `_wake`, but it stood still between reading and this turn. Once in a row: a pass may really take
            # that long, and then the turn must run all the same.
            self._catching_up = True
            self._note_stall(now_ms, now_ms - self._began_ms)
            self._loop.call_later(0.001, self._turn)
            return
        self._catching_up = False
        try:
            self._look_at_waiting_links(now_ms)
            # From here on input belongs to the next turn.
            self._turn_scheduled = False
            self.engine.set_wall(now_ms, _wall_ms())
            next_ms = run_turn(self.engine, self.log, now_ms, stopping=self._stopping)
            if self.settings.check and not self._turn_scheduled:
                invariants.check(self.engine)
        except Exception as error:
            # Half a turn leaves no state to trust. No link caused this: links catch their own.
            logging.getLogger("presenced").critical("a turn failed; stopping", exc_info=True)
            self._fail(error)
            return
        self._arm(now_ms, next_ms)

    def _look_at_waiting_links(self, now_ms: int) -> None:
        backlog, self.backlog = self.backlog, []
        for link in backlog:
            link.resume(now_ms)
        for link in self.throttled.take_due(now_ms):
            link.resume(now_ms)
        for link in self.partials.take_due(now_ms):
            link.check_partial(now_ms)
        for link in self.hello_due.take_due(now_ms):
            if link.transport is None and link.state != CLOSED:
                # The TLS handshake came to nothing: the loop tells nobody, and it must not count for ever.
                link.state = CLOSED
                self.forget(link)
            elif link.state == AWAITING:
                seconds = limits.HELLO_TIMEOUT_MS // 1000
                link.end("hello_timeout", f"no hello came within {seconds} s")
        for link in self.ending.take_due(now_ms):
            if link.state == ENDING:
                link.abort()

    def _arm(self, now_ms: int, next_ms: int | None) -> None:
        """See to it that a turn runs at `next_ms` or when the first waiting link is due, whichever is first."""
        if self.backlog:
            self.begin()
            return
        for queue in (self.hello_due, self.partials, self.throttled, self.ending):
            queue_ms = queue.next_ms
            if queue_ms is not None and (next_ms is None or queue_ms < next_ms):
                next_ms = queue_ms
        if next_ms is None:
            return
        if self._timer is not None:
            if self._timer_ms <= next_ms:
                # It fires earlier than needed, which costs one empty turn; moving it would cost more.
                return
            self._timer.cancel()
        self._timer_ms = next_ms
        self._timer = self._loop.call_later(max(0, next_ms - now_ms) / 1000, self._wake)

    def _wake(self) -> None:
        self._timer = None
        now_ms = _monotonic_ms()
        if now_ms - self._timer_ms > limits.STALL_MS:
            # The process stood still. What clients sent meanwhile lies in the socket buffers: it is read in the
            # loop pass between this call and the next, before anything is taken for silent.
            self._note_stall(now_ms, now_ms - self._timer_ms)
            self._timer_ms = now_ms
            self._timer = self._loop.call_later(0.001, self._wake)
            return
        self.begin()

    def _note_stall(self, now_ms: int, stood_ms: int) -> None:
        self.stalls += 1
        self.report.event(now_ms, "stall", f"the process stood still for {stood_ms} ms")

    # --- for links --------------------------------------------------------------------------------------------

    def identify(self, hello: Hello) -> Identity:
        """Who the hello speaks for; raises `AuthError`."""
        return believe(hello) if self.settings.dev else verify(self._secret, hello.token)

    def deadline_of(self, now_ms: int, wall_ms: int) -> int:
        """A wall time as a moment of the monotonic clock; 0 stays 0."""
        return now_ms + max(1, wall_ms - _wall_ms()) if wall_ms else 0

    def rate_for(self, role: Role) -> tuple[int, int]:
        """Frames per second and burst of a link."""
        if self.settings.rate == 0:
            return 0, UNLIMITED
        if self.settings.rate is not None:
            return self.settings.rate, self.settings.rate * 4
        if role == "user":
            return limits.RATE_FRAMES_PER_S, limits.RATE_BURST_FRAMES
        return limits.SERVICE_RATE_FRAMES_PER_S, limits.SERVICE_RATE_BURST_FRAMES

    def note_goodbye(self, now_ms: int, code: str, link: Link) -> None:
        """Count a link that the server ends, and log it unless it is everyday life."""
        self.goodbyes[code] += 1
        if code not in ("going_away", "lease_expired", "replaced", "link_failed"):
            self.report.event(now_ms, code, f"closing {link.label()}")

    def forget(self, link: Link) -> None:
        """The link is gone. Idempotent."""
        self.links.pop(link, None)

    def _accept(self) -> asyncio.BaseProtocol:
        """The protocol factory. Counting is done here: with TLS, `connection_made` comes only after the handshake,
        which a silent client never finishes."""
        now_ms = self.begin()
        if len(self.links) >= self.links_max or self._stopping:
            self.goodbyes["busy"] += 1
            self.report.event(now_ms, "busy", f"{len(self.links)} links, refusing more")
            return _Refusal()
        link = Link(self)
        self.links[link] = None
        self.hello_due.add(now_ms, link)
        return link


class _Refusal(asyncio.Protocol):
    """Says that there is no room, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports do not derive from asyncio's.
        refused = cast(asyncio.WriteTransport, transport)
        goodbye = Goodbye("busy", "the server holds as many links as it may", random.randint(1_000, 5_000))
        refused.write(frame(encode(goodbye)))
        refused.close()


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
