"""A log that is not the one that was read, and an engine that fails again while a node sees to that."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import pytest

from presenced.backplane.errors import BackplaneError, Emptied, Refused, Rewound
from presenced.backplane.port import Entry
from presenced.cluster.log.entries import New, decode_batch
from presenced.cluster.log.join_data import JoinData
from presenced.server.clocks import SYSTEM_CLOCKS, Clocks
from presenced.server.clustering import pump as pumps
from presenced.server.clustering.reach import BUSY_MS
from presenced.wire.codec import encode
from tests.cluster.memberships import Joining, new_engine
from tests.cluster.pump_stage import Stage
from tests.support.memory_backplane import MemoryBackplane
from tests.support.until import eventually


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = await Stage().start()
    yield made
    await made.pump.leave()


# --- an engine that fails while a node comes back -----------------------------------------------------------------


class Member:
    """A node that serves, whose engine is emptied and fails as soon as it asks to be let in again."""

    def __init__(self) -> None:
        self.engine = new_engine()
        self.joining = Joining(self.engine, "one")
        self.membership = self.joining.membership

    async def lose_engine(self, fail: Callable[[], None]) -> None:
        await self.membership.join()
        assert self.membership._pump is not None
        self.pump = self.membership._pump
        join = self.joining.backplane.join
        self.asked, self.fail = 0, fail

        async def failing(*args: Any) -> Any:
            self.asked += 1
            self.fail()
            return await join(*args)

        self.joining.backplane.join = failing  # type: ignore[method-assign]
        self.engine.empty()
        self.pump.prove(lambda: None)
        await eventually(lambda: self.asked)

    def go_away(self) -> None:
        self.engine.is_down = True


async def test_an_engine_that_goes_away_while_a_node_comes_back_is_away_and_turns_run() -> None:
    member = Member()
    await member.lose_engine(member.go_away)
    await eventually(lambda: member.pump.reach.is_away)
    heard_ms = member.pump.reach.heard_ms
    assert member.membership._may_run(heard_ms + 60_000), "links are served on"
    assert member.pump.reach.is_busy(SYSTEM_CLOCKS.monotonic_ms() + BUSY_MS + 1)
    member.fail = lambda: None
    member.engine.is_down = False
    await eventually(lambda: not member.pump.reach.is_away)
    node = member.membership._node
    assert node is not None
    await eventually(lambda: node.history == member.engine.kept.history and node.is_ready)
    await member.membership.leave()
    assert not member.joining.failures and not member.engine.kept.nodes


async def test_an_engine_that_refuses_a_node_that_comes_back_is_told_as_what_it_is() -> None:
    member = Member()

    def refuse() -> None:
        raise Refused("replica", "the engine is a replica")

    await member.lose_engine(refuse)
    await eventually(lambda: member.pump.reach.trouble == "the engine is a replica")
    await asyncio.wait_for(member.membership.leave(), 4)
    assert not member.joining.failures


async def test_a_node_stops_whose_engine_is_away_while_it_comes_back() -> None:
    member = Member()
    await member.lose_engine(member.go_away)
    await asyncio.wait_for(member.membership.leave(), 4)
    assert not member.joining.failures


async def test_a_call_that_never_ends_keeps_no_node_from_stopping(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pumps, "LEAVE_S", 0.05)
    stage = await Stage().start()
    asked: list[object] = []

    async def hang(*args: object) -> Any:
        asked.append(args)
        await asyncio.Event().wait()

    monkeypatch.setattr(stage.backplane, "renew", hang)
    await eventually(lambda: asked)
    await asyncio.wait_for(stage.pump.leave(), 4)
    assert "is not told that this node leaves" in caplog.text


# --- one failure behind the other ---------------------------------------------------------------------------------


def before_read(stage: Stage, when: Callable[[int], bool], then: Callable[[], object], times: int = 1) -> list[int]:
    """Do this before the node reads behind such a position, so many times; returns the positions where it was done."""
    read, done = stage.backplane.read, []

    async def reading(after: int, tag: int | None = None) -> list[Entry]:
        if len(done) < times and when(after):
            done.append(after)
            then()
        return await read(after, tag)

    stage.backplane.read = reading  # type: ignore[method-assign]
    return done


def connections_closed(stage: Stage) -> list[int]:
    """One for each time that the node ends its connections."""
    closed: list[int] = []

    async def close() -> None:
        closed.append(1)

    stage.backplane.close = close  # type: ignore[method-assign]
    return closed


async def still_serves(stage: Stage, name: str = "alice") -> None:
    """The node goes on with the log that there is."""
    decided: list[int] = []
    stage.node.bids.bid([name], decided.append)
    await eventually(lambda: decided or stage.failures)
    assert not stage.failures and stage.node.is_ready and stage.node.history == stage.log.kept.history
    assert [one for one in stage.log.kept.nodes] == ["one"]


def new_names(stage: Stage) -> set[str]:
    """The users of whom the log says that they are new."""
    entries = [entry for entry, *_ in stage.log.entries.values() if entry.kind == "batch"]
    items = [item for entry in entries for item in decode_batch(entry.data).items]
    return {name for item in items if isinstance(item, New) for name in item.names}


def fail_with(error: BackplaneError) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize("comes_first", [False, True], ids=["again", "again, and others were there before"])
async def test_a_log_that_is_gone_again_while_it_is_read_anew_is_joined_once_more(
    stage: Stage, comes_first: bool
) -> None:
    histories = [stage.log.kept.history]

    def empty_again() -> None:
        histories.append(stage.log.kept.history)
        stage.log.empty()

    done = before_read(stage, lambda after: after == 0, empty_again, times=3)
    stage.log.empty()
    if comes_first:
        other = MemoryBackplane(stage.log, draw=Random(2).getrandbits)
        joined = await other.join("two", 2, 0, 77, encode(JoinData(8)))
        await other.leave()
        assert joined.n == 1
    await still_serves(stage)
    assert done == [0, 0, 0] and stage.node.history not in histories


async def test_a_log_that_loses_while_it_is_read_anew_that_the_node_is_back_is_joined_once_more(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.log.empty()
    other = MemoryBackplane(stage.log, draw=Random(2).getrandbits)
    await other.join("two", 2, 0, 77, encode(JoinData(8)))
    await other.leave()
    history = stage.log.kept.history
    done = before_read(stage, lambda after: after == 0, lambda: stage.log.lose_tail(1))
    await still_serves(stage)
    assert done and stage.node.history == history
    assert "the log is gone" in caplog.messages[0] and caplog.messages[-1] == "the cluster's log is whole again"


async def test_a_log_that_was_left_and_comes_back_is_read_by_nobody_again(stage: Stage) -> None:
    """An engine is started with a dump from before it was emptied."""
    earlier = stage.log.kept.copied(), dict(stage.log.entries)
    stage.log.empty()
    await still_serves(stage)
    stage.log.kept, stage.log.entries = earlier
    stage.node.batches.mark()
    await eventually(lambda: stage.failures)
    assert "it is one from before" in str(stage.failures[0])


async def test_whoever_reads_on_another_engine_is_not_taken_for_another_life(stage: Stage) -> None:
    """A connection for reading may lead to an old primary yet, when that for commands does not."""
    done = before_read(stage, lambda after: after == 0, fail_with(Rewound(5, 9, 1)), times=2)
    closed = connections_closed(stage)
    stage.log.empty()
    await still_serves(stage)
    assert len(done) == len(closed) == 2, "it connects anew each time"
    kinds = [entry.kind for entry, *_ in stage.log.entries.values()]
    assert "gone" not in kinds


async def test_whoever_reads_a_log_anew_on_another_engine_takes_nothing_that_is_held_there(stage: Stage) -> None:
    """Both logs begin at the same position. What stands in the one would count as read of the other."""
    stage.log.empty()
    left = stage.log.split()
    tags = []
    for log, seed in ((left, 2), (stage.log, 3)):
        other = MemoryBackplane(log, draw=Random(seed).getrandbits)
        tags.append((await other.join("two", 2, 0, 77, encode(JoinData(8)))).tag)
        await other.leave()
    read, elsewhere = stage.backplane.read, MemoryBackplane(left)
    asked: list[int] = []

    async def reading(after: int, tag: int | None = None) -> list[Entry]:
        asked.append(after)
        elsewhere._caller = stage.backplane._caller
        return await (elsewhere.read if len(asked) == 1 else read)(after, tag)

    stage.backplane.read = reading  # type: ignore[method-assign]
    await still_serves(stage)
    assert asked[:2] == [0, 0]
    assert stage.reader.memory.tag_at(1) == tags[1] != tags[0]


async def test_a_log_that_commands_find_as_it_was_read_is_looked_for_anew(stage: Stage) -> None:
    closed, before = connections_closed(stage), stage.node.history
    before_read(stage, lambda after: True, fail_with(Rewound(90, 99, 1)))
    await eventually(lambda: closed)
    await still_serves(stage)
    assert stage.node.history == before
    assert [entry.kind for entry, *_ in stage.log.entries.values()].count("joined") <= 1


async def test_a_log_that_lacks_what_is_to_be_read_wherever_that_is_asked_for_is_given_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("presenced.server.clustering.engine_calls.RETRY_S", 0.001)
    stage.node.batches.mark()
    read = stage.node.position
    await eventually(lambda: stage.node.position > read)
    before_read(stage, lambda after: True, fail_with(Rewound(90, 99, 1)), times=1_000_000)
    await eventually(lambda: stage.failures)
    assert "it holds entries 90 to 99" in str(stage.failures[0])


async def test_a_log_that_is_mended_again_and_again_is_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = SYSTEM_CLOCKS.monotonic_s()
    monkeypatch.setattr(pumps, "MENDS_MAX", 3)
    mends: list[Exception] = []

    async def mend(error: Exception, **_: object) -> None:
        nonlocal now_s
        now_s += 4.0 if len(mends) < 3 else 1.0
        mends.append(error)

    pump = stage.pump
    pump._clocks = Clocks(lambda: int(now_s * 1e9), SYSTEM_CLOCKS.wall_ns)
    pump._mends_s = deque(maxlen=3)
    monkeypatch.setattr(pump._mender, "mend", mend)
    before_read(stage, lambda after: True, fail_with(Rewound(90, 99, 1)), times=1_000_000)
    stage.node.batches.mark()
    await eventually(lambda: stage.failures)
    # The fourth comes 12 s behind the first, and the fifth would come 9 s behind the second.
    assert len(mends) == 4 and "mended 3 times within 10 s" in str(stage.failures[0])


async def test_a_reader_that_is_where_the_log_was_written_before_does_not_say_what_has_become_of_it(
    stage: Stage,
) -> None:
    """The engine has failed over and lost what the node has read last, which the one before it holds still. What it
    says of its own log, where the node looks for what both have, is that all was read, and nothing is lost."""
    stage.node.bids.bid(["anna"], lambda now_ms: None)
    await eventually(lambda: stage.node.homes.of("anna") is stage.node.mine)
    read, tag, rewind, rewound = stage.node.position, stage.node.tag, stage.reader.rewind, []

    def noted(position: int, *more: int) -> None:
        rewound.append(position)
        rewind(position, *more)

    stage.reader.rewind = noted  # type: ignore[method-assign,assignment]

    def mends(after: int) -> bool:
        return after < read

    before_read(stage, mends, fail_with(Rewound(read, read, tag)))
    # A renewal may have come behind it, and a batch without items.
    while new_names(stage):
        stage.log.lose_tail(1)
    common = stage.log.kept.n
    # What the log holds in its place, the node has not read.
    await MemoryBackplane(stage.log, draw=Random(9).getrandbits).join("two", 9, 0, 77, encode(JoinData(9)))
    stage.node.bids.bid(["bob"], lambda now_ms: None)
    await eventually(lambda: stage.node.homes.of("bob") is stage.node.mine)
    assert rewound == [common] and common < read
    assert new_names(stage) == {"anna", "bob"}
    assert not stage.failures


async def test_a_log_whose_beginning_is_gone_is_of_no_use_to_a_node_that_comes_back(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("presenced.server.clustering.engine_calls.RETRY_S", 0.001)
    before_read(stage, lambda after: after == 0, fail_with(Rewound(5, 9, 1)), times=1_000_000)
    stage.log.empty()
    await eventually(lambda: stage.failures)
    assert "from its beginning" in str(stage.failures[0])


@pytest.mark.parametrize("error", [Emptied(), Rewound(1, 2, 3)], ids=["emptied", "rewound"])
async def test_an_engine_that_fails_over_again_while_a_node_seeks_where_the_logs_part(
    stage: Stage, error: Emptied | Rewound
) -> None:
    for _ in range(3):
        read = stage.node.position
        stage.node.batches.mark()
        await eventually(lambda read=read: stage.node.position > read)
    other = MemoryBackplane(stage.log, draw=Random(2).getrandbits)
    end = stage.node.position

    def fail() -> None:
        if isinstance(error, Emptied):
            stage.log.empty()
        raise error

    done = before_read(stage, lambda after: after < end - 2, fail)
    stage.log.lose_tail(4)
    await other.join("two", 2, 0, 77, encode(JoinData(8)))
    await other.leave()
    await still_serves(stage)
    assert done


async def test_a_log_that_has_nothing_in_common_with_what_was_read_ends_the_node(stage: Stage) -> None:
    error = Rewound(90, 99, 1)

    async def other_log(*_: object) -> Any:
        raise error

    stage.backplane.renew = other_log  # type: ignore[method-assign]
    stage.reader.memory.rewind(0)
    before_read(stage, lambda after: True, fail_with(error), times=1_000_000)
    await eventually(lambda: stage.failures)
    assert "entries 90 to 99" in str(stage.failures[0])


async def test_a_log_that_was_told_of_all_that_was_read_is_told_of_nothing_earlier(stage: Stage) -> None:
    """It may have dropped that by then. A renewal that names it would find another log each time, for ever."""
    await still_serves(stage, "anna")
    assert stage.reader.droppable[0] < stage.node.position, "held for whoever comes back to a log that begins"
    stage.log.lose_tail(1)
    await still_serves(stage, "bob")
    assert stage.reader.droppable == (stage.node.position, stage.node.tag)
