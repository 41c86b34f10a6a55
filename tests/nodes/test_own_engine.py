"""The engine of the nodes of one machine, as its supervisor starts it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from presenced.nodes import own_engine
from presenced.nodes.node_life import PAUSE_MS_MAX, WELL_AFTER_MS
from presenced.nodes.own_engine import EngineFailed, OwnEngine, RestartPauses


async def test_one_that_does_not_answer_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n[ $1 = --version ] && echo 'Redis server v=7.2.0' && exit\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(own_engine, "ANSWER_S", 0.1)
    engine = OwnEngine(str(tmp_path), {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    try:
        with pytest.raises(EngineFailed, match="does not answer"):
            await engine.start()
        assert engine.pid and not Path(f"/proc/{engine.pid}").exists()
    finally:
        await engine.stop()


def test_it_is_started_again_at_once_unless_it_ends_again_and_again() -> None:
    pauses = RestartPauses()
    assert [pauses.next_ms(100) for _ in range(4)] == [0, 100, 300, 700]
    assert [pauses.next_ms(0) for _ in range(8)][-1] == PAUSE_MS_MAX
    assert [pauses.next_ms(WELL_AFTER_MS), pauses.next_ms(0)] == [0, 100]
