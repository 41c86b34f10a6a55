"""The bench as a program: tiny runs of every profile pass and have their keys; a faulty delivery fails the run.

Nothing here looks at how fast anything was.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench import daemon, fanout, graph, side
from bench.__main__ import main
from bench.daemon import BenchError, Server, need_descriptors
from presenced.wire.frames import frame
from presenced.wire.messages import Presence, Record, encode

FAULTY = Path(__file__).parent / "faulty_daemon.py"
READY = r"listening on presence://127\.0\.0\.1:(\d+)"

MACHINE_KEYS = {"python", "kernel", "cpu_count", "commit", "command_line", "pinning", "change_spacing", "rate_limit"}
FANOUT_KEYS = {
    "server_cpu_us_per_delivery",
    "limit_cpu_us_per_delivery",
    "ratio",
    "ratio_spread",
    "deliveries",
    "lost",
    "duplicated",
    "wrong",
    "rounds",
    "latency_p50_us",
    "latency_p99_us",
    "limit_latency_p50_us",
    "limit_latency_p99_us",
}


@pytest.fixture(autouse=True)
def own_cores() -> Iterator[None]:
    """The bench pins its process, which is this one."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--json"])


def figures(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    assert found.keys() >= MACHINE_KEYS
    return found


@pytest.mark.parametrize("publishers", [1, 3])
def test_fanout_counts_every_delivery(publishers: int) -> None:
    found = figures(
        run("fanout", "--watchers", "5", "--changes", "4", "--rounds", "2", "--publishers", str(publishers))
    )
    assert found.keys() >= FANOUT_KEYS
    assert found["deliveries"] == 5 * 4 * 2 * publishers
    assert (found["lost"], found["duplicated"], found["wrong"]) == (0, 0, 0)
    assert (found["change_spacing"], found["rate_limit"]) == ("off", "off")


def test_idle_tells_memory_for_each_device() -> None:
    assert figures(run("idle", "--links", "50")).keys() >= {"rss_bytes_per_device", "links"}


def test_heartbeat_compares_with_the_limit() -> None:
    found = figures(run("heartbeat", "--links", "5", "--sweeps", "2", "--rounds", "1"))
    assert found["heartbeats"] == 10
    assert found.keys() >= {"server_cpu_us_per_heartbeat", "limit_cpu_us_per_heartbeat", "ratio"}


def test_graph_counts_every_delivery() -> None:
    found = figures(run("graph", "--users", "8", "--contacts", "3", "--changes", "5", "--rounds", "2"))
    assert found["deliveries"] == 8 * 3 * 5 * 2
    assert (found["lost"], found["wrong"], found["merged"]) == (0, 0, 0)
    assert "server_cpu_us_per_delivery" in found


def test_the_table_for_people_has_the_same_figures() -> None:
    result = CliRunner().invoke(main, ["fanout", "--watchers", "3", "--changes", "2", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    for key in FANOUT_KEYS:
        assert key in result.stdout


@pytest.mark.parametrize(
    ("fault", "counted"),
    [("none", {}), ("lose", {"lost": 1}), ("double", {"duplicated": 1}), ("wrong", {"wrong": 1, "lost": 1})],
)
@pytest.mark.parametrize("publishers", [1, 3])
def test_one_faulty_delivery_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, fault: str, counted: dict[str, int], publishers: int
) -> None:
    monkeypatch.setattr(side, "STEP_TIMEOUT_S", 0.5)
    command = [sys.executable, str(FAULTY), fault]
    monkeypatch.setattr(fanout, "start_daemon", lambda core: Server(command, core, READY))
    result = run("fanout", "--watchers", "7", "--changes", "5", "--rounds", "1", "--publishers", str(publishers))
    found = json.loads(result.stdout)
    # With several publishers a doubled frame also pushes the last one of its step out of its place.
    assert all(found[key] >= count for key, count in counted.items())
    assert any(found[key] for key in ("lost", "duplicated", "wrong")) == bool(counted)
    assert result.exit_code == (1 if counted else 0)
    assert ("the run failed" in result.stderr) == bool(counted)


def test_graph_sees_a_lost_last_word_and_an_old_one() -> None:
    told = frame(encode(Presence(Record("bob", "dnd", "one", "", 1, 0, "d", 7))))

    class FakeLink:
        def __init__(self, user: str) -> None:
            self.user = user

    people = {
        0: graph.Person(FakeLink("alice"), ["bob", "carol"], chunks=[told, told]),  # type: ignore[arg-type]
        1: graph.Person(FakeLink("bob"), [], latest=("dnd", "one")),  # type: ignore[arg-type]
        2: graph.Person(FakeLink("carol"), [], latest=("away", "two")),  # type: ignore[arg-type]
    }
    tally = graph.Tally()
    graph.verify(people, 1, tally)
    assert (tally.lost, tally.wrong, tally.deliveries) == (1, 1, 2)


def test_too_few_descriptors_says_how_many_are_needed() -> None:
    with pytest.raises(BenchError, match="needs 1000000192 file descriptors"):
        need_descriptors(1_000_000_000)


def test_a_daemon_that_does_not_start_is_told_with_its_words() -> None:
    with pytest.raises(BenchError, match="nobody speaks here"):
        Server([sys.executable, "-c", "raise SystemExit('nobody speaks here')"], 0, READY)


def test_without_a_compiler_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "native").mkdir()
    (tmp_path / "native" / "limit.c").write_text("int main(void) { return 0; }\n")
    monkeypatch.setattr(daemon, "BENCH", tmp_path)
    monkeypatch.setattr(daemon.shutil, "which", lambda name: None)
    with pytest.raises(BenchError, match="apt-get install gcc"):
        daemon.start_limit(0, "star")


def test_the_limit_is_void_once_it_dropped_a_write() -> None:
    """Its count is its only witness: nothing else would tell a drop from a slow watcher."""

    class FullServer:
        def stop(self) -> str:
            return '{"frames_in": 1, "bytes_in": 9, "writes": 1, "dropped": 1}'

    with pytest.raises(BenchError, match="dropped 1"):
        daemon.stop_limit(FullServer())  # type: ignore[arg-type]


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_process(signal_number: int) -> None:
    command = [sys.executable, "-m", "bench", "fanout", "--watchers", "3", "--changes", "1000000"]
    bench = subprocess.Popen(command, cwd=FAULTY.parents[2], stderr=subprocess.DEVNULL)
    try:
        children = wait_for_children(bench.pid, 2)
        bench.send_signal(signal_number)
        assert bench.wait(20) != 0
    finally:
        bench.kill()
        bench.wait()
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def wait_for_children(pid: int, count: int) -> list[int]:
    """The ids of the children once there are `count`."""
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + 30
    while len(children := [int(child) for child in listing.read_text().split()]) < count:
        assert time.monotonic() < deadline, "the bench did not start its servers"
        os.sched_yield()
    return children
