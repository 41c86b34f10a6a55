"""The bench as a program: tiny runs of every profile pass and have their keys; a faulty delivery fails the run.

Nothing here looks at how fast anything was.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.__main__ import main
from bench.errors import BenchError
from bench.load import limit
from bench.machine.cores import need_descriptors
from bench.machine.server import Server
from bench.paths import REPOSITORY
from bench.peers import presenced, steps
from bench.results.units import show
from tests.bench.processes import FAULTY, wait_for_children
from tests.support.until import PATIENCE_S

READY = r"listening on presence://127\.0\.0\.1:(\d+)"

MACHINE_KEYS = {"python", "kernel", "cpu_count", "commit", "command_line", "pinning", "change_spacing", "rate_limit"}
TINY = ("fanout", "--watchers", "5", "--changes", "4", "--rounds", "2", "--peers", "none")


@pytest.fixture(autouse=True)
def own_cores() -> Iterator[None]:
    """The bench pins its process, which is this one."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--json"])


def outcome(result: Result) -> dict[str, Any]:
    """The one outcome of a run that has passed."""
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["schema"] == 1 and found["machine"].keys() >= MACHINE_KEYS
    [only] = found["outcomes"]
    assert not only["interrupted"]
    return dict(only)


@pytest.mark.parametrize("publishers", [1, 3])
def test_fanout_counts_every_delivery(publishers: int) -> None:
    found = outcome(run(*TINY, "--publishers", str(publishers)))
    assert list(found["servers"]) == ["presenced", "limit"]
    assert found["ratio"].keys() == {"limit"} and found["ratio"]["limit"]["median"] > 0
    for server in found["servers"].values():
        assert server["checks"] == {**dict.fromkeys(server["checks"], 0), "deliveries": 5 * 4 * 2 * publishers}
        assert len(server["server_cpu_us_per_delivery"]["rounds"]) == 2
        latency = server["latency"]["change_to_watcher"]
        assert 0 < latency["p50_us"] <= latency["p99_us"] <= latency["max_us"]


def test_idle_tells_memory_for_each_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.profiles.idle.DEADLINES_S", 0.0)
    found = outcome(run("idle", "--links", "50", "--rest-s", "0.05", "--peers", "none"))
    assert found["main_figure"] == "rss_bytes_per_device" and found["options"]["links"] == 50
    assert "rss_bytes_per_device" in found["servers"]["presenced"]


def test_heartbeat_compares_with_the_limit() -> None:
    found = outcome(run("heartbeat", "--links", "5", "--sweeps", "2", "--rounds", "1"))
    assert found["ratio"].keys() == {"limit"}
    assert all("server_cpu_us_per_heartbeat" in server for server in found["servers"].values())


def test_graph_counts_every_delivery() -> None:
    arguments = ("--users", "8", "--contacts", "3", "--changes", "5", "--rounds", "2", "--peers", "none")
    found = outcome(run("graph", *arguments))["servers"]["presenced"]
    assert found["checks"] == {**dict.fromkeys(found["checks"], 0), "deliveries": 8 * 3 * 5 * 2}
    assert len(found["server_cpu_us_per_delivery"]["rounds"]) == 2


def test_the_table_for_people_has_the_same_figures(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    result = CliRunner().invoke(main, [*TINY, "--json-file", str(file)])
    assert result.exit_code == 0, result.output
    [found] = json.loads(file.read_text())["outcomes"]
    for name in ("presenced", "limit"):
        figure = found["servers"][name]["server_cpu_us_per_delivery"]["median"]
        assert show("server_cpu_us_per_delivery", figure) in result.stdout
    assert "40 ok" in result.stdout and "python -m bench" in result.stdout


@pytest.mark.parametrize(
    ("fault", "counted"),
    [("none", {}), ("lose", {"lost": 1}), ("double", {"duplicated": 1}), ("wrong", {"wrong": 1, "lost": 1})],
)
@pytest.mark.parametrize("publishers", [1, 3])
def test_one_faulty_delivery_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, fault: str, counted: dict[str, int], publishers: int
) -> None:
    monkeypatch.setattr(steps, "STEP_TIMEOUT_S", 0.5)
    command = [sys.executable, str(FAULTY), fault]
    monkeypatch.setattr(presenced, "start_daemon", lambda core, *_, **__: Server(command, core, READY))
    tiny = ("--watchers", "7", "--changes", "5", "--rounds", "1", "--peers", "none")
    result = run("fanout", *tiny, "--publishers", str(publishers))
    found = json.loads(result.stdout)["outcomes"][0]["servers"]["presenced"]["checks"]
    # With several publishers a doubled frame also pushes the last one of its step out of its place.
    assert all(found[key] >= count for key, count in counted.items())
    assert any(found[key] for key in ("lost", "duplicated", "wrong")) == bool(counted)
    assert result.exit_code == (1 if counted else 0)
    assert ("the run failed" in result.stderr) == bool(counted)


def test_what_is_not_run_is_not_loaded() -> None:
    """A command line that loads every profile, or what draws a page, is slow to say anything."""
    script = "import sys, bench.__main__; print(*(name for name in sys.modules if name.startswith('bench.')))"
    command = [sys.executable, "-c", script]
    loaded = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()
    parts = {name.split(".")[1] for name in loaded}
    assert "runner" in parts and not parts & {"load", "peers", "profiles"}
    assert not {"bench.report.page", "bench.report.charts", "bench.report.comparison"} & set(loaded)


def test_too_few_descriptors_says_how_many_are_needed() -> None:
    with pytest.raises(BenchError, match="needs 1000000192 file descriptors"):
        need_descriptors(1_000_000_000)


def test_a_daemon_that_does_not_start_is_told_with_its_words() -> None:
    with pytest.raises(BenchError, match="nobody speaks here"):
        Server([sys.executable, "-c", "raise SystemExit('nobody speaks here')"], 0, READY)


def test_without_a_compiler_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(limit, "BUILD", tmp_path)
    monkeypatch.setattr(limit.shutil, "which", lambda name: None)
    with pytest.raises(BenchError, match="apt-get install gcc"):
        limit.start_limit(0, "star")


def test_the_limit_is_void_once_it_dropped_a_write() -> None:
    """Its count is its only witness: nothing else would tell a drop from a slow watcher."""

    class FullServer:
        def stop(self) -> str:
            return '{"frames_in": 1, "bytes_in": 9, "writes": 1, "dropped": 1}'

    with pytest.raises(BenchError, match="dropped 1"):
        limit.stop_limit(FullServer())  # type: ignore[arg-type]


@pytest.mark.parametrize(("signal_number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_tells_what_it_has_and_leaves_no_process(
    tmp_path: Path, signal_number: int, code: int
) -> None:
    file = tmp_path / "a.json"
    command = [sys.executable, "-m", "bench", "fanout", "--watchers", "100", "--changes", "10", "--rounds", "1000000"]
    command += ["--peers", "none", "--json-file", str(file)]
    bench = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        children = wait_for_children(bench.pid, 2)
        wait_for_rounds(children[0])
        bench.send_signal(signal_number)
        said, complained = bench.communicate(timeout=20)
    finally:
        bench.kill()
        bench.wait()
    assert (bench.returncode, complained) == (code, "")
    assert "interrupted: these are the rounds that were complete" in said
    [found] = json.loads(file.read_text())["outcomes"]
    assert found["interrupted"]
    rounds = found["servers"]["presenced"]["server_cpu_us_per_delivery"]["rounds"]
    assert 0 < len(rounds) < 1_000_000
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def test_ctrl_c_at_a_terminal_is_for_the_bench_and_not_for_its_servers() -> None:
    """A terminal sends the signal to all that belong to it: servers that heeded it would be gone before the last words
    are counted."""
    ours, theirs = os.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    command = [sys.executable, "-m", "bench", "fanout", "--watchers", "100", "--changes", "10", "--rounds", "1000000"]
    bench = subprocess.Popen(
        [*command, "--peers", "none"],
        cwd=REPOSITORY,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=take_terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    try:
        children = wait_for_children(bench.pid, 2)
        shown = b""

        def read_on() -> None:
            """A terminal that nobody reads from stops the bench."""
            nonlocal shown
            if select.select([ours], [], [], 0)[0]:
                shown += os.read(ours, 65_536)

        wait_for_rounds(children[0], read_on)
        assert os.tcgetpgrp(ours) == bench.pid
        assert all(os.getpgid(child) != bench.pid for child in children)
        os.write(ours, b"\x03")
        with suppress(OSError):  # EIO: nobody has the terminal any more
            while data := os.read(ours, 65_536):
                shown += data
        assert bench.wait(20) == 130
    finally:
        bench.kill()
        bench.wait()
        os.close(ours)
    assert b"interrupted: these are the rounds that were complete" in shown
    assert b"fanout" in shown.partition(b"fan-out:")[0], "the bar was there before the table"
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def test_one_that_is_interrupted_while_it_starts_leaves_no_process() -> None:
    command = [sys.executable, "-m", "bench", "fanout", "--watchers", "5000", "--peers", "none"]
    bench = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        children = wait_for_daemon(bench.pid)
        bench.send_signal(signal.SIGTERM)
        said, complained = bench.communicate(timeout=20)
    finally:
        bench.kill()
        bench.wait()
    assert (bench.returncode, said) == (143, "")
    assert complained == "bench: fanout: interrupted before a round was complete\n"
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []


def wait_for_daemon(pid: int) -> list[int]:
    """The ids of the children once the daemon is one of them."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        children = wait_for_children(pid, 1)
        for child in children:
            with suppress(FileNotFoundError, ProcessLookupError):
                if b"serve" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                    return children
        assert time.monotonic() < deadline, "the bench did not start the daemon"


def wait_for_rounds(daemon_pid: int, look: Callable[[], object] = os.sched_yield) -> None:
    """Until the daemon, which has started, has used far more CPU than the logins, the warm-up and a round of ten
    changes take, even on a machine that is ten times slower. `look` is called meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    clock = (~daemon_pid << 3) | 2  # clock_getcpuclockid(3)
    started_s = time.clock_gettime(clock)
    while time.clock_gettime(clock) < started_s + 0.3:
        assert time.monotonic() < deadline, "the bench does not use its server"
        look()
