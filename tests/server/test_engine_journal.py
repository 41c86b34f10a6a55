"""What the way to a store in Redis tells of an engine that is away."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from presenced.backplane.errors import Emptied, EngineFull, Unreachable
from presenced.backplane.store_engine import StoreBroken, StoreTaken
from presenced.server.engine_journal import LATE_S, EngineJournal
from presenced.storage.files import DiskFull
from presenced.storage.port import TakenOver
from presenced.storage.snapshot import SnapshotError


class Stage:
    """An engine that is away until a moment, and a committer that is told."""

    def __init__(self, back_s: float) -> None:
        self.now_s = 100.0
        self.back_s = back_s
        self.told: list[tuple[str, int]] = []
        self.calls: list[str] = []
        self.to_raise: list[Exception | None] = []
        """What the next calls end with; None = well."""
        self.losses = 0
        self.place = "here"
        self.n = self.bytes = 0
        self.is_full = False
        claimed = self.claimed = SimpleNamespace(
            log_bytes=0, snapshot_bytes=0, snapshot=1, store_id="id", epoch=1, version=5, starts=()
        )
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
        self.called("write")

    async def renew(self, version: int = 0, starts: tuple[int, ...] = ()) -> None:
        self.called("renew")

    async def write_piece(self, snapshot: int, number: int, data: bytes) -> None:
        self.called("piece")

    async def drop(self, snapshot: int) -> None:
        self.called("drop")

    async def release(self, version: int) -> None:
        self.called("release")

    async def claim(self, *args: Any, is_broken: bool = False, **options: Any) -> Any:
        self.called("claim broken" if is_broken else "claim")
        return self.claimed

    def called(self, name: str) -> None:
        self.calls.append(name)
        if self.now_s < self.back_s:
            raise Unreachable("gone")
        error = self.to_raise.pop(0) if self.to_raise else None
        if error is not None:
            raise error

    def note_loss(self) -> None:
        self.losses += 1

    async def close(self) -> None: ...

    def tell(self) -> None:
        self.told.append((self.journal.trouble, self.journal.trouble_ms))

    def is_closing(self) -> bool:
        return False

    def is_full_up(self) -> bool:
        return self.is_full


def test_an_engine_that_is_away_is_told_late_and_since_when_it_is() -> None:
    stage = Stage(112.0)
    stage.journal.commit([(b"fact", 1)])
    stage.journal.abandon()
    [(trouble, away_ms), back] = stage.told
    assert trouble.startswith("gone") and LATE_S * 1000 <= away_ms < LATE_S * 1000 + 1_000
    assert back == ("", 0)


@pytest.fixture
def stage() -> Iterator[Stage]:
    """An engine that answers."""
    stage = Stage(0.0)
    yield stage
    stage.journal.abandon()


def test_a_store_that_has_lost_something_is_claimed_again_before_anything_else(stage: Stage) -> None:
    stage.to_raise = [StoreBroken("has no log")]
    stage.journal.commit([(b"fact", 1)])
    assert stage.calls == ["write", "claim broken", "renew", "write"] and stage.losses == 1
    stage.calls.clear()
    stage.to_raise = [Emptied()]
    stage.now_s += 10.0
    assert stage.journal.lost() == ""
    assert stage.calls == ["renew", "claim", "renew", "renew"] and stage.losses == 2


def test_a_claim_whose_answer_was_lost_is_made_again_before_the_next_write(stage: Stage) -> None:
    """The engine may have executed it, and knows the daemon by its new fence alone."""
    stage.to_raise = [Emptied(), Unreachable("gone")]
    stage.is_full = True
    with pytest.raises(DiskFull):
        stage.journal.commit([(b"fact", 1)])
    assert stage.calls == ["write", "claim"] and stage.losses == 1
    stage.calls.clear()
    stage.journal.commit([(b"fact", 1)])
    assert stage.calls == ["claim", "renew", "write"]


def test_a_look_around_never_waits_for_an_engine_that_goes_away_again(stage: Stage) -> None:
    stage.now_s += 10.0
    stage.to_raise = [Emptied(), Unreachable("gone")]
    stage.is_full = True
    assert stage.journal.lost() == ""
    assert stage.calls == ["renew", "claim"] and stage.losses == 1


def test_a_snapshot_that_was_begun_before_a_loss_is_given_up(stage: Stage) -> None:
    snapshot = stage.journal.begin_snapshot()
    snapshot.add(b"piece", 1)
    stage.to_raise = [StoreBroken("has no log")]
    stage.journal.commit([(b"fact", 1)])
    with pytest.raises(SnapshotError):
        snapshot.add(b"piece", 1)
    with pytest.raises(SnapshotError):
        list(stage.journal.finish_snapshot(snapshot, 1))
    # What is lost just before its beginning is in it.
    stage.to_raise = [StoreBroken("has no log")]
    stage.journal.begin_snapshot().add(b"piece", 1)


def test_a_snapshot_for_which_the_engine_has_no_memory_is_given_up_and_dropped(stage: Stage) -> None:
    """It must not stop the log for ever, which may have room once its pieces are gone."""
    snapshot = stage.journal.begin_snapshot()
    snapshot.add(b"piece", 1)
    stage.calls.clear()
    stage.to_raise = [EngineFull("OOM")]
    with pytest.raises(SnapshotError, match="OOM"):
        snapshot.add(b"piece", 1)
    snapshot.abandon()
    stage.to_raise = [EngineFull("OOM")]
    stage.journal.commit([(b"fact", 1)])
    assert stage.calls == ["piece", "drop", "write", "write"] and stage.losses == 0
    stage.to_raise = [Unreachable("gone")]
    snapshot.abandon()


def test_a_store_that_goes_on_being_deleted_is_not_asked_without_a_pause(stage: Stage) -> None:
    stage.to_raise = [StoreBroken("has no log"), None, None] * 4
    began_s = stage.now_s
    stage.journal.commit([(b"fact", 1)])
    assert stage.losses == 4 and stage.now_s - began_s >= 1.0


def test_an_end_that_finds_a_loss_is_not_one_in_order(stage: Stage) -> None:
    stage.to_raise = [Emptied()]
    with pytest.raises(OSError, match="just before the end"):
        stage.journal.close(version=9)
    assert stage.calls == ["renew", "claim", "renew", "renew"]


def test_whoever_has_taken_it_ends_this_one(stage: Stage) -> None:
    stage.to_raise = [StoreTaken("other")]
    with pytest.raises(TakenOver):
        stage.journal.commit([(b"fact", 1)])
