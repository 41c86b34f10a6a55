"""The profile `latency` beside Redis: both servers at one rate, and every change is told to every watcher. Redis is a
stand-in. Nothing looks at how long anything took."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from bench.__main__ import main
from bench.peers.base import Delivery
from bench.peers.connected_graph import ConnectedGraph, Person
from bench.peers.paced_graph import PacedGraph
from bench.profiles.latency import against_redis
from bench.results.histogram import Histogram
from bench.results.outcome import CHANGE_TO_WATCHER, OURS, Latency, Outcome, ServerOutcome
from tests.bench.processes import FAULTY

TINY = ("latency", "--users", "6", "--contacts", "3", "--seconds", "0.4", "--rounds", "2", "--peers", "redis")
PEAK = ("--peak", "400", "--share", "0.5")


@pytest.fixture(autouse=True)
def own_cores() -> Iterator[None]:
    """The bench pins its process, which is this one."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(autouse=True)
def stand_in_redis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text(f"#!{sys.executable}\n{FAULTY.with_name('stand_in_redis.py').read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


def run(*arguments: str) -> tuple[Result, dict[str, Any]]:
    result = CliRunner().invoke(main, [*TINY, *arguments, "--json"])
    outcomes = json.loads(result.stdout)["outcomes"] if result.stdout else []
    return result, outcomes[0] if outcomes else {}


def test_both_have_the_same_changes_at_the_same_times() -> None:
    result, outcome = run(*PEAK)
    assert result.exit_code == 0, result.output
    assert (outcome["options"]["peak"], outcome["options"]["peak_of"]) == (400, "Redis's")
    ours, redis = outcome["servers"]["presenced"], outcome["servers"]["redis"]
    assert len(ours["p99_us"]["rounds"]) == 2
    assert ours["changes_per_s"] == redis["changes_per_s"]
    # Every change is told to three watchers, and what is merged with a later one has waited as well.
    made = redis["latency"]["change_to_watcher"]["count"]
    assert made == redis["checks"]["deliveries"] == ours["latency"]["change_to_watcher"]["count"] > 0
    assert ours["checks"]["deliveries"] + ours["merged"]["rounds"][0] == made


def test_the_rate_is_a_share_of_the_peak_of_redis() -> None:
    result, outcome = run("--share", "0.01")
    assert result.exit_code == 0, result.output
    peak = outcome["servers"]["redis"]["peak_changes_per_s"]["rounds"]
    assert peak == [outcome["options"]["peak"]] and peak[0] > 0


def test_what_redis_does_not_tell_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_FAULT", "mute")
    monkeypatch.setenv("REDIS_FAULT_AT", "150")
    result, outcome = run(*PEAK)
    assert result.exit_code == 1
    assert outcome["servers"]["redis"]["checks"]["lost"] == 1
    assert outcome["servers"]["presenced"]["checks"]["lost"] == 0


def test_equal_distances_are_for_a_run_alone() -> None:
    result, _ = run("--even", *PEAK)
    assert result.exit_code == 1 and "--peers none" in result.stderr


class Told:
    """A server that says in a list what it tells, and a graph of one who watches alice and bob."""

    merges, name = True, "told"

    def __init__(self) -> None:
        self.user, self.rest, self.fd = "carol", b"", 7

    def read(self, link: object, data: bytes) -> list[Delivery]:
        return [(user, number) for user, number in json.loads(data)]


def test_a_change_that_is_passed_over_has_waited_until_the_next_is_told() -> None:
    server = Told()
    people = {7: Person(cast(Any, server))}
    graph = ConnectedGraph(cast(Any, server), people, cast(Any, None), {"carol": ["alice", "bob"]}, spin=False)
    graph.ledger.come_to_rest({"alice": 0, "bob": 0, "carol": 0})
    paced = PacedGraph(graph)
    others = {8: Person(cast(Any, Told())), 9: Person(cast(Any, Told()))}
    for user, person in zip(("alice", "bob"), others.values(), strict=True):
        person.link.user, person.number = user, 3
    paced._before = {"alice": 1, "bob": 2, "carol": 0}
    paced._due_ns = {"alice": [100, 300], "bob": [200], "carol": []}
    graph.ledger.told("carol", [("alice", 1), ("bob", 2)])
    graph.ledger.forget()
    people.update(others)
    paced._kept = [(7, 1_000, b'[["bob", 3]]'), (7, 2_000, b'[["alice", 3]]')]
    waits: list[int] = []

    class Kept(Histogram):
        def record(self, value_ns: int) -> None:
            waits.append(value_ns)

    paced._settle(Kept())
    assert waits == [800, 1_900, 1_700]
    assert graph.ledger.checks.faults == {} and graph.ledger.merged == 1


@pytest.mark.parametrize(
    ("ours_ms", "taken", "limited", "says"),
    [
        (5, 0.0, False, "is met"),
        (6, 0.0, False, "is missed"),
        (5, 0.3, False, "is met, in a run that cannot judge it: others took 30% of the server's core"),
        (6, 0.0, True, "is missed, in a run that cannot judge it: the generator was late"),
    ],
)
def test_the_verdict_beside_redis_says_whether_the_run_can_judge(
    ours_ms: int, taken: float, limited: bool, says: str
) -> None:
    outcome = Outcome("latency", "latency", "p99_us", {})
    for name, p99_ms, share in ((OURS, ours_ms, 0.0), ("redis", 5, taken)):
        figures = {"p99_us": [p99_ms * 1e3], "core_taken_by_others": [share]}
        outcome.servers[name] = ServerOutcome("1", figures)
        outcome.servers[name].latency[CHANGE_TO_WATCHER] = Latency.of_ns([p99_ms * 1_000_000])
    [sentence] = against_redis(outcome, limited=limited)
    assert sentence.endswith(says)
    del outcome.servers["redis"]
    assert against_redis(outcome, limited=limited) == []
