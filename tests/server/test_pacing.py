"""When a turn runs: behind what can be read, and on a node of several behind what the others have said by then, too."""

from __future__ import annotations

import asyncio

import pytest

from presenced.core.engine import Engine
from presenced.core.policy import Policy
from presenced.server.clocks import SYSTEM_CLOCKS
from presenced.server.memory import Memory
from presenced.server.memory_guard import MemoryGuard
from presenced.server.pacing import Pacing
from presenced.server.report import Report
from presenced.server.stats import Stats

WALL_MS = 1_700_000_000_000


class Nothing:
    """No link waits."""

    next_ms = None

    def run_due(self, now_ms: int) -> None: ...


def paced() -> Pacing:
    now_ms = SYSTEM_CLOCKS.monotonic_ms()
    engine, report = Engine(Policy(), now_ms=now_ms, wall_ms=WALL_MS, epoch=7), Report()
    memory = Memory(0, resident=lambda: 0, charged=lambda: 0, limit=lambda: 0)
    guard = MemoryGuard(memory, engine, report, SYSTEM_CLOCKS)
    pacing = Pacing(engine, guard, Stats(now_ms, WALL_MS), report, SYSTEM_CLOCKS)
    pacing.start(Nothing(), on_failure=pytest.fail)
    return pacing


async def _order_of_turn_and_task(pacing: Pacing) -> list[str]:
    """What comes first: the turn that a link has asked for, or a task that was made ready behind that in one pass."""
    order: list[str] = []
    settle = pacing._engine.settle
    pacing._engine.settle = lambda now_ms: (order.append("turn"), settle(now_ms))  # type: ignore[method-assign,assign]
    said = asyncio.Event()

    async def hand_over() -> None:
        await said.wait()
        order.append("task")

    task = asyncio.ensure_future(hand_over())
    await asyncio.sleep(0)
    pacing.begin()
    said.set()
    await task
    while len(order) < 2:
        await asyncio.sleep(0)
    pacing.end()
    return order


async def test_a_turn_runs_before_what_comes_later() -> None:
    assert await _order_of_turn_and_task(paced()) == ["turn", "task"]


async def test_the_turn_of_a_node_includes_what_the_others_have_said_in_the_same_pass() -> None:
    pacing = paced()
    pacing.ask_before_turns(lambda now_ms: True)
    assert await _order_of_turn_and_task(pacing) == ["task", "turn"]
