"""A peer that does not read is not dead: while it heartbeats it stays, however long its window is closed."""

from __future__ import annotations

import socket
from typing import Any, cast

import pytest

from presenced.server.server import Server
from presenced.server.transports.plain_connection import borrowed
from presenced.server.transports.tcp import TcpTransport
from presenced.wire.messages import Heartbeat, Ping, SetStatus, Watch
from tests.support.in_process import LOOPS, InProcess
from tests.support.readiness import readable
from tests.support.wire import DONE, PONG, PRESENCE, RECORDS, Wire, opened

TEXT = "x" * 500


def fill(server: InProcess, publisher: Wire, *watchers: Wire) -> int:
    """Change the publisher's text until nothing more goes into the buffers of any watcher; gives how often. Nobody's
    lease ends meanwhile, however busy the machine is."""
    number = 0
    for link in watchers:
        link.send(Watch(1, ["publisher"]))
        assert link.next()[0] == RECORDS
    while server.ask(lambda found: len(found.engine.outboxes.slow)) < len(watchers):
        for _ in range(100):
            number += 1
            publisher.send(SetStatus(number, text=f"{TEXT}{number:06}"))
        for _ in range(100):
            publisher.until(DONE)
        for link in (publisher, *watchers):
            link.send(Heartbeat())
        assert server.ask(lambda found: len(list(found.links))) == 1 + len(watchers), "somebody's lease has ended"
    return number


@pytest.mark.parametrize("loop", LOOPS)
def test_who_heartbeats_and_does_not_read_stays_and_who_does_neither_goes(loop: str) -> None:
    settings = {"heartbeat_ms": 2_000, "grace_ms": 0, "change_spacing_ms": 0, "rate": 0}
    with InProcess(loop, **settings) as server, opened(server.port, "publisher") as publisher:
        slow, dead = (opened(server.port, name, receive_bytes=4096) for name in ("slow", "dead"))
        number = fill(server, publisher, slow, dead)
        publisher.send(Watch(number, ["dead", "slow"]))
        publisher.until(RECORDS)
        # The lease of the one that is silent is what the time of the other is measured by.
        while publisher.quiet() and not readable(publisher.socket, 0.1):
            slow.send(Heartbeat())
            publisher.send(Heartbeat())
        kind, record = publisher.next()
        assert (kind, record[0], record[1]) == (PRESENCE, "dead", "offline")
        slow.send(Ping(7))
        latest, ponged = "", False
        while latest != f"{TEXT}{number:06}" or not ponged:
            got = slow.next()
            ponged = ponged or got[0] == PONG
            latest = got[1][2] if got[0] == PRESENCE else latest
        for link in (slow, dead):
            link.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_the_kernel_is_not_asked_to_end_a_connection_for_a_closed_window(loop: str) -> None:
    def timeout_of(link: Any) -> int:
        with borrowed(cast(TcpTransport, link.transport).fd) as its:
            return its.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    def timeouts(server: Server) -> list[int]:
        return [timeout_of(link) for link in server.links]

    with InProcess(loop) as server, opened(server.port, "alice"):
        assert server.ask(timeouts) == [0]
