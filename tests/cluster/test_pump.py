"""The tasks that bring a node and its log together, on a real loop over the fake backplane."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any

import pytest

from presenced.backplane.errors import Fenced, Refused, Rewound, Unreachable
from presenced.backplane.port import CLOCK_STEP_MS_MAX, LEASE_MS
from presenced.cluster.levels import NotUnderstood
from presenced.cluster.log.join_data import JoinData
from presenced.config.settings import Settings, SettingsError
from presenced.server.clocks import SYSTEM_CLOCKS, Clocks
from presenced.server.clustering.entrance import node_ended, open_cluster
from presenced.server.clustering.membership import Membership
from presenced.server.clustering.reach import BUSY_MS, PAUSE_MS, Reach
from presenced.server.drain import Stopping
from presenced.server.node_end import NodeEnded
from presenced.server.server import Server
from presenced.wire.codec import encode
from tests.cluster.pump_stage import Stage
from tests.support.memory_backplane import MemoryBackplane
from tests.support.until import eventually


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    made = await Stage().start()
    yield made
    await made.pump.leave()


async def test_what_waits_for_a_proof_that_the_node_lives_is_called_once_with_a_renewal_that_begins_later(
    stage: Stage,
) -> None:
    proofs: list[int] = []
    renewed = stage.pump.renewed
    stage.pump.prove(lambda: proofs.append(1))
    assert not proofs, "nothing that was asked before proves anything"
    await eventually(lambda: proofs)
    assert stage.pump.renewed is not renewed
    later = stage.pump.renewed
    await eventually(lambda: stage.pump.renewed is not later)
    assert proofs == [1]


async def test_a_proof_waits_for_a_backplane_that_is_away(stage: Stage) -> None:
    proofs: list[int] = []
    stage.log.is_down = True
    stage.pump.prove(lambda: proofs.append(1))
    await eventually(lambda: stage.away)
    assert (stage.away, proofs, stage.pump.reach.is_away) == ([True], [], True)
    stage.log.is_down = False
    await eventually(lambda: proofs)
    assert stage.away == [True, False] and not stage.pump.reach.is_away and not stage.failures


async def test_an_engine_that_is_read_and_takes_nothing_is_away_and_renews_no_lease(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an old primary does, which has lost its replicas."""

    async def refuse(*_: object) -> None:
        raise Unreachable("NOREPLICAS")

    with monkeypatch.context() as patched:
        for name in ("append", "renew"):
            patched.setattr(stage.backplane, name, refuse)
        await eventually(lambda: stage.away)
        heard_ms, read = stage.pump.reach.heard_ms, stage.pump.entries_read
        other = MemoryBackplane(stage.log, draw=Random(2).getrandbits)
        await other.join("two", 2, 0, 77, encode(JoinData(8)))
        await eventually(lambda: stage.pump.entries_read > read)
        assert stage.away == [True] and stage.pump.reach.heard_ms == heard_ms
        assert stage.pump.reach.is_busy(heard_ms + BUSY_MS + 1_000)
    await eventually(lambda: not stage.pump.reach.is_away)
    assert stage.away == [True, False] and stage.pump.reach.heard_ms > heard_ms


def test_whoever_stood_still_knows_nothing_of_the_engine() -> None:
    told: list[bool] = []
    reach = Reach(0, told.append)
    reach.failed("write", 1_000, 1_000 + PAUSE_MS, "late")
    assert not reach.is_away
    reach.failed("read", 10_000, 12_000, "down")
    reach.failed("write", 11_000, 13_000, "down")
    assert reach.away_ms(13_000) == 3_000 and not reach.is_busy(10_000 + BUSY_MS) and reach.is_busy(10_001 + BUSY_MS)
    reach.answered("write", 14_000)
    assert reach.is_away and reach.heard_ms == 14_000
    reach.answered("read", 15_000)
    assert not reach.away_ms(16_000) and reach.heard_ms == 14_000 and told == [True, False]


def test_a_node_ceases_to_believe_that_it_lives_before_the_others_can() -> None:
    reach = Reach(0, lambda is_away: None)
    reach.answered("write", 5_000)
    left = [reach.lease_left_ms(now_ms, LEASE_MS) for now_ms in (5_000, 5_001, 12_999, 13_000, 20_000)]
    assert left == [LEASE_MS - CLOCK_STEP_MS_MAX, 7_999, 1, 0, 0]


async def test_a_node_that_stops_before_its_log_is_mended_ends(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, may_return = asyncio.Event(), asyncio.Event()

    async def wait(*_: object) -> list[object]:
        reading.set()
        await may_return.wait()
        return []

    async def rewound(*_: object) -> None:
        raise Rewound(1, 1, 1)

    monkeypatch.setattr(stage.backplane, "read", wait)
    await reading.wait()
    monkeypatch.setattr(stage.backplane, "renew", rewound)
    await eventually(lambda: stage.pump._trouble is not None)
    leaving = asyncio.create_task(stage.pump.leave())
    await asyncio.sleep(0)
    may_return.set()
    await eventually(leaving.done)


async def test_what_is_asked_for_is_appended_and_read_back_without_anybody_asking(stage: Stage) -> None:
    decided: list[int] = []
    stage.node.bids.bid(["alice"], decided.append)
    await eventually(lambda: decided)
    assert stage.node.own("alice")


async def test_batches_keep_their_distance_and_the_first_after_a_pause_goes_at_once() -> None:
    now_ns = 1_000_000_000_000
    stage = await Stage(Clocks(lambda: now_ns, time.time_ns), linger_ms=20).start()
    decided: list[int] = []
    try:
        stage.node.bids.bid(["alice"], decided.append)
        for _ in range(3):
            before = stage.pump.renewed
            await eventually(lambda before=before: stage.pump.renewed is not before)
        assert not decided, "by its clock the node has appended something at this moment"
        now_ns += 20_000_000
        await eventually(lambda: decided)
        now_ns += 20_000_000
        stage.node.bids.bid(["bob"], decided.append)
        await eventually(lambda: len(decided) == 2)
    finally:
        await stage.pump.leave()


async def test_the_time_that_an_append_takes_is_part_of_the_distance() -> None:
    now_ns = 1_000_000_000_000
    stage = await Stage(Clocks(lambda: now_ns, time.time_ns), linger_ms=20).start()
    decided: list[int] = []
    append = stage.backplane.append

    async def slow(*args: Any) -> tuple[int, int]:
        nonlocal now_ns
        now_ns += 20_000_000
        return await append(*args)

    stage.backplane.append = slow  # type: ignore[method-assign]
    try:
        now_ns += 20_000_000
        for number, name in enumerate(("alice", "bob", "carol"), 1):
            stage.node.bids.bid([name], decided.append)
            # The clock stands still but for what appends take.
            await eventually(lambda number=number: len(decided) == number)
    finally:
        await stage.pump.leave()


async def test_a_node_is_behind_from_the_first_renewal_on_that_tells_of_what_it_has_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_ns = 1_000_000_000_000
    stage = await Stage(Clocks(lambda: now_ns, time.time_ns)).start()

    async def renewed() -> None:
        before = stage.pump.renewed
        await eventually(lambda: stage.pump.renewed is not before)

    seen: list[int] = []

    async def see_nothing(after: int, tag: int) -> list[object]:
        seen.append(after)
        await asyncio.sleep(0)
        return []

    try:
        await renewed()
        assert not stage.pump.lag_ms
        with monkeypatch.context() as patched:
            patched.setattr(stage.backplane, "read", see_nothing)
            # The call that waits for news yet is answered by this.
            stage.node.batches.mark()
            await eventually(lambda: seen)
            stage.node.batches.mark()
            await eventually(lambda: stage.pump.lag_ms)
            for _ in range(3):
                now_ns += 4_000_000_000
                await renewed()
            assert stage.pump.lag_ms == 12_000
        await eventually(lambda: not stage.pump.lag_ms)
    finally:
        await stage.pump.leave()


async def test_who_is_declared_gone_is_at_its_end_and_says_whether_another_has_its_name(stage: Stage) -> None:
    other = MemoryBackplane(stage.log)
    joined = await other.join("one", 2, 0, 77, encode(JoinData(8)))
    await stage.pump.wait_over()
    [failure] = stage.failures
    assert isinstance(failure, Fenced) and failure.by == joined.incarnation
    assert stage.pump.failure is failure


async def test_a_log_that_was_emptied_is_joined_anew_by_the_same_node(stage: Stage) -> None:
    history = stage.node.history
    stage.log.empty()
    await eventually(lambda: stage.node.history != history)
    decided: list[int] = []
    stage.node.bids.bid(["alice"], decided.append)
    await eventually(lambda: decided)
    assert stage.node.is_ready and not stage.failures


async def test_a_node_that_reads_what_it_does_not_understand_ends_and_is_no_bug(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    other = MemoryBackplane(stage.log, draw=Random(2).getrandbits)
    joined = await other.join("two", 2, 0, 77, encode(JoinData(8)))
    await other.append(1, joined.n, joined.tag, encode([1, 1, [[99, "x"]], 0]))
    await stage.pump.wait_over()
    [failure] = stage.failures
    assert isinstance(failure, NotUnderstood) and "99" in str(failure)
    assert not [record for record in caplog.records if record.levelname == "CRITICAL"]


def refusing(code: str) -> Callable[..., Awaitable[None]]:
    """A call that is refused for this reason."""

    async def refuse(*_: object) -> None:
        raise Refused(code, "the engine is a replica")

    return refuse


async def test_a_node_that_serves_waits_for_an_engine_that_refuses_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(stage.backplane, "renew", refusing("replica"))
        await eventually(lambda: stage.away)
        assert stage.pump.reach.trouble == "the engine is a replica"
    await eventually(lambda: not stage.pump.reach.is_away)
    assert stage.away == [True, False] and not stage.failures and not stage.pump.reach.trouble
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert told == [
        "the cluster's Redis refuses this node, which tries again until it does not: the engine is a replica"
    ]


async def test_a_node_that_does_not_serve_yet_ends_with_the_sentence_of_an_engine_that_refuses_it() -> None:
    stage = Stage()
    stage.backplane.renew = refusing("evicts")  # type: ignore[assignment,method-assign]
    stage.backplane.append = refusing("evicts")  # type: ignore[assignment,method-assign]
    await stage.start(waits=False)
    await stage.pump.wait_over()
    assert isinstance(stage.pump.failure, Refused) and stage.pump.failure.sentence == "the engine is a replica"


async def test_a_node_whose_call_is_wrong_ends(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.backplane, "renew", refusing("bad_request"))
    await stage.pump.wait_over()
    assert isinstance(stage.pump.failure, Refused)


@pytest.mark.parametrize(
    ("error", "is_lasting", "words"),
    [
        (Fenced(7), True, "give each a name of its own"),
        (
            Fenced(0),
            False,
            "without the node one, which was not heard of for longer than its lease; started again, it joins anew",
        ),
        (Refused("evicts", "it drops keys"), True, "it drops keys"),
        (Refused("parcel_lost", "gone"), False, "started again, it joins anew"),
        (Unreachable("nobody there"), False, "start it, then this node again"),
        (NotUnderstood("Invalid value 99"), True, "(Invalid value 99); upgrade this node"),
    ],
)
def test_what_a_start_mends_is_told_from_what_an_operator_has_to_change(
    error: Exception, is_lasting: bool, words: str
) -> None:
    ended = node_ended(error, Settings(dev=True, cluster_node="one"))
    assert isinstance(ended, NodeEnded) and ended.is_lasting is is_lasting and words in str(ended)


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (Refused("parcel_lost", "gone"), NodeEnded, "started again, it joins anew"),
        (Refused("evicts", "it drops keys"), SettingsError, "cluster.url: it drops keys"),
        (Unreachable("nobody there"), NodeEnded, "start it, then this node again"),
        (NotUnderstood("Invalid value 99"), NodeEnded, "upgrade this node"),
    ],
)
async def test_a_start_that_fails_tells_what_a_further_one_mends_from_what_is_to_be_changed(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception], words: str
) -> None:
    async def fail(self: Membership) -> None:
        raise error

    monkeypatch.setattr(Membership, "join", fail)
    settings = Settings(dev=True, cluster_url="redis://127.0.0.1:1", cluster_node="one")
    server = Server(settings)
    with pytest.raises(expected, match=words):
        await open_cluster(
            settings,
            server.links,
            server.pacing,
            SYSTEM_CLOCKS,
            lambda e: None,
            lambda c: None,
            lambda: Stopping(0, 0, 0),
            lambda: settings,
        )


async def test_what_was_read_since_a_command_met_a_rewound_log_is_not_lost(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the reader has taken entries while the command waited for it."""
    rewound: list[tuple[int, int]] = []
    rewind = stage.reader.rewind
    monkeypatch.setattr(stage.reader, "rewind", lambda n, tag, now: (rewound.append((n, tag)), rewind(n, tag, now)))
    before = stage.node.position, stage.node.tag
    stage.node.batches.mark()
    await eventually(lambda: stage.node.position > before[0])
    read = stage.node.position, stage.node.tag
    stage.pump._trouble = Rewound(1, *before)
    stage.pump._recovered.clear()
    stage.node.batches.mark()
    await eventually(lambda: rewound)
    assert len(rewound) == 1 and rewound[0][0] >= read[0] and not stage.failures


async def test_a_node_that_was_given_up_asks_who_has_its_name_when_no_other_command_is_under_way(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection serves all commands: the answers of two at once would be taken for each other's."""
    [entry] = await MemoryBackplane(stage.log).read(stage.node.position - 1)
    renewed: list[int] = []

    async def renew(n: int, tag: int) -> object:
        renewed.append(n)
        raise Fenced(7)

    async with stage.pump._commands:
        monkeypatch.setattr(stage.backplane, "renew", renew)
        stage.node.note_fenced()
        applying = asyncio.create_task(stage.pump._apply([entry]))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not renewed and not applying.done()
    with pytest.raises(Fenced):
        await applying
    assert renewed
