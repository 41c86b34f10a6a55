"""What was asked before the end of a link is answered before it, however it ends and however long the disk takes."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from presenced.wire.codec import encode
from presenced.wire.frames import frame
from presenced.wire.messages import (
    AddActivity,
    AddClaim,
    Bye,
    Command,
    EndClaim,
    Forget,
    Get,
    GetActivity,
    GetClaims,
    GetDevices,
    GetMembers,
    GetSync,
    Join,
    Leave,
    Message,
    Ping,
    SetDevice,
    SetSchedule,
    SetStatus,
    Sync,
    Touch,
    Unwatch,
    UnwatchChannel,
    Watch,
    WatchChannel,
    Who,
    Window,
)
from tests.durable.node import Node
from tests.support.wire import DONE, GOODBYE, PONG, WELCOME, Wire, hello, opened

JUNK = b"\0\0\0\0"

ASKED: tuple[Callable[[int], Message], ...] = (
    Ping,
    lambda n: SetStatus(n, "dnd", "busy", "*", 60_000),
    lambda n: SetDevice(n, "away", 1, "My laptop"),
    lambda n: Get(n, ["alice", "bob"]),
    Who,
    lambda n: Watch(n, ["bob"]),
    lambda n: Unwatch(n, ["bob"]),
    GetDevices,
    Touch,
    lambda n: AddClaim(n, "call", "call", "dnd"),
    lambda n: EndClaim(n, "call"),
    GetClaims,
    lambda n: SetSchedule(n, "Europe/Berlin", [Window(127, 0, 60)]),
    lambda n: AddActivity(n, "message", "general"),
    GetActivity,
    lambda n: Join(n, "general"),
    lambda n: GetMembers(n, "general"),
    lambda n: WatchChannel(n, "general"),
    lambda n: UnwatchChannel(n, "general"),
    lambda n: Leave(n, "general"),
    Sync,
    GetSync,
    lambda n: Command(n, "who"),
    lambda n: Command(n, "away for 5m"),
    lambda n: Forget(n, "nothing"),
)


def framed(message: Any) -> bytes:
    return frame(encode(message))


@pytest.fixture(scope="module", params=["on disk", "in memory"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    options = () if request.param == "on disk" else ("--durability", "off")
    # A machine that is busy may take seconds between two lines of a test.
    node = Node(tmp_path_factory.mktemp("last"), *options, limits={"CLOSE_TIMEOUT_MS": 60_000}).start()
    yield node
    node.stop()


@pytest.mark.parametrize("end", [b"", JUNK, b"\0\0\0\1\xc1", b"\xff\xff\xff\xff"], ids=["bye", "0", "no array", "long"])
@pytest.mark.parametrize("count", [1, len(ASKED)])
def test_every_request_in_the_same_write_is_answered_before_the_end(node: Node, end: bytes, count: int) -> None:
    for first in range(0, len(ASKED), count):
        asked = [ask(first + at + 1) for at, ask in enumerate(ASKED[first : first + count])]
        with opened(node.port, f"u{first}-{count}") as link:
            if end:
                link.send_bytes(b"".join(map(framed, asked)) + end)
            else:
                link.send(*asked, Bye())
            told = link.rest()
        answered = [got[1] for got in told if isinstance(got[1], int)]
        assert sorted(answered) == [message.id for message in asked]  # type: ignore[attr-defined]
        assert bool(end) == (told[-1][0] == GOODBYE)


@pytest.mark.parametrize("junk", [b"", JUNK, b"GET / HTTP/1.1\r\n\r\n", framed(Ping(9)) * 3])
def test_what_comes_behind_a_bye_costs_nothing_of_what_was_answered_before_it(node: Node, junk: bytes) -> None:
    with Wire(node.port) as link:
        link.send_bytes(framed(hello("eager")) + framed(Ping(1)) + framed(Bye()) + junk)
        assert [got[:2] for got in link.rest()][1:] == [[PONG, 1]] and link.told[0][0] == WELCOME


def test_a_half_closed_connection_that_said_bye_is_answered(node: Node) -> None:
    with opened(node.port, "brief") as link:
        link.send(SetStatus(1, "dnd"), Bye())
        link.socket.shutdown(socket.SHUT_WR)
        assert [got[:2] for got in link.rest()] == [[DONE, 1]]


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Node]:
    """A node whose disk is stuck from the moment at which a test says so."""
    node = Node(tmp_path / "node", limits={"CLOSE_TIMEOUT_MS": 60_000}).start()
    yield node
    node.stuck_path.unlink(missing_ok=True)
    node.stop()


@pytest.mark.parametrize("how", ["bye", "junk", "replaced", "stop"])
def test_the_end_waits_for_the_disk(slow: Node, how: str) -> None:
    with opened(slow.port, "alice") as link, opened(slow.port, "bob") as beside:
        slow.stuck_path.touch()
        link.send(SetStatus(1, "dnd"), Ping(2))
        assert link.next()[:2] == [PONG, 2]
        if how == "bye":
            link.send(Bye())
        elif how == "junk":
            link.send_bytes(JUNK)
        elif how == "replaced":
            with opened(slow.port, "alice"):
                pass
        else:
            slow.signal(signal.SIGTERM)
            assert beside.until(GOODBYE)[1] == "going_away"
        if how != "stop":
            # What is behind it in the queue of the daemon has been handled, and the end with it.
            beside.send(Get(1, ["alice"]))
            beside.next()
        slow.stuck_path.unlink()
        told = link.rest()
    if how == "stop":
        assert slow.wait() == 0
    goodbyes = {"bye": [], "junk": ["bad_frame"], "replaced": ["replaced"], "stop": ["going_away"]}
    assert told[0][:2] == [DONE, 1] and [got[1] for got in told[1:]] == goodbyes[how]


def test_a_disk_that_takes_longer_than_the_limit_does_not_hold_a_link(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", limits={"CLOSE_TIMEOUT_MS": 50}).start()
    try:
        with opened(node.port, "alice") as link:
            node.stuck_path.touch()
            link.send(SetStatus(1, "dnd"))
            link.send_bytes(JUNK)
            assert [got[1] for got in link.rest()] == ["bad_frame"]
    finally:
        node.stuck_path.unlink()
        node.stop()
