"""The end of a daemon: everybody is told when to come back, nobody is announced as gone, the state is on disk."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from presenced.server.drain import RETURN_MS_MIN
from presenced.wire.messages import Get, Heartbeat, SetStatus, Watch
from tests.support.daemon import Daemon
from tests.support.in_process import LOOPS
from tests.support.until import until
from tests.support.wire import DONE, GOODBYE, PRESENCE, RECORDS, Wire, opened

both_loops = pytest.mark.parametrize("loop", LOOPS)


def store_check(data: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "presenced", "store", "check", str(data)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def snapshots(data: Path) -> list[str]:
    return sorted(path.name for path in data.glob("snap-*.prs"))


@both_loops
def test_each_link_is_told_a_delay_of_its_own(loop: str, tmp_path: Path) -> None:
    """When they come back for all that is shown on a clock of its own: `tests/server/test_drain_pacing.py`."""
    options = ("--loop", loop, "--data-dir", str(tmp_path / "data"), "--drain-spread", "300ms", "--rate", "0")
    with Daemon(tmp_path / "log", *options) as daemon:
        links = [opened(daemon.port, f"user{number}") for number in range(400)]
        daemon.signal(signal.SIGTERM)
        delays_ms = [link.ended_with("going_away")[3] for link in links]
        assert daemon.wait() == 0
        assert len(set(delays_ms)) > 100, "not all at once"
        assert min(delays_ms) >= RETURN_MS_MIN


def test_nobody_is_told_offline_and_what_is_said_meanwhile_is_served(tmp_path: Path) -> None:
    data = tmp_path / "data"
    options = ("--data-dir", str(data), "--change-spacing", "0", "--grace", "0s", "--rate", "0")
    told = []
    with Daemon(tmp_path / "log1", *options, "--drain-spread", "1s") as daemon:
        # The links are closed in the order in which they came, over at least the 300 ms of as many links.
        early = [opened(daemon.port, f"early{number}") for number in range(1_000)]
        speaker, watcher = opened(daemon.port, "speaker"), opened(daemon.port, "watcher")
        watcher.send(Watch(1, ["speaker", *(f"early{number}" for number in range(200))]))
        assert watcher.next()[0] == RECORDS
        daemon.signal(signal.SIGTERM)
        early[0].ended_with("going_away")
        speaker.send(SetStatus(1, text="said during the drain"))
        assert speaker.next()[:2] == [DONE, 1], "made durable"
        told = watcher.rest()
        speaker.ended_with("going_away")
        assert daemon.wait() == 0
    pushes = [frame[1] for frame in told if frame[0] == PRESENCE]
    assert [(push[0], push[1], push[2]) for push in pushes] == [("speaker", "online", "said during the drain")]
    assert told[-1][0] == GOODBYE
    with Daemon(tmp_path / "log2", *options, "--drain-spread", "0s") as daemon:
        with opened(daemon.port, "watcher") as watcher:
            watcher.send(Get(2, ["speaker", *(f"early{number}" for number in range(200))]))
            records = watcher.until(RECORDS)[4]
            assert {record[1] for record in records} == {"online"}, "held in grace"
            assert records[0][2] == "said during the drain"


def test_the_state_is_left_as_a_snapshot_and_the_store_as_closed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Daemon(tmp_path / "log1", "--data-dir", str(data)) as daemon:
        with opened(daemon.port, "alice") as link:
            link.send(SetStatus(1, text="lunch"))
            assert link.until(DONE)
        before = snapshots(data)
        daemon.stop()
        after = snapshots(data)
        assert after and after != before
    said = store_check(data)
    assert "clean" in said and "unclean" not in said, said
    with Daemon(tmp_path / "log2", "--data-dir", str(data)) as daemon:
        assert f"read {after[-1]} and" in daemon.log() and "after a clean stop" in daemon.log()


@pytest.mark.parametrize("durability", ["always", "interval=1s", "os", "off"])
def test_every_durability_keeps_the_state_over_a_stop(durability: str, tmp_path: Path) -> None:
    options = ("--data-dir", str(tmp_path / "data"), "--durability", durability)
    with Daemon(tmp_path / "log1", *options) as daemon, opened(daemon.port, "alice") as link:
        link.send(SetStatus(1, text="lunch"))
        assert link.until(DONE)
        daemon.signal(signal.SIGTERM)
        link.ended_with("going_away")
        assert daemon.wait() == 0
    with Daemon(tmp_path / "log2", *options) as daemon, opened(daemon.port, "bob") as link:
        link.send(Get(1, ["alice"]))
        assert link.until(RECORDS)[4][0][1:3] == ["online", "lunch"]


@both_loops
def test_a_client_that_does_not_read_holds_nothing_up(loop: str, tmp_path: Path) -> None:
    options = ("--loop", loop, "--change-spacing", "0", "--rate", "0", "--drain-spread", "0s", "--drain-timeout", "1s")
    with Daemon(tmp_path / "log", *options) as daemon:
        deaf = opened(daemon.port, "deaf", receive_bytes=2048)
        speaker = opened(daemon.port, "speaker")
        deaf.send(Watch(1, ["speaker"]))
        for number in range(1, 3_000):
            speaker.send(SetStatus(number, text=f"{number} " + "x" * 400))
            assert speaker.until(DONE)[1] == number
        deaf.send(*[Heartbeat()] * 3)
        took_s = daemon.stop()
        assert took_s < 15, f"{took_s:.1f} s with a timeout of 1 s"
        speaker.close()
        deaf.close()


def test_the_timeout_ends_a_drain_that_is_spread_wider(tmp_path: Path) -> None:
    options = ("--drain-spread", "300ms", "--drain-timeout", "300ms")
    with Daemon(tmp_path / "log", *options) as daemon:
        links = [opened(daemon.port, f"user{number}") for number in range(1_000)]
        daemon.signal(signal.SIGTERM)
        for link in links:
            link.ended_with("going_away")
        assert daemon.wait() == 0


def test_asked_twice_it_ends_now(tmp_path: Path) -> None:
    options = ("--drain-spread", "1h", "--drain-timeout", "1h")
    daemon = Daemon(tmp_path / "log", *options)
    try:
        links = [opened(daemon.port, f"user{number}") for number in range(300)]
        daemon.signal(signal.SIGTERM)
        links[0].ended_with("going_away")
        daemon.until_log("SIGTERM: stopping")
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 143
        for link in links:
            link.close()
    finally:
        daemon.kill()


@both_loops
def test_without_links_stopping_takes_no_time(loop: str, tmp_path: Path) -> None:
    """If it waited for what it has nobody to spread over, this would wait an hour."""
    options = ("--drain-spread", "1h", "--drain-timeout", "1h", "--data-dir", str(tmp_path / "data"))
    with Daemon(tmp_path / "log", "--loop", loop, *options):
        pass


def test_nobody_gets_in_while_it_drains(tmp_path: Path) -> None:
    options = ("--drain-spread", "10s", "--drain-timeout", "10s")
    with Daemon(tmp_path / "log", *options) as daemon:
        links = [opened(daemon.port, f"user{number}") for number in range(1_000)]
        daemon.signal(signal.SIGTERM)
        links[0].ended_with("going_away")
        with pytest.raises(ConnectionRefusedError):
            Wire(daemon.port)
        for link in links:
            link.close()
        until(lambda: daemon.process.poll() is not None, lambda: "it waits for links that are gone")
