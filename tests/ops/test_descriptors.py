"""A daemon whose file descriptors are all taken goes on serving, keeps its log on disk, and writes little about it."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from presenced.limits import DESCRIPTORS_RESERVED
from presenced.wire.messages import Ping, SetStatus
from tests.support.certificates import make_certificate
from tests.support.daemon import Daemon
from tests.support.in_process import LOOPS
from tests.support.readiness import readable
from tests.support.until import until
from tests.support.wire import DONE, GOODBYE, PONG, WELCOME, Wire, hello, opened

NOFILE = 256
CLIENTS = 2_000
LINES_MAX = 40
CORE_SHARE_MAX = 0.5


@contextlib.contextmanager
def crowd(daemon: Daemon, port: int = 0) -> Iterator[list[socket.socket]]:
    """Many clients that connect at one moment and say nothing. The daemon stands still while they come, so that it
    meets all of them in one pass of its loop."""
    clients = []
    daemon.signal(signal.SIGSTOP)
    try:
        for _ in range(CLIENTS):
            client = socket.socket()
            clients.append(client)
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(("127.0.0.1", port or daemon.port))
        daemon.signal(signal.SIGCONT)
        yield clients
    finally:
        daemon.signal(signal.SIGCONT)
        for client in clients:
            client.close()


def snapshots(data: Path) -> list[str]:
    return sorted(path.name for path in data.glob("snap-*.prs"))


def take_snapshot(daemon: Daemon, data: Path) -> None:
    """As an operator does; asked again as long as the one before is still being finished."""
    had = snapshots(data)

    def another() -> bool:
        daemon.signal(signal.SIGUSR1)
        return snapshots(data)[-1:] != had[-1:]

    until(another, lambda: f"no snapshot\n{daemon.log()}")


def rests(daemon: Daemon, there: Wire) -> None:
    """Hold it to a small share of the time that passes, while a link is served. A busy machine gives the daemon less
    processor time and not more, so that this fails for a daemon that spins alone."""
    used_s, began_s = daemon.cpu_s(), time.monotonic()
    while (took_s := time.monotonic() - began_s) < 1.0:
        there.send(Ping(9))
        assert there.until(PONG)[1] == 9
        assert not readable(there.socket, 0.1)
    assert daemon.cpu_s() - used_s < CORE_SHARE_MAX * took_s, "it spins"


def gets_in(daemon: Daemon, tls: ssl.SSLContext | None) -> bool:
    with contextlib.suppress(OSError, AssertionError), Wire(daemon.port, tls=tls) as newcomer:
        newcomer.send(hello("newcomer"))
        return newcomer.next()[0] == WELCOME
    return False


def hold_up(daemon: Daemon, data: Path, tls: ssl.SSLContext | None = None) -> None:
    """Everything that must go on goes on while the crowd is there, and a newcomer is served once it has left."""
    there = opened(daemon.port, "alice", tls=tls)
    began_lines = daemon.log().count("\n")
    with crowd(daemon):
        for number in range(1, 6):
            # Each in another stage of the rush.
            there.send(Ping(number))
            assert there.until(PONG)[1] == number
            there.send(SetStatus(number, text=f"text {number}"))
            assert there.until(DONE)[1] == number, "what is durable is still made so"
            take_snapshot(daemon, data)
        assert daemon.descriptors() < NOFILE, "some are kept back"
        rests(daemon, there)
    until(lambda: gets_in(daemon, tls), "a newcomer gets a place that is free")
    assert daemon.log().count("\n") - began_lines < LINES_MAX, daemon.log()
    there.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_two_thousand_clients_and_descriptors_for_a_hundred(loop: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    options = ("--loop", loop, "--data-dir", str(data), "--drain-spread", "0s")
    with Daemon(tmp_path / "log", *options, nofile=NOFILE) as daemon:
        assert f"at most {NOFILE - DESCRIPTORS_RESERVED} links" in daemon.log()
        hold_up(daemon, data)


@pytest.mark.parametrize("loop", LOOPS)
def test_two_thousand_clients_that_never_finish_the_handshake(loop: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    cert, key = make_certificate(tmp_path, "first")
    options = ("--loop", loop, "--data-dir", str(data), "--tls-cert", str(cert), "--tls-key", str(key))
    trust = ssl.create_default_context(cafile=str(cert))
    with Daemon(tmp_path / "log", *options, "--drain-spread", "0s", nofile=NOFILE) as daemon:
        hold_up(daemon, data, trust)


@pytest.mark.parametrize("loop", LOOPS)
def test_without_any_descriptor_left_accepting_rests_and_goes_on(loop: str, tmp_path: Path) -> None:
    """Nothing kept back at all: the reserve itself is gone."""
    with Daemon(tmp_path / "log", "--loop", loop, limits={"DESCRIPTORS_RESERVED": 1}, nofile=NOFILE) as daemon:
        there = opened(daemon.port, "alice")
        with crowd(daemon):
            until(lambda: daemon.descriptors() >= NOFILE - 1, lambda: "it has descriptors left")
            daemon.until_log("no connection can be taken")
            rests(daemon, there)
            assert daemon.log().count("\n") < LINES_MAX, daemon.log()
        with opened(daemon.port, "newcomer"):
            there.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_without_any_descriptor_left_the_log_goes_on(loop: str, tmp_path: Path) -> None:
    """Whoever takes the last ones, by whatever port: those for the log's files are its own."""
    data = tmp_path / "data"
    options = ("--loop", loop, "--data-dir", str(data), "--http", "127.0.0.1:0", "--drain-spread", "0s")
    with Daemon(tmp_path / "log", *options, limits={"DESCRIPTORS_RESERVED": 1}, nofile=NOFILE) as daemon:
        there = opened(daemon.port, "alice")
        with crowd(daemon):
            until(lambda: daemon.descriptors() >= NOFILE - 1, lambda: "it has descriptors left")
            for number in range(1, 4):
                there.send(SetStatus(number, text=f"text {number}"))
                assert there.until(DONE)[1] == number
                take_snapshot(daemon, data)
        there.close()


@pytest.mark.parametrize("loop", LOOPS)
def test_a_crowd_on_the_http_port_takes_no_descriptor_that_others_need(loop: str, tmp_path: Path) -> None:
    """All places for links are taken, and what is kept back is enough for everything else."""
    data = tmp_path / "data"
    options = ("--loop", loop, "--data-dir", str(data), "--http", "127.0.0.1:0", "--drain-spread", "0s")
    with Daemon(tmp_path / "log", *options, nofile=NOFILE) as daemon, contextlib.ExitStack() as stack:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", daemon.log())
        assert found is not None
        links = [
            stack.enter_context(opened(daemon.port, f"u{number}")) for number in range(NOFILE - DESCRIPTORS_RESERVED)
        ]
        most = 0
        for number in range(1, 4):
            with crowd(daemon, int(found[1])):
                links[0].send(SetStatus(number, text=f"text {number}"))
                assert links[0].until(DONE)[1] == number
                take_snapshot(daemon, data)
                most = max(most, daemon.descriptors())
        assert most < NOFILE - 32, "the crowd has what is kept back for others"
        assert "no connection can be taken" not in daemon.log()


def test_who_is_refused_is_told_so(tmp_path: Path) -> None:
    with Daemon(tmp_path / "log", "--max-links", "1") as daemon:
        with opened(daemon.port, "alice"):
            refused = [Wire(daemon.port) for _ in range(100)]
            delays = set()
            for link in refused:
                got = link.next()
                assert (got[0], got[1]) == (GOODBYE, "busy")
                assert 1_000 <= got[3] <= 5_000
                delays.add(got[3])
                assert link.rest() == []
                link.close()
            assert len(delays) > 10, "they do not all come back at the same moment"


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("over", ["tcp", "tls"])
def test_silent_connections_keep_nobody_out(loop: str, over: str, tmp_path: Path) -> None:
    """Of all places one is taken by somebody who said hello, and the rest by connections that say nothing."""
    cert, key = make_certificate(tmp_path, "first")
    options = ["--loop", loop, "--max-links", "20", "--drain-spread", "0s"]
    trust = None
    if over == "tls":
        options += ["--tls-cert", str(cert), "--tls-key", str(key)]
        trust = ssl.create_default_context(cafile=str(cert))
    limits = {"HELLO_PATIENCE_MS": 200, "HELLO_TIMEOUT_MS": 600_000, "TLS_HANDSHAKE_S": 600.0}
    with Daemon(tmp_path / "log", *options, limits=limits) as daemon, contextlib.ExitStack() as stack:
        there = stack.enter_context(opened(daemon.port, "alice", tls=trust))
        before = daemon.descriptors()
        for _ in range(19):
            stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", daemon.port))))
        until(lambda: gets_in(daemon, trust), lambda: f"nobody got in\n{daemon.log()}")
        there.send(Ping(1))
        assert there.until(PONG)[1] == 1, "who has said hello stays"
        until(lambda: daemon.descriptors() <= before + 18, lambda: "the descriptors of those who gave way stay open")
