"""What the service manager is told, datagram by datagram."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from presenced.ops import notifier as module
from presenced.ops.notifier import EXTEND_S, Notifier
from presenced.wire.messages import SetStatus
from tests.support.daemon import Daemon
from tests.support.in_process import LOOPS, InProcess
from tests.support.service_manager import Manager
from tests.support.until import until
from tests.support.wire import DONE, opened


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Manager:
    address = str(tmp_path / "notify") if request.param == "path" else f"@presenced-{os.getpid()}-{time.monotonic_ns()}"
    with Manager(address) as manager:
        yield manager


# --- the notifier alone -------------------------------------------------------------------------------------------


def test_each_thing_is_one_datagram(manager: Manager) -> None:
    notifier = Notifier(dict(manager.environ))
    assert notifier.active
    notifier.ready("3 links")
    assert manager.next() == ["READY=1", "STATUS=3 links"]
    before_us = time.monotonic_ns() // 1000
    notifier.reloading()
    head, moment = manager.next()
    assert head == "RELOADING=1"
    name, _, usec = moment.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before_us <= int(usec) <= time.monotonic_ns() // 1000, "microseconds of CLOCK_MONOTONIC"
    notifier.stopping("draining")
    assert manager.next() == ["STOPPING=1", "STATUS=draining", f"EXTEND_TIMEOUT_USEC={EXTEND_S}000000"]
    notifier.working("reading: 40 %")
    assert manager.next() == ["STATUS=reading: 40 %", f"EXTEND_TIMEOUT_USEC={EXTEND_S}000000"]
    notifier.alive()
    assert manager.next() == ["WATCHDOG=1"]
    notifier.close()
    notifier.close()
    notifier.alive()
    assert not notifier.active
    assert manager.waiting() == []


def test_the_status_is_told_when_it_is_another(manager: Manager) -> None:
    notifier = Notifier(dict(manager.environ))
    notifier.ready("one")
    notifier.status("one")
    notifier.status("two")
    notifier.status("two")
    notifier.status("one")
    notifier.close()
    assert manager.waiting() == [["READY=1", "STATUS=one"], ["STATUS=two"], ["STATUS=one"]]


def test_the_variables_are_taken_out_of_the_environment(manager: Manager) -> None:
    environ = {**manager.environ, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    notifier = Notifier(environ)
    assert environ == {"HOME": "/"}
    assert notifier.watchdog_s == 1.5, "twice as often as it must be"
    notifier.close()


@pytest.mark.parametrize(
    ("variables", "expected_s"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "2000000"}, 1.0),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "-5"}, 0.0),
        ({"WATCHDOG_USEC": ""}, 0.0),
    ],
)
def test_how_often_a_sign_of_life_is_due(variables: dict[str, str], expected_s: float) -> None:
    assert Notifier(dict(variables)).watchdog_s == expected_s


def test_without_a_manager_nothing_happens() -> None:
    notifier = Notifier({})
    assert not notifier.active
    notifier.ready("x")
    notifier.alive()
    notifier.close()


def test_a_manager_that_is_gone_is_no_harm(tmp_path: Path) -> None:
    with Manager(str(tmp_path / "notify")) as manager:
        notifier = Notifier(dict(manager.environ))
    notifier.ready("nobody listens any more")
    os.unlink(tmp_path / "notify")
    notifier.status("nor is there anything")
    notifier.close()
    too_long = Notifier({"NOTIFY_SOCKET": "/" + "x" * 500})
    too_long.ready("x")
    too_long.close()


def test_a_manager_that_does_not_read_is_no_harm(manager: Manager) -> None:
    notifier = Notifier(dict(manager.environ))
    for number in range(5_000):
        notifier.status(f"{number} " + "x" * 1_000)
    assert 0 < len(manager.waiting()) < 5_000, "the socket was full"
    notifier.close()


# --- the daemon ---------------------------------------------------------------------------------------------------


def test_ready_is_told_once_it_listens_and_the_status_follows(manager: Manager, tmp_path: Path) -> None:
    with Daemon(tmp_path / "log", "--change-spacing", "0", environ=manager.environ, starts=False) as daemon:
        told = manager.next()
        assert told == ["READY=1", "STATUS=0 users online, 0 devices, 0 links, in memory only"], "first of all"
        # The port is served by now, though the line that says which has not been read.
        port = int(daemon.first_line().rpartition(":")[2])
        with opened(port, "alice"), opened(port, "alice", "phone"), opened(port, "bob"):
            assert manager.until("STATUS=2 users online") == [
                "STATUS=2 users online, 3 devices, 3 links, in memory only"
            ]
        manager.until("STATUS=2 users online, 3 devices, 0 links")
        assert ["READY=1"] not in [lines[:1] for lines in manager.told[1:]], "ready once"


def test_ready_means_that_clients_are_served(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with (
        Manager(str(tmp_path / "notify")) as manager,
        Daemon(tmp_path / "log", environ=manager.environ, listen=f"127.0.0.1:{port}", starts=False),
    ):
        manager.until("READY=1")
        # No retry: a refused connection fails the test.
        opened(port, "alice").close()


def test_the_status_says_how_the_disk_is(tmp_path: Path) -> None:
    with (
        Manager(str(tmp_path / "notify")) as manager,
        Daemon(tmp_path / "log", "--data-dir", str(tmp_path / "data"), environ=manager.environ),
    ):
        assert manager.next()[1] == "STATUS=0 users online, 0 devices, 0 links, log ok"


def test_no_child_can_write_to_the_manager(tmp_path: Path) -> None:
    """The environment that the daemon would pass on is clean."""
    code = (
        "import os\nfrom presenced.ops import operations\n"
        "was = operations.Operations.ready\n"
        "def ready(self):\n    was(self)\n"
        "    print([n for n in os.environ if n.startswith(('NOTIFY', 'WATCHDOG', 'LISTEN_'))], flush=True)\n"
        "operations.Operations.ready = ready\n"
    )
    with Manager(str(tmp_path / "notify")) as manager:
        environ = {**manager.environ, "WATCHDOG_USEC": "60000000", "LISTEN_PID": "1", "LISTEN_FDS": "1"}
        with Daemon(tmp_path / "log", environ=environ, patches=code, starts=False) as daemon:
            assert daemon.first_line().startswith("[]")


def test_signs_of_life_come_from_the_loop(tmp_path: Path) -> None:
    with Manager(str(tmp_path / "notify")) as manager:
        environ = {**manager.environ, "WATCHDOG_USEC": "200000"}
        with Daemon(tmp_path / "log", environ=environ) as daemon:
            for _ in range(8):
                manager.until("WATCHDOG=1")
            daemon.signal(signal.SIGSTOP)
            until(lambda: Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T", str)
            manager.waiting()
            with pytest.raises(AssertionError, match="nothing was told"):
                manager.next(wait_s=0.6)
            daemon.signal(signal.SIGCONT)
            manager.until("WATCHDOG=1")


@pytest.mark.parametrize("loop", LOOPS)
def test_a_sign_of_life_is_planned_for_half_of_what_is_allowed(loop: str, tmp_path: Path) -> None:
    """What is planned, since when it comes about says how busy this machine is."""

    def until_the_next_s(running: InProcess) -> float:
        timer = running.operations._watchdog_timer
        assert timer is not None
        return timer.when() - running.loop.time()

    with Manager(str(tmp_path / "notify")) as manager:
        with InProcess(loop, environ={**manager.environ, "WATCHDOG_USEC": "3000000"}) as running:
            manager.until("WATCHDOG=1")
            # Two clock readings of floating point may differ in their last digits.
            assert 0.0 < running.ask(lambda _: until_the_next_s(running)) <= 1.5 + 1e-6


def test_a_loop_that_is_stuck_gives_no_sign_of_life(tmp_path: Path) -> None:
    """A thread would go on as if nothing were."""
    code = (
        "import signal, time\nfrom presenced.server import server\n"
        "server.Server.take_snapshot = lambda self: time.sleep(1.0)\n"
    )
    with Manager(str(tmp_path / "notify")) as manager:
        environ = {**manager.environ, "WATCHDOG_USEC": "100000"}
        with Daemon(tmp_path / "log", environ=environ, patches=code) as daemon:
            manager.until("WATCHDOG=1")
            daemon.signal(signal.SIGUSR1)
            with pytest.raises(AssertionError, match="nothing was told"):
                for _ in range(100):
                    manager.next(wait_s=0.5)
            manager.until("WATCHDOG=1")


def test_another_process_s_watchdog_is_not_fed(tmp_path: Path) -> None:
    with Manager(str(tmp_path / "notify")) as manager:
        environ = {**manager.environ, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}
        with Daemon(tmp_path / "log", environ=environ) as daemon:
            with opened(daemon.port, "alice"):
                manager.until("STATUS=1 user online")
        assert ["WATCHDOG=1"] not in manager.told + manager.waiting()


def test_a_long_replay_asks_for_more_time(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with Daemon(tmp_path / "first", "--data-dir", data, "--durability", "os") as daemon:
        with opened(daemon.port, "alice", role="service") as link:
            for number in range(1, 2_001):
                link.send(SetStatus(number, text=f"{number}", user="alice"))
            while link.until(DONE)[1] != 2_000:
                pass
        daemon.kill()
    with Manager(str(tmp_path / "notify")) as manager:
        patches = "from presenced.server import replay\nreplay.TELL_EVERY_MS = replay.LOG_EVERY_MS = 0\n"
        with Daemon(tmp_path / "log", "--data-dir", data, environ=manager.environ, patches=patches) as daemon:
            manager.until("READY=1")
            *working, ready = manager.told
            assert working, "something was told before it was ready"
            for status, extend in working:
                assert status.startswith("STATUS=reading the saved state: ") and status.endswith(" %")
                assert extend == f"EXTEND_TIMEOUT_USEC={EXTEND_S}000000"
            assert ready[0] == "READY=1"
            assert "reading the saved state" in daemon.log()


@pytest.mark.parametrize("sound", [True, False])
def test_a_reload_is_told_from_its_beginning_to_its_end(sound: bool, tmp_path: Path) -> None:
    config = tmp_path / "presenced.toml"
    config.write_text("[presence]\ngrace = '10s'\n")
    with (
        Manager(str(tmp_path / "notify")) as manager,
        Daemon(tmp_path / "log", "--config", str(config), environ=manager.environ) as daemon,
    ):
        manager.until("READY=1")
        config.write_text("[presence]\ngrace = '5s'\n" if sound else "[presence]\ngrace = 'red'\n")
        daemon.signal(signal.SIGHUP)
        reloading = manager.until("RELOADING=1")
        assert len(reloading) == 2 and reloading[1].startswith("MONOTONIC_USEC=")
        after = manager.next()
        assert after[0] == "READY=1", "also if nothing came of it"
        daemon.until_log("done in" if sound else "nothing has changed")


def test_the_end_is_told_first(tmp_path: Path) -> None:
    with Manager(str(tmp_path / "notify")) as manager:
        with Daemon(tmp_path / "log", "--drain-spread", "0s", environ=manager.environ) as daemon:
            manager.until("READY=1")
            with opened(daemon.port, "alice") as link:
                manager.until("STATUS=1 user online")
                daemon.signal(signal.SIGTERM)
                # The link's goodbye is there no sooner than the manager's notice.
                link.ended_with("going_away")
                stopping = manager.waiting()
                assert stopping and stopping[0][:2] == ["STOPPING=1", "STATUS=draining 1 link"], stopping
            assert daemon.wait() == 0
        assert all(lines[0] != "READY=1" for lines in manager.waiting()), "no word of readiness after the end"


def test_what_must_not_be_lost_waits_for_a_manager_that_is_slow(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 60.0)
    notifier = Notifier(dict(manager.environ))
    fill(notifier)
    reader = threading.Timer(0.05, manager.waiting)
    reader.start()
    notifier.stopping("draining")
    reader.join()
    assert "STOPPING=1" in [line for lines in manager.told + manager.waiting() for line in lines]
    notifier.close()


def test_it_does_not_wait_for_ever(manager: Manager) -> None:
    notifier = Notifier(dict(manager.environ))
    fill(notifier)
    notifier.ready("nobody reads")
    assert "READY=1" not in [line for lines in manager.waiting() for line in lines]
    notifier.close()


def fill(notifier: Notifier) -> None:
    """Send until there is no room."""
    number = 0
    while not full(notifier):
        number += 1
        assert number < 5_000


def full(notifier: Notifier) -> bool:
    """Send one more; whether there was no room for it."""
    assert notifier._socket is not None
    try:
        notifier._socket.sendto(b"x" * 1_000, notifier._address)
    except BlockingIOError:
        return True
    return False
