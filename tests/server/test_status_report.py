"""The status of a running server agrees with what was done to it, and taking it walks over nobody."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from presenced.core.model import Edge, Session
from presenced.server.server import Server
from presenced.server.stats import BUCKETS, Times
from presenced.server.status_report import SLOWEST, slowest, take_status
from presenced.server.transports.plain_connection import borrowed
from presenced.server.transports.tcp import TcpTransport
from presenced.wire.messages import Attach, Get, SetStatus, Watch
from tests.support.certificates import make_certificate
from tests.support.in_process import LOOPS, InProcess
from tests.support.wire import DONE, ERROR, PRESENCE, RECORDS, Wire, opened


def test_it_agrees_with_what_was_done() -> None:
    with InProcess(change_spacing_ms=0, max_links=5) as running:
        alice, watcher = opened(running.port, "alice"), opened(running.port, "watcher")
        service = opened(running.port, "app", device="", role="service")
        silent = Wire(running.port)
        watcher.send(Watch(1, ["alice", "nobody"]))
        watcher.until(RECORDS)
        service.send(Attach(1, 1, "carol", "web"))
        service.until(DONE)
        alice.send(SetStatus(1, "dnd"))
        assert watcher.until(PRESENCE)[1][1] == "dnd"
        lost = opened(running.port, "lost")
        lost.close()
        running.until(lambda server: len(server.links) == 4)
        extra = [opened(running.port, "fifth"), Wire(running.port)]
        extra[1].ended_with("busy")
        status = running.ask(take_status)
        assert (status.state, status.dev, status.users_online) == ("serving", True, 5)
        assert status.by_status == {"chat": 0, "online": 4, "away": 0, "xa": 0, "dnd": 1}
        assert (status.devices_connected, status.devices_grace) == (4, 1), "alice, watcher, carol, fifth; lost"
        assert (status.watches, status.deliveries) == (2, 1)
        assert (status.links, status.links_max) == (5, 5)
        assert status.links_by_role == {"user": 3, "service": 1, "admin": 0, "none": 1, "ending": 0}
        assert (status.accepted, status.hellos, status.goodbyes) == (6, 5, {"busy": 1})
        assert status.listeners == [f"presence://127.0.0.1:{running.port}"]
        assert status.frames_in == 8, "five hellos and three requests"
        assert status.turns == status.turn.count == sum(status.turn.buckets) > 0
        assert status.reaction.count == 1, "one turn told somebody something"
        assert (status.slow_watchers, status.slowest, status.log) == (0, [], None)
        for link in (alice, watcher, service, silent, *extra):
            link.close()
        running.until(lambda server: not server.links)
        after = running.ask(take_status)
        assert (after.watches, after.devices_connected, after.links_by_role["user"]) == (0, 0, 0)


def shrink_send_buffers(server: Server) -> None:
    """The kernel takes megabytes for a link that does not read, unless told not to."""
    for link in server.links:
        transport = link.transport
        assert isinstance(transport, TcpTransport)
        with borrowed(transport.fd) as its:
            its.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


def test_a_slow_watcher_is_named_until_it_reads() -> None:
    with InProcess(change_spacing_ms=0, rate=0) as running:
        slow, speaker = opened(running.port, "slow", receive_bytes=2048), opened(running.port, "speaker")
        slow.send(Watch(1, ["speaker"]))
        slow.until(RECORDS)
        number = 0
        running.ask(shrink_send_buffers)
        # The picture is what is asked for: a link may be slow for a moment only, while its window grows.
        while not (status := running.ask(take_status)).slow_watchers:
            for _ in range(100):
                number += 1
                speaker.send(SetStatus(number, text=f"{number} " + "x" * 400))
            while speaker.until(DONE)[1] != number:
                pass
            assert number < 10_000, "it never becomes slow"
        assert status.slow_watchers == 1
        assert [(found.who, found.role) for found in status.slowest] == [("slow/laptop", "user")]
        while slow.until(PRESENCE)[1][2].partition(" ")[0] != str(number):
            pass
        running.until(lambda server: not server.engine.outboxes.slow)
        assert running.ask(take_status).slowest == []
        for link in (slow, speaker):
            link.close()


def test_taking_it_costs_the_same_with_ten_thousand_users() -> None:
    def calls(server: object) -> int:
        count = 0

        def note(frame: object, event: str, arg: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(note)
        try:
            take_status(server)  # type: ignore[arg-type]
        finally:
            sys.setprofile(None)
        return count

    with InProcess(check=False, change_spacing_ms=0, rate=0) as running:
        running.ask(calls)
        few = running.ask(calls)
        service = opened(running.port, "app", device="", role="service")
        for ref in range(1, 10_001):
            service.send(Attach(ref, ref, f"user{ref}", "web"))
        while service.until(DONE)[1] != 10_000:
            pass
        service.send(Get(1, ["user10000"]))
        service.until(RECORDS)
        assert running.ask(take_status).users_online == 10_000
        assert running.ask(calls) <= few + 20
        service.close()


def test_of_many_slow_watchers_the_worst_are_named() -> None:
    class Nowhere(Edge):
        def send(self, data: bytes) -> None: ...

        def end(self, code: str) -> None: ...

    sessions = []
    for number in range(100):
        session = Session(Nowhere(), f"u{number}", "user")
        session.owed = dict.fromkeys(range(number))  # type: ignore[arg-type]
        sessions.append((session, 1_000 + number))
    found = slowest(sessions, 2_000)
    assert len(found) == SLOWEST
    assert [watcher.held for watcher in found] == list(range(99, 99 - SLOWEST, -1))
    assert (found[0].who, found[0].for_ms) == ("u99", 901)


# --- histograms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ns", "bucket"),
    [(0, 0), (999, 0), (1_000, 1), (1_999, 1), (2_000, 2), (4_194_303_999, 22), (4_194_304_000, 23), (10**12, 23)],
)
def test_a_duration_is_counted_in_its_bucket(ns: int, bucket: int) -> None:
    times = Times()
    times.add(ns)
    assert [index for index, number in enumerate(times.buckets) if number] == [bucket]
    assert len(times.buckets) == BUCKETS
    assert (times.count, times.sum_ns, times.max_ns) == (1, ns, ns)


def test_quantiles_are_right_to_a_factor_of_two() -> None:
    times = Times()
    assert times.quantile_us(0.99) == 0.0
    for us in range(1, 1_001):
        times.add(us * 1_000)
    for share, exact_us in ((0.01, 10), (0.5, 500), (0.9, 900), (0.99, 990), (1.0, 1_000)):
        assert exact_us <= times.quantile_us(share) <= 2 * exact_us
    assert times.quantile_us(1.0) == 1_000, "never more than the longest"


def test_links_that_were_told_goodbye_are_not_without_a_hello() -> None:
    with InProcess() as running:
        alice, silent = opened(running.port, "alice"), Wire(running.port)
        running.until(lambda server: len(server.links) == 2)

        def end_all(server: Server) -> dict[str, int]:
            for link in list(server.links):
                link.end("kicked")
            return take_status(server).links_by_role

        assert running.ask(end_all) == {"user": 0, "service": 0, "admin": 0, "none": 0, "ending": 2}
        alice.close()
        running.until(lambda server: len(server.links) == 1)
        assert running.ask(take_status).links_by_role["ending"] == 1
        silent.close()
        running.until(lambda server: not server.links)
        assert running.ask(take_status).links_by_role["ending"] == 0


def test_requests_that_are_refused_are_counted_by_code() -> None:
    with InProcess() as running, opened(running.port, "alice") as alice:
        alice.send(Get(1, ["not a name\n"]), Get(2, ["bob"]), Get(3, ["not a name\n"]))
        alice.until(ERROR)
        alice.until(ERROR)
        assert running.ask(take_status).refused == {"bad_name": 2}


@pytest.mark.parametrize("loop", LOOPS)
def test_handshakes_that_come_to_nothing_are_counted(loop: str, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path, "used")
    with InProcess(loop, tls_cert=str(cert), tls_key=str(key)) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as link:
            link.sendall(b"this is no handshake\r\n")
            running.until(lambda server: server.stats.accepted == 1 and not server.links)
        assert running.ask(take_status).handshakes_failed == 1
