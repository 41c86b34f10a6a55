"""The server: reads the clock, runs the turns, and serves its links with what belongs to no single one of them.

It owns the engine, the log, the links, and the one timer that wakes the loop for the next turn. How it
starts and ends is its `lifecycle`'s; who else wants to know of its life is its `observer`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from time import monotonic_ns, time_ns

from presenced import chat_commands, limits
from presenced.config import Configuration
from presenced.config.rules import validate
from presenced.config.settings import Settings
from presenced.core import invariants
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.core.requests import HANDLERS, Requests
from presenced.server.accounts import UNLIMITED
from presenced.server.collector import Collector
from presenced.server.conversation import Conversation
from presenced.server.fact_log import Log, MemoryLog
from presenced.server.identity import Identity, believe, verify
from presenced.server.keys import load_keys
from presenced.server.lifecycle import Lifecycle
from presenced.server.links import Links
from presenced.server.memory import Memory
from presenced.server.observer import Observer
from presenced.server.report import Report
from presenced.server.shedding import glance
from presenced.server.stats import Stats
from presenced.server.tls import load_tls
from presenced.server.turn import run_turn
from presenced.server.zones import calendar
from presenced.storage.recovery import RecoveryFindings
from presenced.wire.messages import Hello, Role

logger = logging.getLogger("presenced")


class Server:
    """One listening presence server. `start`, then `stop`; `port` is the one it got."""

    def __init__(
        self,
        settings: Settings,
        *,
        log: Log | None = None,
        configuration: Configuration | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        """`configuration` is where the settings come from, for reloads; `listener` a bound socket to listen on
        instead of `settings.listen`."""
        validate(settings)
        self.settings = settings
        self.configuration = configuration
        now_ms, wall_ms = _monotonic_ms(), _wall_ms()
        self.engine = Engine(settings.policy(), now_ms=now_ms, wall_ms=wall_ms, epoch=wall_ms, calendar=calendar)
        self.log: Log = log if log is not None else MemoryLog()
        self.recovered: RecoveryFindings | None = None
        """What was found in the data directory."""
        self.state = "starting"
        """`starting`, `serving`, `draining`, `stopped`."""
        self.stats = Stats(now_ms, wall_ms)
        self.report = Report()
        _, self.port = settings.address()
        self.memory = Memory(settings.memory_bytes)
        requests = Requests(HANDLERS, chat_commands.HANDLERS)
        self.links = Links(self, self.engine, requests, self.stats, self.report, self.memory)
        self.links_max = 0
        self.failed: BaseException | None = None
        """What broke the turn itself; the server stops for it."""
        self.collector: Collector | None = None
        """Of the process, where the server has one to itself."""
        self.shedding: asyncio.Task[None] | None = None
        """Links are being chosen to be ended, because memory is short."""
        tls = load_tls(settings)
        self.tls = tls.context if tls is not None else None
        self.certificate = tls.certificate if tls is not None else None
        """The one that new links are shown."""
        self.keys = () if settings.dev else load_keys(settings.secret_file)
        self.observer = Observer()
        self.listeners: list[str] = []
        """Where it can be reached, as URLs; the clients' first."""
        self._lifecycle = Lifecycle(self, listener)
        self._began_ns = 0
        """When the input of the coming turn began to be read."""
        self._turn_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._catching_up = False
        """The turn has been put off once because the process stood still."""
        self._stopping = False
        """No link is taken any more, and no time passes for those that there are."""
        self._closing = False
        """The last turn has run: what still happens to links is nobody's news."""

    # --- start and stop ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the data directory, then listen. Links are served from here on.

        While the directory is read the loop goes on, and the engine is not to be touched: `state` is `starting`.
        What is raised leaves nothing open, and a data directory that was read as after a stop in order.

        Raises `SettingsError`, `CannotListen` (port in use), what `storage.store` raises, and `StartAbandoned` if
        `stop` was called meanwhile.
        """
        self._loop = asyncio.get_running_loop()
        await self._lifecycle.start()

    async def stop(self) -> None:
        """Drain: stop accepting, tell each link to come back after its own delay and close one after the other, take
        a snapshot meanwhile, mark the store as stopped in order.

        Nobody is announced as offline. Takes at most about `drain_timeout_ms`, and with few links far less.
        Idempotent.
        """
        await self._lifecycle.stop()

    def begin_stop(self) -> None:
        """Start `stop`, from where nothing can be awaited."""
        self._lifecycle.begin_stop()

    async def wait_stopped(self) -> None:
        """Return once `stop` is done; raise what broke the turn, if that is why."""
        await self._lifecycle.wait()
        if self.failed is not None:
            raise self.failed

    def take_snapshot(self) -> None:
        """Write a snapshot of the state now, while serving; nothing happens without a data directory."""
        if self.state == "starting":
            logger.info("snapshot: none is taken, because the daemon is starting")
        else:
            self.log.take_snapshot()

    # --- for the lifecycle ------------------------------------------------------------------------------------

    def first_turn(self) -> None:
        """Apply what came due while nobody was running, before anybody can ask."""
        now_ms = _monotonic_ms()
        self._arm(now_ms, run_turn(self.engine, self.log, now_ms))

    def last_turn(self) -> None:
        """Apply what has come in, with no time passing, and let no turn follow."""
        run_turn(self.engine, self.log, _monotonic_ms(), stopping=True)
        self._closing = True

    def refuse_links(self) -> None:
        """Take no more links, and let no more time pass for those that there are."""
        self._stopping = True

    def stop_timer(self) -> None:
        """Nothing that is due later is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()

    def end_turns(self) -> None:
        """No link is taken, and no turn runs any more."""
        self._stopping = self._closing = True
        self.stop_timer()

    # --- the turn ---------------------------------------------------------------------------------------------

    def begin(self) -> int:
        """The time, read anew: were it that of the first call, what is read after the process stood still would be
        dated before it. The first call after a turn sees to it that a turn follows once everything that is readable
        now has been read."""
        now_ns = monotonic_ns()
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._began_ns = now_ns
            self._loop.call_soon(self._turn)
        return now_ns // 1_000_000

    def _turn(self) -> None:
        if self.state == "stopped" or self.failed is not None or self._closing:
            return
        began_ns = monotonic_ns()
        now_ms = began_ns // 1_000_000
        waited_ms = (began_ns - self._began_ns) // 1_000_000
        if waited_ms > limits.STALL_MS and not self._catching_up:
            # As in `_wake`, but it stood still between reading and this turn. Once in a row: a pass may really take
            # that long, and then the turn must run all the same.
            self._catching_up = True
            self._note_stall(now_ms, waited_ms)
            self._loop.call_later(0.001, self._turn)
            return
        self._catching_up = False
        engine, links = self.engine, self.links
        if now_ms >= self.memory.next_ms or engine.outboxes.reply_bytes >= links.replies_until_bytes:
            glance(self, now_ms)
        links.replies_until_bytes = engine.outboxes.reply_bytes + limits.REPLY_BYTES_PER_TURN
        stats = self.stats
        deliveries = engine.outboxes.deliveries
        try:
            links.waiting.look_at(now_ms)
            links.accounts.look_at(now_ms)
            # From here on input belongs to the next turn.
            self._turn_scheduled = False
            engine.set_wall(now_ms, _wall_ms())
            next_ms = run_turn(engine, self.log, now_ms, stopping=self._stopping)
            if self.settings.check and not self._turn_scheduled:
                invariants.check(engine)
        except Exception as error:
            # Half a turn leaves no state to trust. No link caused this: links catch their own.
            logger.critical("a turn failed; stopping", exc_info=True)
            self._lifecycle.end_at_once(error)
            return
        ended_ns = monotonic_ns()
        stats.turn.add(ended_ns - began_ns)
        if self.collector is not None and self.collector.due:
            self.collector.collect()
        if engine.outboxes.deliveries != deliveries:
            stats.reaction.add(ended_ns - self._began_ns)
        self._arm(now_ms, next_ms)

    def _arm(self, now_ms: int, next_ms: int | None) -> None:
        """See to it that a turn runs at `next_ms` or when the first waiting link is due, whichever is first."""
        waiting_ms = self.links.waiting.next_ms
        if waiting_ms == 0 or next_ms == 0:
            self.begin()
            return
        for other_ms in (waiting_ms, self.links.accounts.next_ms):
            if other_ms is not None and (next_ms is None or other_ms < next_ms):
                next_ms = other_ms
        if next_ms is None:
            return
        # What is left over of a turn was due before: that it takes several turns is no standing still.
        next_ms = max(next_ms, now_ms)
        if self._timer is not None:
            if self._timer_ms <= next_ms:
                # It fires earlier than needed, which costs one empty turn; moving it would cost more.
                return
            self._timer.cancel()
        self._timer_ms = next_ms
        self._timer = self._loop.call_later((next_ms - now_ms) / 1000, self._wake)

    def _wake(self) -> None:
        self._timer = None
        now_ns = monotonic_ns()
        now_ms = now_ns // 1_000_000
        self.stats.lag.add(max(0, now_ns - self._timer_ms * 1_000_000))
        if now_ms - self._timer_ms > limits.STALL_MS:
            # The process stood still. What clients sent meanwhile lies in the socket buffers: it is read in the
            # loop pass between this call and the next, before anything is taken for silent.
            self._note_stall(now_ms, now_ms - self._timer_ms)
            self._timer_ms = now_ms
            self._timer = self._loop.call_later(0.001, self._wake)
            return
        self.begin()

    def _note_stall(self, now_ms: int, stood_ms: int) -> None:
        self.stats.stalls += 1
        self.report.event(now_ms, "stall", f"the process stood still for {stood_ms} ms")

    def heartbeat(self, link: Conversation, session: Session, idle_ms: int) -> None:
        """A link sent a heartbeat and nothing else (`NO_REPORT`: without an idle time). It needs no turn unless it
        brings something about: with one each it would cost three times as much."""
        self.stats.frames_in += 1
        now_ms = monotonic_ns() // 1_000_000
        try:
            if self.engine.heartbeat(session, now_ms, None if idle_ms < 0 else idle_ms):
                self.begin()
        except Exception:
            link.fail(now_ms)

    # --- for links (`links.Host`) -----------------------------------------------------------------------------

    @property
    def is_broken(self) -> bool:
        """Whether it ends for something that it cannot go on from: no state is changed any more."""
        return self.failed is not None

    def identify(self, hello: Hello) -> Identity:
        """Who the hello speaks for; raises `AuthError`."""
        return believe(hello) if self.settings.dev else verify(self.keys, hello.token)

    def deadline_of(self, now_ms: int, wall_ms: int) -> int:
        """A wall time as a moment of the monotonic clock; 0 stays 0."""
        return now_ms + max(1, wall_ms - _wall_ms()) if wall_ms else 0

    def rate_for(self, role: Role) -> tuple[int, int]:
        """Units of work in a second, and in a burst, for all links of a user in this role."""
        if self.settings.rate == 0:
            return 0, UNLIMITED
        if self.settings.rate is not None:
            return self.settings.rate, self.settings.rate * 4
        if role == "user":
            return limits.RATE_UNITS_PER_S, limits.RATE_BURST_UNITS
        return limits.SERVICE_RATE_UNITS_PER_S, limits.SERVICE_RATE_BURST_UNITS

    def admit(self) -> Conversation | None:
        """A connection has come in, of whatever kind: the conversation for it, or None if there is no room. Counting is
        done here: with TLS, the connection is up only after the handshake, which a silent client never finishes."""
        now_ms = self.begin()
        if self.memory.level:
            self.stats.goodbyes["busy"] += 1
            self.memory.refused_links += 1
            return None
        links = self.links
        if len(links) >= self.links_max and (silent := links.waiting.longest_without_hello(now_ms)) is not None:
            self._lifecycle.stop_opening(silent)
            silent.make_way(now_ms)
        if len(links) >= self.links_max or self._stopping:
            self.stats.goodbyes["busy"] += 1
            self.report.event(now_ms, "busy", f"{len(links)} links, refusing more")
            return None
        link = Conversation(links, now_ms)
        links.add(now_ms, link)
        return link

    def note_accept_failure(self, error: OSError) -> None:
        """The system has nothing left for another connection."""
        self.stats.accept_failures += 1
        self.report.event(self.begin(), "accept", f"no connection can be taken: {error}", level=logging.WARNING)


def _monotonic_ms() -> int:
    return monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time_ns() // 1_000_000
