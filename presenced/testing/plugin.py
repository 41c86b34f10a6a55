"""pytest's plugin: the fixtures `presence_server` and `blocking_presence_server`, each a new server for each test.

pytest loads this in each run, also where nobody uses it. So nothing of the package is imported before a test asks for a
server.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from presenced.testing import BlockingTestServer, TestServer

MARKER = "presence_server"
LOOPS = "install pytest-asyncio, or mark the test with anyio"
HINT = "use blocking_presence_server, whose clients are those of presenced.sync"


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker is, and make the fixture one of pytest-asyncio's where that is there."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(**options): what the server of the fixture presence_server or blocking_presence_server is made with "
        '(as TestServer): away_after="10m", tokens=True, ...',
    )
    if _has_asyncio(config):
        # Late: imported before pytest has prepared it, pytest would warn of it.
        import pytest_asyncio

        by_asyncio = ModuleType("presenced-asyncio")
        setattr(by_asyncio, "server", pytest_asyncio.fixture(name="_presence_server_by_asyncio")(_serve))  # noqa: B010
        config.pluginmanager.register(by_asyncio, by_asyncio.__name__)


def _has_asyncio(config: pytest.Config) -> bool:
    """Whether pytest-asyncio is at work, by whatever name."""
    plugin = sys.modules.get("pytest_asyncio.plugin")
    return plugin is not None and config.pluginmanager.is_registered(plugin)


async def _serve(request: pytest.FixtureRequest) -> AsyncIterator[TestServer]:
    from presenced.testing import TestServer

    async with TestServer(**_options(request)) as server:
        yield server


_by_anyio = pytest.fixture(name="_presence_server_by_anyio")(_serve)


@pytest.fixture
def presence_server(request: pytest.FixtureRequest) -> TestServer:
    """A `presenced.testing.TestServer` that runs; for async tests, by pytest-asyncio or anyio. Its options are those of
    the test's marker: `@pytest.mark.presence_server(away_after="10m")`."""
    if "anyio_backend" in request.fixturenames:
        server: TestServer = request.getfixturevalue("_presence_server_by_anyio")
        return server
    if not _has_asyncio(request.config):
        pytest.fail(f"presence_server is for async tests: {LOOPS}", pytrace=False)
    if not inspect.iscoroutinefunction(inspect.unwrap(request.function)):
        pytest.fail(f"presence_server is for async tests; {request.function.__name__} is none: {HINT}", pytrace=False)
    server = request.getfixturevalue("_presence_server_by_asyncio")
    return server


@pytest.fixture
def blocking_presence_server(request: pytest.FixtureRequest) -> Iterator[BlockingTestServer]:
    """A `presenced.testing.BlockingTestServer` that runs, for tests without asyncio. Its options are those of the
    test's marker: `@pytest.mark.presence_server(away_after="10m")`."""
    from presenced.testing import BlockingTestServer

    with BlockingTestServer(**_options(request)) as server:
        yield server


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the markers of the test, its class and its module say; the nearest counts."""
    options: dict[str, Any] = {}
    for marker in request.node.iter_markers(MARKER):
        options = {**marker.kwargs, **options}
    return options
