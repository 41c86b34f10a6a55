"""When the committer syncs and seals, whatever comes meanwhile, and in which order it writes what waited."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from presenced.core.records import TextSet
from presenced.storage import committer as module
from presenced.storage.committer import Committer, SyncPolicy
from presenced.storage.files import DiskFull
from presenced.storage.frames import array_of
from presenced.storage.layout import FRAMES_AT
from presenced.storage.recovery import DamageError
from presenced.wire.codec import encode
from tests.storage.fake_journal import Disk
from tests.storage.making import Making, flip, recovered
from tests.support.until import until


class Counting(Disk):
    """A disk that keeps what it was given, and counts syncs."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[bytes] = []
        self.syncs = 0

    def commit(self, frames: Any) -> None:
        super().commit(frames)
        self.frames += [payload for payload, _ in frames]
        self.unsynced = True

    def sync(self) -> None:
        self.syncs += 1
        self.unsynced = False

    def witness(self) -> None:
        super().witness()
        self.unsynced = False


def started(disk: Any, policy: SyncPolicy, clock: Callable[[], float] = time.monotonic) -> Committer:
    committer = Committer(cast(Any, disk), lambda: None, policy=policy, interval_s=1.0, clock=clock)
    committer.start()
    return committer


@pytest.mark.parametrize(("policy", "syncs"), [("interval", 10), ("os", 0)])
def test_an_interval_syncs_also_while_something_always_comes(policy: SyncPolicy, syncs: int) -> None:
    """The clock stands still but for the batches, so that the log is never idle."""
    now_s = 0.0
    disk = Counting()
    committer = started(disk, policy, lambda: now_s)
    for number in range(1, 41):
        now_s = number * 0.25
        committer.submit(b"\xc0", 1, ())
        until(lambda: committer.idle, "it is written")
        until(lambda: disk.syncs == (number // 4 if syncs else 0), "a sync for each second that is over")  # noqa: B023
    assert disk.syncs == syncs
    committer.close(1)


def test_what_waited_for_room_is_written_in_the_order_in_which_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts are absolute: an older one that is replayed over a newer one is what counts."""
    monkeypatch.setattr(module, "RETRY_FULL_S", 0.01)
    disk = Counting()
    committer = started(disk, "always")
    disk.may_write.clear()
    committer.submit(b"\x00", 1, ())
    until(lambda: disk.attempts == 1, "a commit hangs")
    for number in range(1, 6):
        committer.submit(bytes((number,)), 1, ())
    disk.is_full = True
    disk.may_write.set()
    until(lambda: committer.state == "full", "there is no room")
    attempts = disk.attempts
    until(lambda: disk.attempts > attempts + 1, "it was tried again")
    disk.is_full = False
    until(lambda: committer.idle, "it is written")
    assert b"".join(payload[5:] for payload in disk.frames) == bytes(range(6))
    committer.close(1)


def test_a_batch_in_the_middle_goes_back_to_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, with several in one batch that find no room."""
    monkeypatch.setattr(module, "RETRY_FULL_S", 0.01)
    disk = Counting()
    committer = started(disk, "always")
    disk.may_write.clear()
    committer.submit(b"\x00", 1, ())
    until(lambda: disk.attempts == 1, "a commit hangs")
    for number in range(1, 6):
        committer.submit(bytes((number,)), 1, ())
    whole = disk.commit

    def refuse_once(frames: Any) -> None:
        if sum(len(payload) - 5 for payload, _ in frames) > 1:
            disk.commit = whole  # type: ignore[method-assign]
            raise DiskFull("no room for all of them")
        whole(frames)

    disk.commit = refuse_once  # type: ignore[method-assign]
    disk.may_write.set()
    until(lambda: committer.idle, "it is written")
    assert b"".join(payload[5:] for payload in disk.frames) == bytes(range(6))
    committer.close(1)


def test_a_log_that_falls_idle_seals_what_came_last(tmp_path: Path) -> None:
    """Without the seal, rot in the last batch looks like a write that was torn, and would be dropped."""
    making = Making(tmp_path / "state")
    committer = started(making.journal, "always")
    fact = TextSet("alice", "a text that was acknowledged", "", 0)
    committer.submit(encode(fact), 1, ("ack",))
    until(lambda: committer.take_done() == ["ack"], "it was acknowledged")
    until(lambda: not making.journal.unsealed, "it is sealed, though nothing more comes")
    for place, harm in (("flipped", 60), ("zeroed", 0)):
        copy = tmp_path / place
        copy.mkdir(mode=0o700)
        for path in making.place.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
        log = copy / "wal-0000000001.log"
        if harm:
            flip(log, FRAMES_AT + harm)
        else:
            log.write_bytes(log.read_bytes()[:FRAMES_AT].ljust(log.stat().st_size, b"\0"))
        with pytest.raises(DamageError):
            recovered(copy)
    assert recovered(making.place)[0] == {"alice": fact}
    assert array_of([encode(fact)], 1) in (making.place / "wal-0000000001.log").read_bytes()
    committer.close(1)
    making.directory.close()
