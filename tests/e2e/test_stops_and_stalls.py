"""Signals to the daemon, a daemon that stands still, and clients that die: what watchers are told, and when."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from presenced.wire.messages import Heartbeat, Ping, SetStatus, Watch
from tests.support.daemon import Daemon
from tests.support.readiness import any_readable, readable
from tests.support.wire import DONE, PONG, PRESENCE, RECORDS, Bystander, Wire, opened

PLAIN_CLIENT = Path(__file__).with_name("plain_client.py")
LOOPS = ("uvloop", "asyncio")
QUICK = {"CLOSE_TIMEOUT_MS": 300}
"""From goodbye to abort: how long a client that does not read holds up the end."""


def stuck(port: int, publisher: Wire) -> Wire:
    """A link that does not read and is owed more than its buffers hold."""
    link = opened(port, "stuck", receive_bytes=4096)
    link.send(Watch(1, ["publisher"]))
    assert link.next()[0] == RECORDS
    for number in range(1, 601):
        publisher.send(SetStatus(number, text=f"{number:0>512}"))
        assert publisher.next()[:2] == [DONE, number]
    return link


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_daemon_in_order(tmp_path: Path, number: signal.Signals, loop: str) -> None:
    """Each client is told to come back and when; one that does not read holds nothing up for long."""
    options = ("--check", "--loop", loop, "--change-spacing", "0", "--rate", "0")
    with Daemon(tmp_path / "log", *options, limits=QUICK) as daemon:
        publisher = opened(daemon.port, "publisher")
        clients = [opened(daemon.port, f"user-{n}") for n in range(10)] + [publisher, Wire(daemon.port)]
        deaf = stuck(daemon.port, publisher)
        daemon.signal(number)
        delays = [client.ended_with("going_away")[3] for client in clients]
        assert all(200 <= delay <= 2_000 for delay in delays)
        assert len(set(delays)) > 3, "they do not all come back at the same moment"
        assert daemon.wait() == 0
        assert f"{number.name}: stopping" in daemon.log()
        deaf.close()


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    options = ("--change-spacing", "0", "--rate", "0")
    daemon = Daemon(tmp_path / "log", *options, limits={"CLOSE_TIMEOUT_MS": 600_000})
    try:
        publisher = opened(daemon.port, "publisher")
        deaf = stuck(daemon.port, publisher)
        daemon.signal(signal.SIGTERM)
        publisher.ended_with("going_away")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 128 + signal.SIGTERM
        deaf.close()
    finally:
        daemon.kill()


def test_a_daemon_that_stood_still_takes_nobody_for_silent(tmp_path: Path) -> None:
    """Stopped for longer than a lease while its clients go on: their heartbeats lie in its socket buffers.

    With both loops it is shown on a clock of its own (`tests/server/test_isolation.py`)."""
    options = ("--check", "--heartbeat", "400ms", "--grace", "0", "--change-spacing", "0")
    with Daemon(tmp_path / "log", *options) as daemon:
        beside = Bystander(daemon.port)
        users = [opened(daemon.port, f"user-{number}") for number in range(5)]
        observer = opened(daemon.port, "observer")
        observer.send(Watch(1, [f"user-{number}" for number in range(5)]))
        assert observer.next()[0] == RECORDS
        everyone = [*users, observer, beside.publisher, beside.watcher]
        daemon.signal(signal.SIGSTOP)
        # This long must really pass: more than the lease of 1 s and the second that counts as standing still.
        deadline = time.monotonic() + 2.4
        while time.monotonic() < deadline:
            for link in everyone:
                link.send(Heartbeat())
            assert not any_readable([link.socket for link in everyone], 0.1)
        daemon.signal(signal.SIGCONT)
        beside.check()
        for link in users:
            link.send(Ping(1))
            assert link.next()[:2] == [PONG, 1]
        observer.send(Ping(1))
        assert observer.next()[:2] == [PONG, 1], "nobody went offline"
        assert "stall: the process stood still" in daemon.log()
        for link in (*users, observer):
            link.close()
        beside.close()


def client_process(port: int, user: str) -> subprocess.Popen[str]:
    """A client in a process of its own, connected."""
    process = subprocess.Popen(
        [sys.executable, "-I", str(PLAIN_CLIENT), "127.0.0.1", str(port), user, "laptop"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("welcome"):
        assert process.poll() is None
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def test_a_killed_client_is_offline_after_grace_and_not_before(tmp_path: Path) -> None:
    with Daemon(tmp_path / "log", "--check", "--grace", "1s", "--change-spacing", "0") as daemon:
        observer = opened(daemon.port, "observer")
        marker = opened(daemon.port, "marker")
        victim = client_process(daemon.port, "victim")
        returner = client_process(daemon.port, "returner")
        observer.send(Watch(1, ["victim", "returner", "marker"]))
        assert [record[1] for record in observer.next()[4]] == ["online"] * 3
        kill(returner)
        kill(victim)
        # Both links are gone by the time that this is told; nothing else is.
        marker.send(SetStatus(1, "dnd"))
        kind, record = observer.next()
        assert (kind, record[:2]) == (PRESENCE, ["marker", "dnd"])
        back = opened(daemon.port, "returner")
        kind, record = observer.next()
        assert (kind, record[:2]) == (PRESENCE, ["victim", "offline"])
        assert record[5] > 0, "last seen when it was last heard"
        # The returner was killed first: its grace would have ended before the victim's.
        marker.send(SetStatus(2, "away"))
        kind, record = observer.next()
        assert (kind, record[:2]) == (PRESENCE, ["marker", "away"])
        for link in (observer, marker, back):
            link.close()


def test_a_silent_client_loses_its_lease_and_is_offline_after_grace(tmp_path: Path) -> None:
    options = ("--check", "--heartbeat", "200ms", "--grace", "300ms", "--change-spacing", "0")
    with Daemon(tmp_path / "log", *options) as daemon:
        observer = opened(daemon.port, "observer")
        silent = opened(daemon.port, "silent")
        observer.send(Watch(1, ["silent"]))
        assert observer.next()[4][0][1] == "online"
        while not readable(silent.socket, 0.05):
            observer.send(Heartbeat())
        assert observer.quiet(), "in grace, nothing is told"
        silent.ended_with("lease_expired")
        while not readable(observer.socket, 0.05):
            observer.send(Heartbeat())
        kind, record = observer.next()
        assert (kind, record[:2]) == (PRESENCE, ["silent", "offline"])
        observer.close()
