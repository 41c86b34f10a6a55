"""A loop whose time passes only when nobody has anything to do, a network of plain objects, and a daemon on both: the
real engine, greeting and turn, with a log that survives a kill.

The client's own code runs on it unchanged. What is not real: sockets, TLS, the disk, and the pace of the links.
"""

from __future__ import annotations

import asyncio
import errno
import selectors
from collections.abc import Callable
from typing import Any

from presenced.core.engine import Engine
from presenced.core.model import Edge, Session
from presenced.core.policy import Policy
from presenced.core.records import Fact
from presenced.core.restorer import Restorer
from presenced.errors import CODES, PresenceError
from presenced.limits import FRAME_BYTES_MAX, RESTART_GRACE_MS
from presenced.server.greeting import open_session, read_hello, welcome
from presenced.server.identity import Identity
from presenced.server.turn import run_turn
from presenced.wire.codec import decode_client, encode
from presenced.wire.frames import FrameReader, frame
from presenced.wire.messages import Goodbye
from tests.core.world import KeepingLog
from tests.support.requests import REQUESTS

LATENCY_S = 0.002
WALL_MS = 1_700_000_000_000
PORT = 5250


class _Selector(selectors.PollSelector):
    """Instead of waiting it lets the loop's time pass."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits, and nothing will ever come"
            self.loop.now_s += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its connections end at the daemon of its network."""

    def __init__(self) -> None:
        selector = _Selector()
        super().__init__(selector)
        selector.loop = self
        self.now_s = 1_000.0
        self.daemon: Daemon | None = None

    def time(self) -> float:
        return self.now_s

    async def create_connection(self, factory: Any, *args: Any, **options: Any) -> Any:  # type: ignore[override]
        await asyncio.sleep(LATENCY_S)
        if self.daemon is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        client = factory()
        near, far = Pipe(self), Pipe(self)
        near.other, far.other = far, near
        near.protocol, far.protocol = client, self.daemon.accept(far)
        client.connection_made(near)
        return near, client


class Pipe(asyncio.Transport):
    """One end of a connection."""

    other: Pipe
    protocol: Any

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._is_closed = False
        self.is_deaf = False
        """What it sends is lost on the way, and nobody notices so far."""

    def write(self, data: Any) -> None:
        if not self._is_closed and not self.is_deaf:
            self._loop.call_later(LATENCY_S, self.other._arrive, bytes(data))

    def is_closing(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        self._end()
        self._loop.call_later(LATENCY_S, self.other._end)

    def abort(self) -> None:
        self.close()

    def can_write_eof(self) -> bool:
        return False

    def _arrive(self, data: bytes) -> None:
        if not self._is_closed and not self.is_deaf:
            self.protocol.data_received(data)

    def _end(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._loop.call_soon(self.protocol.connection_lost, None)


class ServerLink(Edge):
    """The daemon's end of a connection, without limits and rates."""

    def __init__(self, daemon: Daemon, pipe: Pipe) -> None:
        self.daemon = daemon
        self.pipe = pipe
        self.session: Session | None = None
        self.reader = FrameReader(FRAME_BYTES_MAX)

    def data_received(self, data: bytes) -> None:
        self.reader.feed(data)
        for payload in self.reader.take(1_000_000):
            if self.session is None:
                self._greet(payload)
            else:
                REQUESTS.handle(self.daemon.engine, self.session, self.daemon.now_ms, decode_client(payload))
        self.daemon.soon()

    def _greet(self, payload: bytes) -> None:
        hello, version = read_hello(payload)
        identity = Identity(hello.user, hello.role, 0)
        try:
            self.session = open_session(self.daemon.engine, self, hello, identity, 0, self.daemon.now_ms)
        except PresenceError as error:
            self.pipe.write(frame(encode(Goodbye(error.code, error.message))))
            self.pipe.close()
            return
        self.send(frame(encode(welcome(self.daemon.engine, self.session, hello, version, self.daemon.now_ms, (0, 0)))))

    def connection_lost(self, exc: Exception | None) -> None:
        session, self.session = self.session, None
        if session is not None and not self.daemon.is_dead:
            self.daemon.engine.sessions.detach(self.daemon.now_ms, session)
            self.daemon.soon()

    def send(self, data: bytes) -> None:
        self.pipe.write(data)

    def end(self, code: str) -> None:
        if code:
            self.pipe.write(frame(encode(Goodbye(code, CODES[code].meaning))))
        self.pipe.close()


class Daemon:
    """Starts from the facts of the one before."""

    def __init__(self, loop: VirtualLoop, policy: Policy, before: Daemon | None = None) -> None:
        self.loop = loop
        self.policy = policy
        self.is_dead = False
        self.log = KeepingLog()
        self.links: list[ServerLink] = []
        self.engine = Engine(policy, now_ms=self.now_ms, wall_ms=WALL_MS + self.now_ms, epoch=1)
        if before is not None:
            restorer = Restorer(self.engine, self.now_ms)
            restorer.apply_log(before.log.facts)
            restorer.finish(grace_ms=RESTART_GRACE_MS, spread_ms=0, version_gap=1 << 32)
            self.engine.settle(self.now_ms)
            facts: list[Fact] = [
                fact for shelf in range(self.engine.shelves) if (fact := self.engine.dump_asleep(shelf))
            ]
            for user in list(self.engine.users.order):
                facts += self.engine.dump(self.now_ms, user)
            self.log.facts = facts + list(self.engine.dump_general(self.now_ms))
        self._is_asked = False
        self._timer: asyncio.TimerHandle | None = None
        loop.daemon = self
        self.soon()

    @property
    def now_ms(self) -> int:
        return int(self.loop.time() * 1000)

    def accept(self, pipe: Pipe) -> ServerLink:
        link = ServerLink(self, pipe)
        self.links.append(link)
        return link

    def soon(self) -> None:
        """A turn, after all that has arrived by now."""
        if not self._is_asked and not self.is_dead:
            self._is_asked = True
            self.loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_asked = False
        if self.is_dead:
            return
        next_ms = run_turn(self.engine, self.log, self.now_ms)
        if self._timer is not None:
            self._timer.cancel()
        if next_ms is not None:
            self._timer = self.loop.call_at(max(next_ms / 1000, self.loop.time() + 0.001), self._turn)

    def kill(self) -> None:
        """As kill -9 does: nobody is told anything, and the log is what it was."""
        self.is_dead = True
        self.loop.daemon = None
        for link in self.links:
            link.pipe.abort()


def run_virtually(work: Callable[[VirtualLoop], Any]) -> None:
    """Run an async function on a loop of its own."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    try:
        loop.run_until_complete(work(loop))
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert not errors, errors[:3]
