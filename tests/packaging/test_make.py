"""`make run` and `make test`: which Python they take, what they install, and what they say meanwhile."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import REPOSITORY

MAKE_S = 60.0

STAND_IN = f"""#!{sys.executable}
import sys
sys.version_info = {{}}
exec(sys.argv[2])
"""
"""An interpreter that takes itself for another."""


def python(folder: Path, name: str, version: tuple[int, ...]) -> Path:
    path = folder / name
    path.write_text(STAND_IN.format(version))
    path.chmod(0o755)
    return path


def make(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environ = os.environ | ({"PATH": path} if path else {})
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=REPOSITORY, env=environ, capture_output=True, text=True, timeout=MAKE_S,
    )  # fmt: skip


@pytest.mark.parametrize("target", ["run", "test"])
def test_a_python_that_is_too_old_is_told_at_once_with_the_way_out(tmp_path: Path, target: str) -> None:
    old = python(tmp_path, "python3", (3, 10, 14))
    python(tmp_path, "python3.14", (3, 14, 0))
    path = f"{tmp_path}:{os.environ['PATH']}"
    made = make(target, f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", path=path)
    assert made.returncode != 0
    lines = made.stderr.splitlines()
    assert lines[0] == f"make: {old} is Python 3.10.14, and presenced needs 3.11 or newer"
    assert lines[1] == "make: this machine has python3.14: say make PYTHON=python3.14 run, or test"
    assert not (tmp_path / "venv").exists()


def test_without_any_other_it_says_how_to_get_one(tmp_path: Path) -> None:
    old = python(tmp_path, "python3", (3, 10, 14))
    for number in (11, 12, 13, 14):
        python(tmp_path, f"python3.{number}", (3, 10, 14))
    made = make("run", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", path=f"{tmp_path}:{os.environ['PATH']}")
    assert made.returncode != 0 and "install a newer one" in made.stderr and "PYTHON=" in made.stderr


def test_one_that_is_not_there_is_told_as_well(tmp_path: Path) -> None:
    made = make("run", "PYTHON=/nowhere/python3", f"VENV={tmp_path / 'venv'}")
    assert made.returncode != 0 and "make: /nowhere/python3 " in made.stderr and "not found" in made.stderr


def test_a_trial_fetches_what_a_daemon_needs_and_no_tools(tmp_path: Path) -> None:
    """And says so: the first install takes a while."""
    wanted = {"run": "cluster", "test": "dev"}
    for target, extra in wanted.items():
        planned = make("--dry-run", target, f"VENV={tmp_path / 'venv'}")
        assert f".ci/make-venv.sh {tmp_path / 'venv'} {extra}\n" in planned.stdout, planned.stderr
    script = (REPOSITORY / ".ci" / "make-venv.sh").read_text()
    assert script.index('echo "make: installing') < script.index("pip install")


# --- the versions ------------------------------------------------------------------------------------------------


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    return {
        canonicalize_name(name): version
        for name, _, version in (line.partition("==") for line in lines if line and not line.startswith("#"))
    }


def needed(extra: str) -> dict[str, list[Requirement]]:
    """What an extra brings on this machine, by name: its requirements and theirs. What is not installed here is named,
    but not looked into."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"][extra])]
    found: dict[str, list[Requirement]] = {}
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name == "presenced":
            for inner in requirement.extras:
                waiting += [Requirement(line) for line in project["optional-dependencies"][inner]]
            continue
        is_new = name not in found
        found.setdefault(name, []).append(requirement)
        try:
            lines = (requires(name) or []) if is_new else []
        except PackageNotFoundError:
            lines = []
        for line in lines:
            inner_requirement = Requirement(line)
            if inner_requirement.marker is None or inner_requirement.marker.evaluate(
                default_environment() | {"extra": ""}
            ):  # type: ignore[arg-type]
                waiting.append(inner_requirement)
    return found


@pytest.mark.parametrize("extra", ["server", "bench", "dev"])
def test_the_constraints_name_a_version_of_everything_within_its_range(extra: str) -> None:
    pinned = pins()
    # What comes with every virtual environment is that environment's.
    for name, requirements in needed(extra).items():
        if name in ("pip", "setuptools"):
            continue
        assert name in pinned, f"{name} is not in constraints.txt; see `make constraints`"
        for requirement in requirements:
            assert requirement.specifier.contains(pinned[name], prereleases=True), f"{requirement}: {pinned[name]}"


def test_installations_take_the_constraints() -> None:
    for script in (".ci/make-venv.sh", "systemd/install.sh"):
        text = (REPOSITORY / script).read_text()
        assert re.search(r'-c "\$(CONSTRAINTS|SOURCE/constraints\.txt)"', text), script
