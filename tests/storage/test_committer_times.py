"""What an operator is told of the disk's speed: each commit, and each sync of its own."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from presenced.storage import committer as module
from presenced.storage.committer import Committer
from tests.support.until import PATIENCE_S

SLOW_NS = 300_000_000


class Disk:
    """A journal whose syncs are slow, and its writes are not, by a clock that nothing else moves."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.unsynced = self.unsealed = False

    is_late = False

    def attach(self, host: Any) -> None: ...

    def lost(self) -> str:
        return ""

    def commit(self, frames: Any) -> None:
        self.unsynced = self.unsealed = True

    def sync(self) -> None:
        self.now_ns += SLOW_NS
        self.unsynced = False

    def witness(self) -> None:
        self.sync()
        self.unsealed = False

    def close(self, *, version: int) -> None: ...


def observed_ns(monkeypatch: pytest.MonkeyPatch, interval_s: float, clock: Any, times: int) -> list[int]:
    """What is told of one submission, once it was told so often."""
    told: list[int] = []
    enough = threading.Event()

    def observe(ns: int) -> None:
        told.append(ns)
        if len(told) >= times:
            enough.set()

    disk = Disk()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic_ns=lambda: disk.now_ns))
    committer = Committer(
        cast(Any, disk),
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


def test_a_sync_between_commits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(1_000))
    assert observed_ns(monkeypatch, 0.5, lambda: next(moments), 2)[:2] == [0, SLOW_NS]


def test_a_sync_when_nothing_more_comes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert observed_ns(monkeypatch, 0.01, lambda: 0.0, 2)[:2] == [0, SLOW_NS]
