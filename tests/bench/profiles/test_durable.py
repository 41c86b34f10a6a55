"""The profiles with a data directory as a program: tiny runs pass and have their keys, what is lost fails the run.

Redis is a stand-in here: the profile must be testable where there is none. Nothing looks at how fast anything was.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.load import stores
from bench.load.data_directories import filled, user_text
from bench.load.writers import Writers
from bench.machine import disk
from bench.machine.cores import Cores
from bench.machine.disk import choose_place, file_system
from bench.machine.server import Server
from bench.paths import REPOSITORY
from bench.peers.redis_writers import RedisWriters
from bench.profiles import contacts, durable, fanout, recovery, snapshot, store
from bench.results.outcome import OURS, Outcome, ServerOutcome
from tests.bench.processes import FAULTY, wait_for_children

STAND_IN = FAULTY.with_name("stand_in_redis.py")
CORE = max(os.sched_getaffinity(0))
CORES = Cores(CORE, CORE)
"""Shared, so that the generator does not spin beside the other tests."""

MOUNTS = """\
24 22 254:16 / /tmp/disk rw - xfs /dev/vdb rw
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /tmp rw,nosuid shared:2 master:3 - tmpfs tmpfs rw
"""


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


def tiny(place: Path) -> Outcome:
    """The durable profile, as small as it can be."""
    return durable.run(writers=3, seconds=0.1, rounds=2, place=place, cores=CORES)


def ours(outcome: Outcome) -> ServerOutcome:
    assert not outcome.interrupted
    assert outcome.main_figure in outcome.servers[OURS].figures
    return outcome.servers[OURS]


def test_durable_compares_with_memory_and_redis_and_leaves_nothing_behind(place: Path) -> None:
    found = tiny(place)
    names = {"writes_per_s", "server_cpu_us_per_write", "core_taken_by_others"}
    assert ours(found).figures.keys() >= {*names, *(f"os_{name}" for name in names), "durable_p50_extra_ms"}
    assert ours(found).latency.keys() == {"write", "os_write"}
    redis = found.servers["redis"]
    assert redis.figures.keys() >= names and redis.version == "0.0.0"
    assert len(redis.figures["server_cpu_us_per_write"]) == 2 and found.ratios()["redis"]["median"] > 0
    assert redis.latency["write"].count == redis.checks.deliveries > 0
    assert found.faults() == {}
    assert os.listdir(place) == []


def test_what_redis_acknowledged_and_forgot_fails_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_FAULT", "lose")
    # One writer whose every tenth write is forgotten, and a run that ends at such a one.
    monkeypatch.setattr(RedisWriters, "drive", lambda side, seconds, drain: drive_tens(side))
    found = durable.run(writers=1, seconds=0.1, rounds=1, place=place, cores=CORES)
    assert found.faults() == {"redis": {"lost": 1}}


def drive_tens(side: RedisWriters) -> int:
    """Ten writes, each until its answer is there."""
    taken_ns = 0
    for _ in range(10):
        taken_ns += Writers.drive(side, 0, drain=True)
    return taken_ns


def test_what_the_daemon_forgot_in_the_crash_fails_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = durable.start_policy
    started: list[str] = []

    def start_elsewhere(cores: Cores, directory: Path, policy: str) -> Server:
        started.append(policy)
        return start(cores, directory / "elsewhere" if started.count(policy) > 1 else directory, policy)

    monkeypatch.setattr(durable, "start_policy", start_elsewhere)
    assert tiny(place).faults() == {OURS: {"lost": 3}}


def test_a_refused_write_ends_the_run_only_of_a_redis_that_was_asked_for(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_FAULT", "refuse")
    with pytest.raises(BenchError, match="MISCONF"):
        durable.run(writers=3, seconds=0.1, rounds=2, place=place, cores=CORES, peers=("redis",))
    found = tiny(place)
    assert "MISCONF" in found.missing["redis"] and list(found.servers) == [OURS]
    assert len(ours(found).figures["server_cpu_us_per_write"]) == 2


def test_redis_takes_part_if_it_is_there_and_must_if_it_is_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = durable.run(writers=2, seconds=0.05, rounds=1, peers=(), place=place, cores=CORES)
    assert list(alone.servers) == [OURS] and alone.missing == {}
    monkeypatch.setattr(durable.Redis, "program_path", missing)
    alone = durable.run(writers=2, seconds=0.05, rounds=1, place=place, cores=CORES)
    assert list(alone.servers) == [OURS]
    assert "apt-get install redis-server" in alone.missing["redis"]
    with pytest.raises(BenchError, match="apt-get install redis-server"):
        durable.run(writers=2, seconds=0.05, rounds=1, peers=("redis",), place=place, cores=CORES)


def missing() -> str:
    raise BenchError("it is not there; install it: apt-get install redis-server")


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
    with pytest.raises(BenchError, match="in memory"):
        tiny(place)


def test_recovery_reads_both_kinds_and_keeps_what_it_built(place: Path) -> None:
    found = recovery.run(users=30, place=place, cores=CORES)
    told = ours(found).figures
    # A user's log: the device and its record, then claim, text and record, with an event before each record; a snapshot
    # has each once, and all events in one.
    assert (told["log_facts"], told["snapshot_facts"]) == ([210] * 3, [120] * 3)
    assert found.faults() == {}
    for kind in ("log", "snapshot"):
        assert told.keys() >= {f"{kind}_{key}" for key in ("ready_s", "facts_per_s", "rss_bytes", "disk_bytes")}
    kept = sorted(os.listdir(place))
    assert [name.rpartition("-")[0] for name in kept] == ["users-30-log", "users-30-snapshot"]
    before = (place / kept[0]).stat().st_mtime_ns
    assert filled(place, 30, "log") == place / kept[0]
    assert (place / kept[0]).stat().st_mtime_ns == before


def test_a_user_that_came_back_wrong_fails_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "user_text", lambda index: "another text" if index == 7 else user_text(index))
    assert recovery.run(users=30, rounds=1, place=place, cores=CORES).faults() == {OURS: {"wrong": 2}}


def test_snapshot_counts_what_watchers_are_told_while_it_is_taken(place: Path, patient: None) -> None:
    found = snapshot.run(users=500, watchers=3, rounds=2, quiet_s=0.2, place=place, cores=CORES)
    told = ours(found)
    names = {"p50_us", "p99_us", "longest_pause_ms"}
    assert told.figures.keys() >= {*names, *(f"quiet_{name}" for name in names), "p99_ratio", "rss_growth_bytes"}
    assert len(told.figures["p99_us"]) == 2
    assert found.faults() == {}
    deliveries, merged = told.checks.deliveries, told.figures["merged"][0]
    assert deliveries > 0 and (deliveries + merged) % 3 == 0
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
    found = snapshot.run(users=5, watchers=3, rounds=1, quiet_s=0.1, place=place, cores=CORES)
    assert found.faults() == {OURS: {"lost": 3}}


def test_fanout_with_a_data_directory_is_the_same_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "choose_place", lambda: place)
    found = fanout.run(watchers=3, changes=2, publishers=1, rounds=1, warmup=1, durable=True, peers=(), cores=CORES)
    assert (ours(found).checks.deliveries, found.faults()) == (6, {})
    assert os.listdir(place) == []


def test_an_interrupted_run_leaves_neither_processes_nor_files(place: Path) -> None:
    # As `place` does it, in a process of its own.
    script = "from bench import __main__; from bench.machine import disk; disk.IN_MEMORY = (); __main__.main()"
    command = [sys.executable, "-c", script, "durable", "--writers", "3", "--seconds", "600", "--place", str(place)]
    with ExitStack() as stack:
        bench = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
        stack.callback(bench.wait)
        stack.callback(bench.kill)
        children = wait_for_children(bench.pid, 3)
        bench.send_signal(signal.SIGINT)
        assert bench.wait(20) != 0
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
    assert os.listdir(place) == []


# --- the log beside SQLite ----------------------------------------------------------------------------------------


def test_both_stores_keep_what_they_acknowledge(place: Path) -> None:
    found = store.run(users=1000, writers=5, seconds=0.05, rounds=1, place=place, cores=CORES)
    assert ours(found).figures.keys() > found.servers["sqlite"].figures.keys() > {"cpu_us_per_fact", "read_s"}
    assert all(server.checks.faults == {} and server.latency["write"].count for server in found.servers.values())
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("name", stores.STORES)
def test_an_acknowledged_change_that_is_not_read_back_is_lost(tmp_path: Path, name: str) -> None:
    wake = threading.Event()
    kept = stores.STORES[name](tmp_path, wake)
    for number in (1, 2):
        kept.submit(stores.facts_of_change("alice", number), (number,))
        assert store.wait_for(kept, wake) == [number]
    kept.close()
    for acknowledged, lost in (({"alice": 2}, 0), ({"alice": 3}, 1), ({"alice": 2, "bob": 1}, 1)):
        assert store.read(type(kept), tmp_path, "", acknowledged)["lost"] == lost


def test_contacts(tmp_path: Path) -> None:
    outcome = contacts.run(users=40, contacts=6, place=tmp_path, cores=CORES)
    figures = outcome.servers[OURS].figures
    assert not outcome.faults() and outcome.main_figure in figures
    assert outcome.servers[OURS].checks.deliveries == 40 * 6
    assert {"import_s", "ready_s", "rss_bytes_per_contact"} <= figures.keys()


def test_a_contact_that_is_not_there_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    all_contacts, check = contacts.contacts_of, contacts.check_lists
    is_over: list[bool] = []

    def but_two(names: Sequence[str], number: int, distances: Iterable[int]) -> list[str]:
        """Without the pair of the first two users, while lists are set."""
        found = list(all_contacts(names, number, [1, *list(distances)[1:]]))
        return [name for name in found if is_over or {name, names[number]} != set(names[:2])]

    monkeypatch.setattr(contacts, "contacts_of", but_two)
    monkeypatch.setattr(contacts, "check_lists", lambda *given: (is_over.append(True), check(*given)))
    assert contacts.run(users=40, contacts=2, place=tmp_path, cores=CORES).faults() == {"presenced": {"lost": 2}}
