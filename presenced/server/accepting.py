"""What becomes of a connection that is taken from the listener: a link, or a word of refusal.

Those that are turned away never hold more file descriptors than are kept back for such: the loops' own servers let a
client that is to be turned away hold its descriptor for as long as it draws out the TLS handshake.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, cast

from presenced import limits
from presenced.server.arrivals import Arrivals
from presenced.server.conversation import Conversation
from presenced.server.memory import Memory
from presenced.server.shedding import SHORT, retry_ms
from presenced.server.transports.tcp import TcpTransport
from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import Goodbye

if TYPE_CHECKING:
    from presenced.server.server import Server

BACKLOG_CONNECTIONS = 4096
ACCEPTS_PER_PASS = 32
REFUSALS_MAX = 32
"""TLS clients at a time that go through a handshake only to be told that there is no room; others are cut off."""


class Acceptor:
    """Serves the listening socket from here on; `close` closes it."""

    def __init__(self, server: Server, listener: socket.socket) -> None:
        """`server.tls` is asked for each connection, since a reload exchanges it."""
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: dict[Conversation, asyncio.Task[None]] = {}
        """Links whose connection is not up so far: with TLS their handshake is under way."""
        self._refusals = 0
        self._arrivals = Arrivals(
            [listener],
            backlog=BACKLOG_CONNECTIONS,
            per_pass=ACCEPTS_PER_PASS,
            take=self._take,
            fail=server.note_accept_failure,
        )

    def close(self) -> None:
        """Take no more connections. Idempotent."""
        self._arrivals.close()

    def _take(self, accepted: socket.socket) -> None:
        link = self._server.admit()
        if link is not None:
            self._opening[link] = self._run(accepted, self._open(link, accepted))
        else:
            self._refuse(accepted)

    def stop_opening(self, link: Conversation) -> None:
        """Close the connection of a link whose handshake is still under way. Idempotent."""
        task = self._opening.pop(link, None)
        if task is not None:
            task.cancel()

    async def _open(self, link: Conversation, accepted: socket.socket) -> None:
        try:
            await self._connect(TcpTransport(link), accepted)
        except OSError as error:
            # The handshake came to nothing, or the peer is gone already.
            _let_go(error)
            if self._server.tls is not None:
                self._server.stats.handshakes_failed += 1
            self._server.links.forget(link)
        finally:
            self._opening.pop(link, None)

    def _refuse(self, accepted: socket.socket) -> None:
        if self._server.tls is None:
            try:
                accepted.send(_goodbye(self._server.memory))
            except OSError:
                pass
            accepted.close()
        elif self._refusals >= REFUSALS_MAX:
            self._server.stats.cut_off += 1
            accepted.close()
        else:
            self._refusals += 1
            self._run(accepted, self._refuse_with_tls(accepted))

    async def _refuse_with_tls(self, accepted: socket.socket) -> None:
        refusal = _Refusal(_goodbye(self._server.memory))
        try:
            await self._connect(refusal, accepted)
            await refusal.over.wait()
        except OSError as error:
            _let_go(error)
            return
        finally:
            self._refusals -= 1

    async def _connect(self, protocol: asyncio.BaseProtocol, accepted: socket.socket) -> None:
        tls = self._server.tls
        await self._loop.connect_accepted_socket(
            lambda: protocol,
            accepted,
            ssl=tls,
            ssl_handshake_timeout=limits.TLS_HANDSHAKE_S if tls is not None else None,
        )

    def _run(self, accepted: socket.socket, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                # Another takes its place, or the loop ends; perhaps before the task began.
                accepted.close()

        task.add_done_callback(done)
        return task


def _let_go(error: BaseException) -> None:
    """Take from an exception what it keeps alive. Its frames hold the future that holds it, and with asyncio 256 KiB
    of buffers for each handshake: they would be there until the collector looks at the oldest generation."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__context__


class _Refusal(asyncio.Protocol):
    """Says that there is no room, and closes."""

    def __init__(self, goodbye: bytes) -> None:
        self.over = asyncio.Event()
        self._goodbye = goodbye

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports do not derive from asyncio's.
        refused = cast(asyncio.WriteTransport, transport)
        refused.write(self._goodbye)
        refused.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()


def _goodbye(memory: Memory) -> bytes:
    if memory.level:
        return frame(encode(Goodbye("busy", SHORT, retry_ms())))
    return frame(encode(Goodbye("busy", "the server holds as many links as it may", random.randint(1_000, 5_000))))
