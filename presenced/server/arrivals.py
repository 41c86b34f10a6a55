"""Takes connections from listening sockets, few in each pass of the loop: what the loops' own servers do not do.

asyncio's accepts the whole backlog in one pass, uvloop's as much as there is; each connection has a descriptor before
anything can be said of it, and without descriptors asyncio writes a line for each try.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

RETRY_S = 0.1
"""How long accepting rests when the system has no descriptors or memory for another connection."""


class Arrivals:
    """Serves listening sockets from here on; `close` closes them."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        *,
        backlog: int,
        per_pass: int,
        take: Callable[[socket.socket], object],
        fail: Callable[[OSError], object],
    ) -> None:
        """`take` is given each connection, `fail` what keeps others from being taken. Raises `OSError` if a socket
        cannot be listened on: two may bind a port at the same time."""
        self._loop = asyncio.get_running_loop()
        self._listeners = listeners
        self._per_pass = per_pass
        self._take = take
        self._fail = fail
        self._resting: dict[socket.socket, asyncio.TimerHandle] = {}
        for listener in listeners:
            listener.setblocking(False)
            listener.listen(backlog)
        for listener in listeners:
            self._loop.add_reader(listener, self._accept, listener)

    def close(self) -> None:
        """Stop accepting connections. Idempotent."""
        for handle in self._resting.values():
            handle.cancel()
        for listener in self._listeners:
            if listener.fileno() >= 0:
                self._loop.remove_reader(listener)
                listener.close()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(self._per_pass):
            try:
                accepted, _address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Most likely EMFILE. The listener stays readable, and asking again at once would take a whole core.
                self._loop.remove_reader(listener)
                self._resting[listener] = self._loop.call_later(RETRY_S, self._resume, listener)
                self._fail(error)
                return
            accepted.setblocking(False)
            self._take(accepted)

    def _resume(self, listener: socket.socket) -> None:
        del self._resting[listener]
        self._loop.add_reader(listener, self._accept, listener)
