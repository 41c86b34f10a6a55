"""What the way to a real engine makes of its answers, which are made up here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from presenced.backplane.access import EngineAccess
from presenced.backplane.errors import Fenced, Refused, Rewound
from presenced.backplane.redis_engine import RedisBackplane, _complaint
from presenced.backplane.wire import EngineCommand, EngineFault


class Answers:
    """A connection that is answered at once. `reply` makes an answer of a command."""

    place = "here"

    def __init__(self, reply: Callable[[EngineCommand], Any]) -> None:
        self.reply = reply
        self.closed = 0

    async def call(self, *command: bytes | str | int, wait_s: float = 0) -> Any:
        return (await self.calls([command]))[0]

    async def calls(self, commands: Sequence[EngineCommand], *, wait_s: float = 0) -> list[Any]:
        return [self.reply(command) for command in commands]

    async def close(self) -> None:
        self.closed += 1


def node_of(*, reads: Answers, commands: Answers, monotonic_s: Callable[[], float] = lambda: 0.0) -> RedisBackplane:
    """A node over these two connections."""
    node = RedisBackplane(EngineAccess((("localhost", 1),)), monotonic_s=monotonic_s)
    node._reader = reads  # type: ignore[assignment]
    node._commands = node._functions._connection = commands  # type: ignore[assignment]
    return node


def fault(command: EngineCommand) -> Any:
    """What nobody has heard of so far."""
    raise EngineFault("ODD this engine is out of order")


CALLS: list[Callable[[RedisBackplane], Awaitable[object]]] = [
    lambda node: node.join("a", 1, 0, 1, b""),
    lambda node: node.append(1, 5, 1, b""),
    lambda node: node.renew(5, 1),
    lambda node: node.leave(),
    lambda node: node.read(5),
    lambda node: node.put_parcel(1, 1, b""),
    lambda node: node.take_parcel(1, 1),
]


@pytest.mark.parametrize("call", CALLS)
async def test_an_error_that_nobody_knows_is_one_of_the_port(
    call: Callable[[RedisBackplane], Awaitable[object]],
) -> None:
    node = node_of(reads=Answers(fault), commands=Answers(fault))
    with pytest.raises(Refused, match="ODD this engine is out of order") as raised:
        await call(node)
    assert raised.value.code == "bad_request"


async def test_an_error_that_nobody_knows_is_one_of_the_port_where_the_log_is_not_the_one_that_was_read() -> None:
    def reply(command: EngineCommand) -> Any:
        return [[b"log", [[b"9-1", [b"h", b"b 1 0 0 8-1 a", b"d", b""]]]]] if command[0] == "XREAD" else fault(command)

    node = node_of(reads=Answers(reply), commands=Answers(fault))
    with pytest.raises(Refused, match="ODD"):
        await node.read(5)


# --- a reader on another engine -----------------------------------------------------------------------------------


class Busy:
    """A node that appends, and whose reader is told of nothing, as on a primary that was demoted and does not know
    it."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.end_n = 10
        self.reads = Answers(lambda command: None)
        self.node = node_of(reads=self.reads, commands=Answers(self.appended), monotonic_s=lambda: self.now_s)

    def appended(self, command: EngineCommand) -> bytes:
        self.end_n += 1
        return b"%d-1" % self.end_n

    async def append(self, *, read: int, pause_s: float) -> None:
        await self.node.append(1, 5, 1, b"")
        self.now_s += pause_s
        assert await self.node.read(read) == []


async def test_a_reader_that_sees_nothing_is_connected_anew_however_often_the_node_appends() -> None:
    busy = Busy()
    for _ in range(12):
        await busy.append(read=10, pause_s=0.5)
    assert 2 <= busy.reads.closed <= 3, "each time that it has seen nothing for two seconds"


async def test_a_reader_that_finds_another_log_is_connected_anew() -> None:
    def reply(command: EngineCommand) -> Any:
        entry = [b"9-1", [b"h", b"b 1 0 0 8-1 a", b"d", b""]]
        return [[b"log", [entry]]] if command[0] == "XREAD" else [entry]

    node = node_of(reads=(reads := Answers(reply)), commands=Answers(fault))
    with pytest.raises(Rewound):
        await node.read(5)
    assert reads.closed == 1


async def test_a_reader_that_sees_nothing_is_connected_anew_though_the_node_asks_to_be_let_in_again() -> None:
    busy = Busy()
    busy.node._commands.reply = lambda command: [7, b"log", 1, b"12-1", 0]  # type: ignore[attr-defined]
    for _ in range(4):
        await busy.node.join("a", 1, 0, 1, b"")
        assert await busy.node.read(0) == []
        busy.now_s += 1
    assert busy.reads.closed == 1


async def test_a_reader_that_is_behind_and_gets_on_is_left_alone() -> None:
    busy = Busy()
    for position in range(10, 22):
        await busy.append(read=position, pause_s=0.9)
        await busy.append(read=position, pause_s=0.9)
    assert not busy.reads.closed


@pytest.mark.parametrize(("lives", "by"), [(7, 7), (0, 0), (3, 0)], ids=["another", "nobody", "its own earlier life"])
def test_only_a_later_life_of_a_name_is_another_daemon(lives: int, by: int) -> None:
    """A log that has lost the beginning of this life knows the one before it, of the same node."""
    error = _complaint(f"FENCED {lives}", "here", 5)
    assert isinstance(error, Fenced) and error.by == by
