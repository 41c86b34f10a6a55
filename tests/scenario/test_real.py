"""The same application in real time against the real daemon on its own port and disk, which is killed with SIGKILL."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

import presenced
from tests.durable.node import Node
from tests.scenario.application import Application

SECONDS = float(os.environ.get("PRESENCED_SCENARIO_S", "0"))
PAGES = 300
SETTLED_S = 120.0
"""At most. A daemon that was killed a moment ago holds what is gone for half a minute."""


@pytest.mark.skipif(not SECONDS, reason="a minute of real time, and graces that end in real time: `make scenario`")
async def test_people_are_shown_as_they_are_by_a_daemon_that_is_killed(tmp_path: Path) -> None:
    dice = random.Random(7)
    node = Node(tmp_path, "--check")
    await asyncio.to_thread(node.start)

    async def restart() -> None:
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)

    async def connect() -> presenced.Service:
        return await presenced.connect_service(f"presence://app@127.0.0.1:{node.port}")

    app = Application(dice, connect, restart, users=PAGES // 2)
    try:
        await app.run(SECONDS, PAGES, actions_per_s=PAGES / 10)
        # Once at least, and last: those who were let go meanwhile must be gone nevertheless.
        await restart()
        wrong = await app.settled(SETTLED_S)
        await app.stop()
    finally:
        await asyncio.to_thread(node.kill)
    assert not wrong, "\n".join(wrong[:10])
    assert "Traceback" not in node.log(), node.log()
