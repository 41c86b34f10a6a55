"""What the comparative profiles do when something is missing, in the way, or ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.errors import BenchError
from bench.load import limit
from bench.machine.cores import Cores, take_cores
from bench.machine.tree import ServerTree
from bench.paths import REPOSITORY
from bench.peers import lineup, programs
from bench.peers.base import Peer, PeerMissing
from bench.peers.lineup import PEERS, Lineup
from bench.peers.redis import Redis
from bench.profiles import fanout, graph, login
from bench.results.outcome import OURS, Outcome, ServerOutcome, no_progress
from tests.bench.processes import FAULTY

SMALL: dict[str, Any] = {"users": 6, "contacts": 3, "changes": 4, "rounds": 2, "seed": 1}


@pytest.fixture
def cores() -> Iterator[Cores]:
    """The bench pins its process, which is this one."""
    before = os.sched_getaffinity(0)
    yield take_cores()
    os.sched_setaffinity(0, before)


@pytest.fixture
def only_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no other peer were known."""
    monkeypatch.setattr(lineup, "PEERS", {"redis": Redis})


def put(directory: Path, script: str) -> None:
    """A program with the name of Redis."""
    program = directory / "redis-server"
    program.write_text(f"#!{sys.executable}\n{script}")
    program.chmod(0o755)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, only_redis: None) -> None:
    put(tmp_path, FAULTY.with_name("stand_in_redis.py").read_text())
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, only_redis: None) -> None:
    put(tmp_path, "import sys\nsys.exit('no room in the inn' if sys.argv[1:] != ['--version'] else 'v=1.2')\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_that_is_not_installed_names_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, name: str, cores: Cores
) -> None:
    monkeypatch.setattr("bench.peers.base.shutil.which", lambda *_, **__: None)
    monkeypatch.setattr(lineup, "PEERS", {name: PEERS[name]})
    command = f"apt-get install {PEERS[name].package}"
    with pytest.raises(PeerMissing, match=command):
        graph.run(**SMALL, cores=cores, peers=[name])
    outcome = graph.run(**SMALL, cores=cores, peers=None)
    assert list(outcome.servers) == [OURS] and command in outcome.missing[name]
    assert outcome.servers[OURS].checks.deliveries == 6 * 3 * 4 * 2


def test_without_a_compiler_the_fan_out_goes_on_without_the_c_loop(
    monkeypatch: pytest.MonkeyPatch, cores: Cores, tmp_path: Path
) -> None:
    monkeypatch.setattr(limit, "BUILD", tmp_path)
    monkeypatch.setattr(limit.shutil, "which", lambda *_, **__: None)
    small = {"watchers": 3, "changes": 2, "publishers": 1, "rounds": 1, "warmup": 1}
    outcome = fanout.run(**small, cores=cores, peers=())
    assert list(outcome.servers) == [OURS] and "apt-get install gcc" in outcome.missing["limit"]
    assert outcome.servers[OURS].checks.deliveries == 6 and not outcome.faults()


def test_daemons_are_found_although_they_are_not_in_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put(tmp_path, "")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("bench.peers.base.PROGRAM_DIRECTORIES", (str(tmp_path),))
    assert Redis.program_path() == str(tmp_path / "redis-server")


def test_one_that_does_not_start_is_told_with_its_own_words(broken: None, cores: Cores) -> None:
    with pytest.raises(BenchError, match="(?s)redis did not start.*no room in the inn"):
        graph.run(**SMALL, cores=cores, peers=["redis"])
    outcome = graph.run(**SMALL, cores=cores, peers=None)
    assert "no room in the inn" in outcome.missing["redis"]
    assert list(outcome.servers) == [OURS] and len(outcome.servers[OURS].figures["server_core_busy"]) == 2


@pytest.mark.parametrize("profile", [graph, login, fanout])
def test_one_that_ends_in_the_middle_does_not_end_the_run(
    monkeypatch: pytest.MonkeyPatch, stand_in: None, cores: Cores, profile: Any
) -> None:
    monkeypatch.setattr("bench.peers.steps.STEP_TIMEOUT_S", 0.5)
    started: list[ServerTree] = []
    start = ServerTree.__init__

    def remembered(process: ServerTree, *arguments: Any, **options: Any) -> None:
        start(process, *arguments, **options)
        started.append(process)

    monkeypatch.setattr(ServerTree, "__init__", remembered)

    def progress(what: str, done: int, total: int) -> None:
        if (what, done) == ("round", 1):
            started[0].stop()

    options = {"watchers": 3, "changes": 2, "publishers": 1, "rounds": 2, "warmup": 1}
    if profile is not fanout:
        options = {name: SMALL[name] for name in ("users", "contacts", "rounds", "seed")}
    if profile is graph:
        options["changes"] = 2
    outcome = profile.run(**options, cores=cores, peers=None, progress=progress)
    assert outcome.missing["redis"].startswith("redis failed: ")
    assert "redis" not in outcome.servers and not outcome.faults()
    assert len(outcome.servers[OURS].figures[outcome.main_figure]) == 2


def test_a_port_that_somebody_else_has_is_not_insisted_on(
    monkeypatch: pytest.MonkeyPatch, stand_in: None, cores: Cores, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = iter([taken, programs.free_port()])
        monkeypatch.setattr(programs, "free_port", lambda: next(ports))
        redis = Redis()
        try:
            redis.start(cores.server, tmp_path / "here", [], {})
            assert redis.port != taken
            redis.connect("ann").close()
        finally:
            redis.stop()


@pytest.mark.parametrize(
    ("profile", "options"),
    [
        (fanout, {"watchers": 100_000_000, "changes": 1, "publishers": 1, "rounds": 1, "warmup": 1}),
        (graph, {"users": 100_000_000, "contacts": 1, "changes": 1, "rounds": 1, "seed": 1}),
        (login, {"users": 100_000_000, "contacts": 1, "rounds": 1, "seed": 1}),
    ],
)
def test_too_few_descriptors_says_how_many_are_needed(profile: Any, options: dict[str, int], cores: Cores) -> None:
    with pytest.raises(BenchError, match=r"needs \d{9,} file descriptors in one process and the limit is"):
        profile.run(**options, cores=cores, peers=())


def test_one_core_is_enough(stand_in: None) -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        cores = take_cores()
        assert cores.shared
        outcome = graph.run(**SMALL, cores=cores, peers=None)
        assert outcome.missing == {} and not outcome.faults()
        small = {"watchers": 3, "changes": 2, "publishers": 2, "rounds": 1, "warmup": 1}
        outcome = fanout.run(**small, cores=cores, peers=None)
        assert not outcome.faults() and list(outcome.servers) == [OURS, "limit", "redis"]
    finally:
        os.sched_setaffinity(0, before)


def test_the_load_says_when_it_was_the_limit(cores: Cores) -> None:
    outcome = Outcome("graph", "", "server_cpu_us_per_delivery")
    lined_up = Lineup(outcome, cores, (), no_progress)
    outcome.servers[OURS] = ServerOutcome(figures={"server_core_busy": [0.97, 0.95, 0.2]})
    lined_up.note_limits()
    assert outcome.notes == []
    outcome.servers["redis"] = ServerOutcome(figures={"server_core_busy": [0.97, 0.6, 0.7]})
    lined_up.note_limits()
    [note] = outcome.notes
    assert "(redis 70%)" in note and "set the pace" in note


def installed_peer() -> type[Peer]:
    """The one with the most processes that is installed."""
    for name in ("ejabberd", "prosody", "redis", "nats", "mosquitto"):
        try:
            PEERS[name].find()
        except PeerMissing:
            continue
        return PEERS[name]
    pytest.skip("no peer is installed; one of them is: apt-get install redis-server")


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_comparison_leaves_no_process(signal_number: int, tmp_path: Path) -> None:
    peer = installed_peer().name
    command = [sys.executable, "-m", "bench", "graph", "--users", "5", "--contacts", "2", "--rounds", "1000000"]
    command += ["--peers", peer]
    # One that is killed leaves its files behind, and nothing else.
    files = tmp_path / "files"
    files.mkdir()
    with (tmp_path / "said").open("wb") as said:
        bench = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=said, stderr=said, env={**os.environ, "TMPDIR": str(files)}
        )
    below: list[int] = []
    try:
        below = wait_until_served(bench, tmp_path / "said")
        bench.send_signal(signal_number)
        assert bench.wait(30) != 0
        deadline = time.monotonic() + 20
        while left := [pid for pid in below if is_alive(pid)]:
            assert time.monotonic() < deadline, f"{left} are still there"
            os.sched_yield()
        assert signal_number == signal.SIGKILL or list(files.iterdir()) == []
    finally:
        bench.kill()
        bench.wait()
        for pid in filter(is_alive, below):
            os.kill(pid, signal.SIGKILL)


def wait_until_served(bench: subprocess.Popen[bytes], said: Path) -> list[int]:
    """The processes below the bench, once a peer and ours are there and the users are connecting."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        below = [bench.pid]
        links = 0
        try:
            for pid in below:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    below += map(int, (task / "children").read_text().split())
            links = sum(os.readlink(fd).startswith("socket:") for fd in Path(f"/proc/{bench.pid}/fd").iterdir())
        except OSError:
            pass  # one of them has just ended, or closed a file
        if len(below) >= 3 and links >= 10:
            return below[1:]
        try:  # not in a spin, which would take the core that it needs
            bench.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"the bench has ended; it said {said.read_text()}")
    raise AssertionError(f"the bench is not ready; it said {said.read_text()}")


def is_alive(pid: int) -> bool:
    """Does it still run? One that has died with the bench is a zombie for whoever adopts it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
