"""What the loop learns from the committer: when it is woken, and what a full disk and a stop on one do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from presenced.storage import committer as module, write_queue
from presenced.storage.committer import Committer
from presenced.storage.files import DiskFull
from tests.storage.fake_journal import Disk
from tests.support.until import until

FACT = b"\xc0"


class Running:
    """A committer on a `Disk`, what it woke the loop for, and what the loop would see then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.disk = Disk()
        self.woken: list[tuple[str, bool]] = []
        self.committer = Committer(cast(Any, self.disk), self._wake, policy="always", interval_s=1.0, clock=clock)
        self.committer.start()

    def _wake(self) -> None:
        self.woken.append((self.committer.state, self.committer.busy))

    def submit(self, facts: int = 1, waiting: tuple[Any, ...] = ()) -> None:
        self.committer.submit(FACT * facts, facts, waiting)

    def until(self, holds: Callable[[], bool], what: str) -> None:
        until(holds, lambda: f"it did not come about that {what}; woken for {self.woken}")

    def until_full(self) -> None:
        """Hand in facts that nobody waits for to a disk that has no room for them."""
        self.disk.is_full = True
        self.submit()
        self.until(lambda: self.woken[-1:] == [("full", False)], "the loop was woken for a full disk")


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_FULL_S", 0.01)
    monkeypatch.setattr(module, "GONE_LOOK_S", 0.01)
    monkeypatch.setattr(write_queue, "PENDING_FACTS_MAX", 5)


@pytest.fixture
def running(bounds: None) -> Running:
    return Running()


# --- the loop is woken for all that it acts on --------------------------------------------------------------------


def test_the_loop_is_woken_when_there_is_room_again(running: Running) -> None:
    running.until_full()
    running.disk.is_full = False
    running.until(lambda: running.woken[-1] == ("ok", False), "the loop was woken for the room")
    running.committer.close(1)


def test_the_loop_is_woken_when_a_backlog_that_nobody_waits_for_has_drained(running: Running) -> None:
    running.disk.may_write.clear()
    running.submit()
    running.until(lambda: running.disk.attempts == 1, "a commit hangs")
    running.submit(6)
    assert running.committer.busy
    running.disk.may_write.set()
    running.until(lambda: running.woken[-1:] == [("ok", False)], "the loop was woken for the end of it")
    running.committer.close(1)


def test_the_loop_is_woken_also_if_the_backlog_came_and_went_within_one_commit(running: Running) -> None:
    running.disk.may_write.clear()
    running.submit(5)
    running.until(lambda: running.disk.attempts == 1, "a commit hangs")
    running.submit(1)
    assert running.committer.busy
    running.disk.may_write.set()
    running.until(lambda: running.woken[-1:] == [("ok", False)], "the loop was woken for the end of it")
    running.committer.close(1)


def test_whoever_waits_no_longer_is_told_once_and_the_facts_are_written_all_the_same(running: Running) -> None:
    running.disk.may_write.clear()
    running.submit(1, ("request 1", "event 2"))
    running.until(lambda: running.disk.attempts == 1, "a commit hangs")
    running.submit(1, ("request 3",))
    running.submit(1, ("event 4", "request 5"))

    def is_request(ack: str) -> bool:
        return ack.startswith("request")

    assert running.committer.give_up(is_request) == ["request 1", "request 3", "request 5"]
    assert running.committer.give_up(is_request) == []
    running.disk.may_write.set()
    running.until(lambda: running.committer.idle, "all was written")
    assert running.committer.take_done() == ["event 2", "event 4"]
    assert running.committer.pending_bytes == running.committer.pending_facts == 0
    running.committer.close(1)


def test_nobody_waits_for_what_is_written() -> None:
    queue = write_queue.WriteQueue()
    queue.add(write_queue.Submission(FACT, 1, ("ack",)))
    queue.settle(queue.take())
    assert queue.give_up(lambda ack: True) == [] and queue.bytes == 0


def test_facts_that_nobody_waits_for_wake_nobody(running: Running) -> None:
    for _ in range(3):
        running.submit()
        running.until(lambda: running.committer.idle, "it was written")
    assert running.woken == []
    running.submit(1, ("ack",))
    running.until(lambda: bool(running.woken), "the loop was woken for an ack")
    assert running.committer.take_done() == ["ack"]
    running.committer.close(1)
    assert running.woken == [("ok", False)] and running.disk.closed == "clean"


def test_nothing_to_write_is_no_proof_of_room(running: Running) -> None:
    """Acks alone make no frame: the disk has not been asked."""
    running.until_full()
    running.submit(6)
    running.until(lambda: running.committer.pending_facts == 0, "what was too much was dropped")
    running.submit(0, ("ack",))
    running.until(lambda: running.committer.take_refused() == ["ack"], "the ack was refused")
    attempts = running.disk.attempts
    running.until(lambda: running.disk.attempts > attempts, "the disk was asked again")
    assert running.committer.state == "full" and ("ok", False) not in running.woken
    running.committer.close(1)


# --- a full disk --------------------------------------------------------------------------------------------------


class Steps:
    """A job that counts its steps until it is told to end: each is one look of the thread at what there is to do."""

    def __init__(self) -> None:
        self.made = 0
        self.may_end = False

    def run(self) -> Iterator[None]:
        while not self.may_end:
            self.made += 1
            yield


def test_a_full_disk_is_asked_for_room_once_in_a_while_whatever_comes_meanwhile() -> None:
    """And what is under way otherwise, such as a snapshot that makes room, goes on."""
    now_s = 0.0
    running = Running(lambda: now_s)
    steps = Steps()
    running.committer.run(steps.run(), lambda error: None)
    running.until_full()
    for waiting in range(5):
        running.submit(0, (waiting,))
        made = steps.made
        running.until(lambda made=made: steps.made > made + 2, "the thread looked at what was handed in")  # type: ignore[misc]
    assert running.disk.attempts == 1
    assert running.committer.take_refused() == list(range(5))
    now_s = module.RETRY_FULL_S
    running.until(lambda: running.disk.attempts == 2, "the disk was asked again")
    steps.may_end = True
    running.disk.is_full = False
    running.committer.close(1)
    assert running.disk.closed == "clean"


def test_what_is_dropped_while_a_batch_is_being_written_is_counted_once(running: Running) -> None:
    running.until_full()
    running.disk.may_write.clear()
    attempts = running.disk.attempts
    running.until(lambda: running.disk.attempts > attempts, "another attempt hangs")
    running.submit(6)
    assert running.committer.pending_facts == 1
    running.disk.is_full = False
    running.disk.may_write.set()
    running.until(lambda: running.committer.state == "ok", "there was room")
    assert (running.committer.pending_facts, running.committer.pending_bytes) == (0, 0)
    running.committer.close(1)


# --- a directory that is gone -------------------------------------------------------------------------------------


def until_gone(running: Running) -> None:
    running.disk.gone = "/data is gone"
    running.until(lambda: running.woken[-1:] == [("gone", False)], "the loop was woken for a directory that is gone")


def test_a_directory_that_is_gone_is_noticed_though_nothing_is_written(running: Running) -> None:
    until_gone(running)
    assert running.committer.lost == "/data is gone"
    attempts = running.disk.attempts
    running.submit(1, ("ack",))
    assert running.committer.take_refused() == ["ack"] and not running.committer.take_done()
    running.disk.gone = ""
    running.until(lambda: running.woken[-1] == ("ok", False), "the loop was woken for a directory that is back")
    running.until(lambda: running.committer.idle, "what was kept is written")
    assert running.disk.attempts == attempts + 1
    running.committer.close(1)
    assert running.disk.closed == "clean"


def test_a_name_that_is_missing_is_a_directory_that_is_gone_before_it_was_looked_for(running: Running) -> None:
    """A snapshot, or a batch that needs a new file, meets it first."""
    over: list[BaseException | None] = []

    def job() -> Iterator[None]:
        running.disk.gone = "/data is gone"
        raise FileNotFoundError("/data")
        yield

    running.committer.run(job(), over.append)
    running.until(lambda: bool(over), "the job ended")
    running.until(lambda: running.committer.state == "gone", "it was noticed")
    running.committer.run(iter([None]), over.append)
    running.until(lambda: len(over) == 2, "a job that came later was given up")
    assert all(isinstance(error, FileNotFoundError) for error in over)
    running.committer.close(1)
    assert running.disk.closed == "abandoned" and "gone" in str(running.committer.error)


def test_a_missing_name_in_a_directory_that_is_there_is_a_failure(running: Running) -> None:
    def job() -> Iterator[None]:
        raise FileNotFoundError("wal-1")
        yield

    running.committer.run(job(), lambda error: None)
    running.until(lambda: running.committer.state == "failed", "the log has failed")


# --- a stop after facts were lost ---------------------------------------------------------------------------------


def until_lost(running: Running) -> None:
    """A disk that is full for so long that facts are dropped, and then has room again."""
    running.until_full()
    running.submit(6)
    running.until(lambda: running.committer.lost_facts, "facts were dropped")
    running.disk.is_full = False
    running.until(lambda: running.committer.state == "ok", "there was room")


def test_a_stop_after_facts_were_lost_is_not_marked_clean(running: Running) -> None:
    until_lost(running)
    running.committer.close(1)
    assert running.disk.closed == "abandoned"
    assert running.committer.state == "failed" and "in memory alone" in str(running.committer.error)
    assert running.woken[-1] == ("failed", False)


def test_a_snapshot_makes_up_for_what_was_lost_before_it(running: Running) -> None:
    until_lost(running)
    running.committer.make_up(running.committer.losses)
    running.committer.close(1)
    assert running.disk.closed == "clean" and running.committer.error is None


def test_a_snapshot_does_not_make_up_for_what_is_lost_after_it_has_begun(running: Running) -> None:
    until_lost(running)
    begun_at = running.committer.losses
    until_lost(running)
    running.committer.make_up(begun_at)
    running.committer.close(1)
    assert running.disk.closed == "abandoned"


def test_a_stop_while_there_is_no_room_is_not_marked_clean(running: Running) -> None:
    running.until_full()
    running.committer.close(1)
    assert running.disk.closed == "abandoned" and isinstance(running.committer.error, DiskFull)


def test_acknowledgements_that_wait_count_also_without_facts(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_queue, "PENDING_BYTES_MAX", 10 * write_queue.ACK_BYTES)
    running.disk.may_write.clear()
    running.submit()
    running.until(lambda: running.disk.attempts == 1, "a commit hangs")
    for number in range(10):
        assert not running.committer.busy
        running.committer.submit(b"", 0, (number,))
    assert running.committer.busy
    running.disk.may_write.set()
    running.until(lambda: not running.committer.busy, "it has caught up")
    running.committer.close(1)
    assert running.committer.take_done() == list(range(10)) and running.committer.pending_bytes == 0
