"""What an operator is told of the disk's speed: each commit, and each sync of its own."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

from presenced.storage.committer import Committer
from tests.support.until import PATIENCE_S

SLOW_S = 0.3


class Disk:
    """A journal whose syncs are slow, and its writes are not."""

    def __init__(self) -> None:
        self.unsynced = self.unsealed = False

    def lost(self) -> str:
        return ""

    def commit(self, frames: Any) -> None:
        self.unsynced = self.unsealed = True

    def sync(self) -> None:
        time.sleep(SLOW_S)
        self.unsynced = False

    def witness(self) -> None:
        self.sync()
        self.unsealed = False

    def close(self, *, version: int) -> None: ...


def observed_ns(interval_s: float, clock: Any, times: int) -> list[int]:
    """What is told of one submission, once it was told so often."""
    told: list[int] = []
    enough = threading.Event()

    def observe(ns: int) -> None:
        told.append(ns)
        if len(told) >= times:
            enough.set()

    committer = Committer(
        cast(Any, Disk()),
        lambda: None,
        policy="interval",
        interval_s=interval_s,
        clock=clock,
        observe=observe,
    )
    committer.start()
    committer.submit(b"\xc0", 1, ())
    assert enough.wait(PATIENCE_S), told
    committer.close(1)
    return told


def test_a_sync_between_commits_is_told() -> None:
    moments = iter(range(1_000))
    told = observed_ns(0.5, lambda: next(moments), 2)
    assert told[0] < SLOW_S * 1e9 <= told[1]


def test_a_sync_when_nothing_more_comes_is_told() -> None:
    told = observed_ns(0.01, lambda: 0.0, 2)
    assert told[0] < SLOW_S * 1e9 <= told[1]
