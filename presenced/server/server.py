"""The server: listens, reads the clock, runs the turns, and stops in order.

It owns what belongs to no single link: the engine, the log, the links that wait, and the one timer that wakes the
loop for the next turn. Who else wants to know of its life is its `observer`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections import Counter
from collections.abc import Callable
from time import monotonic_ns, time_ns

from presenced import limits
from presenced.config import Configuration
from presenced.config.settings import Durability, Settings, SettingsError, is_loopback
from presenced.core import invariants
from presenced.core.engine import Engine
from presenced.core.model import Session
from presenced.server.accepting import Acceptor
from presenced.server.drain import close_links, finish_snapshot
from presenced.server.durable import DurableLog, LogFailed
from presenced.server.identity import Identity, believe, load_secret, verify
from presenced.server.link import Link
from presenced.server.listening import CannotListen, links_max_for, listen, tls_context
from presenced.server.observer import Observer
from presenced.server.report import Report
from presenced.server.stats import Stats
from presenced.server.turn import Log, MemoryLog, run_turn
from presenced.server.waiting import WaitingLinks
from presenced.server.zones import calendar
from presenced.storage.files import OsDirectory
from presenced.storage.recovery import Findings
from presenced.wire.messages import Hello, Role

logger = logging.getLogger("presenced")

UNLIMITED = 1 << 60


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
        settings.validate()
        self.settings = settings
        self.configuration = configuration
        now_ms, wall_ms = _monotonic_ms(), _wall_ms()
        self.engine = Engine(settings.policy(), now_ms=now_ms, wall_ms=wall_ms, epoch=wall_ms, calendar=calendar)
        self.log: Log = log if log is not None else MemoryLog()
        self.recovered: Findings | None = None
        """What was found in the data directory."""
        self.state = "starting"
        """`starting`, `serving`, `draining`, `stopped`."""
        self.stats = Stats(now_ms, wall_ms)
        self.report = Report()
        _, self.port = settings.address()
        self.links: dict[Link, None] = {}
        self.links_max = 0
        self.roles: Counter[Role] = Counter()
        """Links whose hello was accepted, by role."""
        self.failed: BaseException | None = None
        """What broke the turn itself; the server stops for it."""
        self.waiting = WaitingLinks()
        self.tls = tls_context(settings)
        self.secret = b"" if settings.dev else load_secret(settings.secret_file)
        self.observer = Observer()
        self.listeners: list[str] = []
        """Where it can be reached, as URLs; the clients' first."""
        self.ending = 0
        """Links that were told goodbye and have not closed so far; they are among `links`."""
        self._given = listener
        self._directory: OsDirectory | None = None
        self._last_tasks: list[asyncio.Task[None]] = []
        self._began_ns = 0
        """When the input of the coming turn began to be read."""
        self._turn_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._catching_up = False
        """The turn has been put off once because the process stood still."""
        self._listener: Acceptor | None = None
        self._stopping = False
        self._closing = False
        """The last turn has run: what still happens to links is nobody's news."""
        self._stopped = asyncio.Event()

    # --- start and stop ---------------------------------------------------------------------------------------

    async def start(self, *, before_ready: Callable[[], object] = lambda: None) -> None:
        """Read the data directory, then listen. Links are served from here on.

        `before_ready` is called once they are and before systemd is told: signals must be handled by then. What is
        raised leaves nothing open, and a data directory that was read as after a stop in order.

        Raises `SettingsError`, `CannotListen` (port in use), and what `storage.store` raises.
        """
        self._loop = asyncio.get_running_loop()
        self.links_max = links_max_for(self.settings.max_links)
        # The addresses are claimed first: finding one taken must not cost a replay.
        listener = self._listening_socket()
        try:
            await self.observer.open()
            if self.settings.data_dir:
                self._open_data_dir()
            self._listener = self._acceptor(listener)
            # What exists now lives for ever: collections need not walk it again.
            gc.freeze()
            self.state = "serving"
            self.stats.ready_took_ms = _monotonic_ms() - self.stats.started_ms
            before_ready()
            self.observer.ready()
        except BaseException:
            listener.close()
            await self._undo_start()
            raise

    def _acceptor(self, listener: socket.socket) -> Acceptor:
        try:
            return Acceptor(self, listener)
        except OSError as error:
            # Two may bind a port at the same time, and only one may listen.
            raise CannotListen(error) from None

    async def _undo_start(self) -> None:
        """Close what a start that failed has opened. What goes wrong in that is told and not raised."""
        self._stopping = self._closing = True
        if self._listener is not None:
            self._listener.close()
        if self._timer is not None:
            self._timer.cancel()
        try:
            if isinstance(self.log, DurableLog) and not self.log.refusal:
                await self.log.close(self.engine.publisher.version)
        except Exception:
            logger.error("the log could not be closed after the start failed", exc_info=True)
        await self._end()

    def _listening_socket(self) -> socket.socket:
        listener = self._given
        if listener is None:
            try:
                listener = listen(*self.settings.address())
            except OSError as error:
                raise CannotListen(error) from None
        host, self.port = listener.getsockname()[:2]
        if self._given is not None and self.settings.dev and not is_loopback(host):
            # The rule for listen.address, which a socket unit knows nothing of.
            listener.close()
            raise SettingsError(
                f"auth.dev believes every name and so listens on loopback only, not on {host}, which is what the "
                "socket unit passes; set ListenStream=127.0.0.1:PORT there, or give a secret file instead"
            )
        scheme = "presences" if self.tls is not None else "presence"
        self.listeners.append(f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}")
        return listener

    def _open_data_dir(self) -> None:
        self._directory = OsDirectory(self.settings.data_dir)
        durable = DurableLog(
            self._directory,
            Durability.parse(self.settings.durability),
            progress=self.observer.replaying,
            observe=self.stats.fsync.add,
        )
        self.apply_snapshot_settings(durable)
        now_ms = _monotonic_ms()
        self.recovered = durable.open_into(self.engine, now_ms)
        durable.start(self._loop, self.begin, lambda: self._fail(LogFailed(str(durable.error))))
        self.log = durable
        # What came due while nobody was running is applied before anybody can ask.
        now_ms = _monotonic_ms()
        self._arm(now_ms, run_turn(self.engine, self.log, now_ms))

    async def stop(self) -> None:
        """Drain: stop accepting, tell each link to come back after its own delay and close one after the other, take
        a snapshot meanwhile, mark the store as stopped in order.

        Nobody is announced as offline. Takes at most about `drain_timeout_ms`, and with few links far less.
        Idempotent.
        """
        if self._stopping:
            await self._stopped.wait()
            return
        self._stopping = True
        self.state = "draining"
        try:
            await self._drain(_monotonic_ms() + self.settings.drain_timeout_ms)
        except Exception as error:
            # Nobody waits for this: a daemon that neither serves nor ends would be the worst of all.
            logger.critical("the stop failed; ending as it is, and the next start reads the log", exc_info=True)
            self.failed = self.failed or error
            if self._listener is not None:
                self._listener.close()
            for link in list(self.links):
                link.abort()
        finally:
            await self._end()

    async def _drain(self, until_ms: int) -> None:
        self.observer.stopping()
        if self._listener is not None:
            self._listener.close()
        if isinstance(self.log, DurableLog) and self.log.has_news and not self.log.refusal:
            self.log.take_snapshot()
        await close_links(self, until_ms)
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(self.log, DurableLog) and self.failed is None:
            await finish_snapshot(self.log, until_ms)
            self.observer.closing()
            run_turn(self.engine, self.log, _monotonic_ms(), stopping=True)
            self._closing = True
            await self.log.close(self.engine.publisher.version)
            if self.log.error is not None and self.failed is None:
                self.failed = LogFailed(str(self.log.error))

    def begin_stop(self) -> None:
        """Start `stop`, from where nothing can be awaited."""
        self._last_tasks.append(self._loop.create_task(self.stop()))

    def take_snapshot(self) -> None:
        """Write a snapshot of the state now, while serving; nothing happens without a data directory."""
        if isinstance(self.log, DurableLog):
            self.log.take_snapshot()
        else:
            logger.info("snapshot: none is taken, because the state is in memory only")

    def apply_snapshot_settings(self, durable: DurableLog) -> None:
        """Tell the log when snapshots are to be taken."""
        durable.snapshot_every_s = self.settings.snapshot_every_ms / 1000
        durable.snapshot_log_bytes = self.settings.snapshot_log_bytes

    def _fail(self, error: BaseException) -> None:
        """Stop at once: there is something that cannot be gone on from."""
        self.failed = error
        self._stopping = True
        if self._listener is not None:
            self._listener.close()
        for link in list(self.links):
            link.abort()
        self._last_tasks.append(self._loop.create_task(self._end()))

    async def _end(self) -> None:
        try:
            if self._directory is not None and self._may_release():
                # Before the operators' connections close: whoever waited for that may start the next daemon.
                self._directory.close()
            await self.observer.close()
        except Exception:
            logger.error("the sockets for operators did not close in order", exc_info=True)
        finally:
            self.state = "stopped"
            self._stopped.set()

    def _may_release(self) -> bool:
        """Whether nothing of this process writes to the data directory any more."""
        return not isinstance(self.log, DurableLog) or self.log.is_over

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
        now_ns = monotonic_ns()
        if not self._turn_scheduled:
            self._turn_scheduled = True
            self._began_ns = now_ns
            self._loop.call_soon(self._turn)
        return now_ns // 1_000_000

    def _turn(self) -> None:
        if self._stopped.is_set() or self.failed is not None or self._closing:
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
        engine = self.engine
        stats = self.stats
        deliveries = engine.outboxes.deliveries
        try:
            self.waiting.look_at(now_ms)
            # From here on input belongs to the next turn.
            self._turn_scheduled = False
            engine.set_wall(now_ms, _wall_ms())
            next_ms = run_turn(engine, self.log, now_ms, stopping=self._stopping)
            if self.settings.check and not self._turn_scheduled:
                invariants.check(engine)
        except Exception as error:
            # Half a turn leaves no state to trust. No link caused this: links catch their own.
            logger.critical("a turn failed; stopping", exc_info=True)
            self._fail(error)
            return
        ended_ns = monotonic_ns()
        stats.turn.add(ended_ns - began_ns)
        if engine.outboxes.deliveries != deliveries:
            stats.reaction.add(ended_ns - self._began_ns)
        self._arm(now_ms, next_ms)

    def _arm(self, now_ms: int, next_ms: int | None) -> None:
        """See to it that a turn runs at `next_ms` or when the first waiting link is due, whichever is first."""
        waiting_ms = self.waiting.next_ms
        if waiting_ms == 0 or next_ms == 0:
            self.begin()
            return
        if waiting_ms is not None and (next_ms is None or waiting_ms < next_ms):
            next_ms = waiting_ms
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

    def heartbeat(self, link: Link, session: Session, idle_ms: int) -> None:
        """A link sent a heartbeat and nothing else (`NO_REPORT`: without an idle time). It needs no turn unless it
        brings something about: with one each it would cost three times as much."""
        self.stats.frames_in += 1
        now_ms = monotonic_ns() // 1_000_000
        try:
            if self.engine.heartbeat(session, now_ms, None if idle_ms < 0 else idle_ms):
                self.begin()
        except Exception:
            link.fail(now_ms)

    # --- for links --------------------------------------------------------------------------------------------

    def identify(self, hello: Hello) -> Identity:
        """Who the hello speaks for; raises `AuthError`."""
        return believe(hello) if self.settings.dev else verify(self.secret, hello.token)

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

    def note_goodbye(self, now_ms: int, code: str, link: Link, message: str = "") -> None:
        """Count a link that the server ends, and log it with the reason unless it is everyday life."""
        self.stats.goodbyes[code] += 1
        if code not in ("going_away", "lease_expired", "replaced", "link_failed"):
            self.report.event(now_ms, code, f"closing {link.label()}" + (f": {message}" if message else ""))
        elif logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s: closing %s", code, link.label())

    def forget(self, link: Link) -> None:
        """The link is gone. Idempotent."""
        self.links.pop(link, None)

    def admit(self) -> Link | None:
        """A connection has come in: the link for it, or None if there is no room. Counting is done here: with TLS,
        `connection_made` comes only after the handshake, which a silent client never finishes."""
        now_ms = self.begin()
        if len(self.links) >= self.links_max or self._stopping:
            self.stats.goodbyes["busy"] += 1
            self.report.event(now_ms, "busy", f"{len(self.links)} links, refusing more")
            return None
        link = Link(self, now_ms)
        self.stats.accepted += 1
        self.links[link] = None
        self.waiting.hello_due.add(now_ms, link)
        return link

    def note_accept_failure(self, error: OSError) -> None:
        """The system has nothing left for another connection."""
        self.stats.accept_failures += 1
        self.report.event(self.begin(), "accept", f"no connection can be taken: {error}", level=logging.WARNING)


def _monotonic_ms() -> int:
    return monotonic_ns() // 1_000_000


def _wall_ms() -> int:
    return time_ns() // 1_000_000
