"""Tells connections when their sockets can be read or written, where they read and write themselves.

The loops can do that (`add_reader`), but uvloop tells nobody of a socket that was reset, and keeps 0.7 KiB for each.
Here all sockets are in one epoll, and the loop watches only that.
"""

from __future__ import annotations

import asyncio
import select
from typing import Final, Protocol

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
BROKEN: Final = select.EPOLLERR | select.EPOLLHUP
"""Told whether it is asked for or not, and again and again until the socket is left alone."""

EVENTS_PER_WAKE: Final = 1024
"""As many as uvloop takes; the others are told in the next pass, behind the turn. With 256 a turn has fewer changes to
merge into each write, and a busy graph costs a sixth more."""


class SocketOwner(Protocol):
    """Who is told."""

    def ready(self, events: int) -> None:
        """Some of `READ`, `WRITE` and `BROKEN`."""

    def abort(self) -> None:
        """Telling it raised an exception: drop the connection."""


class Readiness:
    """Any number of sockets on the loop that runs. It holds a descriptor while there is one."""

    def __init__(self) -> None:
        self._epoll: select.epoll | None = None
        self._known: dict[int, SocketOwner] = {}

    def watch(self, fd: int, who: SocketOwner, events: int) -> None:
        """Tell `who` of these events, and of no others than before. O(1)."""
        epoll = self._epoll
        if epoll is None:
            epoll = self._epoll = select.epoll()
            asyncio.get_running_loop().add_reader(epoll.fileno(), self._tell)
        if fd in self._known:
            epoll.modify(fd, events)
        else:
            epoll.register(fd, events)
            self._known[fd] = who

    def forget(self, fd: int) -> None:
        """Tell nobody of the socket any longer; to be called before it is closed. Idempotent. O(1)."""
        if self._known.pop(fd, None) is None or self._epoll is None:
            return
        self._epoll.unregister(fd)
        if not self._known:
            asyncio.get_running_loop().remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _tell(self) -> None:
        if self._epoll is None:
            return
        known = self._known
        for fd, events in self._epoll.poll(0, EVENTS_PER_WAKE):
            who = known.get(fd)
            if who is None:
                # Another one that was told before it has ended it.
                continue
            try:
                who.ready(events)
            except Exception as error:
                loop = asyncio.get_running_loop()
                loop.call_exception_handler({"message": "a connection failed", "exception": error})
                who.abort()
