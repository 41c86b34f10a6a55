"""The profiles with a data directory as a program: tiny runs pass and have their keys, what is lost fails the run.

Redis is a stand-in here: the profile must be testable where there is none. Nothing looks at how fast anything was.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench import disk, durable, recovery, snapshot
from bench.__main__ import main
from bench.daemon import BenchError, Cores, Server
from bench.disk import choose_place, file_system
from bench.filled import filled, user_text
from tests.bench.test_bench import FAULTY, MACHINE_KEYS, wait_for_children

STAND_IN = FAULTY.with_name("stand_in_redis.py")
TINY = ("durable", "--writers", "3", "--seconds", "0.1", "--rounds", "2")

MOUNTS = """\
24 22 254:16 / /tmp/disk rw - xfs /dev/vdb rw
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /tmp rw,nosuid shared:2 master:3 - tmpfs tmpfs rw
"""


@pytest.fixture(autouse=True)
def own_cores() -> Iterator[None]:
    """The bench pins its process, which is this one."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(autouse=True)
def stand_in_redis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "redis-server"
    program.write_text(f"#!{sys.executable}\n{STAND_IN.read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left out of a snapshot's figures, however little of its core the generator gets here."""
    monkeypatch.setattr(snapshot, "OWN_PAUSE_NS", 1 << 60)
    monkeypatch.setattr(snapshot, "DRAIN_S", 60.0)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Taken for a disk, whatever it is."""
    monkeypatch.setattr(disk, "IN_MEMORY", ())
    made = tmp_path / "place"
    made.mkdir()
    return made


def run(place: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--place", str(place), "--json"])


def figures(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    assert found.keys() >= MACHINE_KEYS
    return found


def test_durable_compares_with_memory_and_redis_and_leaves_nothing_behind(place: Path) -> None:
    found = figures(run(place, *TINY))
    assert found.keys() >= {
        "ratio",
        "durable_p50_extra_ms",
        "core_taken_by_others",
        *(
            f"{prefix}{key}"
            for prefix in ("", "os_", "redis_")
            for key in ("writes_per_s", "latency_p50_us", "latency_p99_us", "server_cpu_us_per_write")
        ),
    }
    assert (found["lost"], found["redis"]) == (0, "0.0.0")
    assert os.listdir(place) == []


def test_what_redis_acknowledged_and_forgot_fails_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_FAULT", "lose")
    # One writer whose every tenth write is forgotten, and a run that ends at such a one.
    monkeypatch.setattr(durable.RedisSide, "drive", lambda side, seconds, drain: drive_tens(side))
    result = run(place, "durable", "--writers", "1", "--seconds", "0.1", "--rounds", "1")
    assert json.loads(result.stdout)["lost"] == 1
    assert result.exit_code == 1
    assert "the run failed: 1 lost" in result.stderr


def drive_tens(side: durable.RedisSide) -> int:
    """Ten writes, each until its answer is there."""
    taken_ns = 0
    for _ in range(10):
        taken_ns += durable.Side.drive(side, 0, drain=True)
    return taken_ns


def test_what_the_daemon_forgot_in_the_crash_fails_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = durable.start_policy
    started: list[str] = []

    def start_elsewhere(cores: Cores, directory: Path, policy: str) -> Server:
        started.append(policy)
        return start(cores, directory / "elsewhere" if started.count(policy) > 1 else directory, policy)

    monkeypatch.setattr(durable, "start_policy", start_elsewhere)
    result = run(place, *TINY)
    assert json.loads(result.stdout)["lost"] == 3
    assert result.exit_code == 1


def test_a_refused_write_ends_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_FAULT", "refuse")
    result = run(place, *TINY)
    assert result.exit_code == 1
    assert "MISCONF" in result.stderr


def test_without_redis_the_message_says_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place))
    result = run(place, *TINY)
    assert result.exit_code == 1
    assert "apt-get install redis-server" in result.stderr


def test_the_file_system_of_a_path_is_that_of_its_innermost_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    for path, kind, device in (
        ("/home", "ext4", "/dev/vda"),
        ("/tmp/x", "tmpfs", "tmpfs"),
        ("/tmp/disk/x", "xfs", "/dev/vdb"),
        ("/tmp/diskette", "tmpfs", "tmpfs"),
    ):
        assert file_system(Path(path), str(mounts))[:2] == (kind, device)


def test_a_place_in_memory_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "IN_MEMORY", (file_system(place).kind,))
    with pytest.raises(BenchError, match="--place"):
        choose_place(place)
    assert run(place, *TINY).exit_code == 1


def test_recovery_reads_both_kinds_and_keeps_what_it_built(place: Path) -> None:
    found = figures(run(place, "recovery", "--users", "30"))
    # A user's log: the device and its record, then claim, text and record; a snapshot has each once.
    assert (found["log_facts"], found["snapshot_facts"]) == (150, 120)
    assert found["wrong"] == 0
    for kind in ("log", "snapshot"):
        assert found.keys() >= {f"{kind}_{key}" for key in ("ready_s", "facts_per_s", "rss_bytes", "disk_bytes")}
    kept = sorted(os.listdir(place))
    assert [name.rpartition("-")[0] for name in kept] == ["users-30-log", "users-30-snapshot"]
    before = (place / kept[0]).stat().st_mtime_ns
    assert filled(place, 30, "log") == place / kept[0]
    assert (place / kept[0]).stat().st_mtime_ns == before


def test_a_user_that_came_back_wrong_fails_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "user_text", lambda index: "another text" if index == 7 else user_text(index))
    result = run(place, "recovery", "--users", "30")
    assert json.loads(result.stdout)["wrong"] == 2
    assert result.exit_code == 1


def test_snapshot_counts_what_watchers_are_told_while_it_is_taken(place: Path, patient: None) -> None:
    found = figures(run(place, "snapshot", "--users", "500", "--watchers", "3", "--rounds", "2", "--quiet-s", "0.2"))
    assert found.keys() >= {
        "latency_p50_us",
        "latency_p99_us",
        "longest_pause_ms",
        "quiet_latency_p99_us",
        "quiet_longest_pause_ms",
        "p99_ratio",
        "rss_growth_bytes",
    }
    assert (found["lost"], found["wrong"]) == (0, 0)
    told, merged = found["deliveries"], found["merged"]
    assert isinstance(told, int) and isinstance(merged, int)
    assert told > 0 and (told + merged) % 3 == 0
    assert [name for name in os.listdir(place) if name.startswith("snapshot-")] == []


def test_a_change_that_a_watcher_is_not_told_is_lost(
    place: Path, patient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "DRAIN_S", 0.2)
    take = snapshot.Load._take

    def deaf_to_the_last(load: snapshot.Load, fd: int, data: bytes) -> None:
        if fd != load.watchers[0].fd:
            take(load, fd, data)

    monkeypatch.setattr(snapshot.Load, "_take", deaf_to_the_last)
    result = run(place, "snapshot", "--users", "5", "--watchers", "3", "--rounds", "1", "--quiet-s", "0.1")
    assert json.loads(result.stdout)["lost"] == 3
    assert result.exit_code == 1


def test_fanout_with_a_data_directory_is_the_same_run() -> None:
    result = CliRunner().invoke(
        main, ["fanout", "--watchers", "3", "--changes", "2", "--rounds", "1", "--durable", "--json"]
    )
    found = figures(result)
    assert (found["durable"], found["deliveries"], found["lost"]) == (True, 6, 0)


def test_an_interrupted_run_leaves_neither_processes_nor_files(place: Path) -> None:
    # As `place` does it, in a process of its own.
    script = "from bench import disk, __main__; disk.IN_MEMORY = (); __main__.main()"
    command = [sys.executable, "-c", script, "durable", "--writers", "3", "--seconds", "600", "--place", str(place)]
    with ExitStack() as stack:
        bench = subprocess.Popen(command, cwd=FAULTY.parents[2], stderr=subprocess.DEVNULL)
        stack.callback(bench.wait)
        stack.callback(bench.kill)
        children = wait_for_children(bench.pid, 3)
        bench.send_signal(signal.SIGINT)
        assert bench.wait(20) != 0
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
    assert os.listdir(place) == []
