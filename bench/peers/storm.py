"""Logins: many at a time, each as its protocol has it, driven by one poller."""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Iterator, Sequence

from bench.errors import BenchError
from bench.load.links import OPENING_AT_ONCE, READ_BYTES
from bench.peers.base import Contacts, Conversation, Known, Peer, PeerFailed, PeerLink, Stand, closed
from bench.results.histogram import Histogram

STALL_S = 20.0


class Storm:
    """Logs users in, `at_once` of them in flight. `links` and `told` are there for each who is in."""

    def __init__(self, peer: Peer, contacts: Contacts, *, records: bool, latency: Histogram | None = None) -> None:
        """With `records`, a login is over when the state of all contacts is told; `latency` takes how long each
        took from before its connect."""
        self.links: dict[str, PeerLink] = {}
        self.told: dict[str, Known] = {}
        self._peer = peer
        self._contacts = contacts
        self._records = records
        self._latency = latency
        self._running: dict[int, tuple[PeerLink, Conversation, int]] = {}
        self._stands: dict[int, tuple[PeerLink, Stand]] = {}

    def log_in(self, users: Iterable[str], *, at_once: int = OPENING_AT_ONCE) -> None:
        """Returns when all are in. `BenchError` if one is refused, or nothing happens for long."""
        waiting = iter(users)
        with select.epoll() as poller:
            for link, stand in self._peer.stands().items():
                link.socket.setblocking(False)
                self._stands[link.fd] = link, stand
                poller.register(link.fd, select.EPOLLIN)
            try:
                self._fill(poller, waiting, at_once)
                while self._running:
                    events = poller.poll(STALL_S)
                    if not events:
                        raise PeerFailed(self._stuck())
                    for fd, _ in events:
                        self._readable(poller, fd)
                    self._fill(poller, waiting, at_once)
            finally:
                for link, _, _ in self._running.values():
                    link.close()
                self._running.clear()

    def _fill(self, poller: select.epoll, waiting: Iterator[str], at_once: int) -> None:
        while len(self._running) < at_once and (user := next(waiting, None)) is not None:
            started_ns = time.perf_counter_ns()
            link = self._peer.open(user)
            conversation = self._peer.login(user, self._contacts.get(user, ()), records=self._records)
            link.socket.sendall(next(conversation))
            link.socket.setblocking(False)
            poller.register(link.fd, select.EPOLLIN)
            self._running[link.fd] = link, conversation, started_ns

    def _readable(self, poller: select.epoll, fd: int) -> None:
        if fd in self._stands:
            link, stand = self._stands[fd]
            send(link, stand(link, link.wire.read(fd, READ_BYTES)))
            return
        link, conversation, started_ns = self._running[fd]
        data = link.wire.read(fd, READ_BYTES)
        if not data:
            if self._peer.tls is None:
                closed(self._peer, link.user)
            # A part of the handshake, or of what is said behind it.
            return
        try:
            said = conversation.send(data)
        except StopIteration as done:
            if self._latency is not None:
                self._latency.record(time.perf_counter_ns() - started_ns)
            poller.unregister(fd)
            del self._running[fd]
            self.links[link.user] = link
            self.told[link.user] = done.value
        else:
            if said:
                send(link, said)

    def _stuck(self) -> str:
        users = ", ".join(sorted(link.user for link, _, _ in self._running.values())[:5])
        return f"{self._peer.name} has told {len(self._running)} users nothing for {STALL_S:.0f} s at login: {users}"

    def log_out(self) -> None:
        """Let everybody leave in order, close, and wait until the server has come to rest."""
        for link in self.links.values():
            said = self._peer.logout(link.user)
            if said:
                send(link, said)
        self._peer.process.settled_cpu_ns()
        self.close()
        self._peer.process.settled_cpu_ns()

    def close(self) -> None:
        """Close all links."""
        for link in self.links.values():
            link.close()
        self.links.clear()
        self.told.clear()


def send(link: PeerLink, data: bytes) -> None:
    """All of it, on a link that does not block."""
    while data:
        try:
            data = data[link.socket.send(data) :]
        except BlockingIOError:
            select.select([], [link.fd], [], STALL_S)


def drain(peer: Peer, links: Sequence[PeerLink]) -> None:
    """Read and drop everything that comes until the server rests and nothing is left: it came of the logins."""
    while True:
        peer.process.settled_cpu_ns()
        if not any([link.wire.available(link.fd) for link in links]):
            break
    for link in links:
        link.rest = b""


def expect_clean(peer: Peer, link: PeerLink) -> None:
    """`BenchError` if something is left on a link that is not a message, or not one that is due."""
    if link.rest:
        raise BenchError(f"{peer.name} said {link.rest[:200]!r} to {link.user}")
