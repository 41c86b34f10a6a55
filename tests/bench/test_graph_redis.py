"""The graph profile beside Redis as a program: both count every delivery, and a faulty one of either fails the run.

Where a fault is wanted, or none is installed, Redis is a stand-in. Nothing looks at how fast anything was.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench import graph
from bench.__main__ import main
from tests.bench.test_bench import FAULTY, MACHINE_KEYS

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


@pytest.fixture
def no_redis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*TINY, *arguments, "--json"])


def figures(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    assert found.keys() >= MACHINE_KEYS
    return found


@pytest.mark.parametrize("redis", ["some_redis", "stand_in_redis"])
@pytest.mark.parametrize("arguments", [(), ("--peer", "redis")])
def test_both_do_the_same_work(request: pytest.FixtureRequest, redis: str, arguments: tuple[str, ...]) -> None:
    request.getfixturevalue(redis)
    found = figures(run(*arguments))
    assert found.keys() >= {
        "server_cpu_us_per_delivery",
        "redis_cpu_us_per_delivery",
        "ratio",
        "ratio_spread",
        "deliveries_per_s",
        "redis_deliveries_per_s",
        "core_taken_by_others",
        "redis_core_taken_by_others",
    }
    assert (found["deliveries"], found["redis_deliveries"]) == (DELIVERIES, DELIVERIES)
    assert (found["lost"], found["wrong"], found["merged"]) == (0, 0, 0)
    assert (found["redis"] == "0.0.0") == the_stand_in_is_found()


def the_stand_in_is_found() -> bool:
    """Is the redis-server in the path a script?"""
    program = shutil.which("redis-server")
    assert program is not None
    return Path(program).read_bytes().startswith(b"#!")


@pytest.mark.parametrize("changes", ["1", "4"])
@pytest.mark.parametrize(
    ("fault", "counted"),
    [("mute", (1, 0)), ("double", (0, 1)), ("stale", (5, 5)), ("stray", (0, 1))],
)
def test_one_faulty_delivery_of_redis_fails_the_run(
    monkeypatch: pytest.MonkeyPatch, stand_in_redis: None, fault: str, counted: tuple[int, int], changes: str
) -> None:
    monkeypatch.setenv("REDIS_FAULT", fault)
    # Everybody watches everybody, so that the message with the fault has five readers whoever it is from.
    # With --changes 1 it is the last word of its user, which only the end of the round shows to be missing.
    result = run("--contacts", "5", "--changes", changes)
    found = json.loads(result.stdout)
    assert (found["lost"], found["wrong"]) == counted
    assert result.exit_code == 1
    assert "the run failed" in result.stderr


def test_a_refused_write_ends_the_run(monkeypatch: pytest.MonkeyPatch, stand_in_redis: None) -> None:
    monkeypatch.setenv("REDIS_FAULT", "refuse")
    result = run()
    assert result.exit_code == 1
    assert "MISCONF" in result.stderr


def test_a_faulty_delivery_of_the_daemon_fails_the_run_though_redis_made_none(
    monkeypatch: pytest.MonkeyPatch, stand_in_redis: None
) -> None:
    verify = graph.verify

    def deaf_to_the_last(people: dict[int, graph.Person], changes: int, tally: graph.Tally) -> None:
        next(iter(people.values())).chunks.clear()
        verify(people, changes, tally)

    monkeypatch.setattr(graph, "verify", deaf_to_the_last)
    result = run()
    # One of the six hears nothing in two rounds.
    assert json.loads(result.stdout)["lost"] == 2 * 3
    assert result.exit_code == 1


@pytest.mark.parametrize("redis", ["some_redis", "no_redis"])
def test_alone_if_that_is_wanted(request: pytest.FixtureRequest, redis: str) -> None:
    request.getfixturevalue(redis)
    found = figures(run("--no-peer"))
    assert [key for key in found if key.startswith(("redis", "ratio"))] == []
    assert found["deliveries"] == DELIVERIES


def test_without_redis_the_result_says_what_to_install(no_redis: None) -> None:
    found = figures(run())
    assert "apt-get install redis-server" in str(found["redis"])
    assert "ratio" not in found
    assert found["deliveries"] == DELIVERIES


def test_without_redis_insisting_on_it_fails(no_redis: None) -> None:
    result = run("--peer", "redis")
    assert result.exit_code == 1
    assert "apt-get install redis-server" in result.stderr


def test_with_and_without_a_peer_exclude_each_other() -> None:
    assert run("--peer", "redis", "--no-peer").exit_code == 2
