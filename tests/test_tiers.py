"""`make test` is quick because it leaves tests out; this holds that `make check`, and with it CI, runs every one."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path, PurePosixPath

import pytest

from tests.support.tiers import LEFT_OUT, PLACES, SHARE, markers_of, samples

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
    assert markers_of(PurePosixPath("bench/peers/test_x.py")) == ["peers"]
    assert markers_of(PurePosixPath("bench/peers_of_another_kind.py")) == []


def test_the_share_counts_for_samples_and_leaves_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARE, "0.25")
    assert (samples(100), samples(1)) == (25, 1)
    monkeypatch.delenv(SHARE)
    assert samples(100) == 100
