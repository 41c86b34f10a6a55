"""A snapshot under way beside the turns, on a loop and a disk thread that move one step at a time when told to."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from presenced.config.settings import Settings
from presenced.core.records import Fact, TextSet
from presenced.server.durable_log import DurableLog
from presenced.server.fact_log import Ack
from presenced.server.server import Server
from presenced.server.snapshots import SLICE_USERS, Snapshotting
from presenced.storage.files import DiskFull
from presenced.storage.manifest import SnapshotEntry
from presenced.storage.snapshot import SnapshotWriter, read_snapshot
from presenced.testing.disk import KeepingLog
from tests.core.world import World
from tests.storage.making import Making

USERS = 3 * SLICE_USERS
PASSES_MAX = 10_000


class Loop:
    """Runs what is due when told to, timers before the rest, as an event loop may."""

    def __init__(self) -> None:
        self.ready: deque[Callable[[], object]] = deque()
        self.timers: list[Callable[[], object]] = []

    def call_soon(self, call: Callable[..., object], *arguments: Any) -> None:
        self.ready.append(lambda: call(*arguments))

    call_soon_threadsafe = call_soon

    def call_later(self, _: float, call: Callable[..., object], *arguments: Any) -> None:
        self.timers.append(lambda: call(*arguments))

    def run_timers(self) -> None:
        due, self.timers = self.timers, []
        for call in due:
            call()

    def run_ready(self) -> None:
        for _ in range(len(self.ready)):
            self.ready.popleft()()


class Thread:
    """What a snapshot needs of the committer. Everything handed in has been written when it works."""

    def __init__(self) -> None:
        self.losses = self.made_up = 0
        self.jobs: deque[tuple[Iterator[None], Callable[[BaseException | None], None]]] = deque()
        self.taken = 0

    def run(self, job: Iterator[None], done: Callable[[BaseException | None], None]) -> None:
        self.taken += 1
        self.jobs.append((job, done))

    def make_up(self, losses: int) -> None:
        self.made_up = losses

    def work(self) -> None:
        while self.jobs:
            job, done = self.jobs.popleft()
            error: BaseException | None = None
            try:
                for _ in job:
                    pass
            except (DiskFull, OSError) as failure:
                error = failure
            done(error)


class Log(KeepingLog):
    """Commits the facts of each turn at once."""

    def __init__(self, making: Making) -> None:
        super().__init__()
        self._making = making

    def append(self, facts: Sequence[Fact], acks: Sequence[Ack]) -> None:
        if facts:
            self._making.commit(facts)
        super().append(facts, acks)


class Scene:
    """An engine full of users, a store, and snapshots of the one into the other."""

    def __init__(self, place: Path) -> None:
        self.loop = Loop()
        self.thread = Thread()
        self.making = Making(place)
        self.world = World()
        self.world.log = Log(self.making)
        self.world.checks = False
        self.ended: list[BaseException | None] = []
        for number in range(USERS):
            self.world.engine.users.new(f"user-{number:04d}")
            self.say(number, "before")
        self.world.turn()

    def say(self, number: int, text: str) -> None:
        """An input; its turn is yet to come."""
        engine = self.world.engine
        user = engine.users.order[number]
        engine.manual_status.set(self.world.now_ms, user, None, status=None, text=text, emoji=None, for_ms=0)

    def begin(self, *, is_logged: bool = True) -> Snapshotting:
        snapshot = Snapshotting(
            cast(asyncio.AbstractEventLoop, self.loop),
            self.world.engine,
            self.making.journal,
            cast(Any, self.thread),
            self.ended.append,
            is_logged=is_logged,
        )
        snapshot.begin()
        return snapshot

    def turn_over(self) -> None:
        """One pass of the loop, with the disk as fast as it can be."""
        self.thread.work()
        self.loop.run_timers()
        self.thread.work()
        self.loop.run_ready()
        self.thread.work()

    def until_ended(self) -> None:
        for _ in range(PASSES_MAX):
            if self.ended:
                return
            self.turn_over()
        raise AssertionError("the snapshot did not end")

    def newest(self) -> tuple[SnapshotEntry, list[Fact]]:
        entry = self.making.journal.manifest.snapshots[0]
        facts: list[Fact] = []
        read_snapshot(self.making.directory, entry, facts.extend)
        return entry, facts

    def leave(self) -> None:
        self.making.leave()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path / "data")
    try:
        yield scene
    finally:
        scene.leave()


# --- what is in it ------------------------------------------------------------------------------------------------


def test_nothing_is_in_a_snapshot_that_was_logged_at_its_end_or_later(scene: Scene) -> None:
    """Something is said before every slice, and its turn comes after that."""
    scene.begin()
    number = 0
    while not scene.ended:
        number += 1
        assert number < PASSES_MAX, "the snapshot did not end"
        scene.say(0, f"{number}")
        scene.loop.call_soon(scene.world.turn)
        scene.turn_over()
    assert scene.ended == [None]
    entry, facts = scene.newest()
    texts = [fact for fact in facts if isinstance(fact, TextSet)]
    assert len(texts) == USERS
    (said,) = [fact for fact in texts if fact.user == "user-0000"]
    assert said.text != "before", "nothing was said while the snapshot was taken"
    assert scene.making.facts.index(said) + 1 < entry.end_seq


def test_who_comes_before_the_log_goes_on_in_a_new_segment_is_in_the_snapshot(scene: Scene) -> None:
    """What was written of them before that is not read again once the snapshot counts."""
    scene.begin()
    scene.world.engine.users.new("newcomer")
    scene.say(USERS, "hello")
    scene.world.turn()
    scene.until_ended()
    entry, facts = scene.newest()
    (said,) = [fact for fact in scene.making.facts if fact.user == "newcomer" and isinstance(fact, TextSet)]
    assert scene.making.facts.index(said) + 1 < entry.start_seq, "it is in the new segment anyway"
    assert said in facts


def test_a_slice_waits_for_a_turn_that_was_put_off(scene: Scene) -> None:
    """As after the process stood still; and it does not keep the processor busy meanwhile."""
    scene.begin()
    scene.turn_over()
    scene.say(0, "later")
    for _ in range(10):
        taken = scene.thread.taken
        scene.turn_over()
        scene.turn_over()
        assert scene.thread.taken == taken and not scene.loop.ready and len(scene.loop.timers) == 1
    scene.world.turn()
    scene.until_ended()
    assert scene.ended == [None]


def test_without_a_log_there_is_no_turn_to_wait_for(scene: Scene) -> None:
    """Nor may come one any more: the last snapshot is taken after the last turn."""
    scene.say(0, "last")
    scene.begin(is_logged=False)
    scene.until_ended()
    _, facts = scene.newest()
    assert any(isinstance(fact, TextSet) and fact.text == "last" for fact in facts)


def no_room(self: SnapshotWriter, payload: bytes, count: int) -> None:
    raise DiskFull("no room")


# --- given up -----------------------------------------------------------------------------------------------------


def test_what_is_given_up_makes_no_more_slices_and_is_told_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    add = SnapshotWriter.add

    monkeypatch.setattr(SnapshotWriter, "add", no_room)
    scene.begin()
    scene.until_ended()
    taken = scene.thread.taken
    for _ in range(10):
        scene.turn_over()
    assert scene.thread.taken == taken and not scene.loop.timers and not scene.loop.ready
    assert len(scene.ended) == 1 and isinstance(scene.ended[0], DiskFull)
    assert not [name for name in scene.making.directory.names() if name.startswith("snap-")]
    # The next one is none of its business.
    monkeypatch.setattr(SnapshotWriter, "add", add)
    scene.ended.clear()
    scene.begin()
    scene.until_ended()
    assert scene.ended == [None]
    assert len(scene.newest()[1]) >= USERS


def test_what_was_in_the_queue_when_it_was_given_up_is_no_second_end(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SnapshotWriter, "add", no_room)
    snapshot = scene.begin()
    snapshot.hurry()
    scene.turn_over()
    # The first piece has failed, and the loop has not heard of it.
    for _ in range(USERS // SLICE_USERS):
        scene.loop.run_timers()
    assert len(scene.thread.jobs) >= 2 and not scene.ended
    scene.until_ended()
    scene.turn_over()
    assert len(scene.ended) == 1 and isinstance(scene.ended[0], DiskFull)


def test_a_snapshot_makes_up_for_what_was_lost_before_its_first_slice(scene: Scene) -> None:
    scene.thread.losses = 2
    scene.begin()
    scene.thread.losses = 3
    scene.turn_over()
    assert not scene.ended
    scene.thread.losses = 4
    scene.until_ended()
    assert scene.thread.made_up == 3


# --- who does what ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_full", [False, True])
async def test_the_end_of_a_snapshot_is_the_loops_to_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_full: bool
) -> None:
    threads: list[str] = []
    ended = DurableLog._snapshot_ended

    def noted(self: DurableLog, error: BaseException | None) -> None:
        threads.append(threading.current_thread().name)
        ended(self, error)

    def full(self: SnapshotWriter, end_seq: int) -> Iterator[None]:
        raise DiskFull("no room")
        yield

    monkeypatch.setattr(DurableLog, "_snapshot_ended", noted)
    if is_full:
        monkeypatch.setattr(SnapshotWriter, "finish", full)
    server = Server(Settings(dev=True, listen="127.0.0.1:0", data_dir=str(tmp_path / "data")))
    await server.start()
    server.take_snapshot()
    await server.stop()
    await server.wait_stopped()
    assert threads and set(threads) == {threading.current_thread().name}
    assert isinstance(server.log, DurableLog)
    assert (server.log.snapshots > 0) is not is_full and not server.log.snapshot_running
