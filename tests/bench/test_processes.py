"""Servers' processes, with programs that serve nothing: how they end, and what they started with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.machine import kernel
from bench.machine.server import Server
from bench.machine.subprocesses import run_apart
from bench.machine.tree import ServerTree
from tests.support.until import PATIENCE_S, until

CORE = max(os.sched_getaffinity(0))


@pytest.mark.parametrize("gentle", [True, False])
def test_what_it_started_ends_with_it(gentle: bool, tmp_path: Path) -> None:
    command = ["sh", "-c", "trap '' HUP; sleep 1000 & wait"]
    tree = ServerTree(command, CORE, tmp_path / "log", gentle=gentle)
    try:
        until(lambda: len(kernel.tree(tree.pid)) == 2, "both processes run")
        pids = kernel.tree(tree.pid)
        assert 0 < tree.settled_cpu_ns() <= tree.cpu_ns()
        assert tree.resident_bytes() > kernel.resident_bytes(pids[1]) > 0
    finally:
        tree.stop()
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert tree.trouble == ""


def test_one_that_has_ended_by_itself_says_so_and_its_words_remain(tmp_path: Path) -> None:
    tree = ServerTree(["sh", "-c", "echo no room in the inn; exit 3"], CORE, tmp_path / "log")
    assert not tree.wait_for_port(kernel.free_port(), timeout_s=PATIENCE_S)
    tree.stop()
    tree.stop()
    assert tree.trouble == "it had ended by itself with code 3"
    assert tree.errors() == "no room in the inn"


def test_one_that_does_not_heed_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ServerTree, "stop_timeout_s", 0.1)
    monkeypatch.setattr(Server, "stop_timeout_s", 0.1)
    deaf = "trap '' TERM; echo port 1234; while true; do sleep 1000; done"
    tree = ServerTree(["sh", "-c", deaf], CORE, tmp_path / "log")
    until(lambda: (tmp_path / "log").read_text() != "", "the log is begun")
    tree.stop()
    assert "did not end within" in tree.trouble and not Path(f"/proc/{tree.pid}").exists()
    # The shell itself, and not something below it, is what is deaf: `Server` is one process.
    server = Server(["sh", "-c", deaf.replace("sleep 1000", ":")], CORE, r"port (\d+)", strict=True)
    with pytest.raises(BenchError, match="did not end within"):
        server.stop()
    assert not Path(f"/proc/{server.pid}").exists()


def test_who_stands_still_goes_on_when_it_is_told_to(tmp_path: Path) -> None:
    tree = ServerTree(["sh", "-c", "while read line; do :; done < /dev/zero"], CORE, tmp_path / "log")
    try:
        tree.pause()
        before_ns = tree.cpu_ns()
        assert Path(f"/proc/{tree.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        tree.resume()
        until(lambda: tree.cpu_ns() > before_ns, "it uses its processor")
    finally:
        tree.stop()


def test_what_runs_apart_and_fails_is_told_with_its_words() -> None:
    with pytest.raises(BenchError, match=r"(?s)-m bench\.load\.directory_maker replay /nowhere failed:.*No such file"):
        run_apart("bench.load.directory_maker", "replay", "/nowhere", core=CORE)
