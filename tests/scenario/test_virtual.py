"""The application of `tests.scenario.application` in virtual time: every page's view right, no ghosts, and nobody shown
as gone who was there."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

import presenced
from presenced.core.policy import Policy
from tests.scenario.application import Application
from tests.scenario.virtual import PORT, Daemon, VirtualLoop, run_virtually

FULL = bool(os.environ.get("PRESENCED_SCENARIO_S"))
MINUTES, PAGES, SEEDS = (10, 300, 3) if FULL else (2, 60, 2)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_people_are_shown_as_they_are_whatever_befalls_the_application(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    monkeypatch.setattr("presenced.client.reconnect.random", dice)

    async def work(loop: VirtualLoop) -> None:
        daemon = Daemon(loop, Policy())

        async def restart() -> None:
            nonlocal daemon
            daemon.kill()
            await asyncio.sleep(dice.random() * 2)
            daemon = Daemon(loop, Policy(), daemon)

        async def connect() -> presenced.Service:
            return await presenced.connect_service(f"presence://app@127.0.0.1:{PORT}")

        app = Application(dice, connect, restart, users=PAGES // 2)
        await app.run(MINUTES * 60, PAGES, actions_per_s=PAGES / 20)
        wrong = await app.settled(120)
        await app.stop()
        assert not wrong, "\n".join(wrong[:10])

    run_virtually(work)
