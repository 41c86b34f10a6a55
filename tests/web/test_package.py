"""The JavaScript client as a package: how large it is, whether its types hold, and that it can be installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import presenced
from tests.support import REPOSITORY

WEB = REPOSITORY / "presenced" / "web"
TOOLS = {"terser": "5.51.4", "typescript": "5.9.3"}
MINIFIED_BYTES_MAX = 16 * 1024
MINIFYING = ("--module", "--ecma", "2022", "--compress", "passes=2,unsafe_arrows=true", "--mangle")

pytestmark = pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed; install it: apt-get install npm")


def run(*words: str, cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has the client from this checkout, and nothing else."""
    project = tmp_path_factory.mktemp("project")
    (project / "package.json").write_text('{"type": "module"}')
    run("npm", "install", "--offline", "--no-audit", "--no-fund", str(WEB), cwd=project)
    return project


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tools are whose versions are above; a registry must have them."""
    place = tmp_path_factory.mktemp("tools")
    named = [f"{name}@{version}" for name, version in TOOLS.items()]
    words = ["npm", "install", "--no-audit", "--no-fund", "--prefer-offline", "--prefix", str(place), *named]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        pytest.skip(f"no registry has {' and '.join(named)}: {done.stderr.strip().splitlines()[:1]}")
    return place / "node_modules" / ".bin"


def test_it_is_installed_from_a_checkout_and_imported_by_its_name(project: Path) -> None:
    script = (
        'import { connect, PresenceError } from "presenced";'
        'import { NodeWebSocket } from "presenced/node-websocket.js";'
        'const error = await connect({ url: "ws://127.0.0.1:1/ws", user: "a" }).catch((error) => error);'
        "const { code, temporary } = error;"
        "console.log(JSON.stringify([typeof NodeWebSocket, error instanceof PresenceError, code, temporary]));"
    )
    said = run("node", "--input-type=module", "--eval", script, cwd=project)
    assert json.loads(said) == ["function", True, "unreachable", True]


def test_its_package_has_its_files_and_depends_on_nothing(project: Path) -> None:
    about = json.loads((WEB / "package.json").read_text())
    assert "dependencies" not in about
    assert about["version"] == presenced.__version__
    assert all((WEB / name).is_file() for name in about["files"])
    assert [path.name for path in (project / "node_modules").iterdir() if path.name[0] != "."] == ["presenced"]


def test_it_is_small(tools: Path, tmp_path: Path) -> None:
    minified = run(str(tools / "terser"), str(WEB / "presence.js"), *MINIFYING, cwd=tmp_path).strip().encode()
    assert len(minified) <= MINIFIED_BYTES_MAX, f"{len(minified)} bytes"
    (tmp_path / "presence.mjs").write_bytes(minified)
    script = 'import { connect } from "./presence.mjs"; console.log(typeof connect);'
    assert run("node", "--input-type=module", "--eval", script, cwd=tmp_path) == "function\n"


def test_its_types_are_strict(tools: Path, project: Path) -> None:
    shutil.copy(Path(__file__).with_name("types.ts"), project)
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"]
    run(str(tools / "tsc"), *options, "types.ts", cwd=project)
