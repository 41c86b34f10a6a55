"""The same application in real time against the real daemon on its own port and disk, which is killed with SIGKILL; and
against three of them, one node each for the two backends and for who watches, which are killed in turn."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import presenced
from tests.durable.node import Node
from tests.scenario.application import Application
from tests.support.engines import redis_server

SECONDS = float(os.environ.get("PRESENCED_SCENARIO_S", "0"))
PAGES = 300
SETTLED_S = 120.0
"""At most. A daemon that was killed a moment ago holds what is gone for half a minute."""

TOLD_S = 5.0
"""Milliseconds as a rule (protocol.md, 28.1), but all of this runs on one machine."""


@pytest.fixture
def daemons(tmp_path: Path, nodes: int) -> Iterator[list[Node]]:
    """The nodes of the server, which run."""
    with ExitStack() as running:
        options = ["--check"]
        if nodes > 1:
            engine = running.enter_context(redis_server(tmp_path / "redis"))
            options += ["--cluster", f"unix://{engine.socket}"]
        started = []
        for number in range(nodes):
            named = ["--node", f"node-{number}"] if nodes > 1 else []
            node = Node(tmp_path / str(number), *options, *named)
            running.callback(node.kill)
            started.append(node.start())
        yield started


@pytest.mark.skipif(not SECONDS, reason="a minute of real time, and graces that end in real time: `make scenario`")
async def test_people_are_shown_as_they_are_by_a_daemon_that_is_killed(daemons: list[Node]) -> None:
    dice = random.Random(7)
    to_kill, to_connect = itertools.cycle(daemons), itertools.cycle(daemons)

    async def restart() -> None:
        node = next(to_kill)
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)

    async def connect() -> presenced.Service:
        return await presenced.connect_service(f"presence://app@127.0.0.1:{next(to_connect).port}")

    told_s = 0.0 if len(daemons) == 1 else TOLD_S
    app = Application(dice, connect, restart, users=PAGES // 2, told_s=told_s)
    await app.run(SECONDS, PAGES, actions_per_s=PAGES / 10)
    for _ in daemons:
        # Once at least, and last: those who were let go meanwhile must be gone nevertheless.
        await restart()
    wrong = await app.settled(SETTLED_S)
    await app.stop()
    assert not wrong, "\n".join(wrong[:10])
    for node in daemons:
        assert "Traceback" not in node.log(), node.log()
