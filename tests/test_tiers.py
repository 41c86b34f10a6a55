"""`make test` is quick because it leaves tests out; this holds that `make check`, and with it CI, runs every one, the
longest first."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.shares import DEALT_SINGLY, DEALT_TOGETHER, LONGEST, LongestFirst, place_of, share_of
from tests.support.tiers import LEFT_OUT, PLACES, SHARE, markers_of, samples, spaced

REPOSITORY = Path(__file__).parents[1]
TESTS = REPOSITORY / "tests"
MAKEFILE = (REPOSITORY / "Makefile").read_text()


def rule(target: str) -> str:
    """The target's prerequisites and recipe."""
    found = re.search(rf"^{target}:([^=]*?)(##.*)?\n((\t.*\n)*)", MAKEFILE, re.MULTILINE)
    assert found, target
    return f"{found[1]}\n{found[3]}"


def test_ci_runs_make_check_and_that_runs_every_test() -> None:
    assert (REPOSITORY / ".ci" / "run").read_text().endswith("\nmake check\n")
    assert rule("check").split() == ["style", "types", "test-all"]
    everything = rule("test-all")
    assert "pytest" in everything
    assert not re.search(r" -m ['\"]| -k |--ignore|--deselect|tests/|" + SHARE, everything), "nothing is left out"


def test_make_test_leaves_out_exactly_what_is_marked() -> None:
    quick = rule("test")
    assert f"-m 'not {' and not '.join(LEFT_OUT)}'" in quick and f"{SHARE}=" in quick


@pytest.mark.parametrize("marker", PLACES)
def test_each_place_exists_and_says_what_its_marker_is_for(marker: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    named = {line.partition(":")[0] for line in project["tool"]["pytest"]["ini_options"]["markers"]}
    assert {*PLACES, *LEFT_OUT} <= named and marker in LEFT_OUT
    for place in PLACES[marker]:
        assert (TESTS / place).exists(), f"there is no tests/{place}"


def test_a_marker_goes_by_whole_names() -> None:
    assert markers_of(PurePosixPath("bench/peers/test_x.py")) == ("peers",)
    assert markers_of(PurePosixPath("bench/peers_of_another_kind.py")) == ()


def test_the_share_counts_for_samples_and_leaves_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARE, "0.25")
    assert (samples(100), samples(1)) == (25, 1)
    assert (spaced(40), spaced(1)) == (160, 4)
    monkeypatch.delenv(SHARE)
    assert samples(100) == 100 and spaced(40) == 40
    monkeypatch.setenv(SHARE, "2")
    assert samples(100) == 200 and (spaced(40), spaced(1)) == (20, 1)


# --- the order ---------------------------------------------------------------------------------------------------


class Process:
    """One that runs tests, and has been given these."""

    shutting_down = False
    gateway = SimpleNamespace(id="")

    def __init__(self) -> None:
        self.given: list[int] = []

    def send_runtest_some(self, tests: list[int]) -> None:
        self.given += tests

    def shutdown(self) -> None:
        self.shutting_down = True


def test_make_check_deals_out_files_the_longest_first(request: pytest.FixtureRequest) -> None:
    assert "--dist loadfile" in rule("test-all")
    config: Any = SimpleNamespace(
        option=SimpleNamespace(loadscopereorder=True), getvalue={"tx": ["popen"] * 2, "dist": "loadfile"}.get
    )
    scheduling = request.config.hook.pytest_xdist_make_scheduler(config=config, log=None)
    assert isinstance(scheduling, LongestFirst)
    tests = ["tests/wire/test_a.py::test_a", *(f"tests/core/test_b.py::test_b[{at}]" for at in range(4))]
    tests += [f"tests/sim/test_lives.py::test_c[{at}]" for at in range(2)]
    tests += [f"tests/storage/test_reader.py::test_d[{at}]" for at in range(3)]
    processes: list[Any] = [Process(), Process()]
    for process in processes:
        scheduling.add_node(process)
        scheduling.add_node_collection(process, tests)
    scheduling.schedule()
    one, other = (process.given for process in processes)
    assert (one, other) == ([5, 0], [6, 1, 2, 3, 4]), "lives one by one, behind each what is short; others by files"
    for at in other[:3]:
        scheduling.mark_test_complete(processes[1], at)
    assert other[5:] == []
    scheduling.mark_test_complete(processes[1], other[3])
    assert other[5:] == [7, 8, 9], "all of a file"


def test_what_is_long_is_dealt_out_before_what_is_short(request: pytest.FixtureRequest) -> None:
    config: Any = SimpleNamespace(
        option=SimpleNamespace(loadscopereorder=True), getvalue={"tx": ["popen"] * 3, "dist": "loadfile"}.get
    )
    scheduling = request.config.hook.pytest_xdist_make_scheduler(config=config, log=None)
    places = [place for place in LONGEST if place.endswith(".py") and place not in DEALT_SINGLY]
    tests = [f"tests/{place}::test_{at}" for place in [*places, "core/test_b.py"] for at in range(2)]
    processes: list[Any] = [Process() for _ in range(3)]
    for process in processes:
        scheduling.add_node(process)
        scheduling.add_node_collection(process, tests)
    scheduling.schedule()
    scheduling.mark_test_complete(processes[2], processes[2].given[0])
    assert [process.given for process in processes] == [[0, 1], [2, 3], [4, 5, 6, 7]]


def test_what_a_process_has_done_is_not_dealt_out_again_after_its_crash(request: pytest.FixtureRequest) -> None:
    config: Any = SimpleNamespace(
        option=SimpleNamespace(loadscopereorder=True), getvalue={"tx": ["popen"] * 2, "dist": "loadfile"}.get
    )
    scheduling = request.config.hook.pytest_xdist_make_scheduler(config=config, log=None)
    tests = [f"tests/core/test_{name}.py::test_{at}" for name in "abcd" for at in range(2)]
    crashing, other = processes = [Process(), Process()]
    for process in processes:
        scheduling.add_node(process)
        scheduling.add_node_collection(process, tests)
    scheduling.schedule()
    for at in (0, 1):
        scheduling.mark_test_complete(crashing, at)
    assert (crashing.given, other.given) == ([0, 1, 4, 5], [2, 3])
    assert scheduling.remove_node(crashing) == tests[4]
    for at in (2, 3, 6, 7, 4, 5):
        assert at in other.given and (at != other.given[-1] or other.shutting_down), "it runs one if it knows the next"
        scheduling.mark_test_complete(other, at)
    assert sorted(other.given) == [2, 3, 4, 5, 6, 7] and other.shutting_down and scheduling.tests_finished


@pytest.mark.parametrize("place", [*LONGEST, *DEALT_SINGLY])
def test_each_place_of_the_order_exists(place: str) -> None:
    assert (TESTS / place).exists()
    assert place_of(f"tests/{place}/test_x.py::test_x") <= LONGEST.index(place)


def test_what_has_a_container_in_common_is_dealt_out_together() -> None:
    using = {
        path
        for path in (TESTS / "systemd").glob("test_*.py")
        if re.search(r"\b(service|installed): ", path.read_text())
    }
    assert {f"systemd/{path.name}" for path in using} == {*DEALT_TOGETHER}
    assert len({share_of(f"tests/{place}::test_x") for place in DEALT_TOGETHER}) == 1
    assert max(using).name == "test_uninstall.py", "nobody has the service behind it"


@pytest.mark.parametrize("place", DEALT_SINGLY)
def test_what_is_dealt_out_singly_has_no_fixture_in_common(place: str) -> None:
    assert not re.search(r"scope=|fixture\(params", (TESTS / place).read_text())
