"""The application of `tests.scenario.application` in virtual time: every page's view right, no ghosts, and nobody shown
as gone who was there."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

import presenced
from presenced.testing import TestServer
from tests.scenario.application import Application

FULL = bool(os.environ.get("PRESENCED_SCENARIO_S"))
MINUTES, PAGES, SEEDS = (10, 300, 3) if FULL else (2, 60, 2)
LATENCY_S = 0.002


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_people_are_shown_as_they_are_whatever_befalls_the_application(seed: int) -> None:
    dice = random.Random(seed)
    async with TestServer(seed=seed) as server:
        server.slow(LATENCY_S)

        async def restart() -> None:
            await server.kill()
            await asyncio.sleep(dice.random() * 2)
            server.start()

        async def connect() -> presenced.Service:
            return await server.connect_service("app")

        async def live() -> list[str]:
            app = Application(dice, connect, restart, users=PAGES // 2)
            await app.run(MINUTES * 60, PAGES, actions_per_s=PAGES / 20)
            wrong = await app.settled(120)
            await app.stop()
            return wrong

        wrong = await server.run(live())
    assert not wrong, "\n".join(wrong[:10])
