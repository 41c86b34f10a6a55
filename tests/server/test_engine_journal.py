"""What the way to a store in Redis tells of an engine that is away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from presenced.backplane.errors import Unreachable
from presenced.server.engine_journal import LATE_S, EngineJournal


class Stage:
    """An engine that is away until a moment, and a committer that is told."""

    def __init__(self, back_s: float) -> None:
        self.now_s = 100.0
        self.back_s = back_s
        self.told: list[tuple[str, int]] = []
        claimed = SimpleNamespace(log_bytes=0, snapshot_bytes=0, snapshot=1)
        self.journal = EngineJournal(
            cast(Any, self),
            cast(Any, claimed),
            "me",
            "nonce",
            wall_ms=lambda: 0,
            monotonic_s=lambda: self.now_s,
            sleep=self.sleep,
        )
        self.journal.attach(cast(Any, self))

    def sleep(self, pause_s: float) -> None:
        self.now_s += pause_s

    async def write(self, payload: bytes, wall_ms: int) -> None:
        if self.now_s < self.back_s:
            raise Unreachable("gone")

    async def close(self) -> None: ...

    def tell(self) -> None:
        self.told.append((self.journal.trouble, self.journal.trouble_ms))

    def is_closing(self) -> bool:
        return False

    def is_full_up(self) -> bool:
        return False


def test_an_engine_that_is_away_is_told_late_and_since_when_it_is() -> None:
    stage = Stage(112.0)
    stage.journal.commit([(b"fact", 1)])
    stage.journal.abandon()
    [(trouble, away_ms), back] = stage.told
    assert trouble.startswith("gone") and LATE_S * 1000 <= away_ms < LATE_S * 1000 + 1_000
    assert back == ("", 0)
