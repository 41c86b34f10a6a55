"""A data directory on a file system that is really full, then has room again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from presenced.wire.messages import Bye, Get, Ping, SetStatus, Watch
from tests.durable.node import Node
from tests.durable.swarm import (
    DONE,
    ERROR,
    PONG,
    PRESENCE,
    RECORDS,
    STATUS,
    Peer,
    Swarm,
    ask,
    number_of,
    opened,
    operator,
    text_of,
)
from tests.support.daemon import StartFailed
from tests.support.until import until

DISK_FAILED = 74
SMALL = "import presenced.storage.segment\npresenced.storage.segment.ALLOCATE_BYTES = 1 << 14\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True)
    assert mounted.returncode == 0, f"this test mounts a small tmpfs, which takes root: {mounted.stderr!r}"
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room at all; gives the file that takes it."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return ballast


class Scribe:
    """Writes one text after the other on one link and counts."""

    def __init__(self, peer: Peer, asked: int = 0) -> None:
        self.peer = peer
        self.asked = self.acked = asked

    def until(self, kind: int) -> list[object]:
        """Write until an answer is of this kind; gives it."""
        while True:
            self.asked += 1
            reply = self.peer.answer(SetStatus(self.asked, text=text_of(self.asked)))
            if reply[0] == DONE:
                self.acked = self.asked
            if reply[0] == kind:
                return reply


def make_node(tmp_path: Path, disk: Path) -> Node:
    node = Node(tmp_path, "--rate", "0", "--check", patches=SMALL)
    node.data = disk / "data"
    return node


def test_a_full_disk_heals_when_there_is_room_again(tmp_path: Path, disk: Path) -> None:
    with make_node(tmp_path, disk) as node:
        node.start()
        with Swarm(node.port) as swarm:
            scribe, watcher = Scribe(opened(swarm, "alice")), operator(swarm)
            ask(watcher, ["alice", "bob"], Watch)
            for _ in range(2):
                scribe.until(DONE)
                ballast = fill(disk)
                reply = scribe.until(ERROR)
                assert reply[2] == "read_only" and reply[4]
                watcher.told.clear()
                bob = opened(swarm, "bob")
                assert watcher.take(PRESENCE)[1][:2] == ["bob", "online"]
                refused = bob.answer(SetStatus(1, status="dnd"))
                assert refused[:3] == [ERROR, 1, "read_only"] and refused[4]
                assert bob.answer(Ping(2))[0] == PONG and bob.answer(Get(3, ["alice"]))[0] == RECORDS
                bob.send(Bye())
                assert watcher.take(PRESENCE)[1][:2] == ["bob", "offline"]
                os.unlink(ballast)
                scribe.until(DONE)
            assert node.running
            node.kill()
            swarm.drain()
        node.start()
        with Swarm(node.port) as swarm:
            records, _ = ask(operator(swarm), ["alice", "bob"])
            assert scribe.acked <= number_of(records["alice"]) <= scribe.asked
            assert records["bob"][STATUS] == "offline"


def test_the_log_has_a_line_when_it_begins_and_one_when_it_ends(tmp_path: Path, disk: Path) -> None:
    with make_node(tmp_path, disk) as node:
        node.start()
        with Swarm(node.port) as swarm:
            scribe = Scribe(opened(swarm, "alice"))
            ballast = fill(disk)
            scribe.until(ERROR)
            until(lambda: f"ERROR log: the disk under {node.data} is full" in node.log(), "the beginning is told")
            for _ in range(3):
                scribe.until(ERROR)
            os.unlink(ballast)
            scribe.until(DONE)
            until(lambda: "INFO log: all is well again, after " in node.log(), "the end is told")
            node.stop(swarm.close)
        assert node.log().count("ERROR") == 1


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_ended_and_started_on_a_full_disk(tmp_path: Path, disk: Path, how: str) -> None:
    with make_node(tmp_path, disk) as node:
        node.start()
        with Swarm(node.port) as swarm:
            scribe = Scribe(opened(swarm, "alice"))
            scribe.until(DONE)
            ballast = fill(disk)
            scribe.until(ERROR)
            if how == "kill":
                node.kill()
            else:
                # It cannot save what showed and was refused, and says so.
                node.signal(signal.SIGTERM)
                swarm.drain()
                assert node.wait() == DISK_FAILED
            swarm.drain()
        before = {name: (node.data / name).read_bytes() for name in node.files()}
        with pytest.raises(StartFailed) as failed:
            node.start()
        assert failed.value.status == DISK_FAILED
        last = node.log().splitlines()[-1]
        assert last.startswith("presenced: ") and "No space left" in last
        after = {name: (node.data / name).read_bytes() for name in node.files()}
        assert {name: after[name] for name in before} == before, "a start that failed changed something"
        os.unlink(ballast)
        node.start()
        with Swarm(node.port) as swarm:
            records, _ = ask(operator(swarm), ["alice"])
            assert scribe.acked <= number_of(records["alice"]) <= scribe.asked
            node.stop(swarm.close)
        leftovers = [name for name in node.files() if name.endswith(".tmp")]
        assert not leftovers


def test_a_snapshot_for_which_there_is_no_room_is_given_up(tmp_path: Path, disk: Path) -> None:
    with make_node(tmp_path, disk) as node:
        node.limits["SNAPSHOT_LOG_BYTES"] = 20_000
        node.start()
        with Swarm(node.port) as swarm:
            scribe = Scribe(opened(swarm, "alice"))
            while not any(name.endswith(".prs") for name in node.files()):
                scribe.until(DONE)
            ballast = fill(disk)
            while "the snapshot was given up" not in node.log():
                scribe.until(ERROR)
                os.unlink(ballast)
                scribe.until(DONE)
                ballast = fill(disk)
                _leave_room(ballast, 1 << 14)
            os.unlink(ballast)
            scribe.until(DONE)
            assert node.running
            node.kill()
        node.start()
        with Swarm(node.port) as swarm:
            records, _ = ask(operator(swarm), ["alice"])
            assert scribe.acked <= number_of(records["alice"]) <= scribe.asked


def _leave_room(ballast: Path, size: int) -> None:
    os.truncate(ballast, max(0, ballast.stat().st_size - size))
