"""The profile `cluster`, tiny, on real daemons and a real engine: every figure is there, and a fault is counted.
Nothing looks at how much anything cost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.machine import disk
from bench.machine.cores import Cores
from bench.machine.together import Together
from bench.peers import nodes
from bench.peers.base import PeerMissing
from bench.peers.ledger import Ledger
from bench.peers.node_arrival import compare
from bench.peers.redis import Redis
from bench.profiles import cluster
from bench.results.goals import verdicts
from bench.results.outcome import OURS, Checks, ServerOutcome
from presenced.wire.messages import Record, Status

CORE = max(os.sched_getaffinity(0))
CORES = Cores(CORE, CORE)

RATIOS = {f"{name}_ratio" for name in ("star", "graph", "heartbeat", "login", "first_login", "two_nodes")}
CHANGES = {
    f"{name}{end}"
    for name in ("server_cpu_us_per_change", "cpu_us_per_foreign_change", "engine_cpu_us_per_change")
    for end in ("", "_at_once")
}
WAITS = {f"{name}_{percent}_us" for name in ("local", "remote") for percent in ("p50", "p99")}
JOINING_ONCE = {
    "join_s",
    "join_cpu_s",
    "join_rss_mib",
    "join_engine_cpu_s",
    "join_engine_rss_mib",
    "teacher_cpu_s",
    "teacher_rss_mib",
    "teacher_turn_cpu_p99_ms",
    "teacher_longest_turn_cpu_ms",
}
JOINING = JOINING_ONCE | {f"asleep_{name}" for name in JOINING_ONCE}


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Taken for a disk, whatever it is."""
    monkeypatch.setattr(disk, "IN_MEMORY", ())
    return tmp_path


def needs_redis() -> None:
    try:
        Redis.find()
    except PeerMissing as missing:
        pytest.skip(str(missing))


def test_a_cluster_is_measured_beside_a_daemon_without_one(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_redis()
    monkeypatch.setattr(cluster, "SWEEPS", 1)
    monkeypatch.setattr(cluster, "TOGETHER", 4)
    found = cluster.run(
        users=6, contacts=2, graph_changes=2, changes=10, share=0.1, seconds=0.1, known=40, rounds=1, seed=1,
        place=place, cores=CORES,
    )  # fmt: skip
    assert found.faults() == {} and not found.interrupted
    ours, without = found.servers[OURS], found.servers[cluster.WITHOUT]
    assert ours.figures.keys() >= {found.main_figure, "cluster_cpu_us_per_change_at_once"} | RATIOS | CHANGES
    assert ours.figures.keys() >= WAITS | JOINING
    assert without.figures.keys() >= {"graph_server_cpu_us_per_delivery", "server_cpu_us_per_change_at_once"}
    assert set(ours.latency) == {"change_to_watcher_local", "change_to_watcher_remote"}
    # Both have told the star and the logins; one more has told the graph, and a node has met the known.
    assert without.checks.deliveries and ours.checks.deliveries > without.checks.deliveries
    assert sum(note.startswith("goal ") for note in found.notes) == len(cluster.GOALS)


def test_a_goal_is_met_up_to_its_bound_and_a_disturbed_run_cannot_judge_waits() -> None:
    ours = ServerOutcome(figures={"cost_us": [25.0], "ratio": [1.021], "p99_us": [11.0], "p50_us": [9.0]})
    goals = {"cost_us": (25.0, "cost"), "ratio": (1.02, "more"), "p99_us": (10.0, "slow"), "p50_us": (10.0, "half")}
    assert verdicts(ours, goals, of_waits=("p99_us", "p50_us"), doubts=["late"]) == [
        "goal met: cost: 25, at most 25",
        "goal missed: more: 1.021, at most 1.02",
        "goal missed in a run that cannot judge it (late): slow: 11, at most 10",
        "goal met: half: 9, at most 10",
    ]
    ours.figures["core_taken_by_others"] = [0.01, 0.06]
    assert cluster.doubts(ours, ["the generator was the limit: it was late"]) == [
        "the generator was late",
        "others took 6% of a node's core",
    ]
    assert cluster.doubts(ServerOutcome(), ["server and generator share a core"]) == []


def record_of(status: Status, version: int) -> dict[str, Record]:
    return {"ann": Record("ann", status, "", "", 0, 0, "", version)}


def test_whom_a_node_that_joined_does_not_know_is_lost() -> None:
    one, other = record_of("dnd", 7), record_of("away", 8)
    for known, fault in ((one, {}), (other, {"lost": 1}), ({}, {"lost": 1})):
        compare(one, known, ["ann"], checks := Checks())
        assert checks.faults == fault
    # Nobody knows her: the users of this run are not those of the directory.
    compare(record_of("offline", 0), record_of("offline", 0), ["ann"], checks := Checks())
    assert checks.faults == {"lost": 1}


def test_deliveries_are_counted_by_watcher() -> None:
    ledger = Ledger({"ann": ["bob"], "bob": ["ann"]}, merges=True)
    ledger.told("ann", [("bob", 1), ("bob", 2), ("bob", 2)])
    assert ledger.delivered == {"ann": 2, "bob": 0}


class Process:
    """One that works now and then while it is looked at."""

    pid = 1

    def __init__(self, *used_ns: int) -> None:
        self._left = list(used_ns)
        self._ns = 0

    def cpu_ns(self) -> int:
        return self._ns

    def settled_cpu_ns(self) -> int:
        self._ns += self._left.pop(0) if self._left else 0
        return self._ns

    def waited_ns(self) -> int:
        return self._ns

    def resident_bytes(self) -> int:
        return 10

    def pause(self) -> None:
        raise AssertionError

    resume = pause


def test_several_processes_rest_once_none_works_any_more() -> None:
    node, engine = Process(0, 0, 0, 1_000_000), Process(0, 0, 2_000_000)
    whole = Together([node], [engine])
    assert whole.settled_cpu_ns() == whole.cpu_ns() == node.cpu_ns() == 1_000_000
    assert engine.cpu_ns() == 2_000_000 and whole.resident_bytes() == 10


def test_without_an_engine_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("bench.peers.base.PROGRAM_DIRECTORIES", ())
    with pytest.raises(BenchError, match="apt-get install redis-server"):
        nodes.start_engine(CORE, tmp_path / "engine")
