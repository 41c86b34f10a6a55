"""The graph and fan-out profiles beside Redis as programs: both count every delivery, and a faulty one of either fails
the run.

Where a fault is wanted, or none is installed, Redis is a stand-in. Nothing looks at how fast anything was.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.__main__ import main
from bench.profiles import graph
from tests.bench.processes import FAULTY

TINY = ("graph", "--users", "6", "--contacts", "3", "--changes", "4", "--rounds", "2")
DELIVERIES = 6 * 3 * 4 * 2


@pytest.fixture(autouse=True)
def own_cores() -> Iterator[None]:
    """The bench pins its process, which is this one."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture
def stand_in_redis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "redis-server"
    program.write_text(f"#!{sys.executable}\n{FAULTY.with_name('stand_in_redis.py').read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.fixture
def some_redis(request: pytest.FixtureRequest) -> None:
    """The installed one, if there is one."""
    if shutil.which("redis-server") is None:
        request.getfixturevalue("stand_in_redis")


def run(*arguments: str, peers: str = "redis") -> Result:
    return CliRunner().invoke(main, [*TINY, *arguments, "--peers", peers, "--json"])


def servers(result: Result) -> dict[str, Any]:
    [outcome] = json.loads(result.stdout)["outcomes"]
    return dict(outcome["servers"])


def faults(server: dict[str, Any]) -> dict[str, int]:
    return {name: count for name, count in server["checks"].items() if count and name != "deliveries"}


@pytest.mark.parametrize("redis", ["some_redis", "stand_in_redis"])
def test_both_do_the_same_work(request: pytest.FixtureRequest, redis: str) -> None:
    request.getfixturevalue(redis)
    result = run()
    assert result.exit_code == 0, result.output
    found = servers(result)
    assert list(found) == ["presenced", "redis"]
    for server in found.values():
        assert server["checks"]["deliveries"] == DELIVERIES and not faults(server)
        for figure in ("server_cpu_us_per_delivery", "deliveries_per_s", "server_core_busy", "core_taken_by_others"):
            assert len(server[figure]["rounds"]) == 2
    assert (found["redis"]["version"] == "0.0.0") == the_stand_in_is_found()


def the_stand_in_is_found() -> bool:
    """Is the redis-server in the path a script?"""
    program = shutil.which("redis-server")
    assert program is not None
    return Path(program).read_bytes().startswith(b"#!")


# Everybody watches everybody, so that the message with the fault has five readers whoever it is from. The first six
# are the logins'. With 1 change the tenth message is one of the warm-up, with which nothing but the present state is
# carried over; so the round that counts is made long enough to have the fault in it.
@pytest.mark.parametrize(
    ("fault", "counted"),
    [
        ("mute", {"lost": 1}),
        ("double", {"duplicated": 1}),
        ("stale", {"misordered": 5, "lost": 5}),
        ("stray", {"wrong": 1}),
    ],
)
def test_one_faulty_delivery_of_redis_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, stand_in_redis: None, fault: str, counted: dict[str, int]
) -> None:
    monkeypatch.setenv("REDIS_FAULT", fault)
    monkeypatch.setenv("REDIS_FAULT_AT", "20")
    result = run("--contacts", "5")
    assert faults(servers(result)["redis"]) == counted
    assert result.exit_code == 1
    assert "the run failed" in result.stderr


@pytest.mark.parametrize(
    ("fault", "counted"), [("mute", {"lost": 1, "stale": 1}), ("stale", {"misordered": 5, "lost": 5, "stale": 5})]
)
def test_a_lost_last_word_is_seen_at_the_end_of_the_round(
    monkeypatch: pytest.MonkeyPatch, stand_in_redis: None, fault: str, counted: dict[str, int]
) -> None:
    monkeypatch.setenv("REDIS_FAULT", fault)
    # Six logins, six changes of the warm-up, then the only change of each in the first round.
    monkeypatch.setenv("REDIS_FAULT_AT", "15")
    result = run("--contacts", "5", "--changes", "1")
    assert faults(servers(result)["redis"]) == counted
    assert result.exit_code == 1


@pytest.mark.parametrize(("fault", "counted"), [("mute", {"lost": 1}), ("double", {"duplicated": 1})])
def test_the_same_in_the_fan_out(
    monkeypatch: pytest.MonkeyPatch, stand_in_redis: None, fault: str, counted: dict[str, int]
) -> None:
    monkeypatch.setenv("REDIS_FAULT", fault)
    monkeypatch.setenv("REDIS_FAULT_AT", "15")
    monkeypatch.setattr("bench.peers.steps.STEP_TIMEOUT_S", 0.5)
    tiny = ("fanout", "--watchers", "5", "--changes", "10", "--rounds", "1", "--warmup", "1")
    result = CliRunner().invoke(main, [*tiny, "--peers", "redis", "--json"])
    assert faults(servers(result)["redis"]) == counted
    assert not faults(servers(result)["presenced"])
    assert result.exit_code == 1


def test_a_refused_write_ends_the_run(monkeypatch: pytest.MonkeyPatch, stand_in_redis: None) -> None:
    monkeypatch.setenv("REDIS_FAULT", "refuse")
    result = run()
    assert result.exit_code == 1
    assert "MISCONF" in result.stderr


def test_a_faulty_delivery_of_the_daemon_fails_the_run_though_redis_made_none(
    monkeypatch: pytest.MonkeyPatch, stand_in_redis: None
) -> None:
    verify = graph.ConnectedGraph.verify

    def deaf_to_the_last(side: graph.ConnectedGraph) -> None:
        if side.peer.name == "presenced":
            next(iter(side.people.values())).chunks.clear()
        verify(side)

    monkeypatch.setattr(graph.ConnectedGraph, "verify", deaf_to_the_last)
    result = run()
    # One of the six hears nothing in the warm-up and two rounds; what ours merges is not lost, but its last word must
    # arrive.
    assert faults(servers(result)["presenced"]) == {"stale": 3 * 3}
    assert not faults(servers(result)["redis"])
    assert result.exit_code == 1
