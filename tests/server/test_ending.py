"""The ends of a server that are out of the ordinary: a start that fails half way, a stop that fails, a disk that hangs
while it stops. Each leaves a process that ends, and a data directory that the next one reads."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from presenced.config.settings import Settings, SettingsError
from presenced.core.parts import channels
from presenced.ops.operations import Operations
from presenced.server.listeners import CannotListen
from presenced.server.observer import NoObserver
from presenced.server.server import Server
from presenced.wire.messages import Join, WatchChannel
from tests.support.daemon import Daemon
from tests.support.in_process import InProcess
from tests.support.service_manager import Manager
from tests.support.wire import opened

REPOSITORY = Path(__file__).parents[2]
CHANNEL_COUNTS = 77


def settings(**fields: Any) -> Settings:
    return Settings(**{"dev": True, "listen": "127.0.0.1:0", **fields})


def checked(data: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "presenced", "store", "check", str(data)],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- a start that fails -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["http", "admin_socket"])
async def test_an_address_that_is_taken_costs_no_replay(key: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    if key == "http":
        taken = socket.create_server(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    else:
        address = str(tmp_path / "admin.sock")
        taken = socket.socket(socket.AF_UNIX)
        taken.bind(address)
        taken.listen()
    with taken:
        server = Server(settings(data_dir=str(data), **{key: address}))
        with pytest.raises(CannotListen):
            await server.start(Operations(server))
    assert not data.exists(), "it was not even made"
    assert server.state == "stopped"


async def test_a_start_that_fails_late_leaves_a_clean_store_and_nothing_open(tmp_path: Path) -> None:
    data, admin = tmp_path / "data", tmp_path / "admin.sock"

    def fail() -> None:
        raise RuntimeError("no")

    descriptors = len(os.listdir("/proc/self/fd"))
    server = Server(settings(data_dir=str(data), admin_socket=str(admin), http="127.0.0.1:0"))
    operations = Operations(server)
    operations.ready = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no"):
        await server.start(operations)
    await asyncio.sleep(0)
    assert not admin.exists()
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    said = checked(data)
    assert "clean" in said and "unclean" not in said, said
    # The lock is free as well, in this very process.
    again = Server(settings(data_dir=str(data)))
    await again.start()
    assert again.recovered is not None and again.recovered.clean
    await again.stop()


async def test_development_mode_is_for_this_machine_alone_also_on_a_passed_socket() -> None:
    for address, is_fine in (("0.0.0.0", False), ("127.0.0.1", True)):
        passed = socket.create_server((address, 0))
        server = Server(settings(), listener=passed)
        if is_fine:
            await server.start()
            await server.stop()
        else:
            with pytest.raises(SettingsError, match=r"the socket unit listens on 0\.0\.0\.0"):
                await server.start()
        assert passed.fileno() < 0


# --- a stop that fails --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["stopping", "closing", "close"])
async def test_a_stop_that_fails_is_an_end_all_the_same(place: str, tmp_path: Path) -> None:
    server = Server(settings(data_dir=str(tmp_path / "data")))

    def fail(*_: object) -> None:
        raise RuntimeError("no")

    observer = NoObserver()
    setattr(observer, place, fail)
    await server.start(observer)
    async with asyncio.timeout(20):
        await server.stop()
        if place == "close":
            # All that counts was done by then.
            await server.wait_stopped()
        else:
            with pytest.raises(RuntimeError, match="no"):
                await server.wait_stopped()
    assert server.state == "stopped"
    [acceptor] = server._lifecycle._acceptors
    assert all(listener.fileno() < 0 for listener in acceptor._arrivals._listeners), "nobody is left waiting"
    if place != "close":
        await server.log.close(0)
        assert server._lifecycle._directory is not None
        server._lifecycle._directory.close()


def test_a_daemon_whose_stop_fails_ends_with_its_own_status(tmp_path: Path) -> None:
    patches = (
        "from presenced.server import lifecycle\n"
        "async def fail(*_): raise RuntimeError('no')\n"
        "lifecycle.close_links = fail\n"
    )
    daemon = Daemon(tmp_path / "log", "--drain-timeout", "10s", patches=patches)
    try:
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 70
        assert "the stop failed" in daemon.log()
    finally:
        daemon.kill()


# --- a disk that hangs while it stops -----------------------------------------------------------------------------

SLOW_CLOSE = """
import os, time
from presenced.storage import committer
close = committer.Committer.close
def slow(self, version):
    while os.path.exists({held!r}):
        time.sleep(0.01)
    close(self, version)
committer.Committer.close = slow
from presenced.ops import operations
operations.PATIENCE_S = 0.1
"""


def test_while_the_disk_takes_long_at_the_end_the_loop_goes_on(tmp_path: Path) -> None:
    held, data = tmp_path / "held", tmp_path / "data"
    held.touch()
    with Manager(str(tmp_path / "notify")) as manager:
        environ = {**manager.environ, "WATCHDOG_USEC": "200000"}
        patches = SLOW_CLOSE.format(held=str(held))
        with Daemon(tmp_path / "log", "--data-dir", str(data), environ=environ, patches=patches) as daemon:
            daemon.signal(signal.SIGTERM)
            for _ in range(3):
                manager.until("STATUS=writing what is left")
                assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in manager.told[-1])
                manager.until("WATCHDOG=1")
            held.unlink()
            assert daemon.wait() == 0
    said = checked(data)
    assert "clean" in said and "unclean" not in said, said


def test_asked_twice_it_ends_also_while_the_disk_hangs(tmp_path: Path) -> None:
    held = tmp_path / "held"
    held.touch()
    with Manager(str(tmp_path / "notify")) as manager:
        patches = SLOW_CLOSE.format(held=str(held))
        options = ("--data-dir", str(tmp_path / "data"))
        daemon = Daemon(tmp_path / "log", *options, environ=manager.environ, patches=patches)
        try:
            daemon.signal(signal.SIGTERM)
            manager.until("STATUS=writing what is left")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 143
        finally:
            daemon.kill()


async def test_without_a_log_the_last_changes_are_saved_while_the_loop_goes_on(tmp_path: Path) -> None:
    """And a snapshot that was begun before them does not stand in for them."""
    server = Server(settings(data_dir=str(tmp_path / "data"), durability="off"))
    await server.start()
    server.take_snapshot()
    await asyncio.sleep(0)
    server.log._dropped = True  # type: ignore[attr-defined]
    await server.stop()
    await server.wait_stopped()
    assert server.log.snapshots == 2  # type: ignore[attr-defined]


def test_the_next_daemon_may_start_once_the_operators_connection_ends(tmp_path: Path) -> None:
    """`presencectl drain --wait && presenced serve`."""
    admin, data = tmp_path / "admin.sock", tmp_path / "data"
    options = ("--data-dir", str(data), "--admin-socket", str(admin), "--http", "127.0.0.1:0")
    with Daemon(tmp_path / "log1", *options) as first:
        listen = f"127.0.0.1:{first.port}"
        with socket.socket(socket.AF_UNIX) as operator:
            operator.settimeout(20)
            operator.connect(str(admin))
            operator.sendall(b'{"do":"drain"}\n')
            while True:
                try:
                    if not operator.recv(65_536):
                        break
                except ConnectionResetError:
                    break
        with Daemon(tmp_path / "log2", *options, listen=listen):
            pass


# --- no standing still --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_turn_that_is_wanted_at_once_is_no_standing_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """More watchers of a large channel than a turn sends to: the rest follows in the next, which is due "at once"."""
    monkeypatch.setattr(channels, "CHANNEL_FULL_MAX", 0)
    # Checks of 500 watchers after each turn would take seconds.
    with InProcess(rate=0, check=False) as running:
        watchers = [opened(running.port, f"user{number}") for number in range(501)]
        for link in watchers:
            link.send(WatchChannel(1, "lobby"))
            link.next()
        watchers[0].send(Join(2, "lobby"))
        for link in watchers:
            link.until(CHANNEL_COUNTS)
        lag_ms, stalls = running.ask(lambda server: (server.stats.lag.max_ns / 1e6, server.stats.stalls))
        for link in watchers:
            link.close()
    assert stalls == 0
    assert lag_ms < 1_000
