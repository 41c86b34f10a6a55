"""What becomes of a connection that is taken from a listening socket: a link, or a refusal.

Clients that are turned away never hold more file descriptors than are kept back for them. The loops' own servers let
such a client hold its descriptor for as long as it draws out the TLS handshake.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Coroutine
from typing import Any, cast

from presenced.server.active_settings import ActiveSettings
from presenced.server.admission import Admission
from presenced.server.arrivals import Arrivals
from presenced.server.conversation import Conversation
from presenced.server.links import Links
from presenced.server.transports.kind import TransportKind
from presenced.server.transports.plain_connection import PlainConnection
from presenced.server.transports.readiness import Readiness
from presenced.server.transports.tls_handshake import open_tls

BACKLOG_CONNECTIONS = 4096
ACCEPTS_PER_PASS = 32
REFUSALS_MAX = 32
"""TLS clients at a time that go through a handshake only to be told that there is no room. Others are cut off."""


class Acceptor:
    """Serves one listening socket from here on; `close` closes it."""

    def __init__(
        self,
        listener: socket.socket,
        kind: TransportKind,
        admission: Admission,
        links: Links,
        active: ActiveSettings,
    ) -> None:
        """`active.tls` is asked for each connection, since a reload exchanges it. Raises `OSError` if the socket cannot
        be listened on."""
        self._kind = kind
        self._admission = admission
        self._links = links
        self._active = active
        self._loop = asyncio.get_running_loop()
        self._readiness = Readiness()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusals = 0
        self._arrivals = Arrivals(
            [listener],
            backlog=BACKLOG_CONNECTIONS,
            per_pass=ACCEPTS_PER_PASS,
            take=self._take,
            fail=admission.note_accept_failure,
        )

    def close(self) -> None:
        """Take no connection from now on. Idempotent."""
        self._arrivals.close()

    def _take(self, accepted: socket.socket) -> None:
        link, tls = self._admission.admit(), self._active.tls
        if link is None:
            self._refuse(accepted)
        elif tls is None:
            self._serve(link, accepted)
        else:
            link.note_opening(self._run(accepted, self._open(link, accepted, tls)).cancel)

    def _serve(self, link: Conversation, accepted: socket.socket) -> None:
        try:
            PlainConnection(self._readiness, accepted, cast(asyncio.Protocol, self._kind.open(link)))
        except OSError as error:
            self._links.forget(link)
            self._admission.note_accept_failure(error)

    async def _open(self, link: Conversation, accepted: socket.socket, tls: ssl.SSLContext) -> None:
        try:
            await open_tls(self._readiness, self._kind.open_tls(link), accepted, tls)
        except OSError as error:
            # The handshake failed, or the peer is gone already.
            _break_cycle(error)
            self._links.stats.handshakes_failed += 1
            self._links.forget(link)
        finally:
            link.note_opening(None)

    def _refuse(self, accepted: socket.socket) -> None:
        if self._active.tls is None:
            try:
                accepted.send(self._kind.refusal(self._admission.refusal()))
            except OSError:
                pass
            accepted.close()
        elif self._refusals >= REFUSALS_MAX:
            self._links.stats.cut_off += 1
            accepted.close()
        else:
            self._refusals += 1
            self._run(accepted, self._refuse_with_tls(accepted, self._active.tls))

    async def _refuse_with_tls(self, accepted: socket.socket, tls: ssl.SSLContext) -> None:
        refusal = _Refusal(self._kind.refusal(self._admission.refusal()))
        try:
            await open_tls(self._readiness, refusal, accepted, tls)
            await refusal.over.wait()
        except OSError as error:
            _break_cycle(error)
            return
        finally:
            self._refusals -= 1

    def _run(self, accepted: socket.socket, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                # Another link takes its place, or the loop ends; perhaps before the task began.
                accepted.close()

        task.add_done_callback(done)
        return task


def _break_cycle(error: BaseException) -> None:
    """Remove the tracebacks of an exception and its causes. Their frames hold the future that holds the exception, and
    with asyncio 256 KiB of buffers for each handshake: the collector would find them when it gets to the oldest
    generation."""
    cause: BaseException | None = error
    while cause is not None:
        cause.__traceback__ = None
        cause = cause.__context__


class _Refusal(asyncio.Protocol):
    """Writes a refusal, and closes."""

    def __init__(self, refusal: bytes) -> None:
        self.over = asyncio.Event()
        self._refusal = refusal

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast: uvloop's transports do not derive from asyncio's.
        refused = cast(asyncio.WriteTransport, transport)
        refused.write(self._refusal)
        refused.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()
