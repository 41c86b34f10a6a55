"""One Redis for all tests that need no other, and stages on both kinds of engines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.backplane.stage import MemoryStage, RedisStage, Stage
from tests.support.engines import RedisServer, redis_server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that is only slow to start."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """An empty engine: each test runs with the fake and with a real one."""
    stage = MemoryStage() if request.param == "memory" else RedisStage(request.getfixturevalue("redis").socket)
    yield stage
    await stage.close()
