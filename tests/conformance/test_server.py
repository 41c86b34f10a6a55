"""The server does in every dialogue what protocol.md says, and answers each payload as is owed, over each transport."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from presenced.conformance.commands import hold_server
from presenced.conformance.dialogue_files import ExpectStep, Named, SendStep, server_files
from presenced.conformance.link_ends import TRANSPORTS
from presenced.conformance.message_types import name_of
from presenced.conformance.outcome import Outcome, report
from presenced.conformance.server_play import ServerAddress, ServerNodes
from presenced.conformance.vector_files import vectors
from presenced.ops.operations import Operations
from presenced.server.server import Server
from presenced.wire.frames import frame
from tests.support.in_process import InProcess
from tests.support.nodes_in_process import NodesInProcess
from tests.support.suites import server_of

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def server(nodes: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess | NodesInProcess]:
    with server_of(nodes, tmp_path_factory.mktemp("server"), http="127.0.0.1:0", check=False) as running:
        yield running
    assert running.loop_errors == []


def nodes_of(server: InProcess | NodesInProcess) -> ServerNodes:
    if isinstance(server, NodesInProcess):
        operated, settled = list(zip(server.servers, server.operations, strict=True)), server.settled_elsewhere
    else:
        operated, settled = [(server.server, server.operations)], None
    return ServerNodes([address_of(one, operations) for one, operations in operated], settled)


def address_of(server: Server, operations: Operations) -> ServerAddress:
    assert operations.http is not None
    return ServerAddress("127.0.0.1", server.port, operations.http.port)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_server_passes(server: InProcess | NodesInProcess, transport: str) -> None:
    held = hold_server(nodes_of(server), [transport], patience_s=PATIENCE_S)
    outcomes = asyncio.run(held)
    failed = [one for one in outcomes if one.result != "passed"]
    assert not failed, "\n".join(report(failed))
    assert len(outcomes) > 1300


def test_every_message_is_in_a_dialogue_with_a_server() -> None:
    used: set[str] = set()
    for file in server_files():
        for dialogue in file.dialogues:
            for step in dialogue.steps:
                if isinstance(step, SendStep):
                    used.add(name_of(step.message))
                elif isinstance(step, ExpectStep):
                    used.add(step.message.type if isinstance(step.message, Named) else name_of(step.message))
    # Nobody makes a channel of a thousand watchers for it: the client's dialogues have it.
    assert {one.name for one in vectors("types").cases if one.number} - used == {"ChannelCounts"}


GOODBYE = [65, "of_nobody", "not today"]


async def refused(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(frame(msgspec.msgpack.encode(GOODBYE)))
    writer.close()


async def test_a_server_that_lets_nobody_in_fails_everything() -> None:
    listener = await asyncio.start_server(refused, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        outcomes: list[Outcome] = await hold_server(ServerNodes([ServerAddress("127.0.0.1", port)]), patience_s=5)
    passed = {one.name for one in outcomes if one.result == "passed"}
    # These frames are whole or not, and nothing is owed for them.
    assert all("head of the longest" in name or "as long as a hello" in name for name in passed), passed
    assert len(outcomes) > 1500
