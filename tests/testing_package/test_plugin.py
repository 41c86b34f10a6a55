"""pytest's plugin, in a pytest of its own: it costs nothing where nobody uses it, whoever runs the loop."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

from tests.support import REPOSITORY

PLUGIN = "presenced.testing.plugin"
SCOPE = ("-o", "asyncio_default_fixture_loop_scope=function")
"""Without a word about it pytest-asyncio warns."""

ASYNC = """
async def test_she_is_away(presence_server):
    await presence_server.connect("anna")
    await presence_server.advance(minutes=5)
    assert await presence_server.status_of("anna") == "away"

async def test_another_has_a_server_of_its_own(presence_server):
    assert presence_server.history("anna") == []

@pytest.mark.presence_server(away_after="1m")
class TestSoon:
    async def test_it_is_the_class_that_counts(self, presence_server, application):
        await presence_server.advance(minutes=1)
        assert await presence_server.status_of("anna") == "away"
        assert application.state == "connected"

    @pytest.mark.presence_server(away_after="2m")
    async def test_the_nearest_counts(self, presence_server, application):
        await presence_server.advance(seconds=119)
        assert await presence_server.status_of("anna") == "online"
"""

APPLICATION = """
async def application(presence_server):
    import presenced
    async with presenced.connect(presence_server.url_of("anna", "web"), idle=0) as me:
        yield me
"""

AUTO = f"""
import pytest
@pytest.fixture
{APPLICATION}
{ASYNC}
"""

STRICT = f"""
import pytest, pytest_asyncio
pytestmark = pytest.mark.asyncio
@pytest_asyncio.fixture
{APPLICATION}
{ASYNC}
"""

ANYIO = f"""
import pytest
pytestmark = pytest.mark.anyio
@pytest.fixture
def anyio_backend():
    return "asyncio"
@pytest.fixture
{APPLICATION}
{ASYNC}
"""

BLOCKING = """
import pytest

@pytest.mark.presence_server(away_after="1m")
def test_she_is_away(blocking_presence_server):
    blocking_presence_server.connect("anna")
    blocking_presence_server.advance(minutes=1)
    assert blocking_presence_server.status_of("anna") == "away"
"""

UNUSED = """
import sys

def test_nothing_is_imported():
    assert [name for name in sys.modules if name.startswith("presenced")] == [
        "presenced", "presenced.testing", "presenced.testing.plugin"
    ]
"""

MISUSED = """
import asyncio, pytest

def test_without_a_loop(presence_server):
    pass

@pytest.mark.presence_server(patience_s=0.05)
async def test_that_waits(presence_server):
    await presence_server.connect("anna")
    await asyncio.sleep(30)
"""


def run_pytest(directory: Path, *arguments: str, **texts: str) -> str:
    """What pytest says of these files, with warnings as errors."""
    for name, text in texts.items():
        (directory / f"test_{name}.py").write_text(text)
    # An installation from before the entry point does not load it by itself.
    is_installed = any(point.value == PLUGIN for point in entry_points(group="pytest11"))
    command = [sys.executable, "-m", "pytest", "-v", "-W", "error", "--strict-markers"]
    # What costs half the time and has nothing to do with it.
    command += [word for name in ("cacheprovider", "hypothesispytest", "xdist") for word in ("-p", f"no:{name}")]
    command += [] if is_installed else ["-p", PLUGIN]
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [*command, *arguments], cwd=directory, env=environ, capture_output=True, text=True, timeout=300
    )
    return done.stdout + done.stderr


def test_it_is_an_entry_point() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"presenced": PLUGIN}
    assert project["optional-dependencies"]["testing"] == ["presenced[server]", "pytest>=8"]


def test_without_the_libraries_of_a_server_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['sortedcontainers'] = None\nfrom presenced.testing import TestServer"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert "sortedcontainers is not installed: pip install 'presenced[testing]'" in done.stderr


def test_with_pytest_asyncio_and_a_test_that_waits_for_nothing(tmp_path: Path) -> None:
    told = run_pytest(tmp_path, "-o", "asyncio_mode=auto", *SCOPE, good=AUTO, misused=MISUSED)
    assert "1 failed, 4 passed, 1 error" in told, told
    assert "everybody waits, and the next timer is due in" in told
    assert "test_without_a_loop is none: use blocking_presence_server" in told


def test_with_pytest_asyncio_in_strict_mode_beside_anyio(tmp_path: Path) -> None:
    told = run_pytest(tmp_path, "-o", "asyncio_mode=strict", *SCOPE, strict=STRICT, anyio=ANYIO)
    assert "8 passed" in told, told


def test_without_asyncio_and_where_nobody_uses_it(tmp_path: Path) -> None:
    told = run_pytest(
        tmp_path, "-p", "no:asyncio", a_unused=UNUSED, blocking=BLOCKING, c_misused=MISUSED, d_anyio=ANYIO
    )
    assert "presence_server is for async tests: install pytest-asyncio, or mark the test with anyio" in told
    assert "6 passed, 2 errors" in told, told
