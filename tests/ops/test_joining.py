"""What is told of a node while it joins its cluster: the engine of presence is there, and no client is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from presenced.config import Settings
from presenced.core.parts.leases import EVER_MS
from presenced.ops.operations import Operations
from presenced.server.clustering import entrance
from presenced.server.clustering.status import ClusterStatus
from presenced.server.server import Server
from tests.support.status import made_cluster


class Joining:
    """A node that is sent what the others know."""

    def __init__(self) -> None:
        self.is_joined = False
        self.may_serve = asyncio.Event()

    def status(self) -> ClusterStatus | None:
        return made_cluster(state="copying") if self.is_joined else None

    async def leave(self) -> None:
        return None


async def told(path: Path) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"do": "cluster"}\n')
    answer: dict[str, Any] = json.loads(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answer


async def readyz(operations: Operations) -> str:
    assert operations.http is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", operations.http.port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    said = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return said


async def test_a_node_that_joins_is_not_ready_and_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Joining()
    patience: list[int] = []

    async def open_cluster(*given: Any) -> Joining:
        _, _, _, _, _, joining, *_ = given
        patience.append(server.engine.leases._patient_until_ms)
        joining(node)
        await node.may_serve.wait()
        return node

    monkeypatch.setattr(entrance, "open_cluster", open_cluster)
    admin = tmp_path / "a.sock"
    server = Server(
        Settings(
            dev=True,
            listen="127.0.0.1:0",
            http="127.0.0.1:0",
            admin_socket=str(admin),
            cluster_url="redis://h",
            drain_spread_ms=0,
        )
    )
    operations = Operations(server)
    starting = asyncio.create_task(server.start(operations))
    while operations.admin is None:
        await asyncio.sleep(0)
    assert (await told(admin))["code"] == "starting", "nothing is known of it before it has joined"
    node.is_joined = True
    assert (await told(admin))["result"]["state"] == "copying"
    said = await readyz(operations)
    assert " 503 " in said and said.endswith("and the node web-2 is copying\n")
    node.may_serve.set()
    await starting
    assert patience == [EVER_MS], "nobody goes offline for what the own disk says of a time of which others know more"
    said = await readyz(operations)
    assert " 503 " in said and said.endswith("the node web-2 is copying: it does not know all users yet\n")
    await server.stop()
