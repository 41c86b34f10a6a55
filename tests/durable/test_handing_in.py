"""What the server reads of a store and hands to its log, and when it takes a snapshot by itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from presenced.config.settings import Durability
from presenced.core.engine import Engine
from presenced.core.policy import Policy
from presenced.core.records import DeviceSet, TextSet, UserErased
from presenced.server import log_frames as module
from presenced.server.clocks import SYSTEM_CLOCKS, Clocks
from presenced.server.data_directory import Restored, restore
from presenced.server.durable_log import SNAPSHOT_RETRY_S, DurableLog
from presenced.server.fact_log import Ack
from presenced.storage.files import OsDirectory
from tests.storage.making import WALL_MS, Making

NOW_MS = 5_000_000


class Committer:
    """Takes notes."""

    def __init__(self) -> None:
        self.submitted: list[tuple[int, tuple[Any, ...]]] = []
        self.state = "ok"
        self.busy = False
        self.idle = True
        self.lost = "nowhere is gone"
        self.lost_facts = False

    def submit(self, facts: bytes, count: int, waiting: tuple[Any, ...]) -> None:
        self.submitted.append((count, waiting))


class Log(DurableLog):
    """Counts the snapshots that it would take."""

    def __init__(self, clocks: Clocks = SYSTEM_CLOCKS) -> None:
        journal = SimpleNamespace(
            bytes_since_snapshot=1,
            snapshot_bytes=0,
            is_late=False,
            trouble="",
            trouble_ms=0,
            attach=lambda host: None,
        )
        restored = Restored("nowhere", cast(Any, journal), cast(Any, None), 0)
        nothing = cast(Any, None)
        self.erasures = SimpleNamespace(latest=0)
        engine = cast(Any, SimpleNamespace(erasures=self.erasures))
        super().__init__(
            engine, restored, Durability("always"), loop=nothing, wake=nothing, on_failure=nothing, clocks=clocks
        )
        self.notes = Committer()
        self._committer = cast(Any, self.notes)
        self.begun = 0

    def take_snapshot(self) -> None:
        self.begun += 1
        # As the beginning of one and its end do it.
        self._erasure_s, self.erased_until = self._clocks.monotonic_s(), self._handed_in


def test_acknowledgements_wait_for_the_last_frame_of_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of them may be on the disk when the next one fails."""
    monkeypatch.setattr(module, "FACTS_PER_FRAME_MAX", 2)
    log = Log()
    acks = cast(list[Ack], [("session", 1, b""), ("session", 2, b"")])
    log.append([TextSet(f"user{number}", "text", "", 0) for number in range(5)], acks)
    assert log.notes.submitted == [(2, ()), (2, ()), (1, tuple(acks))]


@pytest.mark.parametrize(
    ("lost", "state", "waited_s", "begun"),
    [
        (True, "ok", SNAPSHOT_RETRY_S + 60, 1),
        (False, "ok", SNAPSHOT_RETRY_S + 60, 0),
        (True, "full", SNAPSHOT_RETRY_S + 60, 0),
        (True, "gone", SNAPSHOT_RETRY_S + 60, 0),
        (True, "ok", 0, 0),
    ],
)
def test_facts_that_a_full_disk_dropped_are_made_up_for_while_the_server_runs(
    lost: bool, state: str, waited_s: float, begun: int
) -> None:
    """By a snapshot, as soon as there is room, and not only when one is due by size or time."""
    now_s = 1_000.0
    log = Log(Clocks(lambda: int(now_s * 1e9), lambda: 0))
    now_s += waited_s
    log.plan_snapshots(every_ms=0, log_bytes=1 << 20)
    log.notes.lost_facts, log.notes.state = lost, state
    log.append([TextSet("alice", "text", "", 0)], [])
    assert log.begun == begun


def test_erasures_of_a_minute_share_a_snapshot() -> None:
    """The first has one at once, those of the next minute one behind it, and nothing has to happen for that."""
    now_s = 1_000.0
    log = Log(Clocks(lambda: int(now_s * 1e9), lambda: 0))
    log.plan_snapshots(every_ms=0, log_bytes=1 << 20)
    begun = []
    for second in range(200):
        if second in (5, 6, 30, 64, 150):
            log.erasures.latest += 1
            log.append([UserErased("alice", 1)], [])
        log.look()
        if log.begun > len(begun):
            begun.append(second)
        now_s += 1
    assert begun == [5, 65, 150]
    log.notes.state = "full"
    log.erasures.latest += 1
    now_s += 100
    log.look()
    assert log.begun == len(begun), "there is no room for it"


def test_a_short_grace_is_lengthened_for_a_restart(tmp_path: Path) -> None:
    """Clients come back with a backoff: with their own grace of a second all of them would be seen to leave."""
    making = Making(tmp_path / "state")
    making.commit([DeviceSet("alice", "laptop", "desktop", "", 0, "online", True, WALL_MS, WALL_MS)])
    making.leave()
    directory = OsDirectory(making.place)
    engine = Engine(Policy(grace_ms=1_000), now_ms=NOW_MS, wall_ms=WALL_MS, epoch=7)
    restore(engine, directory, Durability("always"), NOW_MS)
    engine.settle(NOW_MS)
    assert list(engine.publisher.online) == ["alice"]
    for passed_ms, is_online in ((29_000, True), (41_000, False)):
        engine.tick(NOW_MS + passed_ms)
        engine.settle(NOW_MS + passed_ms)
        assert bool(engine.publisher.online) == is_online, f"after {passed_ms} ms"
    directory.close()
